"""Namespaces, service accounts, garbage, scheduling, jobs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from controller_lab import condition, controller_lab, deployment

from meshlab.cluster.controllers.placement import requests, unfit


def namespace(name: str):
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def config(name: str, owners=(), finalizers=()):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
        "name": name, "finalizers": list(finalizers),
        "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": o["metadata"]["name"],
                             "uid": o["metadata"]["uid"], "blockOwnerDeletion": True} for o in owners]}}


def test_every_namespace_has_its_account_and_gets_it_back(tmp_path: Path):
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            lab.create(namespace("blue"))
            await lab.until(lambda: lab.find("ServiceAccount", "default", "blue"))
            lab.delete("ServiceAccount", "default", "blue")
            await lab.until(lambda: lab.find("ServiceAccount", "default", "blue"))

    asyncio.run(story())


def test_a_namespace_goes_when_everything_in_it_is_gone(tmp_path: Path):
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            lab.create(namespace("blue"))
            lab.create(config("held", finalizers=["example.com/hold"]), "blue")
            lab.create(deployment(replicas=2), "blue")
            await lab.until(lambda: len(lab.pods("blue")) == 2)
            lab.delete("Namespace", "blue", None)
            await lab.until(lambda: condition(lab.get("Namespace", "blue", None), "NamespaceFinalizersRemaining")
                            == "True SomeFinalizersRemain")
            assert lab.get("Namespace", "blue", None)["status"]["phase"] == "Terminating"
            assert lab.all("Deployment", "blue") == [] == lab.all("Pod", "blue")
            lab.change("ConfigMap", "held", {"metadata": {"finalizers": None}}, "blue")
            await lab.until(lambda: lab.find("Namespace", "blue", None) is None)

    asyncio.run(story())


def test_dependents_go_after_their_last_owner(tmp_path: Path):
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            one, two = lab.create(config("one")), lab.create(config("two"))
            lab.create(config("both", [one, two]))
            await lab.quiet()
            lab.delete("ConfigMap", "one")
            await lab.until(lambda: [r["name"] for r in lab.get("ConfigMap", "both")["metadata"]["ownerReferences"]]
                            == ["two"])
            lab.delete("ConfigMap", "two")
            await lab.until(lambda: lab.find("ConfigMap", "both") is None)

    asyncio.run(story())


def test_what_names_an_owner_that_never_was_is_garbage(tmp_path: Path):
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            lab.create(config("lost", [{"metadata": {"name": "nobody", "uid": "0-0"}}]))
            await lab.until(lambda: lab.find("ConfigMap", "lost") is None)

    asyncio.run(story())


def test_a_foreground_deletion_waits_for_the_dependents(tmp_path: Path):
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            owner = lab.create(config("owner"))
            lab.create(config("child", [owner], finalizers=["example.com/hold"]))
            await lab.quiet()
            lab.delete("ConfigMap", "owner", propagation="Foreground")
            await lab.until(lambda: lab.get("ConfigMap", "child")["metadata"].get("deletionTimestamp"))
            await lab.quiet()
            assert lab.find("ConfigMap", "owner") is not None
            lab.change("ConfigMap", "child", {"metadata": {"finalizers": None}})
            await lab.until(lambda: lab.find("ConfigMap", "owner") is None and lab.find("ConfigMap", "child") is None)

    asyncio.run(story())


def test_an_orphaning_deletion_leaves_the_dependents(tmp_path: Path):
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            owner = lab.create(config("owner"))
            lab.create(config("child", [owner]))
            await lab.quiet()
            lab.delete("ConfigMap", "owner", propagation="Orphan")
            await lab.until(lambda: lab.find("ConfigMap", "owner") is None)
            await lab.quiet()
            assert not lab.get("ConfigMap", "child")["metadata"].get("ownerReferences")

    asyncio.run(story())


def test_garbage_of_a_kind_that_was_defined_later_is_found_too(tmp_path: Path):
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            lab.create({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                        "metadata": {"name": "things.example.com"},
                        "spec": {"group": "example.com", "scope": "Namespaced",
                                 "names": {"plural": "things", "singular": "thing", "kind": "Thing"},
                                 "versions": [{"name": "v1", "served": True, "storage": True, "schema": {
                                     "openAPIV3Schema": {"type": "object"}}}]}})
            await lab.quiet()
            owner = lab.create(config("owner"))
            things = lab.api.resource("example.com/v1", "Thing")
            lab.create({**config("child", [owner]), "apiVersion": "example.com/v1", "kind": "Thing"})
            await lab.quiet()
            lab.delete("ConfigMap", "owner")
            await lab.until(lambda: lab.api.find(things, "default", "child") is None)

    asyncio.run(story())


def pod(**spec):
    return {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}], **spec}}


def asking(cpu: str):
    return pod(containers=[{"name": "c", "resources": {"requests": {"cpu": cpu}}}])


@pytest.mark.parametrize(("wanted", "node", "others", "expected"), [
    (pod(), {}, [], ""),
    (pod(), {"unschedulable": True}, [], "node(s) were unschedulable"),
    (pod(nodeSelector={"disk": "ssd"}), {}, [], "node(s) didn't match Pod's node affinity/selector"),
    (pod(nodeSelector={"os": "linux"}), {}, [], ""),
    (pod(), {"taints": [{"key": "k", "effect": "NoSchedule"}]}, [], "node(s) had untolerated taint {k: }"),
    (pod(tolerations=[{"key": "k", "operator": "Exists"}]), {"taints": [{"key": "k", "effect": "NoSchedule"}]}, [], ""),
    (pod(), {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}, [], ""),
    (asking("2"), {}, [], ""),
    (asking("2100m"), {}, [], "Insufficient cpu"),
    (asking("500m"), {}, [asking("1"), asking("600m")], "Insufficient cpu"),
    (pod(), {}, [pod()] * 3, "Too many pods"),
])
def test_the_scheduler_says_why_a_pod_does_not_fit(wanted, node, others, expected):
    machine = {"metadata": {"labels": {"os": "linux"}}, "spec": node,
               "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "3"}}}
    assert unfit(wanted, machine, others) == expected


def test_init_containers_count_by_the_largest_of_them():
    wanted = asking("100m")
    wanted["spec"]["initContainers"] = [{"name": "i", "resources": {"requests": {"cpu": "1", "memory": "1Ki"}}}]
    assert requests(wanted) == {"cpu": 1.0, "memory": 1024.0}


def test_a_pod_waits_for_its_node_and_is_bound_when_there_is_room(tmp_path: Path):
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            lab.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "meshlab"},
                        "spec": {"unschedulable": True}, "status": {"allocatable": {"pods": "10"}}})
            lab.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
                        "spec": {"containers": [{"name": "c", "image": "x"}]}})
            await lab.until(lambda: condition(lab.get("Pod", "p"), "PodScheduled") == "False Unschedulable")
            lab.api.patch(lab.api.kinds("Node"), None, "meshlab", {"spec": {"unschedulable": None}}, "merge")
            await lab.until(lambda: lab.get("Pod", "p")["spec"].get("nodeName") == "meshlab")

    asyncio.run(story())


def job(**spec):
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "sum"},
            "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}},
                     **spec}}


def test_a_job_runs_until_enough_pods_have_succeeded(tmp_path: Path):
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            lab.create(job(completions=3, parallelism=2))
            done: set[str] = set()
            for expected in (2, 2, 1):
                active = await lab.until(
                    lambda: [p for p in lab.pods() if p["metadata"]["name"] not in done] or None)
                assert len(active) <= expected
                done.add(active[0]["metadata"]["name"])
                lab.set_status(active[0], phase="Succeeded", ready=False)
                await lab.quiet()
            await lab.until(lambda: condition(lab.get("Job", "sum"), "Complete") == "True CompletionsReached")
            assert lab.get("Job", "sum")["status"]["succeeded"] == 3
            await lab.quiet()
            assert len(lab.all("Pod")) == 3

    asyncio.run(story())


def test_a_job_gives_up_after_its_limit(tmp_path: Path):
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            lab.create(job(backoffLimit=0))
            [only] = await lab.until(lab.pods)
            lab.set_status(only, phase="Failed", ready=False)
            await lab.until(lambda: condition(lab.get("Job", "sum"), "Failed") == "True BackoffLimitExceeded")

    asyncio.run(story())
