"""Jobs: pods that are to succeed a number of times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from meshlab.cluster.api.status import NotFound
from meshlab.cluster.controllers.events import Recorder
from meshlab.cluster.controllers.objects import (
    Key,
    Obj,
    condition_of,
    controller_of,
    is_active,
    is_ready,
    key_of,
    now,
    parse_time,
)
from meshlab.cluster.controllers.queue import Source
from meshlab.cluster.controllers.replicaset import pod_from
from meshlab.cluster.controllers.selection import claim

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["JobController"]

#: backoffLimit where a Job states none.
BACKOFF = 6
#: Pause before a failed pod is replaced: 10 s, doubled for each failure, at most 6 minutes; a job controller's numbers.
FIRST_PAUSE, LONGEST_PAUSE = 10.0, 360.0


class JobController:
    """Runs pods until enough have succeeded, or too many have failed."""

    name = "job-controller"
    kind = ("batch/v1", "Job")

    def __init__(self, api: Api) -> None:
        self._api = api
        self._resource, self._pods = api.kinds("Job"), api.kinds("Pod")
        self._events = Recorder(api, self.name)

    @property
    def sources(self) -> Sequence[Source]:
        return [Source("Job", lambda _, obj: [key_of(obj)]), Source("Pod", self._of_pod)]

    @staticmethod
    def _of_pod(_: str, pod: Obj) -> Iterable[Key]:
        reference = controller_of(pod)
        if reference is None or reference["kind"] != "Job":
            return []
        return [(pod["metadata"]["namespace"], reference["name"])]

    def reconcile(self, key: Key) -> float | None:
        job = self._api.find(self._resource, *key)
        if job is None or job["metadata"].get("deletionTimestamp"):
            return None
        if any((condition_of(job, kind) or {}).get("status") == "True" for kind in ("Complete", "Failed")):
            return self._expire(job)
        pods = claim(self._api, job, self.kind, self._pods)
        spec, before = job["spec"], job.get("status") or {}
        succeeded = [p for p in pods if p["status"].get("phase") == "Succeeded"]
        failed = [p for p in pods if p["status"].get("phase") == "Failed"]
        active = [p for p in pods if is_active(p)]
        again: float | None = None
        verdict: tuple[str, str, str] | None = None
        limit = int(spec.get("backoffLimit", BACKOFF))
        restarts = sum(int(c.get("restartCount") or 0) for p in active
                       for c in p["status"].get("containerStatuses") or [])
        started = before.get("startTime") or now()
        deadline = spec.get("activeDeadlineSeconds")
        if deadline is not None:
            left = float(deadline) - (datetime.now(UTC) - parse_time(started)).total_seconds()
            if left <= 0:
                verdict = ("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
            else:
                again = left
        completions = spec.get("completions")
        if len(failed) + restarts > limit:
            verdict = ("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
        elif (len(succeeded) >= int(completions)) if completions is not None else (succeeded and not active):
            verdict = ("Complete", "CompletionsReached", "Reached expected number of succeeded pods")
        if verdict is not None or spec.get("suspend"):
            for pod in active:
                self._delete(job, pod)
            active = []
        elif (pause := self._pause(failed)) > 0:
            again = pause if again is None else min(again, pause)
        else:
            active = self._scale(job, active, len(succeeded))
        self._say(job, active, succeeded, failed, started, verdict)
        return again if verdict is None else self._expire(self._api.get(self._resource, *key))

    def _pause(self, failed: Sequence[Obj]) -> float:
        if not failed:
            return 0.0
        ends = [container["state"]["terminated"]["finishedAt"] for pod in failed
                for container in pod["status"].get("containerStatuses") or [] if "terminated" in container["state"]]
        last = max((parse_time(end) for end in ends), default=None)
        if last is None:
            return 0.0
        wanted: float = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (len(failed) - 1))
        return wanted - (datetime.now(UTC) - last).total_seconds()

    def _scale(self, job: Obj, active: list[Obj], succeeded: int) -> list[Obj]:
        spec = job["spec"]
        parallelism = int(spec.get("parallelism", 1))
        completions = spec.get("completions")
        wanted = parallelism
        if completions is not None:
            wanted = min(parallelism, int(completions) - succeeded)
        elif succeeded:
            wanted = len(active)  # a work queue: once one is done, no more are begun
        for pod in active[max(wanted, 0):]:
            self._delete(job, pod)
        active = active[:max(wanted, 0)]
        for _ in range(wanted - len(active)):
            described = pod_from(spec["template"], job, self.kind)
            described["metadata"]["labels"] |= self._labels(job)
            pod = self._api.create(self._pods, job["metadata"]["namespace"], described, user=self.name)
            self._event(job, "SuccessfulCreate", f"Created pod: {pod['metadata']['name']}")
            active.append(pod)
        return active

    @staticmethod
    def _labels(job: Obj) -> dict[str, str]:
        """What every pod of a Job is labelled with, for `kubectl logs job/…` and selectors of old and new clients."""
        name, uid = job["metadata"]["name"], job["metadata"]["uid"]
        return {"batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": name,
                "controller-uid": uid, "job-name": name}

    def _delete(self, job: Obj, pod: Obj) -> None:
        try:
            self._api.delete(self._pods, *key_of(pod), uid=pod["metadata"]["uid"])
        except NotFound:
            return
        self._event(job, "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}")

    def _say(self, job: Obj, active: Sequence[Obj], succeeded: Sequence[Obj], failed: Sequence[Obj], started: str,
             verdict: tuple[str, str, str] | None) -> None:
        status: Obj = {"startTime": started}
        for name, count in (("active", len(active)), ("succeeded", len(succeeded)), ("failed", len(failed))):
            if count:
                status[name] = count
        status["ready"] = sum(1 for pod in active if is_ready(pod))
        status["terminating"] = 0
        status["uncountedTerminatedPods"] = {}
        conditions = list((job.get("status") or {}).get("conditions") or [])
        if verdict is not None:
            kind, reason, message = verdict
            at = now()
            first = "SuccessCriteriaMet" if kind == "Complete" else "FailureTarget"
            conditions += [{"type": t, "status": "True", "lastProbeTime": at, "lastTransitionTime": at,
                            "reason": reason, "message": message} for t in (first, kind)]
            if kind == "Complete":
                status["completionTime"] = at
                self._event(job, "Completed", "Job completed")
            else:
                self._event(job, reason, message, warning=True)
        if conditions:
            status["conditions"] = conditions
        if status != job.get("status"):
            self._api.update(self._resource, *key_of(job), {**job, "status": status}, subresource="status",
                             user=self.name)

    def _expire(self, job: Obj) -> float | None:
        seconds = job["spec"].get("ttlSecondsAfterFinished")
        done = next((c for c in (job.get("status") or {}).get("conditions") or []
                     if c["type"] in ("Complete", "Failed") and c["status"] == "True"), None)
        if seconds is None or done is None:
            return None
        left = float(seconds) - (datetime.now(UTC) - parse_time(done["lastTransitionTime"])).total_seconds()
        if left > 0:
            return left
        self._api.delete(self._resource, *key_of(job), uid=job["metadata"]["uid"], propagation="Foreground")
        return None

    def _event(self, job: Obj, reason: str, message: str, *, warning: bool = False) -> None:
        self._events.event(job, "Job", "batch/v1", reason, message, warning=warning)
