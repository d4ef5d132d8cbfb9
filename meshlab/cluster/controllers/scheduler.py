"""The scheduler of a cluster of one node: binds what fits, and says why something does not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from meshlab.cluster.api.status import NotFound
from meshlab.cluster.controllers.events import Recorder
from meshlab.cluster.controllers.objects import Key, Obj, key_of, now
from meshlab.cluster.controllers.placement import FINAL, unfit
from meshlab.cluster.controllers.queue import Source

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["Scheduler"]

#: How reasons begin that are the claims', not the nodes'.
CLAIMS = ("persistentvolumeclaim", "pod has unbound")
#: The schedulerName that this scheduler answers to.
NAME = "default-scheduler"


class Scheduler:
    """Binds pods that have no node."""

    name = "scheduler"

    def __init__(self, api: Api) -> None:
        self._api = api
        self._events = Recorder(api, NAME)
        self._waiting: set[Key] = set()

    @property
    def sources(self) -> Sequence[Source]:
        return [Source("Pod", self._pod_keys),
                *(Source(kind, lambda _, __: list(self._waiting)) for kind in ("Node", "PersistentVolumeClaim"))]

    def _pod_keys(self, kind: str, pod: Obj) -> Iterable[Key]:
        if kind == "DELETED":
            # It made room.
            return [*(self._waiting - {key_of(pod)})]
        if not pod["spec"].get("nodeName"):
            return [key_of(pod)]
        if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            return list(self._waiting)
        return []

    def reconcile(self, key: Key) -> float | None:
        self._waiting.discard(key)
        pod = self._api.find(self._api.kinds("Pod"), *key)
        if pod is None or pod["spec"].get("nodeName") or pod["metadata"].get("deletionTimestamp"):
            return None
        if (pod["spec"].get("schedulerName") or NAME) != NAME or pod["spec"].get("schedulingGates"):
            return None
        nodes, _ = self._api.list(self._api.kinds("Node"))
        reasons: list[str] = []
        pods: list[Obj] | None = None
        for node in nodes:
            name = node["metadata"]["name"]
            if pods is None:
                pods, _ = self._api.list(self._api.kinds("Pod"))
            others = [p for p in pods if p["spec"].get("nodeName") == name
                      and (p.get("status") or {}).get("phase") not in ("Succeeded", "Failed")]
            why = self._unbound(pod) or unfit(pod, node, others)
            if not why:
                try:
                    self._api.bind(*key, name)
                except NotFound:
                    return None
                self._events.event(pod, "Pod", "v1", "Scheduled",
                                   f"Successfully assigned {key[0]}/{key[1]} to {name}")
                return None
            reasons.append(why)
        self._waiting.add(key)
        if nodes:
            # A lab without a node is about to get one: nothing to complain of.
            self._refuse(pod, key, _words(len(nodes), reasons))
        return None

    def _unbound(self, pod: Obj) -> str:
        """Why the pod's claims keep it from every node; "" if they do not."""
        for volume in pod["spec"].get("volumes") or []:
            if (source := volume.get("persistentVolumeClaim")) is None:
                continue
            claim = self._api.find(self._api.kinds("PersistentVolumeClaim"), pod["metadata"]["namespace"],
                                   source["claimName"])
            if claim is None:
                return f'persistentvolumeclaim "{source["claimName"]}" not found'
            if (claim.get("status") or {}).get("phase") != "Bound":
                return "pod has unbound immediate PersistentVolumeClaims"
        return ""

    def _refuse(self, pod: Obj, key: Key, message: str) -> None:
        status = pod.get("status") or {}
        conditions = [c for c in status.get("conditions") or [] if c["type"] != "PodScheduled"]
        before = next((c for c in status.get("conditions") or [] if c["type"] == "PodScheduled"), None)
        if before is not None and before.get("message") == message:
            return
        conditions.append({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
                           "lastProbeTime": None, "lastTransitionTime": now()})
        self._api.update(self._api.kinds("Pod"), *key, {**pod, "status": {**status, "conditions": conditions}},
                         subresource="status")
        self._events.event(pod, "Pod", "v1", "FailedScheduling", message, warning=True)


def _words(nodes: int, reasons: Sequence[str]) -> str:
    """What a scheduler says when no node takes a pod; what follows the reasons is of its search for victims."""
    if reasons and reasons[0].startswith(CLAIMS):  # said once, for all nodes
        return (f"0/{nodes} nodes are available: {reasons[0]}. no new claims to deallocate, preemption: 0/{nodes} "
                f"nodes are available: {nodes} Preemption is not helpful for scheduling.")
    final = all(reason.startswith(FINAL) for reason in reasons)
    hope = "Preemption is not helpful for scheduling" if final else "No preemption victims found for incoming pod"
    return (f"0/{nodes} nodes are available: {', '.join(f'1 {reason}' for reason in reasons)}. no new claims to "
            f"deallocate, preemption: 0/{nodes} nodes are available: {nodes} {hope}.")
