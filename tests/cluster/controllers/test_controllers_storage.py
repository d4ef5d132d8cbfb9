"""Claims and volumes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from controller_lab import NODE, ControllerLab, Obj, condition, controller_lab

from meshlab.cluster.controllers.storage.provision import fitting

STANDARD = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {
    "name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
    "provisioner": "meshlab.io/node-disk"}


def claim(name: str = "data", size: str = "1Gi", **spec: Any) -> Obj:
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec}}


def volume(name: str, size: str = "1Gi", labels: Obj | None = None, **spec: Any) -> Obj:
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name, "labels": labels or {}},
            "spec": {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce", "ReadOnlyMany"],
                     "hostPath": {"path": f"/{name}"}, **spec}}


def found(lab: ControllerLab, name: str = "data") -> Obj:
    return lab.get("PersistentVolumeClaim", name)


def phase(lab: ControllerLab, kind: str, name: str, namespace: str | None = "default") -> str:
    return str((lab.get(kind, name, namespace).get("status") or {}).get("phase"))


def test_a_claim_of_the_default_class_gets_a_volume_and_takes_it_along(tmp_path: Path) -> None:
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            lab.create(STANDARD)
            lab.create(claim())
            await lab.until(lambda: phase(lab, "PersistentVolumeClaim", "data") == "Bound")
            spec = found(lab)["spec"]
            assert spec["storageClassName"] == "standard"
            await lab.until(lambda: phase(lab, "PersistentVolume", spec["volumeName"], None) == "Bound")
            place = tmp_path / "disk/var/lib/meshlab/volumes" / spec["volumeName"]
            place.mkdir(parents=True)
            lab.delete("PersistentVolumeClaim", "data")
            await lab.until(lambda: lab.find("PersistentVolume", spec["volumeName"], None) is None)
            await lab.until(lambda: not place.exists())

    asyncio.run(story())


def test_a_pod_waits_for_its_claim_and_holds_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            lab.create(NODE)
            lab.create(claim(storageClassName="standard"))
            lab.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {
                "containers": [{"name": "c", "image": "x"}],
                "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}})
            await lab.until(lambda: condition(lab.get("Pod", "p"), "PodScheduled") == "False Unschedulable")
            assert "unbound immediate" in lab.get("Pod", "p")["status"]["conditions"][0]["message"]
            lab.create(STANDARD)
            await lab.until(lambda: lab.get("Pod", "p")["spec"].get("nodeName"))
            lab.delete("PersistentVolumeClaim", "data")
            await lab.quiet()
            assert lab.find("PersistentVolumeClaim", "data") is not None
            lab.delete("Pod", "p", grace=0)
            await lab.until(lambda: lab.find("PersistentVolumeClaim", "data") is None)

    asyncio.run(story())


def test_a_kept_volume_is_released_and_not_given_to_another(tmp_path: Path) -> None:
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            lab.create(volume("disk", persistentVolumeReclaimPolicy="Retain"))
            lab.create(claim(storageClassName=""))
            await lab.until(lambda: phase(lab, "PersistentVolumeClaim", "data") == "Bound")
            lab.delete("PersistentVolumeClaim", "data")
            await lab.until(lambda: phase(lab, "PersistentVolume", "disk", None) == "Released")
            lab.create(claim("other", storageClassName=""))
            await lab.until(lambda: any(e["reason"] == "FailedBinding" for e in lab.all("Event")))
            assert phase(lab, "PersistentVolumeClaim", "other") == "Pending"

    asyncio.run(story())


@pytest.mark.parametrize(("spec", "expected"), [
    ({}, "small"),
    ({"resources": {"requests": {"storage": "3Gi"}}}, "large"),
    ({"resources": {"requests": {"storage": "9Gi"}}}, None),
    ({"accessModes": ["ReadWriteMany"]}, None),
    ({"selector": {"matchLabels": {"disk": "fast"}}}, "fast"),
    ({"storageClassName": "ssd"}, "ssd"),
    ({"volumeName": "large"}, "large"),
])
def test_a_claim_takes_the_smallest_volume_that_fits(spec: Obj, expected: str | None) -> None:
    wanted = claim(**spec)
    wanted["metadata"] |= {"namespace": "default", "uid": "u"}
    volumes = [volume("large", "5Gi"), volume("small", "2Gi"), volume("tiny", "500Mi"),
               volume("fast", "8Gi", {"disk": "fast"}), volume("ssd", storageClassName="ssd"),
               volume("taken", claimRef={"namespace": "default", "name": "data", "uid": "another"})]
    taken = fitting(wanted, volumes)
    assert (taken and taken["metadata"]["name"]) == expected
    reserved = volume("mine", "9Gi", claimRef={"namespace": "default", "name": "data"})
    if not spec:
        assert fitting(wanted, [*volumes, reserved]) is reserved
