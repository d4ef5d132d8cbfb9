"""StatefulSets: pods with names of their own, made in order, removed and renewed in the reverse order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from meshlab.cluster.api.status import AlreadyExists, ApiError, NotFound
from meshlab.cluster.controllers.events import Recorder
from meshlab.cluster.controllers.history import REVISION_LABEL, History, restored
from meshlab.cluster.controllers.objects import (
    Key,
    Obj,
    controller_of,
    is_available,
    is_ready,
    key_of,
    owner_reference,
    phase_of,
)
from meshlab.cluster.controllers.queue import Source
from meshlab.cluster.controllers.rollout import share
from meshlab.cluster.controllers.selection import claim
from meshlab.cluster.controllers.stateful_pods import claims, first_ordinal, ordinal, stateful_pod

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["StatefulSetController"]


class StatefulSetController:
    """One step at a time: whatever a pod's next state is, it brings the set up again."""

    name = "statefulset-controller"
    kind = ("apps/v1", "StatefulSet")

    def __init__(self, api: Api) -> None:
        self._api = api
        self._resource, self._pods = api.kinds("StatefulSet"), api.kinds("Pod")
        self._claims = api.kinds("PersistentVolumeClaim")
        self._history = History(api, self.kind, self.name)
        self._events = Recorder(api, self.name)

    @property
    def sources(self) -> Sequence[Source]:
        return [Source("StatefulSet", lambda _, obj: [key_of(obj)]), Source("Pod", self._of_pod)]

    def _of_pod(self, kind: str, pod: Obj) -> Iterable[Key]:
        namespace, reference = pod["metadata"]["namespace"], controller_of(pod)
        if reference is not None:
            return [(namespace, reference["name"])] if reference["kind"] == "StatefulSet" else []
        if kind == "DELETED":
            return []
        sets, _ = self._api.list(self._resource, namespace)
        return [key_of(found) for found in sets if ordinal(found, pod) is not None]

    def reconcile(self, key: Key) -> float | None:
        found = self._api.find(self._resource, *key)
        if found is None:
            return None
        past = self._history.of(found)
        before = found.get("status") or {}
        update, collisions = self._history.present(found, past, int(before.get("collisionCount") or 0))
        past = [r for r in past if r["metadata"]["name"] != update["metadata"]["name"]] + [update]
        current = next((r for r in past if r["metadata"]["name"] == before.get("currentRevision")), update)
        pods = {number: pod for pod in claim(self._api, found, self.kind, self._pods)
                if (number := ordinal(found, pod)) is not None}
        try:
            if not found["metadata"].get("deletionTimestamp"):
                self._step(found, pods, current, update)
        finally:
            again = self._say(found, pods, current, update, collisions)
        live = {current["metadata"]["name"], update["metadata"]["name"],
                *((pod["metadata"].get("labels") or {}).get(REVISION_LABEL, "") for pod in pods.values())}
        self._history.forget(found, past, live)
        return again

    # The steps

    def _step(self, stateful_set: Obj, pods: dict[int, Obj], current: Obj, update: Obj) -> None:
        """Whatever can be done now. `pods` is kept up to date with what is created."""
        spec = stateful_set["spec"]
        start, replicas = first_ordinal(spec), int(spec.get("replicas", 1))
        ordered = spec.get("podManagementPolicy") != "Parallel"
        wanted = range(start, start + replicas)
        for number in wanted:
            if not self._settle(stateful_set, pods, number, current, update) and ordered:
                return
        for number in sorted((n for n in pods if n not in wanted), reverse=True):
            pod = pods[number]
            if not pod["metadata"].get("deletionTimestamp"):
                if ordered and not self._healthy(spec, pod) and any(
                        not self._healthy(spec, pods[n]) for n in wanted if n in pods):
                    return
                self._retain(stateful_set, number, pod)
                self._delete(stateful_set, pod)
            if ordered:
                return
        self._roll(stateful_set, [(n, pods[n]) for n in wanted if n in pods], update)

    def _settle(self, stateful_set: Obj, pods: dict[int, Obj], number: int, current: Obj, update: Obj) -> bool:
        """Make pod `number` be there; whether those after it may go on."""
        spec = stateful_set["spec"]
        pod = pods.get(number)
        if pod is None:
            revision = current if self._of_old(stateful_set, number, current, update) else update
            pods[number] = self._create(stateful_set, number, revision)
            return False
        if phase_of(pod) in ("Succeeded", "Failed"):
            if not pod["metadata"].get("deletionTimestamp"):
                self._events.event(stateful_set, "StatefulSet", "apps/v1", "RecreatingTerminatedPod",
                                   f"StatefulSet {'/'.join(key_of(stateful_set))} is recreating terminated Pod "
                                   f"{pod['metadata']['name']}")
                self._delete(stateful_set, pod)
            return False
        self._claim(stateful_set, number, pod)
        return self._healthy(spec, pod)

    @staticmethod
    def _of_old(stateful_set: Obj, number: int, current: Obj, update: Obj) -> bool:
        """Whether a pod that is missing is made from the revision before the update."""
        if current["metadata"]["name"] == update["metadata"]["name"]:
            return False
        spec, status = stateful_set["spec"], stateful_set.get("status") or {}
        strategy = spec.get("updateStrategy") or {}
        if strategy.get("type") == "OnDelete":
            return False
        partition = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
        start = first_ordinal(spec)
        return number < start + (partition or int(status.get("currentReplicas") or 0))

    def _roll(self, stateful_set: Obj, pods: Sequence[tuple[int, Obj]], update: Obj) -> None:
        """Renew old pods from the highest ordinal down, as many at once as may be unavailable."""
        spec = stateful_set["spec"]
        strategy = spec.get("updateStrategy") or {}
        if strategy.get("type") == "OnDelete":
            return
        rolling = strategy.get("rollingUpdate") or {}
        least = first_ordinal(spec) + int(rolling.get("partition") or 0)
        most = max(1, share(rolling.get("maxUnavailable") or 1, int(spec.get("replicas", 1)), up=True))
        left = most - sum(1 for _, pod in pods if not self._healthy(spec, pod))
        for number, pod in sorted(pods, key=lambda found: found[0], reverse=True):
            if number < least:
                return
            if _revision(pod) == update["metadata"]["name"] or pod["metadata"].get("deletionTimestamp"):
                continue
            if self._healthy(spec, pod):  # one that serves nobody may go in any case
                if left <= 0:
                    return
                left -= 1
            self._delete(stateful_set, pod)

    @staticmethod
    def _healthy(spec: Mapping[str, Any], pod: Obj) -> bool:
        """Running, ready for as long as it has to be, and not being deleted."""
        return (phase_of(pod) == "Running" and not pod["metadata"].get("deletionTimestamp")
                and is_available(pod, float(spec.get("minReadySeconds") or 0), datetime.now(UTC)))

    # Pods and their claims

    def _create(self, stateful_set: Obj, number: int, revision: Obj) -> Obj:
        described = stateful_pod(stateful_set, restored(revision), revision["metadata"]["name"], number)
        name = described["metadata"]["name"]
        self._claim(stateful_set, number, described)
        try:
            pod = self._api.create(self._pods, stateful_set["metadata"]["namespace"], described, user=self.name)
        except ApiError as error:
            self._event(stateful_set, "FailedCreate", f"create Pod {name} in StatefulSet "
                        f"{stateful_set['metadata']['name']} failed error: {error.message}", warning=True)
            raise
        self._event(stateful_set, "SuccessfulCreate", f"create Pod {name} in StatefulSet "
                    f"{stateful_set['metadata']['name']} successful")
        return pod

    def _claim(self, stateful_set: Obj, number: int, pod: Obj) -> None:
        """The claims that a pod needs, owned by the set where they shall go with it."""
        policy = stateful_set["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
        for wanted in claims(stateful_set, number):
            namespace, name = key_of(wanted)
            if self._api.find(self._claims, namespace, name) is not None:
                continue
            if policy.get("whenDeleted") == "Delete":
                wanted["metadata"]["ownerReferences"] = [owner_reference(stateful_set, *self.kind)]
            try:
                self._api.create(self._claims, namespace, wanted, user=self.name)
            except AlreadyExists:
                continue
            self._event(stateful_set, "SuccessfulCreate", f"create Claim {name} Pod {pod['metadata']['name']} in "
                        f"StatefulSet {stateful_set['metadata']['name']} success")

    def _retain(self, stateful_set: Obj, number: int, pod: Obj) -> None:
        """Where scaling down deletes claims, those of a pod that goes for good go with it."""
        policy = stateful_set["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
        if policy.get("whenScaled") != "Delete":
            return
        for wanted in claims(stateful_set, number):
            found = self._api.find(self._claims, *key_of(wanted))
            if found is not None:
                owner = owner_reference(pod, "v1", "Pod")
                self._api.update(self._claims, *key_of(found), {
                    **found, "metadata": {**found["metadata"], "ownerReferences": [owner]}}, user=self.name)

    def _delete(self, stateful_set: Obj, pod: Obj) -> None:
        namespace, name = key_of(pod)
        try:
            self._api.delete(self._pods, namespace, name, uid=pod["metadata"]["uid"])
        except NotFound:
            return
        self._event(stateful_set, "SuccessfulDelete", f"delete Pod {name} in StatefulSet "
                    f"{stateful_set['metadata']['name']} successful")

    # Status

    def _say(self, stateful_set: Obj, pods: Mapping[int, Obj], current: Obj, update: Obj,
             collisions: int) -> float | None:
        spec, before = stateful_set["spec"], stateful_set.get("status") or {}
        seconds = float(spec.get("minReadySeconds") or 0)
        at = datetime.now(UTC)
        replicas = int(spec.get("replicas", 1))
        # As they are after this look: what was deleted in it is on its way out.
        present = [found for pod in pods.values() if (found := self._api.find(self._pods, *key_of(pod))) is not None]
        staying = [pod for pod in present if not pod["metadata"].get("deletionTimestamp")]
        ready = [pod for pod in present if phase_of(pod) == "Running" and is_ready(pod)]
        available = [pod for pod in ready if is_available(pod, seconds, at)]
        old, new = current["metadata"]["name"], update["metadata"]["name"]
        counts = {
            "readyReplicas": len(ready),
            "currentReplicas": sum(1 for pod in staying if _revision(pod) == old),
            "updatedReplicas": sum(1 for pod in staying if _revision(pod) == new),
        }
        rolling = (spec.get("updateStrategy") or {}).get("type") != "OnDelete"
        if rolling and counts["updatedReplicas"] == counts["readyReplicas"] == len(present) == replicas:
            counts["currentReplicas"], old = counts["updatedReplicas"], new
        status: Obj = {
            "observedGeneration": stateful_set["metadata"].get("generation", 1),
            "replicas": len(present),
            **{name: count for name, count in counts.items() if count},
            "currentRevision": old, "updateRevision": new,
            "collisionCount": collisions,
            "availableReplicas": len(available),
        }
        if status != before:
            self._api.update(self._resource, *key_of(stateful_set), {**stateful_set, "status": status},
                             subresource="status", user=self.name)
        return seconds if len(available) < len(ready) else None

    def _event(self, stateful_set: Obj, reason: str, message: str, *, warning: bool = False) -> None:
        self._events.event(stateful_set, self.kind[1], self.kind[0], reason, message, warning=warning)


def _revision(pod: Mapping[str, Any]) -> str:
    return str((pod["metadata"].get("labels") or {}).get(REVISION_LABEL, ""))
