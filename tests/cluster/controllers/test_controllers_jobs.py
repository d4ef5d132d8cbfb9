"""Jobs and CronJobs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from controller_lab import ControllerLab, Obj, condition, controller_lab

from meshlab.cluster.api.cron import Schedule, ScheduleError
from meshlab.cluster.controllers.cronjob import CronJobController, latest
from meshlab.cluster.controllers.job_rules import Weight, success, weigh

TEMPLATE = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}}


def job(**spec: Any) -> Obj:
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "sum"},
            "spec": {"template": TEMPLATE, **spec}}


def index(pod: Obj) -> str:
    return str(pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"])


def end(lab: ControllerLab, pod: Obj, code: int = 0) -> None:
    """The pod's only container has ended."""
    current = lab.get("Pod", pod["metadata"]["name"])
    terminated = {"exitCode": code, "finishedAt": "2026-01-01T00:00:00Z"}
    status = {**(current.get("status") or {}), "phase": "Failed" if code else "Succeeded", "containerStatuses": [
        {"name": "c", "image": "x", "imageID": "", "ready": False, "restartCount": 0,
         "state": {"terminated": terminated}}]}
    lab.api.update(lab.api.kinds("Pod"), "default", pod["metadata"]["name"], {**current, "status": status},
                   subresource="status")


def active(lab: ControllerLab) -> list[Obj]:
    return [pod for pod in lab.pods() if pod["status"].get("phase") == "Pending"]


def test_an_indexed_job_gives_each_pod_its_number_and_knows_which_have_succeeded(tmp_path: Path) -> None:
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            lab.create(job(completions=3, parallelism=2, completionMode="Indexed"))
            await lab.until(lambda: [index(pod) for pod in active(lab)] == ["0", "1"])
            pod = active(lab)[1]
            assert pod["spec"]["hostname"] == "sum-1"
            assert pod["spec"]["containers"][0]["env"][0]["name"] == "JOB_COMPLETION_INDEX"
            end(lab, pod)
            await lab.until(lambda: sorted(index(pod) for pod in active(lab)) == ["0", "2"])
            assert lab.get("Job", "sum")["status"]["completedIndexes"] == "1"
            for left in active(lab):
                end(lab, left)
            await lab.until(lambda: condition(lab.get("Job", "sum"), "Complete") == "True CompletionsReached")
            assert lab.get("Job", "sum")["status"]["completedIndexes"] == "0-2"

    asyncio.run(story())


def test_a_finished_pod_that_is_deleted_stays_counted(tmp_path: Path) -> None:
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            lab.create(job(completions=2))
            [pod] = await lab.until(lambda: active(lab))
            assert pod["metadata"]["finalizers"] == ["batch.kubernetes.io/job-tracking"]
            end(lab, pod)
            lab.delete("Pod", pod["metadata"]["name"])
            await lab.until(lambda: lab.find("Pod", pod["metadata"]["name"]) is None)
            assert lab.get("Job", "sum")["status"]["succeeded"] == 1
            await lab.until(lambda: len(active(lab)) == 1)

    asyncio.run(story())


def test_pods_of_a_job_that_is_gone_are_held_by_nobody(tmp_path: Path) -> None:
    async def story() -> None:
        async with controller_lab(tmp_path, node=True) as lab:
            lab.create(job(completions=2, parallelism=2))
            await lab.until(lambda: len(lab.pods()) == 2)
            lab.delete("Job", "sum", propagation="Background")
            await lab.until(lambda: not lab.all("Pod"))

    asyncio.run(story())


def test_a_suspended_job_has_no_pods_until_it_is_resumed(tmp_path: Path) -> None:
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            lab.create(job(suspend=True))
            await lab.until(lambda: condition(lab.get("Job", "sum"), "Suspended") == "True JobSuspended")
            assert not lab.pods()
            assert "startTime" not in lab.get("Job", "sum")["status"]
            lab.change("Job", "sum", {"spec": {"suspend": False}})
            await lab.until(lab.pods)
            assert condition(lab.get("Job", "sum"), "Suspended") == "False JobResumed"
            lab.change("Job", "sum", {"spec": {"suspend": True}})
            await lab.until(lambda: not lab.pods())

    asyncio.run(story())


