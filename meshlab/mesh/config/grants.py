"""ReferenceGrants: whose objects in other namespaces a Gateway or an HTTPRoute may name.

Within a namespace everything may be named. What lies in another one has to be granted there, by somebody who may write
there; otherwise whoever can write a route could publish any service of the cluster, and whoever can write a Gateway
could show anybody's certificate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from meshlab.mesh.config.today.kinds import GATEWAY_API
from meshlab.mesh.config.today.stored import Stored

__all__ = ["Grant", "Reference", "refused_references"]


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """An object that is named: a core Service or Secret."""

    kind: str
    namespace: str
    name: str

    @property
    def refusal(self) -> str:
        """Why nothing comes of it."""
        where = self.namespace
        return f"{self.kind} {where}/{self.name} is another namespace's: to name it takes a ReferenceGrant in {where}"


@dataclass(frozen=True, slots=True)
class Grant:
    """One ReferenceGrant. `sources` are (kind, namespace) of the Gateway API; `targets` (kind, name; "" for all)."""

    namespace: str
    sources: frozenset[tuple[str, str]]
    targets: frozenset[tuple[str, str]]

    @classmethod
    def of(cls, stored: Stored) -> Grant:
        spec = stored.spec
        return cls(
            stored.namespace,
            frozenset((s["kind"], s["namespace"]) for s in spec.get("from") or () if s["group"] == GATEWAY_API),
            frozenset((t["kind"], t.get("name") or "") for t in spec.get("to") or () if not t["group"]),
        )

    def allows(self, kind: str, namespace: str, wanted: Reference) -> bool:
        """Whether objects of that kind and namespace may name it."""
        return (
            self.namespace == wanted.namespace
            and (kind, namespace) in self.sources
            and bool(self.targets & {(wanted.kind, ""), (wanted.kind, wanted.name)})
        )


def refused_references(stored: Stored, grants: Iterable[Grant]) -> frozenset[Reference]:
    """What an HTTPRoute or a Gateway of Kubernetes' API names in other namespaces without being allowed to.

    Routes of Services alone need no grant, as with istiod: callers in the mesh reach those namespaces anyway.
    """
    parents = stored.spec.get("parentRefs") or ()
    if parents and all(each.get("kind") == "Service" for each in parents):
        return frozenset()
    foreign = {each for each in _references(stored) if each.namespace != stored.namespace}
    if not foreign:
        return frozenset()
    listed = tuple(grants)
    return frozenset(
        each for each in foreign if not any(grant.allows(stored.kind, stored.namespace, each) for grant in listed)
    )


def _references(stored: Stored) -> Iterator[Reference]:
    def of(fields: Mapping[str, Any], kind: str) -> Reference:
        return Reference(fields.get("kind") or kind, fields.get("namespace") or stored.namespace, fields["name"])

    for rule in stored.spec.get("rules") or ():
        backends = rule.get("backendRefs") or ()
        for each in backends:
            yield of(each, "Service")
        for each in (rule, *backends):
            for filter_ in each.get("filters") or ():
                if mirror := filter_.get("requestMirror"):
                    yield of(mirror["backendRef"], "Service")
    for listener in stored.spec.get("listeners") or ():
        for each in (listener.get("tls") or {}).get("certificateRefs") or ():
            yield of(each, "Secret")
