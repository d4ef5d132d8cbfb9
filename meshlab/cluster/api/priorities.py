"""Priorities of pods, as the admission plug-in Priority resolves them: a class's name becomes its number."""

from __future__ import annotations

from typing import Any

from meshlab.cluster.api.registry import Resource
from meshlab.cluster.api.status import Forbidden
from meshlab.cluster.api.store import Store

__all__ = ["SYSTEM_CLASSES", "resolve_priority"]

Object = dict[str, Any]
CLASSES = "scheduling.k8s.io/priorityclasses"
PREEMPTING = "PreemptLowerPriority"
#: What every cluster has for its own pods.
SYSTEM_CLASSES: tuple[Object, ...] = tuple(
    {"kind": "PriorityClass", "apiVersion": "scheduling.k8s.io/v1", "metadata": {"name": name}, "value": value,
     "description": f"Used for system critical pods that must {rest}"}
    for name, value, rest in (
        ("system-cluster-critical", 2_000_000_000,
         "run in the cluster, but can be moved to another node if necessary."),
        ("system-node-critical", 2_000_001_000, "not be moved from their current node."),
    )
)  # fmt: skip


def resolve_priority(store: Store, resource: Resource, pod: Object) -> None:
    """Completes a new pod in place. Raises Forbidden where its class is not there, or another number stands in it."""
    spec, meta = pod.get("spec") or {}, pod["metadata"]
    name = meta.get("name") or meta.get("generateName", "")
    if wanted := spec.get("priorityClassName"):
        entry = store.get(CLASSES, wanted)
        if entry is None:
            raise Forbidden.of(resource, name, f"no PriorityClass with name {wanted} was found")
        chosen: Object | None = entry.obj
    else:
        chosen = _default(store)
        if chosen is not None:
            spec["priorityClassName"] = chosen["metadata"]["name"]
    number, preemption = (0, PREEMPTING) if chosen is None else (
        chosen.get("value", 0), chosen.get("preemptionPolicy") or PREEMPTING)
    if spec.get("priority", number) != number:
        why = (
            f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; priority admission "
            f"controller computed {number} from the given PriorityClass name"
        )
        raise Forbidden.of(resource, name, why)
    if spec.get("preemptionPolicy", preemption) != preemption:
        why = (
            f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) must not be provided in pod spec; "
            f"priority admission controller computed {preemption} from the given PriorityClass name"
        )
        raise Forbidden.of(resource, name, why)
    if chosen is not None:
        spec["priority"], spec["preemptionPolicy"] = number, preemption


def _default(store: Store) -> Object | None:
    """The class of who names none; of several the one that counts least."""
    found = [entry.obj for entry in store.entries(CLASSES) if entry.obj.get("globalDefault")]
    return min(found, key=lambda one: one.get("value", 0), default=None)
