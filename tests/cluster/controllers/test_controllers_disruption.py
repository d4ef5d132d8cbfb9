"""Disruption budgets, evictions, cordons and taints."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from controller_lab import NODE, ControllerLab, Obj, controller_lab, deployment

from meshlab.cluster.api.eviction import evict
from meshlab.cluster.api.status import TooManyRequests
from meshlab.cluster.controllers.disruption import healthy_wanted
from meshlab.cluster.controllers.nodes import patience
from meshlab.cluster.controllers.placement import chooses, unfit


@pytest.mark.parametrize(("spec", "expected", "healthy"), [
    ({"minAvailable": 2}, 5, 2),
    ({"minAvailable": "50%"}, 5, 3),
    ({"maxUnavailable": 1}, 5, 4),
    ({"maxUnavailable": "30%"}, 5, 3),
    ({"maxUnavailable": 9}, 5, 0),
])
def test_a_budget_says_how_many_have_to_stay(spec: Obj, expected: int, healthy: int) -> None:
    assert healthy_wanted(spec, expected) == healthy


def budget(**spec: Any) -> Obj:
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}, **spec}}


def status(lab: ControllerLab) -> dict[str, Any]:
    return lab.get("PodDisruptionBudget", "web").get("status") or {}


def test_evictions_are_allowed_until_the_budget_is_spent_and_again_when_pods_are_back(tmp_path: Path) -> None:
    async def story() -> None:
        async with controller_lab(tmp_path, node=True) as lab:
            lab.create(deployment(replicas=3))
            lab.create(budget(maxUnavailable=1))
            await lab.until(lambda: status(lab).get("disruptionsAllowed") == 1)
            assert (status(lab)["desiredHealthy"], status(lab)["expectedPods"]) == (2, 3)
            first, second, _ = [pod["metadata"]["name"] for pod in lab.pods()]
            evict(lab.api, "default", first, {}, True)
            assert status(lab)["disruptionsAllowed"] == 1
            evict(lab.api, "default", first, {}, False)
            with pytest.raises(TooManyRequests) as refused:
                evict(lab.api, "default", second, {}, False)
            assert refused.value.status()["message"] == (
                "Cannot evict pod as it would violate the pod's disruption budget.")
            [cause] = refused.value.status()["details"]["causes"]
            assert cause == {"reason": "DisruptionBudget",
                             "message": "The disruption budget web needs 2 healthy pods and has 3 currently"}
            await lab.until(lambda: status(lab).get("disruptionsAllowed") == 1 and first not in [
                pod["metadata"]["name"] for pod in lab.pods()])
            evict(lab.api, "default", second, {}, False)

    asyncio.run(story())


def test_a_pod_that_serves_nobody_may_be_evicted(tmp_path: Path) -> None:
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            lab.create(deployment(replicas=2))
            lab.create(budget(minAvailable=1))
            one, two = await lab.until(lambda: len(lab.pods()) == 2 and lab.pods())
            lab.set_status(one)
            lab.set_status(two, ready=False)
            await lab.until(lambda: status(lab).get("currentHealthy") == 1)
            evict(lab.api, "default", two["metadata"]["name"], {}, False)
            with pytest.raises(TooManyRequests):
                evict(lab.api, "default", one["metadata"]["name"], {}, False)

    asyncio.run(story())


def test_a_cordon_is_a_taint_and_goes_with_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            lab.create(NODE)
            lab.change("Node", "meshlab", {"spec": {"unschedulable": True}}, None)
            await lab.until(lambda: [t["key"] for t in lab.get("Node", "meshlab", None)["spec"].get("taints", [])]
                            == ["node.kubernetes.io/unschedulable"])
            lab.change("Node", "meshlab", {"spec": {"unschedulable": None}}, None)
            await lab.until(lambda: "taints" not in (lab.get("Node", "meshlab", None).get("spec") or {}))

    asyncio.run(story())


TAINT = {"key": "out", "effect": "NoExecute"}


@pytest.mark.parametrize(("tolerations", "seconds"), [
    ([], 0.0),
    ([{"key": "out", "operator": "Exists"}], None),
    ([{"key": "out", "operator": "Exists", "tolerationSeconds": 30}], 30.0),
    ([{"key": "other", "operator": "Exists"}], 0.0),
])
def test_a_pod_leaves_a_tainted_node_as_soon_as_it_tolerates(tolerations: list[Obj], seconds: float | None) -> None:
    assert patience({"spec": {"tolerations": tolerations}}, [TAINT]) == seconds


def test_a_taint_that_executes_ends_who_does_not_tolerate_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with controller_lab(tmp_path, node=True) as lab:
            lab.create(NODE)
            for name, tolerations in (("stays", [{"operator": "Exists"}]), ("goes", [])):
                lab.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
                    "tolerations": tolerations, "containers": [{"name": "c", "image": "x"}]}})
            await lab.until(lambda: all(pod["spec"].get("nodeName") for pod in lab.pods()))
            lab.change("Node", "meshlab", {"spec": {"taints": [TAINT]}}, None)
            await lab.until(lambda: [pod["metadata"]["name"] for pod in lab.pods()] == ["stays"])

    asyncio.run(story())


@pytest.mark.parametrize(("term", "chosen"), [
    ({"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd", "nvme"]}]}, True),
    ({"matchExpressions": [{"key": "disk", "operator": "NotIn", "values": ["ssd"]}]}, False),
    ({"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["4"]}]}, True),
    ({"matchExpressions": [{"key": "gpu", "operator": "DoesNotExist"}]}, True),
    ({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]}, False),
    ({}, False),
])
def test_a_required_node_affinity_takes_nodes_by_labels_and_name(term: Obj, chosen: bool) -> None:
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    machine = {"metadata": {"name": "a", "labels": {"disk": "ssd", "cores": "8"}}}
    assert chooses({"affinity": {"nodeAffinity": required}}, machine) is chosen


@pytest.mark.parametrize(("kind", "others", "expected"), [
    ("podAntiAffinity", ["web"], "node(s) didn't match pod anti-affinity rules"),
    ("podAntiAffinity", ["db"], ""),
    ("podAffinity", ["web"], ""),
    ("podAffinity", ["db"], ""),  # the first of its group
])
def test_pods_that_avoid_each_other_do_not_share_the_only_node(kind: str, others: list[str], expected: str) -> None:
    def pod(app: str, affinity: Obj | None = None) -> Obj:
        return {"metadata": {"namespace": "n", "labels": {"app": app}},
                "spec": {"containers": [], "affinity": affinity or {}}}

    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}}}
    wanted = pod("web", {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}})
    machine = {"metadata": {"name": "a", "labels": {"kubernetes.io/hostname": "a"}}}
    assert unfit(wanted, machine, [pod(app) for app in others]) == expected
