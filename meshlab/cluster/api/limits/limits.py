"""What LimitRanges and ResourceQuotas of a namespace say to a write."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from meshlab.cluster.api.limits.amounts import Amounts, added, amounts
from meshlab.cluster.api.limits.quotas import counts, refusal, usage
from meshlab.cluster.api.limits.ranges import refusals, with_defaults
from meshlab.cluster.api.quantity import written
from meshlab.cluster.api.registry import Resource
from meshlab.cluster.api.status import Forbidden
from meshlab.cluster.api.store import Store

__all__ = ["Limits"]

Object = dict[str, Any]

RANGES, QUOTAS = "/limitranges", "/resourcequotas"
#: Kinds that LimitRanges bound. A pod's resources do not change later.
BOUNDED = {("", "pods"): "Pod", ("", "persistentvolumeclaims"): "PersistentVolumeClaim"}


class Limits:
    """Reads the store on each write into a namespace that has any; what is used is counted, never remembered."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def concern(self, resource: Resource) -> bool:
        """Whether `filled` may have something to fill in."""
        return resource.storage == ("", "pods") and bool(self._store.count(RANGES))

    def filled(self, resource: Resource, namespace: str, obj: Object) -> Object:
        """A new pod with its namespace's default requests and limits."""
        if not self.concern(resource):
            return obj
        return with_defaults(obj, self._of(RANGES, namespace))

    def check(self, resource: Resource, namespace: str, new: Object, old: Object | None) -> None:
        """Raises Forbidden where an object is out of bounds, or more than is left."""
        kind = BOUNDED.get(resource.storage)
        if kind and self._store.count(RANGES) and (old is None or kind != "Pod"):
            found = refusals(kind, new, self._of(RANGES, namespace))
            if found:
                text = found[0] if len(found) == 1 else f"[{', '.join(dict.fromkeys(found))}]"
                raise Forbidden.of(resource, new["metadata"].get("name", ""), text)
        if not self._store.count(QUOTAS):
            return
        group, plural = resource.storage
        for quota in self._of(QUOTAS, namespace):
            if not counts(quota, group, plural, new):
                continue
            if why := refusal(quota, group, plural, new, self.used(quota), old):
                raise Forbidden.of(resource, new["metadata"].get("name", ""), why)

    def used(self, quota: Object) -> Amounts:
        """How much of what a quota limits is taken."""
        hard, namespace = amounts((quota.get("spec") or {}).get("hard")), quota["metadata"]["namespace"]
        total: Amounts = {name: (parsed[0] * 0, parsed[1]) for name, parsed in hard.items()}
        for group, plural in _kinds(hard):
            for entry in self._store.entries(f"{group}/{plural}", f"{namespace}/"):
                if counts(quota, group, plural, entry.obj):
                    total = added(total, usage(group, plural, entry.obj))
        return {name: total[name] for name in hard}

    def status(self, quota: Object) -> Object:
        """The status that a quota ought to have."""
        hard = (quota.get("spec") or {}).get("hard") or {}
        return {"hard": dict(hard), "used": {name: written(*amount) for name, amount in self.used(quota).items()}}

    def _of(self, collection: str, namespace: str) -> list[Object]:
        return [entry.obj for entry in self._store.entries(collection, f"{namespace}/")]


def _kinds(hard: Iterable[str]) -> set[tuple[str, str]]:
    """(group, plural) of the kinds that the names in a quota are about."""
    found = set()
    for name in hard:
        if name.startswith("count/"):
            plural, _, group = name.removeprefix("count/").partition(".")
            found.add((group, plural))
        elif name.endswith(("persistentvolumeclaims", "requests.storage")):
            found.add(("", "persistentvolumeclaims"))
        elif name.startswith("services"):
            found.add(("", "services"))
        elif name in ("configmaps", "replicationcontrollers", "resourcequotas", "secrets"):
            found.add(("", name))
        else:
            found.add(("", "pods"))
    return found
