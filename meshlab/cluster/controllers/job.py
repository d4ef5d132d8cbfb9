"""Jobs: pods that are to succeed a number of times.

Each pod's end is counted once: a finalizer keeps the pod until its end is in the Job's status, so that deleting a
finished pod does not run the work again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from meshlab.cluster.api.status import ApiError, NotFound
from meshlab.cluster.controllers.events import Recorder
from meshlab.cluster.controllers.job_rules import (
    Verdict,
    Weight,
    ended_at,
    index_of,
    indexed_pod,
    indexes,
    ranges,
    success,
    weigh,
)
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
    phase_of,
)
from meshlab.cluster.controllers.queue import Source
from meshlab.cluster.controllers.replicaset import pod_from
from meshlab.cluster.controllers.selection import claim

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["TRACKED", "JobController"]

#: backoffLimit where a Job states none.
BACKOFF = 6
#: Pause before a failed pod is replaced: 10 s, doubled for each failure, at most 10 minutes: a real one's numbers.
FIRST_PAUSE, LONGEST_PAUSE = 10.0, 600.0
#: The finalizer of pods whose end has not been counted.
TRACKED = "batch.kubernetes.io/job-tracking"


@dataclass
class Tally:
    """How far a Job has come: its pods now, and the ends that have been counted."""

    active: list[Obj]
    terminating: int
    succeeded: int = 0
    failed: int = 0
    #: Of Indexed jobs.
    done: set[int] = field(default_factory=set)
    lost: set[int] = field(default_factory=set)
    failures: dict[int, int] = field(default_factory=dict)
    #: Pods whose end was counted in this look.
    counted: list[Obj] = field(default_factory=list)
    #: Failed pods that are still there, and a rule of the failure policy that ends the job.
    ended: list[Obj] = field(default_factory=list)
    fatal: str = ""


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
        self._release_orphans(key, job)
        if job is None or job["metadata"].get("deletionTimestamp"):
            return None
        if job["spec"].get("managedBy", "kubernetes.io/job-controller") != "kubernetes.io/job-controller":
            return None
        pods = claim(self._api, job, self.kind, self._pods)
        if any((condition_of(job, kind) or {}).get("status") == "True" for kind in ("Complete", "Failed")):
            for pod in pods:
                self._untrack(pod)
            return self._expire(job)
        spec, before = job["spec"], job.get("status") or {}
        started = before.get("startTime") or ("" if spec.get("suspend") else now())
        tally = self._count(job, pods)
        verdict, again = self._judge(job, tally, started)
        if verdict is not None or spec.get("suspend"):
            for pod in tally.active:
                self._delete(job, pod)
            tally.active, tally.terminating = [], tally.terminating + len(tally.active)
        elif (pause := self._pause(tally)) > 0:
            again = pause if again is None else min(again, pause)
        else:
            self._scale(job, tally)
        self._say(job, tally, started, verdict)
        return again if verdict is None else self._expire(self._api.get(self._resource, *key))

    # Counting

    def _count(self, job: Obj, pods: Sequence[Obj]) -> Tally:
        """What has ended since the last look, on top of what the status knows."""
        spec, before = job["spec"], job.get("status") or {}
        uncounted = before.get("uncountedTerminatedPods") or {}
        known = {*uncounted.get("succeeded", ()), *uncounted.get("failed", ())}
        tally = Tally(
            active=[pod for pod in pods if is_active(pod)],
            terminating=sum(1 for pod in pods if pod["metadata"].get("deletionTimestamp")
                            and phase_of(pod) not in ("Succeeded", "Failed")),
            succeeded=int(before.get("succeeded") or 0), failed=int(before.get("failed") or 0),
            done=indexes(before.get("completedIndexes") or ""), lost=indexes(before.get("failedIndexes") or ""),
            ended=[pod for pod in pods if phase_of(pod) == "Failed"],
        )
        indexed = spec.get("completionMode") == "Indexed"
        for pod in tally.ended:
            tally.failures[index_of(pod)] = tally.failures.get(index_of(pod), 0) + 1
        for pod in pods:
            if TRACKED not in (pod["metadata"].get("finalizers") or ()) or not _ended(job, pod):
                continue
            tally.counted.append(pod)
            if pod["metadata"]["uid"] in known:
                continue
            if phase_of(pod) == "Succeeded":
                if indexed:
                    tally.done.add(index_of(pod))
                else:
                    tally.succeeded += 1
                continue
            weight, why = weigh(spec.get("podFailurePolicy"), pod)
            if weight is Weight.FAIL_JOB:
                tally.fatal = tally.fatal or why
            if weight is Weight.FAIL_INDEX:
                tally.lost.add(index_of(pod))
            if weight is not Weight.IGNORE:
                tally.failed += 1
        if indexed:
            limit = spec.get("backoffLimitPerIndex")
            if limit is not None:
                tally.lost |= {i for i, count in tally.failures.items() if count > int(limit)} - tally.done
            tally.done = {i for i in tally.done if i < int(spec.get("completions") or 0)}
            tally.succeeded = len(tally.done)
        return tally

    def _judge(self, job: Obj, tally: Tally, started: str) -> tuple[Verdict | None, float | None]:
        """The end of the job, if this is it; else seconds until its deadline."""
        spec = job["spec"]
        again: float | None = None
        deadline = spec.get("activeDeadlineSeconds")
        late = False
        if deadline is not None and started:
            again = float(deadline) - (datetime.now(UTC) - parse_time(started)).total_seconds()
            late = again <= 0
        limit = int(spec.get("backoffLimit", BACKOFF))
        restarts = sum(int(c.get("restartCount") or 0) for p in tally.active
                       for name in ("initContainerStatuses", "containerStatuses") for c in p["status"].get(name) or [])
        completions = spec.get("completions")
        most = spec.get("maxFailedIndexes")
        if tally.fatal:
            return Verdict("Failed", "PodFailurePolicy", tally.fatal), None
        if tally.failed > limit or (restarts > 0 and restarts >= limit):
            return Verdict("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"), None
        if late:
            return Verdict("Failed", "DeadlineExceeded", "Job was active longer than specified deadline"), None
        if most is not None and len(tally.lost) > int(most):
            return Verdict("Failed", "MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of "
                           "failed indexes"), None
        if (verdict := success(spec.get("successPolicy"), tally.done)) is not None:
            return verdict, None
        if completions is not None and tally.lost and len(tally.done | tally.lost) >= int(completions):
            return Verdict("Failed", "FailedIndexes", "Job has failed indexes"), None
        if (tally.succeeded >= int(completions)) if completions is not None else (
                tally.succeeded and not tally.active):
            return Verdict("Complete", "CompletionsReached", "Reached expected number of succeeded pods"), None
        return None, again

    @staticmethod
    def _pause(tally: Tally) -> float:
        """Seconds until failed pods may be replaced."""
        last = ended_at(tally.ended)
        if last is None:
            return 0.0
        wanted: float = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (len(tally.ended) - 1))
        return wanted - (datetime.now(UTC) - last).total_seconds()

    # Pods

    def _scale(self, job: Obj, tally: Tally) -> None:
        spec = job["spec"]
        parallelism, completions = int(spec.get("parallelism", 1)), spec.get("completions")
        room = 0 if spec.get("podReplacementPolicy") != "Failed" else tally.terminating
        if completions is not None:
            wanted = min(parallelism, int(completions) - tally.succeeded - len(tally.lost))
        else:
            # A work queue: once one is done, no more are begun.
            wanted = len(tally.active) if tally.succeeded else parallelism
        wanted = max(wanted, 0)
        tally.active.sort(key=lambda pod: (not is_ready(pod), pod["metadata"]["creationTimestamp"]))
        for pod in tally.active[wanted:]:
            self._delete(job, pod)
            tally.terminating += 1
        tally.active = tally.active[:wanted]
        missing = max(0, wanted - len(tally.active) - room)
        if spec.get("completionMode") == "Indexed":
            taken = tally.done | tally.lost | {index_of(pod) for pod in tally.active}
            free = [i for i in range(int(completions or 0)) if i not in taken]
            tally.active += [self._create(job, number) for number in free[:missing]]
        else:
            tally.active += [self._create(job, None) for _ in range(missing)]

    def _create(self, job: Obj, number: int | None) -> Obj:
        described = pod_from(job["spec"]["template"], job, self.kind)
        described["metadata"]["labels"] |= self._labels(job)
        described["metadata"]["finalizers"] = [*(described["metadata"].get("finalizers") or []), TRACKED]
        if number is not None:
            described = indexed_pod(described, job, number)
        try:
            pod = self._api.create(self._pods, job["metadata"]["namespace"], described, user=self.name)
        except ApiError as error:
            self._event(job, "FailedCreate", f"Error creating: {error.message}", warning=True)
            raise
        self._event(job, "SuccessfulCreate", f"Created pod: {pod['metadata']['name']}")
        return pod

    @staticmethod
    def _labels(job: Obj) -> dict[str, str]:
        """What every pod of a Job is labelled with, for `kubectl logs job/…` and selectors of old and new clients."""
        name, uid = job["metadata"]["name"], job["metadata"]["uid"]
        return {"batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": name,
                "controller-uid": uid, "job-name": name}

    def _delete(self, job: Obj, pod: Obj) -> None:
        """An active pod that is not wanted: its end does not count."""
        self._untrack(pod)
        try:
            self._api.delete(self._pods, *key_of(pod), uid=pod["metadata"]["uid"])
        except NotFound:
            return
        self._event(job, "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}")

    def _untrack(self, pod: Obj) -> None:
        """The pod's end is counted, or will not be: it may go."""
        current = self._api.find(self._pods, *key_of(pod))
        if current is None or current["metadata"]["uid"] != pod["metadata"]["uid"]:
            return
        held = current["metadata"].get("finalizers") or []
        if TRACKED in held:
            meta = {**current["metadata"], "finalizers": [each for each in held if each != TRACKED]}
            self._api.update(self._pods, *key_of(pod), {**current, "metadata": meta}, user=self.name)

    def _release_orphans(self, key: Key, job: Obj | None) -> None:
        """Pods of a Job that is gone, or going: nobody will count them."""
        alive = "" if job is None or job["metadata"].get("deletionTimestamp") else job["metadata"]["uid"]
        for pod in self._api.list(self._pods, key[0], label_selector=f"batch.kubernetes.io/job-name={key[1]}")[0]:
            if (controller_of(pod) or {}).get("uid", "") != alive or not alive:
                self._untrack(pod)

    # Status

    def _say(self, job: Obj, tally: Tally, started: str, verdict: Verdict | None) -> None:
        before = job.get("status") or {}
        status: Obj = {"startTime": started} if started else {}
        indexed = job["spec"].get("completionMode") == "Indexed"
        for name, count in (("active", len(tally.active)), ("succeeded", tally.succeeded), ("failed", tally.failed)):
            if count:
                status[name] = count
        if indexed and tally.done:
            status["completedIndexes"] = ranges(tally.done)
        if indexed and (tally.lost or job["spec"].get("backoffLimitPerIndex") is not None):
            status["failedIndexes"] = ranges(tally.lost)
        status["ready"] = sum(1 for pod in tally.active if is_ready(pod))
        status["terminating"] = tally.terminating
        status["uncountedTerminatedPods"] = {
            name: uids for name, good in (("succeeded", True), ("failed", False))
            if (uids := [p["metadata"]["uid"] for p in tally.counted if (phase_of(p) == "Succeeded") is good])
        }
        conditions = self._suspension(job, list(before.get("conditions") or []), status)
        if verdict is not None:
            at = now()
            first = "SuccessCriteriaMet" if verdict.kind == "Complete" else "FailureTarget"
            conditions += [{"type": t, "status": "True", "lastProbeTime": at, "lastTransitionTime": at,
                            "reason": verdict.reason, "message": verdict.message} for t in (first, verdict.kind)]
            if verdict.kind == "Complete":
                status["completionTime"] = at
                self._event(job, "Completed", "Job completed")
            else:
                self._event(job, verdict.reason, verdict.message, warning=True)
        if conditions:
            status["conditions"] = conditions
        self._write(job, status)
        if tally.counted:
            # The counts are stored: now the pods may go, and their names out of the list of those in between.
            for pod in tally.counted:
                self._untrack(pod)
            self._write(self._api.get(self._resource, *key_of(job)), {**status, "uncountedTerminatedPods": {}})

    def _suspension(self, job: Obj, conditions: list[Obj], status: Obj) -> list[Obj]:
        """The condition Suspended, from the first suspension on."""
        before = condition_of(job, "Suspended")
        suspended = bool(job["spec"].get("suspend"))
        if (before is None and not suspended) or (before is not None and (before["status"] == "True") is suspended):
            return conditions
        word = "Suspended" if suspended else "Resumed"
        self._event(job, word, f"Job {word.lower()}")
        if not suspended:
            status["startTime"] = now()
        at = now()
        fresh = {"type": "Suspended", "status": str(suspended), "lastProbeTime": at, "lastTransitionTime": at,
                 "reason": f"Job{word}", "message": f"Job {word.lower()}"}
        return [*(c for c in conditions if c["type"] != "Suspended"), fresh]

    def _write(self, job: Obj, status: Mapping[str, Any]) -> None:
        if status != job.get("status"):
            self._api.update(self._resource, *key_of(job), {**job, "status": dict(status)}, subresource="status",
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
        self._events.event(job, self.kind[1], self.kind[0], reason, message, warning=warning)


def _ended(job: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    """Whether the pod counts as ended. One that somebody deletes has failed, at once unless its job waits for that."""
    if phase_of(pod) in ("Succeeded", "Failed"):
        return True
    meta = pod["metadata"]
    at_once = job["spec"].get("podReplacementPolicy") != "Failed" or not meta.get("deletionGracePeriodSeconds")
    return bool(meta.get("deletionTimestamp")) and at_once
