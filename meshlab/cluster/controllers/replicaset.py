"""ReplicaSets, and ReplicationControllers before them: as many pods as asked for, no more and no fewer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from meshlab.cluster.api.status import ApiError, NotFound
from meshlab.cluster.controllers.events import Recorder
from meshlab.cluster.controllers.objects import (
    Key,
    Obj,
    controller_of,
    is_active,
    is_available,
    is_ready,
    key_of,
    now,
    owner_reference,
    parse_time,
    with_condition,
)
from meshlab.cluster.controllers.queue import Source
from meshlab.cluster.controllers.selection import claim

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["BURST", "ReplicaSetController", "ReplicationControllerController", "deletion_rank", "pod_from"]

#: Pods created or deleted in one look; what is left follows in the next. A real controller's number is 500.
BURST = 50
COST = "controller.kubernetes.io/pod-deletion-cost"


def pod_from(template: Mapping[str, Any], owner: Mapping[str, Any], owner_kind: tuple[str, str]) -> Obj:
    """A pod as `owner`'s template describes it; the API completes its name."""
    meta = template.get("metadata") or {}
    pod: Obj = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": f"{owner['metadata']['name']}-",
            "labels": dict(meta.get("labels") or {}),
            "ownerReferences": [owner_reference(owner, *owner_kind)],
        },
        "spec": template["spec"],
    }
    for field in ("annotations", "finalizers"):
        if meta.get(field):
            pod["metadata"][field] = meta[field]
    return pod


def deletion_rank(pod: Mapping[str, Any]) -> tuple[Any, ...]:
    """Sort key: the first is deleted first. Unassigned, pending, unready, cheap, newest."""
    status = pod.get("status") or {}
    phase = {"Pending": 0, "Unknown": 1}.get(status.get("phase", ""), 2)
    restarts = max([int(c.get("restartCount") or 0) for c in status.get("containerStatuses") or []], default=0)
    try:
        cost = int((pod["metadata"].get("annotations") or {}).get(COST, "0"))
    except ValueError:
        cost = 0
    age = parse_time(pod["metadata"]["creationTimestamp"]).timestamp()
    return bool(pod["spec"].get("nodeName")), phase, is_ready(pod), cost, -restarts, -age


class ReplicaSetController:
    """Creates and deletes pods, and counts them."""

    name = "replicaset-controller"
    kind = ("apps/v1", "ReplicaSet")

    def __init__(self, api: Api) -> None:
        self._api = api
        self._resource, self._pods = api.kinds(self.kind[1]), api.kinds("Pod")
        self._events = Recorder(api, self.name)

    @property
    def sources(self) -> Sequence[Source]:
        return [Source(self.kind[1], lambda _, obj: [key_of(obj)]), Source("Pod", self._of_pod)]

    def _of_pod(self, kind: str, pod: Obj) -> Iterable[Key]:
        reference = controller_of(pod)
        if reference is not None:
            return [(pod["metadata"]["namespace"], reference["name"])] if reference["kind"] == self.kind[1] else []
        if kind == "DELETED" or not pod["metadata"].get("labels"):
            return []
        # An orphan: whoever selects it may want to adopt it.
        return [key_of(replica_set) for replica_set in self._api.list(self._resource, pod["metadata"]["namespace"])[0]]

    def reconcile(self, key: Key) -> float | None:
        replica_set = self._api.find(self._resource, *key)
        if replica_set is None:
            return None
        pods = [pod for pod in claim(self._api, replica_set, self.kind, self._pods) if is_active(pod)]
        failure = ""
        more = False
        if not replica_set["metadata"].get("deletionTimestamp"):
            missing = int(replica_set["spec"].get("replicas", 1)) - len(pods)
            more = abs(missing) > BURST
            try:
                if missing > 0:
                    pods += [self._create(replica_set) for _ in range(min(missing, BURST))]
                elif missing < 0:
                    doomed = sorted(pods, key=deletion_rank)[:min(-missing, BURST)]
                    for pod in doomed:
                        self._delete(replica_set, pod)
                    pods = [pod for pod in pods if pod not in doomed]
            except ApiError as error:
                failure = error.message
        again = self._count(replica_set, pods, failure)
        if failure:
            # Counted and said; the attempt itself is made again after a pause.
            return 1.0
        return 0.0 if more else again

    def _create(self, replica_set: Obj) -> Obj:
        namespace = replica_set["metadata"]["namespace"]
        try:
            pod = self._api.create(self._pods, namespace, pod_from(replica_set["spec"]["template"], replica_set,
                                                                   self.kind), user=self.name)
        except ApiError as error:
            self._event(replica_set, "FailedCreate", f"Error creating: {error.message}", warning=True)
            raise
        self._event(replica_set, "SuccessfulCreate", f"Created pod: {pod['metadata']['name']}")
        return pod

    def _delete(self, replica_set: Obj, pod: Obj) -> None:
        namespace, name = key_of(pod)
        try:
            self._api.delete(self._pods, namespace, name, uid=pod["metadata"]["uid"])
        except NotFound:
            return
        self._event(replica_set, "SuccessfulDelete", f"Deleted pod: {name}")

    def _count(self, replica_set: Obj, pods: Sequence[Obj], failure: str) -> float | None:
        """Write the status; seconds until a ready pod becomes available, if one is waiting for that."""
        at = datetime.now(UTC)
        spec, before = replica_set["spec"], replica_set.get("status") or {}
        seconds = float(spec.get("minReadySeconds") or 0)
        labels = (spec["template"].get("metadata") or {}).get("labels") or {}
        ready = [pod for pod in pods if is_ready(pod)]
        available = [pod for pod in ready if is_available(pod, seconds, at)]
        labelled = [pod for pod in pods if labels.items() <= (pod["metadata"].get("labels") or {}).items()]
        status: Obj = {"replicas": len(pods)}
        for field, count in (("fullyLabeledReplicas", len(labelled)), ("readyReplicas", len(ready)),
                             ("availableReplicas", len(available))):
            if count:
                status[field] = count
        status["observedGeneration"] = replica_set["metadata"].get("generation", 1)
        conditions = [c for c in before.get("conditions") or [] if c["type"] != "ReplicaFailure"]
        if failure:
            conditions = with_condition(before.get("conditions") or [], "ReplicaFailure", "True", "FailedCreate",
                                        failure, now())
            for condition in conditions:
                condition.pop("lastUpdateTime", None)
        if conditions:
            status["conditions"] = conditions
        if status != before:
            self._api.update(self._resource, *key_of(replica_set), {**replica_set, "status": status},
                             subresource="status", user=self.name)
        return seconds if len(available) < len(ready) else None

    def _event(self, replica_set: Obj, reason: str, message: str, *, warning: bool = False) -> None:
        self._events.event(replica_set, self.kind[1], self.kind[0], reason, message, warning=warning)


class ReplicationControllerController(ReplicaSetController):
    """The same for the kind that ReplicaSets replaced. In a real cluster, too, it is the same code."""

    name = "replication-controller"
    kind = ("v1", "ReplicationController")
