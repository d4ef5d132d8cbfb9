"""CronJobs: a Job whenever the schedule says so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from meshlab.cluster.api.cron import Schedule, ScheduleError
from meshlab.cluster.api.status import AlreadyExists, ApiError, NotFound
from meshlab.cluster.controllers.events import Recorder
from meshlab.cluster.controllers.objects import (
    Key,
    Obj,
    condition_of,
    controller_of,
    key_of,
    owner_reference,
    parse_time,
    timestamp,
)
from meshlab.cluster.controllers.queue import Source

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["CronJobController", "finished", "latest"]

#: Missed starts from which a clock is taken to be wrong.
TOO_MANY = 100
SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
#: Seconds after a scheduled time at which it is looked at.
DELTA = 0.1


def finished(job: Mapping[str, Any]) -> str:
    """`Complete`, `Failed` or "" while it runs."""
    return next((kind for kind in ("Complete", "Failed") if (condition_of(job, kind) or {}).get("status") == "True"),
                "")


def latest(schedule: Schedule, since: datetime, now: datetime, zone: tzinfo) -> tuple[datetime | None, int]:
    """The last time after `since` that has come, and how many there were; counting ends beyond `TOO_MANY`."""
    found, count = None, 0
    at = since
    while (following := schedule.next(at, zone)) is not None and following <= now:
        found, count, at = following, count + 1, following
        if count > TOO_MANY:
            # Which was the last does not follow from counting any more: look back from now.
            step = timedelta(minutes=1)
            while (closer := schedule.next(now - step, zone)) is None or closer > now:
                step *= 2
            while (following := schedule.next(closer, zone)) is not None and following <= now:
                closer = following
            return closer, count
    return found, count


class CronJobController:
    """`clock` is what time it is."""

    name = "cronjob-controller"
    kind = ("batch/v1", "CronJob")

    def __init__(self, api: Api, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._api, self._clock = api, clock
        self._resource, self._jobs = api.kinds("CronJob"), api.kinds("Job")
        self._events = Recorder(api, self.name)

    @property
    def sources(self) -> Sequence[Source]:
        return [Source("CronJob", lambda _, obj: [key_of(obj)]), Source("Job", self._of_job)]

    @staticmethod
    def _of_job(_: str, job: Obj) -> Iterable[Key]:
        reference = controller_of(job)
        if reference is None or reference["kind"] != "CronJob":
            return []
        return [(job["metadata"]["namespace"], reference["name"])]

    def reconcile(self, key: Key) -> float | None:
        found = self._api.find(self._resource, *key)
        if found is None:
            return None
        mine = [job for job in self._api.list(self._jobs, key[0])[0]
                if (controller_of(job) or {}).get("uid") == found["metadata"]["uid"]]
        status = self._seen(found, mine)
        again = None
        if not found["metadata"].get("deletionTimestamp"):
            status, again = self._schedule(found, mine, status)
        if status != (found.get("status") or {}):
            self._api.update(self._resource, *key, {**found, "status": status}, subresource="status", user=self.name)
        self._forget(found, mine)
        return again

    def _seen(self, cron_job: Obj, jobs: Sequence[Obj]) -> Obj:
        """The status with jobs that have ended taken from the active ones."""
        status = dict(cron_job.get("status") or {})
        by_uid = {job["metadata"]["uid"]: job for job in jobs}
        active = []
        for reference in status.get("active") or []:
            job = by_uid.get(reference["uid"])
            if job is None:
                self._event(cron_job, "MissingJob", f"Active job went missing: {reference['name']}")
            elif how := finished(job):
                self._event(cron_job, "SawCompletedJob",
                            f"Saw completed job: {reference['name']}, condition: {how}")
            else:
                active.append(reference)
        ends = [job["status"]["completionTime"] for job in jobs if finished(job) == "Complete"]
        if ends:
            status["lastSuccessfulTime"] = max([*ends, status.get("lastSuccessfulTime") or ""])
        status.pop("active", None)
        return {**({"active": active} if active else {}), **status}

    def _schedule(self, cron_job: Obj, jobs: Sequence[Obj], status: Obj) -> tuple[Obj, float | None]:
        spec = cron_job["spec"]
        if spec.get("suspend"):
            return status, None
        # UTC needs no database of time zones, which small machines lack.
        zone = ZoneInfo(spec["timeZone"]) if spec.get("timeZone") else UTC
        try:
            schedule = Schedule.parse(str(spec["schedule"]))
        except ScheduleError as error:
            self._event(cron_job, "UnparseableSchedule", f"unparseable schedule: {spec['schedule']!r} : {error}",
                        warning=True)
            return status, None
        now = self._clock()
        since = parse_time(status.get("lastScheduleTime") or cron_job["metadata"]["creationTimestamp"])
        deadline = spec.get("startingDeadlineSeconds")
        if deadline is not None:
            since = max(since, now - timedelta(seconds=int(deadline)))
        due, missed = latest(schedule, since, now, zone)
        if due is not None:
            if missed > TOO_MANY:
                self._event(cron_job, "TooManyMissedTimes", f"too many missed start times: {missed}. Set or decrease "
                            ".spec.startingDeadlineSeconds or check clock skew", warning=True)
            status = self._start(cron_job, jobs, status, due, zone)
        following = schedule.next(now, zone)
        return status, None if following is None else (following - now).total_seconds() + DELTA

    def _start(self, cron_job: Obj, jobs: Sequence[Obj], status: Obj, due: datetime, zone: tzinfo) -> Obj:
        spec, active = cron_job["spec"], list(status.get("active") or [])
        policy = spec.get("concurrencyPolicy")
        if policy == "Forbid" and active:
            self._event(cron_job, "JobAlreadyActive", "Not starting job because prior execution is running and "
                        "concurrency policy is Forbid")
            return status
        if policy == "Replace":
            running = {reference["uid"] for reference in active}
            for job in jobs:
                if job["metadata"]["uid"] in running:
                    self._delete(cron_job, job)
            active = []
        try:
            made = self._api.create(self._jobs, cron_job["metadata"]["namespace"],
                                    self._job(cron_job, due, zone), user=self.name)
        except AlreadyExists:
            return {**status, "lastScheduleTime": timestamp(due)}  # an earlier look made it
        except ApiError as error:
            self._event(cron_job, "FailedCreate", f"Error creating job: {error.message}", warning=True)
            raise
        self._event(cron_job, "SuccessfulCreate", f"Created job {made['metadata']['name']}")
        meta = made["metadata"]
        active.append({"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "namespace": meta["namespace"],
                       "resourceVersion": meta["resourceVersion"], "uid": meta["uid"]})
        return {**status, "active": active, "lastScheduleTime": timestamp(due)}

    def _job(self, cron_job: Obj, due: datetime, zone: tzinfo) -> Obj:
        template = cron_job["spec"]["jobTemplate"]
        meta = template.get("metadata") or {}
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": f"{cron_job['metadata']['name']}-{int(due.timestamp()) // 60}",
                "labels": dict(meta.get("labels") or {}),
                "annotations": {**(meta.get("annotations") or {}),
                                SCHEDULED: due.astimezone(zone).isoformat().replace("+00:00", "Z")},
                "ownerReferences": [owner_reference(cron_job, *self.kind)],
            },
            "spec": template.get("spec") or {},
        }

    def _forget(self, cron_job: Obj, jobs: Sequence[Obj]) -> None:
        """Finished jobs beyond the limits of the history, the oldest first."""
        for how, field in (("Complete", "successfulJobsHistoryLimit"), ("Failed", "failedJobsHistoryLimit")):
            limit = cron_job["spec"].get(field)
            if limit is None:
                continue
            done = sorted((job for job in jobs if finished(job) == how),
                          key=lambda job: ((job.get("status") or {}).get("startTime") or "", job["metadata"]["name"]))
            for job in done[:max(0, len(done) - int(limit))]:
                self._delete(cron_job, job)

    def _delete(self, cron_job: Obj, job: Obj) -> None:
        try:
            self._api.delete(self._jobs, *key_of(job), uid=job["metadata"]["uid"], propagation="Background")
        except NotFound:
            return
        self._event(cron_job, "SuccessfulDelete", f"Deleted job {job['metadata']['name']}")

    def _event(self, cron_job: Obj, reason: str, message: str, *, warning: bool = False) -> None:
        self._events.event(cron_job, self.kind[1], self.kind[0], reason, message, warning=warning)
