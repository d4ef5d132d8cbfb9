"""DaemonSets: one pod on every node that takes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from meshlab.cluster.api.status import ApiError, NotFound
from meshlab.cluster.controllers.events import Recorder
from meshlab.cluster.controllers.history import REVISION_LABEL, History
from meshlab.cluster.controllers.objects import Key, Obj, controller_of, is_available, is_ready, key_of, phase_of
from meshlab.cluster.controllers.placement import chooses, untolerated
from meshlab.cluster.controllers.queue import Source
from meshlab.cluster.controllers.replicaset import pod_from
from meshlab.cluster.controllers.rollout import share
from meshlab.cluster.controllers.selection import claim

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["DaemonSetController", "daemon_pod", "node_of"]

#: What every pod of a DaemonSet tolerates: it is there to serve its node in trouble as well.
TOLERATED = (("not-ready", "NoExecute"), ("unreachable", "NoExecute"), ("disk-pressure", "NoSchedule"),
             ("memory-pressure", "NoSchedule"), ("pid-pressure", "NoSchedule"), ("unschedulable", "NoSchedule"))
#: Where the API server notes how often the template has changed.
GENERATION = "deprecated.daemonset.template.generation"
#: Seconds until a pod that failed is made anew; a real controller doubles 1 s up to 15 minutes.
RETRY = 1.0


def daemon_pod(daemon_set: Obj, node: str, revision: str) -> Obj:
    """The set's pod for one node."""
    pod = pod_from(daemon_set["spec"]["template"], daemon_set, ("apps/v1", "DaemonSet"))
    pod["metadata"]["labels"] |= {
        REVISION_LABEL: revision,
        "pod-template-generation": (daemon_set["metadata"].get("annotations") or {}).get(GENERATION, "1"),
    }
    spec = pod["spec"] = dict(pod["spec"])
    given = spec.get("tolerations") or []
    added = [{"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": effect} for key, effect in TOLERATED]
    if spec.get("hostNetwork"):
        added.append({"key": "node.kubernetes.io/network-unavailable", "operator": "Exists", "effect": "NoSchedule"})
    spec["tolerations"] = [*given, *(each for each in added if each not in given)]
    spec["affinity"] = _pinned(spec.get("affinity") or {}, node)
    return pod


def _pinned(affinity: Mapping[str, Any], node: str) -> Obj:
    """An affinity that takes this node only, and what it asked for before."""
    here = {"key": "metadata.name", "operator": "In", "values": [node]}
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    of_nodes = affinity.get("nodeAffinity") or {}
    terms = (of_nodes.get(required) or {}).get("nodeSelectorTerms") or [{}]
    # A real controller puts its own field in the place of whatever fields were there.
    pinned = [{**term, "matchFields": [here]} for term in terms]
    return {**affinity, "nodeAffinity": {**of_nodes, required: {"nodeSelectorTerms": pinned}}}


