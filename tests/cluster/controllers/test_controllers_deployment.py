"""Deployments on a real API."""

from __future__ import annotations

import asyncio
from pathlib import Path

from controller_lab import NODE, condition, controller_lab, deployment


def complete(lab, name: str = "web"):
    """What `kubectl rollout status` waits for."""
    found = lab.get("Deployment", name)
    status, wanted = found.get("status") or {}, found["spec"]["replicas"]
    return (status.get("observedGeneration") == found["metadata"]["generation"]
            and status.get("updatedReplicas", 0) == status.get("replicas", 0) == wanted
            and status.get("availableReplicas", 0) == wanted)


def test_a_deployment_becomes_pods_that_can_be_told_apart(tmp_path: Path):
    async def story() -> None:
        async with controller_lab(tmp_path, node=True) as lab:
            lab.create(deployment(replicas=3))
            await lab.until(lambda: complete(lab))
            [rs] = lab.all("ReplicaSet")
            assert len(lab.pods()) == 3
            digest = rs["metadata"]["labels"]["pod-template-hash"]
            assert rs["metadata"]["name"] == f"web-{digest}"
            assert all(p["metadata"]["labels"] == {"app": "web", "pod-template-hash": digest} for p in lab.pods())
            assert lab.get("Deployment", "web")["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
            found = lab.get("Deployment", "web")
            assert condition(found, "Available") == "True MinimumReplicasAvailable"
            assert condition(found, "Progressing") == "True NewReplicaSetAvailable"
            assert f"Scaled up replica set {rs['metadata']['name']} from 0 to 3" in [
                e["message"] for e in lab.all("Event")]

    asyncio.run(story())


def test_once_all_is_as_wanted_nothing_is_written(tmp_path: Path):
    async def story() -> None:
        async with controller_lab(tmp_path, node=True) as lab:
            lab.create(deployment())
            lab.create({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
                        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}})
            await lab.until(lambda: complete(lab))
            revision = await lab.quiet()
            assert await lab.quiet() == revision

    asyncio.run(story())


