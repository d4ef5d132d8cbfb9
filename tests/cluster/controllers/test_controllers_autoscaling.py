"""Autoscalers: the arithmetic, the pace, and one that acts."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from controller_lab import ControllerLab, Obj, condition, controller_lab, deployment

from meshlab.cluster.api.status import NotFound
from meshlab.cluster.api.streams import Sample
from meshlab.cluster.controllers.autoscaling import HorizontalController
from meshlab.cluster.controllers.autoscaling.pace import Pace
from meshlab.cluster.controllers.autoscaling.ratios import (
    Groups,
    NoMetric,
    Tolerance,
    grouped,
    needed,
    of_total,
    shared,
)

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


@pytest.mark.parametrize(("amounts", "unready", "missing", "current", "expected"), [
    ([100, 100, 100], 0, 0, 3, 3),
    ([109, 109, 109], 0, 0, 3, 3),  # within the tolerance
    ([111, 111, 111], 0, 0, 3, 4),
    ([300, 300, 300], 0, 0, 3, 9),
    ([10, 10, 10], 0, 0, 3, 1),
    ([300], 1, 0, 2, 3),  # one that is not ready yet counts as if it used nothing
    ([30, 30], 0, 1, 3, 2),  # a pod without an amount as if it used its target: (30+30+100)/3
    ([150, 150], 0, 1, 3, 3),  # and as if it used nothing where more would be started
    ([90, 10], 2, 0, 4, 1),  # unready pods say nothing where there are too many
])
def test_replicas_follow_the_ratio_and_what_is_unknown_speaks_against_a_change(
    amounts: list[int], unready: int, missing: int, current: int, expected: int
) -> None:
    known = dict(zip(names("r", len(amounts)), amounts, strict=True))
    groups = Groups(frozenset(known), frozenset(names("u", unready)), frozenset(names("m", missing)), frozenset())
    found = shared(lambda some: sum(some.values()) / (100 * len(some)), known, groups, current, Tolerance(),
                   lambda _: 100)
    assert found == expected


def test_nothing_follows_from_no_metric() -> None:
    nobody: frozenset[str] = frozenset()
    with pytest.raises(NoMetric):
        shared(lambda some: 1.0, {}, Groups(nobody, nobody, nobody, nobody), 1, Tolerance(), lambda _: 0)


@pytest.mark.parametrize(("value", "target", "current", "expected"), [
    (1000, 100, 10, 10), (1090, 100, 10, 10), (1200, 100, 10, 12), (50, 100, 3, 1), (0, 100, 3, 0),
])
def test_an_amount_for_all_is_shared_out(value: int, target: int, current: int, expected: int) -> None:
    assert needed(value, target, current, Tolerance()) == expected


@pytest.mark.parametrize(("value", "ready", "expected"), [(200, 3, 6), (105, 3, 3), (40, 3, 2)])
def test_an_amount_that_each_has_scales_those_that_are_ready(value: int, ready: int, expected: int) -> None:
    assert of_total(value, 100, 3, ready, Tolerance()) == expected


def pod(name: str, *, phase: str = "Running", ready: bool = True, started: int = 600, since: int = 600,
        **meta: Any) -> Obj:
    def ago(seconds: int) -> str:
        return (NOW - timedelta(seconds=seconds)).isoformat()

    return {"metadata": {"name": name, **meta}, "status": {"phase": phase, "startTime": ago(started), "conditions": [
        {"type": "Ready", "status": str(ready), "lastTransitionTime": ago(since)}]}}


def test_pods_are_sorted_by_what_their_cpu_says() -> None:
    pods = [
        pod("steady"), pod("pending", phase="Pending"), pod("failed", phase="Failed"), pod("unmeasured"),
        pod("going", deletionTimestamp="2026-01-01T12:00:00Z"),
        pod("warming", started=20, since=5),  # measured over a time in which it was not ready
        pod("warm", started=40, since=30), pod("late", ready=False, started=700, since=690),
        pod("sick", ready=False, started=700, since=60),
    ]
    measured = {p["metadata"]["name"]: (NOW, 15.0) for p in pods if p["metadata"]["name"] != "unmeasured"}
    found = grouped(pods, measured, cpu=True, now=NOW)
    assert found == Groups(frozenset({"steady", "warm", "sick"}), frozenset({"pending", "warming", "late"}),
                           frozenset({"unmeasured"}), frozenset({"failed", "going"}))


def steps(spec: Obj, *asked: tuple[float, int], start: int) -> list[tuple[int, str, str]]:
    """(replicas, AbleToScale, ScalingLimited) after each (time, recommendation), each carried out."""
    pace, current, found = Pace(), start, []
    for at, wanted in asked:
        step = pace.step({"minReplicas": 1, "maxReplicas": 20, **spec}, current, wanted, at)
        pace.note(step.replicas - current, at)
        current = step.replicas
        found.append((current, step.able[0], step.limited[0]))
    return found


R, WITHIN = "ReadyForNewScale", "DesiredWithinRange"


def test_without_a_behaviour_it_doubles_up_and_waits_five_minutes_before_it_goes_down() -> None:
    assert steps({}, (0, 15), (15, 15), (30, 2), (320, 2), start=3) == [
        (6, R, "ScaleUpLimit"), (12, R, "ScaleUpLimit"), (15, "ScaleDownStabilized", WITHIN), (2, R, WITHIN)]


@pytest.mark.parametrize(("behavior", "asked", "expected"), [
    ({"scaleUp": {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]}},
     [(0, 10), (15, 10), (60, 10)], [(5, R, "ScaleUpLimit"), (5, R, "ScaleUpLimit"), (7, R, "ScaleUpLimit")]),
    ({"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60},
                               {"type": "Percent", "value": 100, "periodSeconds": 60}], "selectPolicy": "Min"}},
     [(0, 10)], [(4, R, "ScaleUpLimit")]),
    ({"scaleUp": {"selectPolicy": "Disabled"}}, [(0, 10)], [(3, R, "ScaleUpLimit")]),
    ({"scaleUp": {"stabilizationWindowSeconds": 60}}, [(0, 10), (61, 10)],
     [(3, "ScaleUpStabilized", WITHIN), (7, R, "ScaleUpLimit")]),
    ({"scaleDown": {"stabilizationWindowSeconds": 0,
                    "policies": [{"type": "Percent", "value": 50, "periodSeconds": 60}]}},
     [(0, 1), (15, 1), (60, 1)], [(1, R, WITHIN), (1, R, WITHIN), (1, R, WITHIN)]),
    ({"scaleDown": {"stabilizationWindowSeconds": 0,
                    "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}},
     [(0, 1), (15, 1), (60, 1)], [(2, R, "ScaleDownLimit"), (2, R, "ScaleDownLimit"), (1, R, WITHIN)]),
])
def test_a_behaviour_sets_the_pace(behavior: Obj, asked: list[tuple[float, int]], expected: list[Any]) -> None:
    assert steps({"behavior": behavior}, *asked, start=3) == expected


def test_the_bounds_are_kept() -> None:
    assert steps({"minReplicas": 2, "maxReplicas": 4}, (0, 9), (400, 1), (800, 1), start=3) == [
        (4, R, "TooManyReplicas"), (2, R, "TooFewReplicas"), (2, R, "TooFewReplicas")]


class Load:
    """Every pod uses the same."""

    def __init__(self, lab: ControllerLab) -> None:
        self.lab, self.cores = lab, 0.0

    def pods(self) -> dict[str, dict[str, Sample]]:
        return {p["metadata"]["uid"]: {"c": Sample(datetime.now(UTC), 15.0, self.cores, 2**20)}
                for p in self.lab.pods()}

    def node(self) -> Sample:
        return Sample(datetime.now(UTC), 15.0, 0.0, 0)


def autoscaler(*metrics: Obj, **spec: Any) -> Obj:
    return {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
            "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                     "maxReplicas": 5, "metrics": list(metrics), **spec}}


CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
RATE = {"type": "Pods", "pods": {"metric": {"name": "requests_per_second"},
                                 "target": {"type": "AverageValue", "averageValue": "10"}}}


def web(requests: Obj | None) -> Obj:
    found = deployment(replicas=2)
    found["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": requests or {}}
    return found


def test_an_autoscaler_follows_the_load_and_says_what_it_does(tmp_path: Path) -> None:
    async def story() -> None:
        async with controller_lab(tmp_path, node=True) as lab:
            load = Load(lab)
            controller = HorizontalController(lab.api, load, None)
            lab.create(web({"cpu": "100m"}))
            await lab.until(lambda: lab.get("Deployment", "web").get("status", {}).get("readyReplicas") == 2)
            for ready in lab.pods():
                # It has been running for long enough that its CPU counts.
                status = {**ready["status"], "startTime": "2026-01-01T00:00:00Z"}
                lab.api.update(lab.api.kinds("Pod"), "default", ready["metadata"]["name"], {**ready, "status": status},
                               subresource="status")
            lab.create(autoscaler(CPU, behavior={"scaleDown": {"stabilizationWindowSeconds": 0}}))
            load.cores = 0.1
            await controller.look(("default", "web"))
            assert lab.get("Deployment", "web")["spec"]["replicas"] == 4
            status = lab.get("HorizontalPodAutoscaler", "web")["status"]
            assert status["currentMetrics"][0]["resource"]["current"] == {
                "averageUtilization": 100, "averageValue": "100m"}
            assert (status["currentReplicas"], status["desiredReplicas"]) == (2, 4)
            assert any(e["message"] == "New size: 4; reason: cpu resource utilization (percentage of request) "
                       "above target" for e in lab.all("Event"))
            assert condition(lab.get("HorizontalPodAutoscaler", "web"), "AbleToScale") == "True SucceededRescale"
            load.cores = 0.0
            await controller.look(("default", "web"))
            assert lab.get("Deployment", "web")["spec"]["replicas"] == 1

    asyncio.run(story())


@pytest.mark.parametrize(("metric", "requests", "reason", "words"), [
    (CPU, None, "FailedGetResourceMetric",
     "failed to get cpu utilization: missing request for cpu in container c of Pod web-"),
    (RATE, {"cpu": "1"}, "FailedGetPodsMetric", "unable to get metric requests_per_second: unable to fetch metrics "
     "from custom metrics API: no server of such metrics"),
])
def test_an_autoscaler_without_its_metric_says_so_and_leaves_everything_alone(
    tmp_path: Path, metric: Obj, requests: Obj | None, reason: str, words: str
) -> None:
    async def story() -> None:
        async with controller_lab(tmp_path, node=True) as lab:
            lab.create(web(requests))
            await lab.until(lambda: len(lab.pods()) == 2)
            lab.create(autoscaler(metric))
            await HorizontalController(lab.api, Load(lab), None).look(("default", "web"))
            found = lab.get("HorizontalPodAutoscaler", "web")
            assert condition(found, "ScalingActive") == f"False {reason}"
            assert words in found["status"]["conditions"][1]["message"]
            assert lab.get("Deployment", "web")["spec"]["replicas"] == 2

    asyncio.run(story())


def test_requests_per_second_are_asked_of_the_custom_metrics_api(tmp_path: Path) -> None:
    asked: list[str] = []

    async def story() -> None:
        async with controller_lab(tmp_path, node=True) as lab:
            async def fetch(path: str) -> Obj:
                asked.append(path)
                if "external" in path:
                    raise NotFound.path()
                return {"items": [{"describedObject": {"kind": "Pod", "name": p["metadata"]["name"]}, "value": "20"}
                                  for p in lab.pods()]}

            lab.create(web(None))
            await lab.until(lambda: lab.get("Deployment", "web").get("status", {}).get("readyReplicas") == 2)
            lab.create(autoscaler(RATE))
            await HorizontalController(lab.api, None, fetch).look(("default", "web"))
            assert lab.get("Deployment", "web")["spec"]["replicas"] == 4
            assert asked[-1] == ("/apis/custom.metrics.k8s.io/v1beta2/namespaces/default/pods/*/requests_per_second"
                                 "?labelSelector=app%3Dweb")

    asyncio.run(story())


@pytest.mark.parametrize(("replicas", "bounds", "expected"), [
    (0, {}, 0), (8, {}, 5), (1, {"minReplicas": 3}, 3),
])
def test_bounds_need_no_metric_and_a_target_of_zero_is_switched_off(
    tmp_path: Path, replicas: int, bounds: Obj, expected: int
) -> None:
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            lab.create({**deployment(), "spec": {**deployment()["spec"], "replicas": replicas}})
            lab.create(autoscaler(CPU, **bounds))
            await HorizontalController(lab.api, None, None).look(("default", "web"))
            assert lab.get("Deployment", "web")["spec"]["replicas"] == expected

    asyncio.run(story())