def test_a_rule_for_an_exit_code_ends_the_job_at_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            rules = [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}]
            lab.create(job(podFailurePolicy={"rules": rules}))
            [pod] = await lab.until(lambda: active(lab))
            end(lab, pod, 42)
            await lab.until(lambda: condition(lab.get("Job", "sum"), "Failed") == "True PodFailurePolicy")

    asyncio.run(story())


def test_a_finished_job_goes_when_its_time_is_up(tmp_path: Path) -> None:
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            lab.create(job(ttlSecondsAfterFinished=0))
            [pod] = await lab.until(lambda: active(lab))
            end(lab, pod)
            await lab.until(lambda: lab.find("Job", "sum") is None and not lab.all("Pod"))

    asyncio.run(story())


FAILED = {"metadata": {"namespace": "n", "name": "p"}, "status": {
    "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 3}}}],
    "conditions": [{"type": "DisruptionTarget", "status": "True"}]}}


@pytest.mark.parametrize(("rule", "expected"), [
    ({"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [3]}}, Weight.FAIL_INDEX),
    ({"action": "Ignore", "onExitCodes": {"operator": "NotIn", "values": [3]}}, Weight.COUNT),
    ({"action": "Ignore", "onExitCodes": {"containerName": "d", "operator": "In", "values": [3]}}, Weight.COUNT),
    ({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}, Weight.IGNORE),
])
def test_the_first_matching_rule_weighs_a_failure(rule: Obj, expected: Weight) -> None:
    assert weigh({"rules": [rule]}, FAILED)[0] is expected


@pytest.mark.parametrize(("rule", "done", "enough"), [
    ({"succeededIndexes": "0-1"}, {0}, False),
    ({"succeededIndexes": "0-1"}, {0, 1, 4}, True),
    ({"succeededCount": 2}, {3, 4}, True),
    ({"succeededIndexes": "0-3", "succeededCount": 2}, {3, 7}, False),
])
def test_a_success_policy_is_content_with_some(rule: Obj, done: set[int], enough: bool) -> None:
    assert (success({"rules": [rule]}, done) is not None) is enough


NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(("schedule", "zone", "expected"), [
    ("*/5 * * * *", "UTC", "2026-03-01T12:05:00"),
    ("30 4 * * *", "UTC", "2026-03-02T04:30:00"),
    ("0 9 * * 1-5", "UTC", "2026-03-02T09:00:00"),
    ("0 0 1,15 * *", "UTC", "2026-03-15T00:00:00"),
    ("0 0 13 * fri", "UTC", "2026-03-06T00:00:00"),  # the 13th, or a Friday
    ("0 0 29 2 *", "UTC", "2028-02-29T00:00:00"),
    ("0 22 * * *", "Asia/Shanghai", "2026-03-01T14:00:00"),
    ("@hourly", "UTC", "2026-03-01T13:00:00"),
    ("@every 90s", "UTC", "2026-03-01T12:01:30"),
    ("30 2 29 3 *", "Europe/Berlin", "2027-03-29T00:30:00"),  # in 2026 that hour is skipped
])
def test_a_schedule_knows_when_it_is_due_next(schedule: str, zone: str, expected: str) -> None:
    found = Schedule.parse(schedule).next(NOON, ZoneInfo(zone))
    assert found is not None
    assert found.strftime("%Y-%m-%dT%H:%M:%S") == expected


@pytest.mark.parametrize(("schedule", "words"), [
    ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
    ("60 * * * *", "end of range (60) above maximum (59): 60"),
    ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
    ("5-2 * * * *", "beginning of range (5) beyond end of range (2): 5-2"),
    ("*/0 * * * *", "step of range should be a positive number: */0"),
    ("a * * * *", 'failed to parse int from a: strconv.Atoi: parsing "a": invalid syntax'),
    ("@never", "unrecognized descriptor: @never"),
])
def test_what_is_no_schedule_is_refused_in_a_real_servers_words(schedule: str, words: str) -> None:
    with pytest.raises(ScheduleError) as refused:
        Schedule.parse(schedule)
    assert str(refused.value) == words


@pytest.mark.parametrize(("minutes", "expected"), [(0, (None, 0)), (7, (5, 1)), (12, (10, 2)), (60 * 24, (1440, 101))])
def test_missed_starts_are_counted_and_only_the_last_is_made_up_for(minutes: int, expected: tuple[Any, int]) -> None:
    due, count = latest(Schedule.parse("*/5 * * * *"), NOON, NOON + timedelta(minutes=minutes), ZoneInfo("UTC"))
    assert (None if due is None else int((due - NOON).total_seconds() // 60), count) == expected


def cron_job(**spec: Any) -> Obj:
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "tick"},
            "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": TEMPLATE}}, **spec}}