def test_an_update_keeps_enough_pods_ready_and_ends_with_new_ones_only(tmp_path: Path):
    async def story() -> None:
        async with controller_lab(tmp_path, node=True) as lab:
            lab.create(deployment(replicas=4, strategy={"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}))
            await lab.until(lambda: complete(lab))
            seen: list[tuple[int, int]] = []

            def look() -> bool:
                pods = lab.pods()
                ready = sum(1 for p in pods if any(c["type"] == "Ready" and c["status"] == "True"
                                                   for c in p["status"].get("conditions") or []))
                seen.append((len(pods), ready))
                return complete(lab)

            lab.change("Deployment", "web", {"spec": {"template": {"metadata": {"annotations": {"restarted": "1"}}}}})
            await lab.until(look)
            assert max(total for total, _ in seen) <= 5
            assert min(ready for _, ready in seen) >= 4
            sizes = {rs["metadata"]["annotations"]["deployment.kubernetes.io/revision"]: rs["spec"]["replicas"]
                     for rs in lab.all("ReplicaSet")}
            assert sizes == {"1": 0, "2": 4}

    asyncio.run(story())


def test_going_back_revives_the_old_set_under_a_new_number(tmp_path: Path):
    async def story() -> None:
        async with controller_lab(tmp_path, node=True) as lab:
            lab.create(deployment(replicas=1, image="python:1"))
            await lab.until(lambda: complete(lab))
            first = lab.all("ReplicaSet")[0]["metadata"]["name"]
            for image in ("python:2", "python:1"):
                lab.api.patch(lab.api.kinds("Deployment"), "default", "web", {"spec": {"template": {"spec": {
                    "containers": [{"name": "c", "image": image}]}}}}, "strategic")
                await lab.until(lambda: complete(lab))
            [current] = [rs for rs in lab.all("ReplicaSet") if rs["spec"]["replicas"]]
            assert current["metadata"]["name"] == first
            assert len(lab.all("ReplicaSet")) == 2
            notes = current["metadata"]["annotations"]
            assert notes["deployment.kubernetes.io/revision"] == "3"
            assert notes["deployment.kubernetes.io/revision-history"] == "1"

    asyncio.run(story())


def test_recreate_waits_until_the_last_old_pod_is_gone(tmp_path: Path):
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            lab.create(NODE)  # a pod without one is deleted at once
            lab.create(deployment(replicas=1, strategy={"type": "Recreate"}))
            [old] = await lab.until(lambda: [p for p in lab.pods() if p["spec"].get("nodeName")])
            lab.set_status(old)
            lab.change("Deployment", "web", {"spec": {"template": {"metadata": {"annotations": {"v": "2"}}}}})
            await lab.until(lambda: lab.get("Pod", old["metadata"]["name"])["metadata"].get("deletionTimestamp"))
            await lab.quiet()
            assert lab.pods() == []
            lab.end(old)
            [new] = await lab.until(lab.pods)
            assert new["metadata"]["annotations"] == {"v": "2"}

    asyncio.run(story())


def test_a_paused_deployment_scales_but_does_not_roll(tmp_path: Path):
    async def story() -> None:
        async with controller_lab(tmp_path, node=True) as lab:
            lab.create(deployment(replicas=1))
            await lab.until(lambda: complete(lab))
            lab.change("Deployment", "web", {"spec": {"paused": True, "replicas": 3, "template": {
                "metadata": {"annotations": {"v": "2"}}}}})
            await lab.until(lambda: len(lab.pods()) == 3)
            assert len(lab.all("ReplicaSet")) == 1
            await lab.until(lambda: condition(lab.get("Deployment", "web"), "Progressing")
                            == "Unknown DeploymentPaused")
            lab.change("Deployment", "web", {"spec": {"paused": False}})
            await lab.until(lambda: complete(lab))
            assert len(lab.all("ReplicaSet")) == 2

    asyncio.run(story())


def test_a_rollout_that_does_not_move_is_said_to_have_timed_out(tmp_path: Path):
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            lab.create(deployment(replicas=1, progressDeadlineSeconds=1))
            await lab.until(lambda: condition(lab.get("Deployment", "web"), "Progressing")
                            == "False ProgressDeadlineExceeded")

    asyncio.run(story())


def test_old_revisions_beyond_the_limit_are_forgotten(tmp_path: Path):
    async def story() -> None:
        async with controller_lab(tmp_path, node=True) as lab:
            lab.create(deployment(replicas=1, revisionHistoryLimit=1))
            for number in range(4):
                lab.change("Deployment", "web", {"spec": {"template": {"metadata": {
                    "annotations": {"v": str(number)}}}}})
                await lab.until(lambda: complete(lab))
            await lab.until(lambda: len(lab.all("ReplicaSet")) == 2)

    asyncio.run(story())


def test_the_old_api_version_makes_the_same_pods(tmp_path: Path):
    async def story() -> None:
        async with controller_lab(tmp_path, node=True) as lab:
            lab.create({"apiVersion": "extensions/v1beta1", "kind": "Deployment", "metadata": {"name": "svca"},
                        "spec": {"template": {"metadata": {"labels": {"app": "svca", "version": "v0.1"}},
                                              "spec": {"containers": [{"name": "svca", "image": "x"}]}}}})
            await lab.until(lambda: complete(lab, "svca"))
            [pod] = lab.pods(selector="app=svca,version=v0.1")
            assert pod["metadata"]["name"].startswith("svca-")

    asyncio.run(story())


def test_deleting_a_deployment_takes_its_sets_and_pods_with_it(tmp_path: Path):
    async def story() -> None:
        async with controller_lab(tmp_path, node=True) as lab:
            lab.create(deployment(replicas=2))
            await lab.until(lambda: complete(lab))
            lab.delete("Deployment", "web", propagation="Background")
            await lab.until(lambda: not lab.all("ReplicaSet") and not lab.all("Pod"))

    asyncio.run(story())


def test_a_pod_that_is_deleted_is_replaced(tmp_path: Path):
    async def story() -> None:
        async with controller_lab(tmp_path, node=True) as lab:
            lab.create(deployment(replicas=2))
            await lab.until(lambda: complete(lab))
            victim = lab.pods()[0]["metadata"]["name"]
            lab.delete("Pod", victim)
            await lab.until(lambda: victim not in [p["metadata"]["name"] for p in lab.pods()] and complete(lab))

    asyncio.run(story())


def test_a_set_adopts_a_matching_orphan_and_releases_what_no_longer_matches(tmp_path: Path):
    async def story() -> None:
        async with controller_lab(tmp_path, node=True) as lab:
            lab.create(deployment(replicas=1))
            await lab.until(lambda: complete(lab))
            [pod] = lab.pods()
            lab.change("Pod", pod["metadata"]["name"], {"metadata": {"labels": {"app": "other"}}})
            await lab.until(lambda: len(lab.pods(selector="app=web")) == 1)
            released = lab.get("Pod", pod["metadata"]["name"])
            assert not released["metadata"].get("ownerReferences")
            # Back again: one too many, and the newest goes.
            lab.change("Pod", pod["metadata"]["name"], {"metadata": {"labels": {"app": "web"}}})
            await lab.until(lambda: len(lab.pods()) == 1 and complete(lab))

    asyncio.run(story())
