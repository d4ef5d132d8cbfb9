"""Binding: a pod gets its node."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from meshlab.cluster.api.metadata import timestamp
from meshlab.cluster.api.status import Conflict

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["bind", "name_account"]


def name_account(spec: dict[str, Any]) -> None:
    """The account that a pod runs as stands in all that have a node: who reads pods, a mesh that wants to know who
    somebody is for example, asks no further."""
    spec["serviceAccountName"] = spec["serviceAccount"] = spec.get("serviceAccountName") or "default"


def bind(api: Api, namespace: str, name: str, node: str) -> dict[str, Any]:
    """Assigns a pod to a node and says that it is scheduled. Conflict if it has one, NotFound if it is gone."""
    pods = api.kinds("Pod")
    entry = api.entry(pods, namespace, name)
    if has := entry.obj["spec"].get("nodeName"):
        raise Conflict.of(pods, name, f'pod {name} is already assigned to node "{has}"')
    pod = copy.deepcopy(entry.obj)
    pod["spec"]["nodeName"] = node
    name_account(pod["spec"])
    condition = {
        "type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": timestamp(),
    }
    status = pod.setdefault("status", {})
    others = [c for c in status.get("conditions") or () if c["type"] != "PodScheduled"]
    status["conditions"] = [*others, condition]
    return api.put(pods, entry.key, pod).obj
