"""The policies that are stored, which of them concern a write, and what they decide together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from meshlab.cluster.api.policies.evaluation import Compiled, Decision
from meshlab.cluster.api.registry import Resource
from meshlab.cluster.api.selectors import selector_object
from meshlab.cluster.api.status import ApiError
from meshlab.cluster.api.store import Change
from meshlab.cluster.api.webhooks.matching import Hook, selects, wanted_as
from meshlab.cluster.api.webhooks.messages import question
from meshlab.cluster.api.webhooks.review import Attributes

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api
    from meshlab.cluster.api.webhooks.webhooks import Asker

__all__ = ["GROUP", "Policies"]

log = logging.getLogger(__name__)

Object = dict[str, Any]
#: A copy of a write's object in a version of its kind.
Seen = Callable[[Attributes, Object, Resource], Object]

GROUP = "admissionregistration.k8s.io"
POLICIES, BINDINGS = f"{GROUP}/validatingadmissionpolicies", f"{GROUP}/validatingadmissionpolicybindings"
#: Codes of the reasons that a validation may give.
CODES = {"Unauthorized": 401, "Forbidden": 403, "Invalid": 422, "RequestEntityTooLarge": 413}
#: A policy takes what its rules name; a binding without rules takes all of that.
EVERYTHING = ({"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*", "*/*"]},)


class Refused(ApiError):
    """A policy says no."""

    def __init__(self, attributes: Attributes, message: str, reason: str) -> None:
        self.reason = reason or "Invalid"
        self.code = CODES.get(self.reason, 422)
        resource = attributes.resource
        details: Object = {"name": attributes.name} if attributes.name else {}
        if resource.group:
            details["group"] = resource.group
        details |= {"kind": resource.plural, "causes": [{"message": message}]}
        super().__init__(f'{resource.qualified} "{attributes.name}" is forbidden: {message}', details=details)


class Policies:
    """One per server."""

    def __init__(self, api: Api, seen: Seen) -> None:
        self.api, self._seen = api, seen
        self._compiled: dict[str, tuple[int, Compiled]] = {}
        self._bound: list[tuple[str, Object, list[Object]]] | None = None
        api.store.listen(self._changed)

    def any(self) -> bool:
        """Whether any policy is in force."""
        return bool(self._in_force())

    def check(self, attributes: Attributes, asker: Asker) -> None:
        """Raises an ApiError where a policy refuses; the first refusal counts. Warnings go to the asker."""
        if attributes.resource.group == GROUP:
            return  # a policy cannot keep anybody from repairing it
        refusal: tuple[str, str] | None = None
        for name, policy, bindings in self._in_force():
            spec = policy["spec"]
            wanted = self._matched(spec.get("matchConstraints") or {}, attributes, name)
            if wanted is None:
                continue
            for binding in bindings:
                if self._matched(binding["spec"].get("matchResources") or {}, attributes, name) is None:
                    continue
                for decision in self._decide(policy, binding, attributes, wanted, asker):
                    if decision.failed and spec.get("failurePolicy") == "Ignore":
                        continue
                    actions = binding["spec"].get("validationActions") or ()
                    bound = binding["metadata"]["name"]
                    if "Deny" in actions and refusal is None:
                        refusal = (f"ValidatingAdmissionPolicy '{name}' with binding '{bound}' denied request: "
                                   f"{decision.message}", decision.reason)
                    if "Warn" in actions:
                        asker.warn(f"Validation failed for ValidatingAdmissionPolicy '{name}' with binding '{bound}': "
                                   f"{decision.message}")
                    if "Audit" in actions:
                        log.info("policy %s, binding %s, %s %s %s: %s", name, bound, attributes.operation,
                                 attributes.resource.qualified, attributes.name, decision.message)
        if refusal is not None:
            raise Refused(attributes, *refusal)

    # Which

    def _changed(self, change: Change) -> None:
        if change.collection in (POLICIES, BINDINGS):
            self._bound = None

    def _in_force(self) -> list[tuple[str, Object, list[Object]]]:
        """(name, policy, its bindings) of every policy that has any, by name."""
        if self._bound is None:
            bindings: dict[str, list[Object]] = {}
            for entry in self.api.store.entries(BINDINGS):
                bindings.setdefault(entry.obj["spec"].get("policyName", ""), []).append(entry.obj)
            policies = {e.obj["metadata"]["name"]: e.obj for e in self.api.store.entries(POLICIES)}
            self._bound = [(name, policies[name], bindings[name]) for name in sorted(policies) if name in bindings]
            self._compiled = {n: c for n, c in self._compiled.items() if n in policies}
        return self._bound

    def _matched(self, match: Mapping[str, Any], attributes: Attributes, name: str) -> Resource | None:
        """The version in which the policy wants to see the object; None where it does not."""
        rules = list(match.get("resourceRules") or EVERYTHING)
        kept = {key: match[key] for key in ("matchPolicy", "namespaceSelector", "objectSelector") if key in match}
        versions = list(self.api.registry.sharing(attributes.resource.collection))
        excluded = _of_name(match.get("excludeResourceRules") or (), attributes)
        if excluded and wanted_as(Hook(name, {**kept, "rules": excluded}), attributes, versions) is not None:
            return None
        hook = Hook(name, {**kept, "rules": _of_name(rules, attributes)})
        wanted = wanted_as(hook, attributes, versions)
        return wanted if wanted is not None and selects(hook, attributes, self._namespace_labels(attributes)) else None

    def _namespace(self, attributes: Attributes) -> Object | None:
        if attributes.resource.storage == ("", "namespaces") or not attributes.namespace:
            return None
        entry = self.api.store.get("/namespaces", attributes.namespace)
        return None if entry is None else entry.obj

    def _namespace_labels(self, attributes: Attributes) -> Mapping[str, str] | None:
        if attributes.resource.storage == ("", "namespaces"):
            around: Object | None = attributes.new or attributes.old
        elif attributes.namespace:
            around = self._namespace(attributes)
        else:
            return None
        labels: Mapping[str, str] = ((around or {}).get("metadata") or {}).get("labels") or {}
        return labels

    # What

    def _decide(
        self, policy: Object, binding: Object, attributes: Attributes, wanted: Resource, asker: Asker
    ) -> Iterator[Decision]:
        name, revision = policy["metadata"]["name"], int(policy["metadata"]["resourceVersion"])
        known = self._compiled.get(name)
        if known is None or known[0] != revision:
            known = self._compiled[name] = (revision, Compiled(policy["spec"]))
        try:
            found = list(self._params(policy["spec"].get("paramKind"), binding["spec"].get("paramRef"), attributes))
        except ValueError as error:
            yield Decision(f"failed to configure binding: {error}", failed=True)
            return
        new = None if attributes.new is None else self._seen(attributes, attributes.new, wanted)
        old = None if attributes.old is None else self._seen(attributes, attributes.old, wanted)
        asked = question(attributes, "", "v1", wanted, None, None, asker.user, asker.options)["request"]
        variables = {
            "object": new, "oldObject": old, "namespaceObject": self._namespace(attributes),
            "request": {key: value for key, value in asked.items() if key not in ("object", "oldObject", "uid")},
        }  # fmt: skip
        for params in found:
            yield from known[1].decide({**variables, "params": params})

    def _params(
        self, kind: Mapping[str, Any] | None, reference: Mapping[str, Any] | None, attributes: Attributes
    ) -> Iterator[Object | None]:
        """The objects that a binding names for its policy. ValueError where it names them wrongly."""
        if not kind or not reference:
            yield None
            return
        resource = self.api.registry.by_kind(kind.get("apiVersion", ""), kind.get("kind", ""))
        if resource is None:
            raise ValueError(f"paramKind kind `{kind.get('apiVersion')}, Kind={kind.get('kind')}` not known")
        namespace = reference.get("namespace") or ""
        if namespace and not resource.namespaced:
            raise ValueError("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
        if resource.namespaced and not (namespace := namespace or attributes.namespace):
            raise ValueError("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
        if name := reference.get("name"):
            found = self.api.find(resource, namespace, name)
            listed = [] if found is None else [found]
        else:
            match = selector_object(reference.get("selector") or {})
            listed = [obj for obj in self.api.list(resource, namespace or None)[0] if match(obj)]
        if not listed and reference.get("parameterNotFoundAction") != "Allow":
            raise ValueError("no params found for policy binding with `Deny` parameterNotFoundAction")
        yield from listed


def _of_name(rules: Any, attributes: Attributes) -> list[Mapping[str, Any]]:
    """Rules for all names, or for this one."""
    return [r for r in rules if not r.get("resourceNames") or attributes.name in r["resourceNames"]]
