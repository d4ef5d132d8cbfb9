"""Deployments: one ReplicaSet per revision of the template, and the way from the old one to the new."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from meshlab.cluster.api.status import AlreadyExists, NotFound
from meshlab.cluster.controllers.events import Recorder
from meshlab.cluster.controllers.objects import Key, Obj, controller_of, key_of, now
from meshlab.cluster.controllers.progress import NEVER, deployment_status, paused_condition, seconds_left
from meshlab.cluster.controllers.queue import Source
from meshlab.cluster.controllers.revisions import (
    DESIRED,
    MAXIMUM,
    REVISION,
    annotations_for,
    find_new,
    new_replica_set,
    revision,
    surplus,
)
from meshlab.cluster.controllers.rollout import Counts, bounds, new_replicas, proportions, scale_down
from meshlab.cluster.controllers.selection import claim

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["DeploymentController"]


class DeploymentController:
    """Rolls templates out, scales, keeps a history of revisions."""

    name = "deployment-controller"
    kind = ("apps/v1", "Deployment")

    def __init__(self, api: Api) -> None:
        self._api = api
        self._resource, self._sets = api.kinds("Deployment"), api.kinds("ReplicaSet")
        self._pods = api.kinds("Pod")
        self._events = Recorder(api, self.name)

    @property
    def sources(self) -> Sequence[Source]:
        return [
            Source("Deployment", lambda _, obj: [key_of(obj)]),
            Source("ReplicaSet", self._of_set),
            Source("Pod", self._of_pod),
        ]

    def _of_set(self, kind: str, replica_set: Obj) -> Iterable[Key]:
        reference = controller_of(replica_set)
        if reference is not None:
            return [(replica_set["metadata"]["namespace"], reference["name"])]
        if kind == "DELETED":
            return []
        return [key_of(d) for d in self._api.list(self._resource, replica_set["metadata"]["namespace"])[0]]

    def _of_pod(self, kind: str, pod: Obj) -> Iterable[Key]:
        # Only the end of a pod matters here: strategy Recreate waits for it.
        reference = controller_of(pod) if kind == "DELETED" else None
        if reference is None or reference["kind"] != "ReplicaSet":
            return []
        owner = self._api.find(self._sets, pod["metadata"]["namespace"], reference["name"])
        return self._of_set("MODIFIED", owner) if owner is not None and controller_of(owner) else []

    def reconcile(self, key: Key) -> float | None:
        deployment = self._api.find(self._resource, *key)
        if deployment is None:
            return None
        sets = claim(self._api, deployment, self.kind, self._sets)
        if deployment["metadata"].get("deletionTimestamp"):
            return self._say(deployment, find_new(deployment, sets), sets)
        deadline = deployment["spec"].get("progressDeadlineSeconds")
        if deadline is not None and deadline < NEVER and (said := paused_condition(deployment, now())) is not None:
            deployment = self._write_status(deployment, {**(deployment.get("status") or {}), "conditions": said})
        new = find_new(deployment, sets)
        old = [rs for rs in sets if new is None or rs["metadata"]["uid"] != new["metadata"]["uid"]]
        created = False
        if deployment["spec"].get("paused") or self._being_scaled(deployment, sets):
            if new is not None:
                new = self._annotate(deployment, new, old)
            new, old = self._scale(deployment, new, old)
        else:
            if new is None:
                new, deployment = self._make_new(deployment, old)
                if new is None:
                    return 0.0  # its name was taken: once more with another hash
                created = True
            else:
                new = self._annotate(deployment, new, old)
            self._number(deployment, new)
            deployment = self._api.get(self._resource, *key)
            if (deployment["spec"].get("strategy") or {}).get("type") == "Recreate":
                new, old = self._recreate(deployment, new, old)
            else:
                new, old = self._roll(deployment, new, old)
        again = self._say(deployment, new, old, created=created)
        if self._complete(deployment, new, old):
            self._forget_revisions(deployment, old)
        return again

    # Steps

    def _being_scaled(self, deployment: Obj, sets: Sequence[Obj]) -> bool:
        """Whether spec.replicas changed since an active ReplicaSet was last sized."""
        wanted = str(deployment["spec"].get("replicas", 1))
        return any(rs["spec"].get("replicas") and
                   (rs["metadata"].get("annotations") or {}).get(DESIRED, wanted) != wanted for rs in sets)

    def _maximum(self, deployment: Obj) -> int:
        return int(deployment["spec"].get("replicas", 1)) + bounds(deployment["spec"]).surge

    def _make_new(self, deployment: Obj, old: Sequence[Obj]) -> tuple[Obj | None, Obj]:
        spec, status = deployment["spec"], deployment.get("status") or {}
        collisions = int(status.get("collisionCount") or 0)
        number = max((revision(rs) for rs in old), default=0) + 1
        replicas = int(spec.get("replicas", 1))
        if (spec.get("strategy") or {}).get("type") == "Recreate":
            # Old pods go first; whether there are any is asked by the step itself.
            first = 0
        else:
            first = new_replicas(replicas, bounds(spec), Counts(0), _counts(old))
        wanted = new_replica_set(deployment, collisions=collisions, replicas=first,
                                 annotations=annotations_for(deployment, None, number, self._maximum(deployment)))
        try:
            made = self._api.create(self._sets, deployment["metadata"]["namespace"], wanted, user=self.name)
        except AlreadyExists:
            return None, self._write_status(deployment, {**status, "collisionCount": collisions + 1})
        if first:
            self._event(deployment, "ScalingReplicaSet", f"Scaled up replica set {made['metadata']['name']} "
                                                         f"from 0 to {first}")
        return made, deployment

    def _annotate(self, deployment: Obj, new: Obj, old: Sequence[Obj]) -> Obj:
        """Revision, inherited annotations and minReadySeconds of a ReplicaSet that was there already."""
        newest = max((revision(rs) for rs in old), default=0)
        number = revision(new) if revision(new) > newest else newest + 1
        annotations = annotations_for(deployment, new, number, self._maximum(deployment))
        # How large it should be is noted when it is sized.
        before = new["metadata"].get("annotations") or {}
        for key in (DESIRED, MAXIMUM):
            if key in before:
                annotations[key] = before[key]
        seconds = deployment["spec"].get("minReadySeconds")
        if annotations == before and new["spec"].get("minReadySeconds") == seconds:
            return new
        spec = {key: value for key, value in new["spec"].items() if key != "minReadySeconds"}
        if seconds:
            spec["minReadySeconds"] = seconds
        return self._write(self._sets, {**new, "metadata": {**new["metadata"], "annotations": annotations},
                                        "spec": spec})

    def _number(self, deployment: Obj, new: Obj) -> None:
        number = str(revision(new))
        annotations = deployment["metadata"].get("annotations") or {}
        if annotations.get(REVISION) != number:
            self._write(self._resource, {**deployment, "metadata": {**deployment["metadata"], "annotations": {
                **annotations, REVISION: number}}})

    def _scale(self, deployment: Obj, new: Obj | None, old: list[Obj]) -> tuple[Obj | None, list[Obj]]:
        """A change of spec.replicas: one active ReplicaSet takes it all, several share it."""
        replicas = int(deployment["spec"].get("replicas", 1))
        active = [rs for rs in [*old, *([new] if new is not None else [])] if rs["spec"].get("replicas")]
        if len(active) <= 1:
            only = active[0] if active else new
            if only is None:
                return new, old
            return self._resize_all(deployment, new, old, {only["metadata"]["uid"]: replicas})
        if new is not None and _available(new) == replicas:
            # Saturated: whatever is left of old revisions goes.
            return self._resize_all(deployment, new, old, {rs["metadata"]["uid"]: 0 for rs in old}
                                    | {new["metadata"]["uid"]: replicas})
        total = replicas + bounds(deployment["spec"]).surge if replicas else 0
        shares = proportions([int(rs["spec"].get("replicas") or 0) for rs in active], total)
        return self._resize_all(deployment, new, old,
                                {rs["metadata"]["uid"]: share for rs, share in zip(active, shares, strict=True)})

    def _roll(self, deployment: Obj, new: Obj, old: list[Obj]) -> tuple[Obj, list[Obj]]:
        replicas, limit = int(deployment["spec"].get("replicas", 1)), bounds(deployment["spec"])
        old = sorted(old, key=lambda rs: (rs["metadata"]["creationTimestamp"], revision(rs)))
        bigger = new_replicas(replicas, limit, _counts([new])[0], _counts(old))
        new = self._resize(deployment, new, bigger)
        sizes = scale_down(replicas, limit, _counts([new])[0], _counts(old))
        return new, [self._resize(deployment, rs, size) for rs, size in zip(old, sizes, strict=True)]

    def _recreate(self, deployment: Obj, new: Obj, old: list[Obj]) -> tuple[Obj, list[Obj]]:
        old = [self._resize(deployment, rs, 0) for rs in old]
        owners = {rs["metadata"]["uid"] for rs in old}
        for pod in self._api.list(self._pods, deployment["metadata"]["namespace"])[0]:
            reference = controller_of(pod)
            if reference is not None and reference["uid"] in owners and (
                    pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
                return new, old  # its end brings us here again
        return self._resize(deployment, new, int(deployment["spec"].get("replicas", 1))), old

    def _resize_all(self, deployment: Obj, new: Obj | None, old: list[Obj],
                    sizes: Mapping[str, int]) -> tuple[Obj | None, list[Obj]]:
        def sized(rs: Obj) -> Obj:
            uid = rs["metadata"]["uid"]
            return self._resize(deployment, rs, sizes[uid]) if uid in sizes else rs

        return (sized(new) if new is not None else None), [sized(rs) for rs in old]

    def _resize(self, deployment: Obj, replica_set: Obj, size: int) -> Obj:
        before = int(replica_set["spec"].get("replicas") or 0)
        annotations = replica_set["metadata"].get("annotations") or {}
        noted = {**annotations, DESIRED: str(deployment["spec"].get("replicas", 1)),
                 MAXIMUM: str(self._maximum(deployment))}
        if size == before and (noted == annotations or not size):
            return replica_set
        result = self._write(self._sets, {
            **replica_set,
            "metadata": {**replica_set["metadata"], "annotations": noted},
            "spec": {**replica_set["spec"], "replicas": size},
        })
        if size != before:
            direction = "up" if size > before else "down"
            self._event(deployment, "ScalingReplicaSet", f"Scaled {direction} replica set "
                        f"{replica_set['metadata']['name']} from {before} to {size}")
        return result

    def _complete(self, deployment: Obj, new: Obj | None, old: Sequence[Obj]) -> bool:
        replicas = int(deployment["spec"].get("replicas", 1))
        return new is not None and _available(new) >= replicas and not any(
            (rs.get("status") or {}).get("replicas") for rs in old)

    def _forget_revisions(self, deployment: Obj, old: Sequence[Obj]) -> None:
        limit = deployment["spec"].get("revisionHistoryLimit")
        if limit is None:
            return
        for replica_set in surplus(old, int(limit)):
            try:
                self._api.delete(self._sets, *key_of(replica_set), uid=replica_set["metadata"]["uid"],
                                 propagation="Background")
            except NotFound:
                continue

    # Writing

    def _say(self, deployment: Obj, new: Obj | None, old: Sequence[Obj], *, created: bool = False) -> float | None:
        moment = datetime.now(UTC)
        others = [rs for rs in old if new is None or rs["metadata"]["uid"] != new["metadata"]["uid"]]
        status = deployment_status(deployment, new, others, moment, created=created)
        if status != (deployment.get("status") or {}):
            self._write_status(deployment, status)
        return seconds_left(deployment, status, moment)

    def _write_status(self, deployment: Obj, status: Obj) -> Obj:
        return self._api.update(self._resource, *key_of(deployment), {**deployment, "status": status},
                                subresource="status", user=self.name)

    def _write(self, resource: object, obj: Obj) -> Obj:
        return self._api.update(resource, *key_of(obj), obj, user=self.name)  # type: ignore[arg-type]

    def _event(self, deployment: Obj, reason: str, message: str) -> None:
        self._events.event(deployment, "Deployment", "apps/v1", reason, message)


def _available(replica_set: Obj) -> int:
    return int((replica_set.get("status") or {}).get("availableReplicas") or 0)


def _counts(sets: Sequence[Obj]) -> list[Counts]:
    return [Counts(int(rs["spec"].get("replicas") or 0), _available(rs)) for rs in sets]


