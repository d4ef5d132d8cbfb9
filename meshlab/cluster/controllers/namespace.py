"""Namespaces that are being deleted: everything in them goes first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from meshlab.cluster.api.status import ApiError, NotFound
from meshlab.cluster.controllers.objects import Key, Obj, now
from meshlab.cluster.controllers.queue import Source

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api
    from meshlab.cluster.api.registry import Resource

__all__ = ["NamespaceController"]

#: Seconds until content that somebody's finalizer holds is looked at again. Pods are noticed when they go.
RETRY = 1.0


class NamespaceController:
    """Its keys are namespaces."""

    name = "namespace-controller"

    def __init__(self, api: Api) -> None:
        self._api = api
        self._resource = api.kinds("Namespace")

    @property
    def sources(self) -> Sequence[Source]:
        return [Source("Namespace", self._of_namespace), Source("Pod", self._of_pod)]

    @staticmethod
    def _of_namespace(kind: str, namespace: Obj) -> Iterable[Key]:
        going = kind != "DELETED" and namespace["metadata"].get("deletionTimestamp")
        return [("", namespace["metadata"]["name"])] if going else []

    @staticmethod
    def _of_pod(kind: str, pod: Obj) -> Iterable[Key]:
        return [("", pod["metadata"]["namespace"])] if kind == "DELETED" else []

    def reconcile(self, key: Key) -> float | None:
        namespace = self._api.find(self._resource, None, key[1])
        if namespace is None or not namespace["metadata"].get("deletionTimestamp"):
            return None
        left: dict[str, int] = {}
        held: dict[str, int] = {}
        for resource in self._kinds():
            for obj in self._api.list(resource, key[1])[0]:
                try:
                    if not obj["metadata"].get("deletionTimestamp"):
                        self._api.delete(resource, key[1], obj["metadata"]["name"], propagation="Background")
                except NotFound:
                    continue
                except ApiError:
                    # Refused for a reason of its own; it stays, and is counted below.
                    pass
                still = self._api.find(resource, key[1], obj["metadata"]["name"])
                if still is not None:
                    left[resource.qualified] = left.get(resource.qualified, 0) + 1
                    for finalizer in still["metadata"].get("finalizers") or []:
                        held[finalizer] = held.get(finalizer, 0) + 1
        self._say(namespace, left, held)
        if left:
            return RETRY
        current = self._api.find(self._resource, None, key[1])
        if current is not None:
            finalizers = [f for f in (current.get("spec") or {}).get("finalizers") or [] if f != "kubernetes"]
            self._api.update(self._resource, None, key[1], {**current, "spec": {"finalizers": finalizers}},
                             subresource="finalize", user=self.name)
        return None

    def _kinds(self) -> list[Resource]:
        """Every namespaced kind once, pods first: their processes take time to end."""
        found: dict[str, Resource] = {}
        for resource in self._api.registry.all():
            if resource.namespaced and "delete" in resource.verbs and "list" in resource.verbs:
                found.setdefault(resource.collection, resource)
        return sorted(found.values(), key=lambda resource: (resource.plural != "pods", resource.collection))

    def _say(self, namespace: Obj, left: dict[str, int], held: dict[str, int]) -> None:
        before = {c["type"]: c for c in (namespace.get("status") or {}).get("conditions") or []}
        if not left and not before:
            return  # it goes at once: nobody would read this

        def condition(kind: str, bad: bool, reason: str, message: str) -> Obj:
            status = "True" if bad else "False"
            old = before.get(kind, {})
            moved = old["lastTransitionTime"] if old.get("status") == status else now()
            return {"type": kind, "status": status, "lastTransitionTime": moved, "reason": reason,
                    "message": message}

        remain = ", ".join(f"{name} has {count} resource instances" for name, count in sorted(left.items()))
        holding = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(held.items()))
        conditions = [
            condition("NamespaceDeletionDiscoveryFailure", False, "ResourcesDiscovered",
                      "All resources successfully discovered"),
            condition("NamespaceDeletionGroupVersionParsingFailure", False, "ParsedGroupVersions",
                      "All legacy kube types successfully parsed"),
            condition("NamespaceDeletionContentFailure", False, "ContentDeleted",
                      "All content successfully deleted, may be waiting on finalization"),
            condition("NamespaceContentRemaining", bool(left),
                      "SomeResourcesRemain" if left else "ContentRemoved",
                      f"Some resources are remaining: {remain}" if left else "All content successfully removed"),
            condition("NamespaceFinalizersRemaining", bool(held),
                      "SomeFinalizersRemain" if held else "ContentHasNoFinalizers",
                      f"Some content in the namespace has finalizers remaining: {holding}" if held
                      else "All content-preserving finalizers finished"),
        ]
        status = {**(namespace.get("status") or {}), "phase": "Terminating", "conditions": conditions}
        if status != namespace.get("status"):
            self._api.update(self._resource, None, namespace["metadata"]["name"], {**namespace, "status": status},
                             subresource="status", user=self.name)
