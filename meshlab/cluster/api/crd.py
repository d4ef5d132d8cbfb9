"""CustomResourceDefinitions: which kinds they make, and what their schemas say of objects.

A definition is served as soon as it is stored: its names are accepted unless another kind of the group has them, and
its conditions say so in the same breath.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from meshlab.cluster.api.causes import Cause
from meshlab.cluster.api.metadata import timestamp
from meshlab.cluster.api.registry import VERBS, Registry, Resource
from meshlab.cluster.api.status import CauseLike

if TYPE_CHECKING:
    from meshlab.cluster.api.cel import Rules
    from meshlab.cluster.api.schema import Node

__all__ = ["CLEANUP", "COLLECTION", "Definitions", "Version", "established", "resources_of", "storage_version"]

Object = dict[str, Any]

#: Finalizer that keeps a definition until its objects are gone.
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
#: Where a schema is broken in one of these ways, rules are not looked at: they might not even make sense.
BLOCKING = {"FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany",
            "FieldValueTypeInvalid"}  # fmt: skip
UNCHECKED = Cause(
    "<nil>", "FieldValueInvalid",
    "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing "
    "errors to complete validation",
)
COLLECTION = "apiextensions.k8s.io/customresourcedefinitions"


@dataclass(frozen=True)
class Version:
    """One served version of a custom kind."""

    resource: Resource
    #: openAPIV3Schema; None where the definition has none, which accepts everything.
    schema: Mapping[str, Any] | None = None
    preserve_unknown: bool = False
    #: additionalPrinterColumns.
    columns: list[Object] | None = None
    #: subresources.scale: paths of replicas and selector.
    scale: Mapping[str, str] | None = None
    #: spec.conversion.webhook, where one converts the versions into each other.
    webhook: Mapping[str, Any] | None = None


def storage_version(crd: Mapping[str, Any]) -> str:
    return next((str(v["name"]) for v in crd["spec"]["versions"] if v.get("storage")), "")


def resources_of(crd: Mapping[str, Any]) -> list[Version]:
    """A Version for each served version of a definition (apiextensions.k8s.io/v1)."""
    spec = crd["spec"]
    names, group = spec["names"], spec["group"]
    stored = f"{group}/{storage_version(crd)}"
    conversion = spec.get("conversion") or {}
    found = []
    for version in spec["versions"]:
        if not version.get("served"):
            continue
        subresources = version.get("subresources") or {}
        selectable = version.get("selectableFields") or ()
        resource = Resource(
            group=group,
            version=version["name"],
            kind=names["kind"],
            plural=names["plural"],
            singular=names.get("singular") or names["kind"].lower(),
            short_names=tuple(names.get("shortNames") or ()),
            categories=tuple(names.get("categories") or ()),
            namespaced=spec.get("scope") == "Namespaced",
            subresources=frozenset(s for s in ("status", "scale") if s in subresources),
            verbs=VERBS,
            storage=(group, names["plural"]),
            stored_as=stored,
            generation=True,
            conditional=True,
            custom=True,
            list_kind=names.get("listKind") or names["kind"] + "List",
            fields=tuple(f["jsonPath"].lstrip(".") for f in selectable),
        )
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        found.append(Version(
            resource=resource,
            schema=schema,
            preserve_unknown=bool(spec.get("preserveUnknownFields")) or schema is None,
            columns=version.get("additionalPrinterColumns"),
            scale=subresources.get("scale"),
            webhook=conversion.get("webhook") if conversion.get("strategy") == "Webhook" else None,
        ))
    return found


def established(crd: Object, refusal: str = "") -> Object:
    """The definition with the status that says it is served, or why its names are not accepted."""
    old = crd.get("status") or {}
    if refusal:
        conditions = [
            ("NamesAccepted", "False", "KindConflict", refusal),
            ("Established", "False", "NotAccepted", "not all names are accepted"),
        ]
    else:
        conditions = [
            ("NamesAccepted", "True", "NoConflicts", "no conflicts found"),
            ("Established", "True", "InitialNamesAccepted", "the initial names have been accepted"),
        ]
    known = {c["type"]: c for c in old.get("conditions") or ()}
    listed = []
    for type_, value, reason, message in conditions:
        before = known.get(type_)
        since = before["lastTransitionTime"] if before and before["status"] == value else timestamp()
        listed.append({
            "type": type_, "status": value, "lastTransitionTime": since, "reason": reason, "message": message,
        })
    others = [c for t, c in known.items() if t not in ("NamesAccepted", "Established")]
    stored = list(dict.fromkeys([*(old.get("storedVersions") or ()), storage_version(crd)]))
    accepted = old.get("acceptedNames") or {"plural": "", "kind": ""}
    status = {
        "conditions": listed + others,
        "acceptedNames": accepted if refusal else dict(crd["spec"]["names"]),
        "storedVersions": stored,
    }
    return {**crd, "metadata": dict(crd["metadata"]), "status": status}


@dataclass
class Definitions:
    """The custom kinds served now: keeps the registry in step with the stored definitions."""

    registry: Registry
    #: (group, version, plural) → Version
    _versions: dict[tuple[str, str, str], Version] = field(default_factory=dict)
    #: Name of a definition → its resources.
    _served: dict[str, list[Resource]] = field(default_factory=dict)
    _nodes: dict[tuple[str, str, str], Node] = field(default_factory=dict)
    _rules: dict[tuple[str, str, str], Rules | None] = field(default_factory=dict)
    #: (version of the registry, what `digest` said then).
    _digest: tuple[int, str] = (-1, "")

    def serve(self, crd: Mapping[str, Any]) -> str:
        """Registers every version of a definition; the answer is why its names are refused, or ""."""
        versions = resources_of(crd)
        self.withdraw(crd["metadata"]["name"])
        if refusal := self._refusal(crd):
            return refusal
        for version in versions:
            self.registry.add(version.resource)
            self._versions[_id(version.resource)] = version
        self._served[crd["metadata"]["name"]] = [v.resource for v in versions]
        return ""

    def withdraw(self, name: str) -> list[Resource]:
        """No longer serves what the definition of this name made; the answer is what that was."""
        gone = self._served.pop(name, [])
        for resource in gone:
            self.registry.remove(resource)
            self._versions.pop(_id(resource), None)
            self._nodes.pop(_id(resource), None)
            self._rules.pop(_id(resource), None)
        return gone

    def served(self, name: str) -> list[Resource]:
        return list(self._served.get(name, ()))

    def version(self, resource: Resource) -> Version:
        return self._versions[_id(resource)]

    def webhook(self, resource: Resource) -> Mapping[str, Any] | None:
        """What converts the versions of a kind into each other; None where nobody does, or the kind is gone."""
        version = self._versions.get(_id(resource))
        return None if version is None else version.webhook

    def digest(self) -> str:
        """Changes with every schema that is served."""
        if self._digest[0] != self.registry.version:
            schemas = [[r.api_version, r.kind, v.schema] for v in self._versions.values() for r in (v.resource,)]
            text = json.dumps(sorted(schemas, key=lambda s: (s[0], s[1])))
            self._digest = (self.registry.version, hashlib.sha256(text.encode()).hexdigest())
        return self._digest[1]

    def _refusal(self, crd: Mapping[str, Any]) -> str:
        group, names = crd["spec"]["group"], crd["spec"]["names"]
        for other in self.registry.all():
            if other.group == group and other.kind == names["kind"]:
                return f'"{names["kind"]}" is already in use'
            if other.group == group and other.plural == names["plural"]:
                return f'"{names["plural"]}" is already in use'
        return ""

    # Objects

    def prune(self, resource: Resource, obj: Object) -> tuple[Object, list[str]]:
        """The object without fields that its schema does not have, and the paths of those."""
        version = self.version(resource)
        if version.schema is None or version.preserve_unknown:
            return obj, []
        from meshlab.cluster.api import structural

        return structural.prune(obj, version.schema)

    def default(self, resource: Resource, obj: Object) -> Object:
        version = self.version(resource)
        if version.schema is None:
            return obj
        from meshlab.cluster.api import structural

        return structural.default(obj, version.schema)

    def validate(self, resource: Resource, obj: Object, old: Object | None) -> list[CauseLike]:
        from meshlab.cluster.api import structural
        from meshlab.cluster.api.validation import validate_metadata

        causes: list[CauseLike] = list(validate_metadata(obj, resource, old=old))
        version = self.version(resource)
        if version.schema is not None:
            causes += structural.validate(obj, version.schema, old=old)
            if (rules := self._rules_of(version)) is not None:
                causes += rules.check(obj, old) if not any(c.reason in BLOCKING for c in causes) else [UNCHECKED]
        return causes

    def _rules_of(self, version: Version) -> Rules | None:
        """The rules in the schema, compiled when they are first needed; None where there are none."""
        key = _id(version.resource)
        if key not in self._rules:
            from meshlab.cluster.api.cel import Rules, has_rules

            schema = version.schema
            self._rules[key] = Rules(schema) if schema is not None and has_rules(schema) else None
        return self._rules[key]

    def node(self, resource: Resource) -> Node:
        """The type that follows from the schema, for server-side apply."""
        key = _id(resource)
        if key not in self._nodes:
            from meshlab.cluster.api import structural

            self._nodes[key] = structural.node(self._versions[key].schema)
        return self._nodes[key]


def _id(resource: Resource) -> tuple[str, str, str]:
    return resource.group, resource.version, resource.plural
