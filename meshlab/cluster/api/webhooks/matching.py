"""Which webhooks want to see a write: rules, scope, selectors. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from meshlab.cluster.api.registry import Resource
from meshlab.cluster.api.selectors import selector_object
from meshlab.cluster.api.webhooks.review import Attributes

__all__ = ["Hook", "hooks_of", "selects", "wanted_as"]

Object = dict[str, Any]


@dataclass(frozen=True)
class Hook:
    """One entry of a webhook configuration."""

    #: Name of its configuration.
    configuration: str
    #: The entry itself, with its defaults.
    spec: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    @property
    def ignores_failures(self) -> bool:
        return self.spec.get("failurePolicy") == "Ignore"

    @property
    def timeout(self) -> int:
        """Seconds."""
        return int(self.spec.get("timeoutSeconds") or 10)


def hooks_of(configurations: Iterable[Mapping[str, Any]]) -> list[Hook]:
    """Every webhook in the order in which they are asked: by name of the configuration, then as listed."""
    ordered = sorted(configurations, key=lambda c: str(c["metadata"]["name"]))
    return [Hook(c["metadata"]["name"], spec) for c in ordered for spec in c.get("webhooks") or ()]


def wanted_as(hook: Hook, attributes: Attributes, versions: Iterable[Resource]) -> Resource | None:
    """The version of the resource that a rule of the hook names; None where no rule does.

    `versions` are all versions of the kind: with matchPolicy Equivalent a rule for one of them means them all.
    """
    rules = hook.spec.get("rules") or ()
    own = attributes.resource
    if any(_matches(rule, attributes, own) for rule in rules):
        return own
    if hook.spec.get("matchPolicy") == "Exact":
        return None
    for other in versions:
        if other != own and any(_matches(rule, attributes, other) for rule in rules):
            return other
    return None


def _matches(rule: Mapping[str, Any], attributes: Attributes, resource: Resource) -> bool:
    def has(key: str, value: str) -> bool:
        listed = rule.get(key) or ()
        return "*" in listed or value in listed

    scope = rule.get("scope") or "*"
    namespaced = resource.namespaced
    if scope != "*" and (scope == "Namespaced") is not namespaced:
        return False
    return (
        has("operations", attributes.operation)
        and has("apiGroups", resource.group)
        and has("apiVersions", resource.version)
        and any(_named(text, resource.plural, attributes.subresource) for text in rule.get("resources") or ())
    )


def _named(text: str, plural: str, subresource: str) -> bool:
    """`pods`, `pods/status`, `pods/*`, `*/scale`, `*` (no subresources), `*/*`."""
    wanted, _, sub = text.partition("/")
    return wanted in ("*", plural) and sub in (("*", subresource) if subresource else ("", "*"))


def selects(hook: Hook, attributes: Attributes, namespace_labels: Mapping[str, str] | None) -> bool:
    """Whether its selectors take the object. `namespace_labels` None: the object is in no namespace."""
    spec = hook.spec
    around = spec.get("namespaceSelector")
    labels = {"metadata": {"labels": namespace_labels or {}}}
    if around and namespace_labels is not None and not selector_object(around)(labels):
        return False
    selector = spec.get("objectSelector")
    if not selector:
        return True
    match = selector_object(selector)
    return any(match(_labelled(obj)) for obj in (attributes.new, attributes.old) if obj is not None)


def _labelled(obj: Mapping[str, Any]) -> Object:
    meta = obj.get("metadata")
    labels = meta.get("labels") if isinstance(meta, Mapping) else None
    return {"metadata": {"labels": labels or {}}}
