"""StatefulSets, DaemonSets and ReplicationControllers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from controller_lab import NODE, ControllerLab, Obj, controller_lab

from meshlab.cluster.controllers.history import restored
from meshlab.cluster.controllers.stateful_pods import claims, stateful_pod


def stateful_set(name: str = "db", replicas: int = 3, image: str = "x:1", **spec: Any) -> Obj:
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name},
            "spec": {"serviceName": name, "replicas": replicas, "selector": {"matchLabels": {"app": name}},
                     "template": template(name, image), **spec}}


def template(name: str, image: str) -> Obj:
    return {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": image}]}}


def image(name: str) -> Obj:
    return {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": name}]}}}}


def names(lab: ControllerLab) -> list[str]:
    return [pod["metadata"]["name"] for pod in lab.pods()]


def images(lab: ControllerLab) -> dict[str, str]:
    return {pod["metadata"]["name"]: pod["spec"]["containers"][0]["image"] for pod in lab.pods()}


def test_pods_are_made_one_after_the_other_and_each_waits_for_the_one_before(tmp_path: Path) -> None:
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            lab.create(stateful_set())
            for number in range(3):
                await lab.quiet()
                assert names(lab) == [f"db-{n}" for n in range(number + 1)]
                lab.set_status(lab.get("Pod", f"db-{number}"))
            await lab.until(lambda: lab.get("StatefulSet", "db")["status"].get("readyReplicas") == 3)
            pod = lab.get("Pod", "db-2")
            assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("db-2", "db")
            assert pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == "2"

    asyncio.run(story())


def test_parallel_pods_are_made_at_once_and_ordinals_may_begin_elsewhere(tmp_path: Path) -> None:
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            lab.create(stateful_set(podManagementPolicy="Parallel", ordinals={"start": 5}))
            await lab.quiet()
            assert names(lab) == ["db-5", "db-6", "db-7"]

    asyncio.run(story())


def test_an_update_goes_from_the_highest_ordinal_down_to_the_partition(tmp_path: Path) -> None:
    async def story() -> None:
        async with controller_lab(tmp_path, node=True) as lab:
            lab.create(stateful_set(updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}))
            await lab.until(lambda: lab.get("StatefulSet", "db")["status"].get("readyReplicas") == 3)
            lab.change("StatefulSet", "db", image("x:2"))
            await lab.until(lambda: images(lab) == {"db-0": "x:1", "db-1": "x:1", "db-2": "x:2"})
            # One that is lost below the partition comes back as it was.
            lab.delete("Pod", "db-0", grace=0)
            await lab.until(lambda: images(lab) == {"db-0": "x:1", "db-1": "x:1", "db-2": "x:2"})
            lab.change("StatefulSet", "db", {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}})
            await lab.until(lambda: set(images(lab).values()) == {"x:2"} and len(images(lab)) == 3)
            status = await lab.until(lambda: (found := lab.get("StatefulSet", "db")["status"]).get("updatedReplicas")
                                     == found.get("readyReplicas") == 3 and found)
            assert status["currentRevision"] == status["updateRevision"]

    asyncio.run(story())


def test_an_update_waits_for_the_pod_that_it_has_renewed(tmp_path: Path) -> None:
    async def story() -> None:
        async with controller_lab(tmp_path, node=True) as lab:
            lab.create(stateful_set())
            await lab.until(lambda: lab.get("StatefulSet", "db")["status"].get("readyReplicas") == 3)
            lab.idle.add("db-2")
            lab.change("StatefulSet", "db", image("x:2"))
            await lab.until(lambda: images(lab).get("db-2") == "x:2")
            await lab.quiet()
            assert images(lab) == {"db-0": "x:1", "db-1": "x:1", "db-2": "x:2"}

    asyncio.run(story())


def test_on_delete_renews_what_somebody_deletes(tmp_path: Path) -> None:
    async def story() -> None:
        async with controller_lab(tmp_path, node=True) as lab:
            lab.create(stateful_set(replicas=2, updateStrategy={"type": "OnDelete"}))
            await lab.until(lambda: lab.get("StatefulSet", "db")["status"].get("readyReplicas") == 2)
            lab.change("StatefulSet", "db", image("x:2"))
            await lab.quiet()
            assert images(lab) == {"db-0": "x:1", "db-1": "x:1"}
            lab.delete("Pod", "db-0")
            await lab.until(lambda: images(lab) == {"db-0": "x:2", "db-1": "x:1"})

    asyncio.run(story())


def test_scaling_down_removes_the_highest_ordinals_one_by_one(tmp_path: Path) -> None:
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            lab.create(stateful_set(podManagementPolicy="OrderedReady"))
            for number in range(3):
                lab.set_status(await lab.until(lambda n=number: lab.find("Pod", f"db-{n}")))
            await lab.quiet()
            # Bound pods take their time to end.
            for number in range(3):
                lab.api.bind("default", f"db-{number}", "meshlab")
            lab.change("StatefulSet", "db", {"spec": {"replicas": 1}})
            await lab.quiet()
            assert names(lab) == ["db-0", "db-1"]
            lab.end(lab.get("Pod", "db-2"))
            await lab.quiet()
            assert names(lab) == ["db-0"]

    asyncio.run(story())


def test_revisions_come_back_by_the_patch_that_they_hold_and_the_oldest_are_forgotten(tmp_path: Path) -> None:
    async def story() -> None:
        async with controller_lab(tmp_path, node=True) as lab:
            lab.create(stateful_set(replicas=1, revisionHistoryLimit=1))
            for number in range(1, 5):
                await lab.until(lambda n=number: images(lab) == {"db-0": f"x:{n}"})
                lab.change("StatefulSet", "db", image(f"x:{number + 1}"))
            await lab.until(lambda: lab.get("StatefulSet", "db")["status"].get("currentRevision")
                            == lab.get("StatefulSet", "db")["status"].get("updateRevision"))
            await lab.quiet()
            past = sorted(lab.all("ControllerRevision"), key=lambda r: r["revision"])
            assert [r["revision"] for r in past] == [4, 5]
            assert restored(past[0])["spec"]["containers"][0]["image"] == "x:4"
            lab.api.patch(lab.api.kinds("StatefulSet"), "default", "db", past[0]["data"], "strategic")
            await lab.until(lambda: images(lab) == {"db-0": "x:4"})
            await lab.quiet()
            newest = max(lab.all("ControllerRevision"), key=lambda r: r["revision"])
            assert (newest["revision"], newest["metadata"]["name"]) == (6, past[0]["metadata"]["name"])

    asyncio.run(story())


def test_each_pod_has_claims_of_its_own() -> None:
    found = stateful_set(volumeClaimTemplates=[{"metadata": {"name": "data"}, "spec": {}}])
    found["metadata"] |= {"namespace": "default", "uid": "u"}
    [claim] = claims(found, 1)
    assert (claim["metadata"]["name"], claim["metadata"]["labels"]) == ("data-db-1", {"app": "db"})
    pod = stateful_pod(found, found["spec"]["template"], "db-abc", 1)
    assert pod["spec"]["volumes"] == [{"name": "data", "persistentVolumeClaim": {"claimName": "data-db-1"}}]


def daemon_set(name: str = "agent", image: str = "x:1", **spec: Any) -> Obj:
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": name},
            "spec": {"selector": {"matchLabels": {"app": name}}, "template": template(name, image), **spec}}


def node(name: str, **spec: Any) -> Obj:
    return {**NODE, "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}, "spec": spec}


def places(lab: ControllerLab) -> list[str]:
    return sorted(pod["spec"].get("nodeName", "") for pod in lab.pods())


def test_a_daemon_runs_once_on_every_node_that_it_tolerates(tmp_path: Path) -> None:
    async def story() -> None:
        async with controller_lab(tmp_path, node=True) as lab:
            lab.create(node("a"))
            lab.create(node("b", unschedulable=True))
            lab.create(node("c", taints=[{"key": "special", "effect": "NoSchedule"}]))
            lab.create(daemon_set())
            # Every daemon tolerates a cordon.
            await lab.until(lambda: places(lab) == ["a", "b"])
            lab.change("Node", "c", {"spec": {"taints": None}}, None)
            await lab.until(lambda: places(lab) == ["a", "b", "c"])
            lab.delete("Node", "b", None)
            lab.change("Node", "a", {"spec": {"taints": [{"key": "out", "effect": "NoExecute"}]}}, None)
            await lab.until(lambda: lab.get("DaemonSet", "agent")["status"].get("numberReady") == 1)
            assert places(lab)[-1] == "c"

    asyncio.run(story())


def test_a_daemon_is_renewed_and_its_past_kept(tmp_path: Path) -> None:
    async def story() -> None:
        async with controller_lab(tmp_path, node=True) as lab:
            lab.create(node("a"))
            lab.create(daemon_set())
            await lab.until(lambda: lab.get("DaemonSet", "agent")["status"].get("numberAvailable") == 1)
            lab.change("DaemonSet", "agent", image("x:2"))
            await lab.until(lambda: list(images(lab).values()) == ["x:2"])
            status = await lab.until(lambda: (found := lab.get("DaemonSet", "agent")["status"]).get("numberAvailable")
                                     and found["observedGeneration"] == 2 and found)
            assert (status["updatedNumberScheduled"], status["desiredNumberScheduled"]) == (1, 1)
            assert sorted(r["revision"] for r in lab.all("ControllerRevision")) == [1, 2]
            meta = lab.get("DaemonSet", "agent")["metadata"]
            assert meta["annotations"]["deprecated.daemonset.template.generation"] == "2"

    asyncio.run(story())


def test_with_a_surge_the_new_daemon_is_there_before_the_old_one_goes(tmp_path: Path) -> None:
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            lab.create(node("a"))
            lab.create(daemon_set(updateStrategy={"type": "RollingUpdate",
                                                  "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}))
            lab.set_status((await lab.until(lab.pods))[0])
            await lab.quiet()
            lab.change("DaemonSet", "agent", image("x:2"))
            await lab.until(lambda: sorted(images(lab).values()) == ["x:1", "x:2"])
            fresh = next(pod for pod in lab.pods() if pod["spec"]["containers"][0]["image"] == "x:2")
            lab.set_status(fresh)
            await lab.until(lambda: list(images(lab).values()) == ["x:2"])

    asyncio.run(story())


def test_a_failed_daemon_is_made_anew(tmp_path: Path) -> None:
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            lab.create(node("a"))
            lab.create(daemon_set())
            [pod] = await lab.until(lab.pods)
            lab.set_status(pod, phase="Failed", ready=False)
            await lab.until(lambda: lab.pods() and lab.pods()[0]["metadata"]["uid"] != pod["metadata"]["uid"])

    asyncio.run(story())


def test_a_replication_controller_keeps_its_pods_by_a_plain_selector(tmp_path: Path) -> None:
    async def story() -> None:
        async with controller_lab(tmp_path, node=True) as lab:
            lab.create({"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "old"},
                        "spec": {"replicas": 2, "selector": {"app": "old"}, "template": template("old", "x")}})
            await lab.until(lambda: lab.get("ReplicationController", "old")["status"].get("readyReplicas") == 2)
            lab.change("ReplicationController", "old", {"spec": {"replicas": 0}})
            await lab.until(lambda: not lab.pods())

    asyncio.run(story())