def node_of(pod: Mapping[str, Any]) -> str:
    """The node of a daemon's pod: where it runs, or where it waits to run."""
    if name := pod["spec"].get("nodeName"):
        return str(name)
    required = ((pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in required.get("nodeSelectorTerms") or []:
        for field in term.get("matchFields") or []:
            if field["key"] == "metadata.name" and len(field.get("values") or []) == 1:
                return str(field["values"][0])
    return ""


class DaemonSetController:
    """Makes, renews and removes the pods of daemons."""

    name = "daemonset-controller"
    kind = ("apps/v1", "DaemonSet")

    def __init__(self, api: Api) -> None:
        self._api = api
        self._resource, self._pods, self._nodes = api.kinds("DaemonSet"), api.kinds("Pod"), api.kinds("Node")
        self._history = History(api, self.kind, self.name)
        self._events = Recorder(api, self.name)
        self._shapes: dict[str, object] = {}

    @property
    def sources(self) -> Sequence[Source]:
        return [Source("DaemonSet", lambda _, obj: [key_of(obj)]), Source("Pod", self._of_pod),
                Source("Node", self._of_node)]

    def _of_pod(self, kind: str, pod: Obj) -> Iterable[Key]:
        namespace, reference = pod["metadata"]["namespace"], controller_of(pod)
        if reference is not None:
            return [(namespace, reference["name"])] if reference["kind"] == "DaemonSet" else []
        if kind == "DELETED" or not pod["metadata"].get("labels"):
            return []
        return [key_of(found) for found in self._api.list(self._resource, namespace)[0]]

    def _of_node(self, kind: str, node: Obj) -> Iterable[Key]:
        """A heartbeat changes nothing; labels and taints do."""
        name = node["metadata"]["name"]
        if kind == "DELETED":
            self._shapes.pop(name, None)
        else:
            shape = (node["metadata"].get("labels"), (node.get("spec") or {}).get("taints"))
            if self._shapes.get(name) == shape:
                return []
            self._shapes[name] = shape
        return [key_of(found) for found in self._api.list(self._resource)[0]]

    def reconcile(self, key: Key) -> float | None:
        found = self._api.find(self._resource, *key)
        if found is None:
            return None
        past = self._history.of(found)
        before = found.get("status") or {}
        present, collisions = self._history.present(found, past, int(before.get("collisionCount") or 0))
        revision = present["metadata"]["name"].removeprefix(found["metadata"]["name"] + "-")
        pods = claim(self._api, found, self.kind, self._pods)
        failed = False
        if not found["metadata"].get("deletionTimestamp"):
            failed = self._place(found, pods, revision)
            self._roll(found, pods, revision)
        again = self._say(found, revision, collisions)
        past = [r for r in past if r["metadata"]["name"] != present["metadata"]["name"]] + [present]
        live = {f"{found['metadata']['name']}-{_revision(pod)}" for pod in pods} | {present["metadata"]["name"]}
        self._history.forget(found, past, live)
        return RETRY if failed else again

    def _place(self, daemon_set: Obj, pods: Sequence[Obj], revision: str) -> bool:
        """One pod where one should be, none elsewhere. True if something has to be tried again."""
        again = False
        for node in self._api.list(self._nodes)[0]:
            name = node["metadata"]["name"]
            mine = [pod for pod in pods if node_of(pod) == name]
            starts, stays = self._wanted(daemon_set, node)
            for pod in mine:
                if phase_of(pod) in ("Failed", "Succeeded") and not pod["metadata"].get("deletionTimestamp"):
                    word = phase_of(pod).lower()
                    self._event(daemon_set, f"{word.title()}DaemonPod", f"Found {word} daemon pod "
                                f"{'/'.join(key_of(pod))} on node {name}, will try to "
                                f"{'kill' if word == 'failed' else 'delete'} it", warning=word == "failed")
                    self._delete(daemon_set, pod)
                    again = True
                elif not stays:
                    self._delete(daemon_set, pod)
            if starts and not mine:
                self._create(daemon_set, name, revision)
        return again

    @staticmethod
    def _wanted(daemon_set: Obj, node: Obj) -> tuple[bool, bool]:
        """Whether the set's pod is started on the node, and whether one that is there may stay."""
        spec = daemon_pod(daemon_set, node["metadata"]["name"], "")["spec"]
        if not chooses(spec, node):
            return False, False
        return (untolerated(spec, node, ("NoSchedule", "NoExecute")) is None,
                untolerated(spec, node, ("NoExecute",)) is None)

    def _roll(self, daemon_set: Obj, pods: Sequence[Obj], revision: str) -> None:
        """Renew pods of other revisions: old ones first where none may surge, new ones first where some may."""
        spec = daemon_set["spec"]
        strategy = spec.get("updateStrategy") or {}
        if strategy.get("type") == "OnDelete":
            return
        rolling = strategy.get("rollingUpdate") or {}
        nodes = [node["metadata"]["name"] for node in self._api.list(self._nodes)[0]
                 if self._wanted(daemon_set, node)[0]]
        surge = share(rolling.get("maxSurge") or 0, len(nodes), up=True)
        most = share(rolling.get("maxUnavailable", 1), len(nodes), up=True)
        there = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
        serving = {node_of(pod) for pod in there if self._available(spec, pod)}
        left = most - len([node for node in nodes if node not in serving])
        for node in nodes:
            mine = [pod for pod in there if node_of(pod) == node]
            old = [pod for pod in mine if _revision(pod) != revision]
            new = [pod for pod in mine if _revision(pod) == revision]
            if not old:
                continue
            if surge:
                if not new:
                    self._create(daemon_set, node, revision)
                elif any(self._available(spec, pod) for pod in new):
                    for pod in old:
                        self._delete(daemon_set, pod)
            elif node not in serving or left > 0:
                left -= 1 if node in serving else 0
                for pod in old:
                    self._delete(daemon_set, pod)

    @staticmethod
    def _available(spec: Mapping[str, Any], pod: Obj) -> bool:
        return is_available(pod, float(spec.get("minReadySeconds") or 0), datetime.now(UTC))

    # Writing

    def _create(self, daemon_set: Obj, node: str, revision: str) -> None:
        try:
            pod = self._api.create(self._pods, daemon_set["metadata"]["namespace"],
                                   daemon_pod(daemon_set, node, revision), user=self.name)
        except ApiError as error:
            self._event(daemon_set, "FailedCreate", f"Error creating: {error.message}", warning=True)
            raise
        self._event(daemon_set, "SuccessfulCreate", f"Created pod: {pod['metadata']['name']}")

    def _delete(self, daemon_set: Obj, pod: Obj) -> None:
        namespace, name = key_of(pod)
        try:
            self._api.delete(self._pods, namespace, name, uid=pod["metadata"]["uid"])
        except NotFound:
            return
        self._event(daemon_set, "SuccessfulDelete", f"Deleted pod: {name}")

    def _say(self, daemon_set: Obj, revision: str, collisions: int) -> float | None:
        spec, before = daemon_set["spec"], daemon_set.get("status") or {}
        pods = [pod for pod in self._api.list(self._pods, daemon_set["metadata"]["namespace"])[0]
                if (controller_of(pod) or {}).get("uid") == daemon_set["metadata"]["uid"]]
        counts = dict.fromkeys(("current", "misscheduled", "desired", "ready", "updated", "available"), 0)
        waiting = False
        for node in self._api.list(self._nodes)[0]:
            mine = [pod for pod in pods if node_of(pod) == node["metadata"]["name"]]
            if not self._wanted(daemon_set, node)[0]:
                counts["misscheduled"] += bool(mine)
                continue
            counts["desired"] += 1
            if not mine:
                continue
            # The newest speaks for its node.
            pod = max(mine, key=lambda each: each["metadata"]["creationTimestamp"])
            counts["current"] += 1
            ready = is_ready(pod)
            available = ready and self._available(spec, pod)
            counts["ready"] += ready
            counts["available"] += available
            waiting = waiting or (ready and not available)
            counts["updated"] += _revision(pod) == revision
        status: Obj = {
            "currentNumberScheduled": counts["current"],
            "numberMisscheduled": counts["misscheduled"],
            "desiredNumberScheduled": counts["desired"],
            "numberReady": counts["ready"],
            "observedGeneration": daemon_set["metadata"].get("generation", 1),
        }
        for name, count in (("updatedNumberScheduled", counts["updated"]), ("numberAvailable", counts["available"]),
                            ("numberUnavailable", counts["desired"] - counts["available"])):
            if count:
                status[name] = count
        if collisions:
            status["collisionCount"] = collisions
        if status != before:
            self._api.update(self._resource, *key_of(daemon_set), {**daemon_set, "status": status},
                             subresource="status", user=self.name)
        return float(spec.get("minReadySeconds") or 0) if waiting else None

    def _event(self, daemon_set: Obj, reason: str, message: str, *, warning: bool = False) -> None:
        self._events.event(daemon_set, "DaemonSet", "apps/v1", reason, message, warning=warning)


def _revision(pod: Mapping[str, Any]) -> str:
    return str((pod["metadata"].get("labels") or {}).get(REVISION_LABEL, ""))
