"""Which volume a claim gets: one that is there and fits, or a new one of its class. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from meshlab.cluster.api.quantity import parse
from meshlab.cluster.api.selectors import selector_object
from meshlab.cluster.controllers.objects import Obj

__all__ = ["DEFAULT", "FOLDER", "PROVISIONER", "claim_reference", "fitting", "new_volume"]

#: Whoever makes volumes here, and where on the node's disk.
PROVISIONER, FOLDER = "meshlab.io/node-disk", "/var/lib/meshlab/volumes"
#: Annotation of the class that claims without one get.
DEFAULT = "storageclass.kubernetes.io/is-default-class"


def claim_reference(claim: Mapping[str, Any]) -> Obj:
    meta = claim["metadata"]
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": meta["namespace"], "name": meta["name"],
            "uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}


def fitting(claim: Mapping[str, Any], volumes: Iterable[Obj]) -> Obj | None:
    """The smallest volume that a claim may have; one that is reserved for it before all others."""
    spec, meta = claim["spec"], claim["metadata"]
    match = selector_object(spec["selector"]) if spec.get("selector") else None
    found: list[tuple[bool, Any, Obj]] = []
    for volume in volumes:
        its = volume["spec"]
        reserved = its.get("claimRef") or {}
        own = (reserved.get("namespace"), reserved.get("name")) == (meta["namespace"], meta["name"])
        if (reserved and (not own or reserved.get("uid") not in (None, meta["uid"]))) or \
                volume["metadata"].get("deletionTimestamp"):
            continue
        if spec.get("volumeName") not in (None, "", volume["metadata"]["name"]):
            continue
        if (its.get("storageClassName") or "") != (spec.get("storageClassName") or ""):
            continue
        if (its.get("volumeMode") or "Filesystem") != (spec.get("volumeMode") or "Filesystem"):
            continue
        size = parse(its["capacity"]["storage"])[0]
        if size < parse(spec["resources"]["requests"]["storage"])[0] or \
                not set(spec["accessModes"]) <= set(its["accessModes"]):
            continue
        if match is None or match(volume):
            found.append((not own, size, volume))
    return min(found, key=lambda each: (each[0], each[1], each[2]["metadata"]["name"]))[2] if found else None


def new_volume(claim: Mapping[str, Any], storage_class: Mapping[str, Any]) -> Obj:
    """A volume made for a claim."""
    name = f"pvc-{claim['metadata']['uid']}"
    spec = claim["spec"]
    return {
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER}},
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": list(spec["accessModes"]),
            "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy") or "Delete",
            "storageClassName": storage_class["metadata"]["name"],
            "volumeMode": spec.get("volumeMode") or "Filesystem",
            "hostPath": {"path": f"{FOLDER}/{name}", "type": "DirectoryOrCreate"},
            "claimRef": claim_reference(claim),
        },
    }
