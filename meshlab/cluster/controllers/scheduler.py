"""The scheduler of a cluster of one node: binds what fits, and says why something does not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from meshlab.cluster.api.quantity import parse as quantity
from meshlab.cluster.api.status import NotFound
from meshlab.cluster.controllers.events import Recorder
from meshlab.cluster.controllers.objects import Key, Obj, key_of, now
from meshlab.cluster.controllers.queue import Source

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["Scheduler", "requests", "unfit"]

#: The schedulerName that this scheduler answers to.
NAME = "default-scheduler"


def requests(pod: Mapping[str, Any]) -> dict[str, float]:
    """What a pod asks of its node, cpu in cores and memory in bytes: its containers together, or its largest init."""
    total: dict[str, float] = {}
    for container in pod["spec"].get("containers") or []:
        for name, amount in ((container.get("resources") or {}).get("requests") or {}).items():
            total[name] = total.get(name, 0) + float(quantity(amount)[0])
    for container in pod["spec"].get("initContainers") or []:
        for name, amount in ((container.get("resources") or {}).get("requests") or {}).items():
            total[name] = max(total.get(name, 0), float(quantity(amount)[0]))
    return total


def tolerates(tolerations: Iterable[Mapping[str, Any]], taint: Mapping[str, Any]) -> bool:
    """Whether one of the pod's tolerations covers the taint."""
    for toleration in tolerations:
        if toleration.get("effect") not in (None, "", taint.get("effect")):
            continue
        if toleration.get("operator") == "Exists":
            if toleration.get("key") in (None, "", taint["key"]):
                return True
        elif (toleration.get("key"), toleration.get("value") or "") == (taint["key"], taint.get("value") or ""):
            return True
    return False


def unfit(pod: Mapping[str, Any], node: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> str:
    """Why the pod cannot run on the node beside `others`, in a scheduler's words; "" if it can."""
    spec, node_spec = pod["spec"], node.get("spec") or {}
    tolerations = spec.get("tolerations") or []
    if node_spec.get("unschedulable") and not any(
            t.get("key") == "node.kubernetes.io/unschedulable" or not t.get("key") for t in tolerations):
        return "node(s) were unschedulable"
    for taint in node_spec.get("taints") or []:
        if taint.get("effect") in ("NoSchedule", "NoExecute") and not tolerates(tolerations, taint):
            return f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value') or ''}}}"
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return "node(s) didn't match Pod's node affinity/selector"
    capacity = {name: float(quantity(amount)[0]) for name, amount in
                ((node.get("status") or {}).get("allocatable") or {}).items()}
    wanted = requests(pod)
    present = list(others)
    if len(present) + 1 > capacity.get("pods", 110):
        return "Too many pods"
    if wanted:
        used: dict[str, float] = {}
        for other in present:
            for name, amount in requests(other).items():
                used[name] = used.get(name, 0) + amount
        for name, amount in wanted.items():
            if used.get(name, 0) + amount > capacity.get(name, 0):
                return f"Insufficient {name}"
    return ""


class Scheduler:
    """Binds pods that have no node."""

    name = "scheduler"

    def __init__(self, api: Api) -> None:
        self._api = api
        self._events = Recorder(api, NAME)
        self._waiting: set[Key] = set()

    @property
    def sources(self) -> Sequence[Source]:
        return [Source("Pod", self._pod_keys), Source("Node", lambda _, __: list(self._waiting))]

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
            why = unfit(pod, node, others)
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
            self._refuse(pod, key, f"0/{len(nodes)} nodes are available: 1 {', '.join(reasons)}.")
        return None

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