class Clock:
    """Minutes after a CronJob's birth."""

    def __init__(self, lab: ControllerLab) -> None:
        self.lab, self.minutes = lab, 0

    def __call__(self) -> datetime:
        born = datetime.fromisoformat(self.lab.get("CronJob", "tick")["metadata"]["creationTimestamp"])
        return born + timedelta(minutes=self.minutes)


def jobs(lab: ControllerLab) -> list[str]:
    return [found["metadata"]["name"] for found in lab.all("Job")]


@pytest.mark.parametrize(("policy", "after", "active_jobs"), [("Allow", 3, 3), ("Forbid", 1, 1), ("Replace", 1, 1)])
def test_what_becomes_of_a_job_that_still_runs_is_the_policys_choice(
    tmp_path: Path, policy: str, after: int, active_jobs: int
) -> None:
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            lab.create(cron_job(concurrencyPolicy=policy))
            clock = Clock(lab)
            controller = CronJobController(lab.api, clock)
            names = set()
            for clock.minutes in (1, 2, 3):
                controller.reconcile(("default", "tick"))
                await lab.quiet()
                names |= set(jobs(lab))
            assert (len(jobs(lab)), len(names)) == (after, 1 if policy == "Forbid" else 3)
            status = lab.get("CronJob", "tick")["status"]
            assert len(status["active"]) == active_jobs
            if policy == "Forbid":
                assert any(e["reason"] == "JobAlreadyActive" for e in lab.all("Event"))

    asyncio.run(story())


def test_old_jobs_are_forgotten_and_suspended_or_late_ones_not_begun(tmp_path: Path) -> None:
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            lab.create(cron_job(successfulJobsHistoryLimit=1))
            clock = Clock(lab)
            controller = CronJobController(lab.api, clock)
            for clock.minutes in (1, 2):
                controller.reconcile(("default", "tick"))
                [pod] = await lab.until(lambda: active(lab))
                end(lab, pod)
                await lab.until(lambda: all(condition(found, "Complete") for found in lab.all("Job")))
            controller.reconcile(("default", "tick"))
            await lab.until(lambda: len(jobs(lab)) == 1)
            assert lab.get("CronJob", "tick")["status"]["lastSuccessfulTime"]
            lab.change("CronJob", "tick", {"spec": {"suspend": True}})
            clock.minutes = 5
            assert controller.reconcile(("default", "tick")) is None
            lab.change("CronJob", "tick", {"spec": {"suspend": False, "startingDeadlineSeconds": 10,
                                                    "schedule": "0 0 1 1 *"}})
            controller.reconcile(("default", "tick"))
            await lab.quiet()
            assert len(jobs(lab)) == 1

    asyncio.run(story())
