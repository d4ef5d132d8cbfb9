"""Runtime classes of pods, as the admission plug-in RuntimeClass applies them: what a class costs, and where it is.

No container runtime is chosen by one here: a node of the lab has a single way to run a pod.
"""

from __future__ import annotations

from typing import Any

from meshlab.cluster.api.registry import Resource
from meshlab.cluster.api.status import Forbidden
from meshlab.cluster.api.store import Store

__all__ = ["apply_runtime_class"]

Object = dict[str, Any]
CLASSES = "node.k8s.io/runtimeclasses"


def apply_runtime_class(store: Store, resource: Resource, pod: Object) -> None:
    """Completes a new pod in place. Raises Forbidden where its class is not there or something else stands in it."""
    spec, meta = pod.get("spec") or {}, pod["metadata"]
    wanted, overhead = spec.get("runtimeClassName"), spec.get("overhead")
    if not wanted and not overhead:
        return

    def refused(why: str) -> Forbidden:
        return Forbidden.of(resource, meta.get("name") or meta.get("generateName", ""), f"pod rejected: {why}")

    chosen: Object = {}
    if wanted:
        entry = store.get(CLASSES, wanted)
        if entry is None:
            raise refused(f'RuntimeClass "{wanted}" not found')
        chosen = entry.obj
    fixed = (chosen.get("overhead") or {}).get("podFixed")
    if fixed is None:
        if overhead:
            raise refused("Pod Overhead set without corresponding RuntimeClass defined Overhead")
    elif overhead and overhead != fixed:
        raise refused("Pod's Overhead doesn't match RuntimeClass's defined Overhead")
    else:
        spec["overhead"] = dict(fixed)
    place = chosen.get("scheduling") or {}
    labels = spec.get("nodeSelector") or {}
    for key, value in sorted((place.get("nodeSelector") or {}).items()):
        if labels.setdefault(key, value) != value:
            raise refused(
                f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; "
                f"pod.spec.nodeSelector[{key}] = {labels[key]}"
            )
        spec["nodeSelector"] = labels
    for toleration in place.get("tolerations") or ():
        if toleration not in spec.setdefault("tolerations", []):
            spec["tolerations"].append(toleration)
