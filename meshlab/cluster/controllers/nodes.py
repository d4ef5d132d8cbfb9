"""Nodes: a cordoned one is tainted, and pods that do not tolerate a NoExecute taint leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from meshlab.cluster.api.status import NotFound
from meshlab.cluster.controllers.events import Recorder
from meshlab.cluster.controllers.objects import Key, Obj, key_of, now, parse_time
from meshlab.cluster.controllers.placement import UNSCHEDULABLE, tolerates
from meshlab.cluster.controllers.queue import Source

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["NodeController", "patience"]


def patience(pod: Mapping[str, Any], taints: Sequence[Mapping[str, Any]]) -> float | None:
    """Seconds that a pod may stay beside NoExecute taints: 0.0 at once, None for ever."""
    tolerations = pod["spec"].get("tolerations") or []
    found: list[float] = []
    for taint in taints:
        matching = [each for each in tolerations if tolerates([each], taint)]
        if not matching:
            return 0.0
        found += [float(each["tolerationSeconds"]) for each in matching if each.get("tolerationSeconds") is not None]
    return min(found) if found else None


class NodeController:
    """What the node lifecycle and taint eviction controllers of a cluster do, as far as one node needs it."""

    name = "node-controller"

    def __init__(self, api: Api) -> None:
        self._api = api
        self._nodes, self._pods = api.kinds("Node"), api.kinds("Pod")
        self._events = Recorder(api, "taint-eviction-controller")

    @property
    def sources(self) -> Sequence[Source]:
        return [Source("Node", lambda _, obj: [key_of(obj)]),
                Source("Pod", lambda _, pod: [("", pod["spec"]["nodeName"])] if pod["spec"].get("nodeName") else [])]

    def reconcile(self, key: Key) -> float | None:
        node = self._api.find(self._nodes, None, key[1])
        if node is None:
            return None
        node = self._cordoned(node)
        taints = [taint for taint in (node.get("spec") or {}).get("taints") or [] if taint["effect"] == "NoExecute"]
        return self._evict(key[1], taints) if taints else None

    def _cordoned(self, node: Obj) -> Obj:
        """The taint that says that the node is unschedulable is there exactly while it is."""
        spec = node.get("spec") or {}
        before = spec.get("taints") or []
        taints = [taint for taint in before if taint["key"] != UNSCHEDULABLE]
        if spec.get("unschedulable"):
            if len(taints) < len(before):
                return node
            taints.append({"effect": "NoSchedule", "key": UNSCHEDULABLE, "timeAdded": now()})
        elif len(taints) == len(before):
            return node
        rest = {name: value for name, value in spec.items() if name != "taints"}
        return self._api.update(self._nodes, None, node["metadata"]["name"], {
            **node, "spec": {**rest, **({"taints": taints} if taints else {})}}, user=self.name)

    def _evict(self, node: str, taints: Sequence[Mapping[str, Any]]) -> float | None:
        """Delete whoever may not stay; seconds until the next may not."""
        moment, again = datetime.now(UTC), None
        since = max((parse_time(taint["timeAdded"]) for taint in taints if taint.get("timeAdded")), default=moment)
        for pod in self._api.list(self._pods, field_selector=f"spec.nodeName={node}")[0]:
            seconds = patience(pod, taints)
            if seconds is None or pod["metadata"].get("deletionTimestamp"):
                continue
            left = seconds - (moment - since).total_seconds() if seconds else 0.0
            if left > 0:
                again = left if again is None else min(again, left)
                continue
            self._events.event(pod, "Pod", "v1", "TaintManagerEviction",
                               f"Marking for deletion Pod {'/'.join(key_of(pod))}")
            try:
                self._api.delete(self._pods, *key_of(pod), uid=pod["metadata"]["uid"])
            except NotFound:
                continue
        return again
