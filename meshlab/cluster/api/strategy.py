"""Which part of an object a write may change, and what a kind adds on its own.

A write to an object cannot change its status, a write to its status cannot change the rest, and nobody changes
what the server itself keeps in metadata.
"""

from __future__ import annotations

import base64
from typing import Any

from meshlab.cluster.api.metadata import same_but_for_metadata, timestamp
from meshlab.cluster.api.registry import Resource
from meshlab.cluster.api.service_types import fit_type, modes_of_addresses

__all__ = ["prepare_create", "prepare_update"]

Object = dict[str, Any]

#: Metadata that only the server writes. Another uid than the object's is refused, none is filled in.
KEPT = ("creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink",
        "generateName")
#: Kinds whose creator may state a status: a node registers with its capacity.
REGISTERS_STATUS = {"nodes"}
DAEMONS = ("apps", "daemonsets")
TEMPLATES = "deprecated.daemonset.template.generation"


def prepare_create(resource: Resource, obj: Object) -> Object:
    """The object as it is to be born: no status but the kind's own first one."""
    if "status" in resource.subresources and resource.plural not in REGISTERS_STATUS:
        obj.pop("status", None)
        if (first := _first_status(resource, obj)) is not None:
            obj["status"] = first
    if resource.storage == ("", "namespaces"):
        obj["spec"] = {**(obj.get("spec") or {}), "finalizers": ["kubernetes"]}
        labels = obj["metadata"].setdefault("labels", {})
        labels["kubernetes.io/metadata.name"] = obj["metadata"].get("name", "")
    if resource.storage == ("", "secrets"):
        _string_data(obj)
    if resource.storage == ("batch", "jobs"):
        _job_selector(obj)
    if resource.storage == DAEMONS:
        obj["metadata"]["annotations"] = {**(obj["metadata"].get("annotations") or {}), TEMPLATES: "1"}
    if resource.generation:
        obj["metadata"]["generation"] = 1
    return obj


def prepare_update(resource: Resource, new: Object, old: Object, subresource: str | None) -> Object:
    """`new` with everything that this write may not change taken from `old`; counts the generation."""
    meta, before = new["metadata"], old["metadata"]
    for key in KEPT:
        meta.pop(key, None)
        if key in before:
            meta[key] = before[key]
    meta.setdefault("uid", before["uid"])
    if subresource == "status":
        new = _status_only(resource, new, old)
    elif subresource == "approval":
        new = _approval(new, old)
    elif subresource == "ephemeralcontainers":
        new = _with_guests(new, old)
    elif subresource == "finalize":
        new = {**old, "metadata": {**before, **({"resourceVersion": meta["resourceVersion"]}
                                                 if "resourceVersion" in meta else {})},
               "spec": new.get("spec") or {}}
    elif "status" in resource.subresources:
        new.pop("status", None)
        if "status" in old:
            new["status"] = old["status"]
        if resource.storage == ("", "namespaces"):
            new["spec"] = old.get("spec") or {}
    if resource.storage == ("", "secrets"):
        _string_data(new)
    if resource.storage == ("", "services"):
        modes_of_addresses(new) if subresource == "status" else fit_type(new, old)
    if resource.generation and subresource not in ("status", "approval"):
        without = ("status", "kind", "apiVersion") if "status" in resource.subresources else ("kind", "apiVersion")
        if not same_but_for_metadata(new, old, without=without):
            new["metadata"]["generation"] = before.get("generation", 0) + 1
    if resource.storage == DAEMONS and subresource is None:
        _count_templates(new, old)
    return new


def _count_templates(new: Object, old: Object) -> None:
    """How often a DaemonSet's template has changed, as an annotation: from the time before revisions."""
    count = (old["metadata"].get("annotations") or {}).get(TEMPLATES, "1")
    if (new.get("spec") or {}).get("template") != (old.get("spec") or {}).get("template") and count.isdecimal():
        count = str(int(count) + 1)
    new["metadata"]["annotations"] = {**(new["metadata"].get("annotations") or {}), TEMPLATES: count}


def _status_only(resource: Resource, new: Object, old: Object) -> Object:
    rest = {k: v for k, v in old.items() if k not in ("status", "metadata")}
    meta = dict(old["metadata"])
    given = new["metadata"]
    if "resourceVersion" in given:
        meta["resourceVersion"] = given["resourceVersion"]
    if "managedFields" in given:
        meta["managedFields"] = given["managedFields"]
    if not resource.custom:
        # A kubelet annotates and labels through the status; finalizers of CRDs and namespaces as well.
        for key in ("annotations", "labels", "finalizers"):
            meta.pop(key, None)
            if key in given:
                meta[key] = given[key]
    made: Object = {"kind": old["kind"], "apiVersion": old["apiVersion"], "metadata": meta, **rest}
    if "status" in new:
        made["status"] = new["status"]
    return made


def _approval(new: Object, old: Object) -> Object:
    """A signing request as it was, with the conditions that approve or deny it."""
    given = {k: v for k, v in new["metadata"].items() if k in ("resourceVersion", "managedFields")}
    meta = {**old["metadata"], **given}
    status = {k: v for k, v in (old.get("status") or {}).items() if k != "conditions"}
    if conditions := (new.get("status") or {}).get("conditions"):
        status["conditions"] = conditions
    return {**old, "metadata": meta, "status": status}


def _with_guests(new: Object, old: Object) -> Object:
    """A pod as it was, with the containers that were added to look into it."""
    given = {k: v for k, v in new["metadata"].items() if k in ("resourceVersion", "managedFields")}
    guests = (new.get("spec") or {}).get("ephemeralContainers") or []
    spec = {k: v for k, v in old["spec"].items() if k != "ephemeralContainers"}
    return {**old, "metadata": {**old["metadata"], **given},
            "spec": {**spec, **({"ephemeralContainers": guests} if guests else {})}}


def _first_status(resource: Resource, obj: Object) -> Object | None:
    match resource.storage:
        case ("", "pods"):
            return {"phase": "Pending", "qosClass": _qos(obj)}
        case ("", "namespaces"):
            return {"phase": "Active"}
        case ("", "services") | ("networking.k8s.io", "ingresses"):
            return {"loadBalancer": {}}
        case ("", "persistentvolumeclaims") | ("", "persistentvolumes"):
            return {"phase": "Pending"}
        case ("apps", "replicasets") | ("", "replicationcontrollers"):
            return {"replicas": 0}
        case ("apps", "statefulsets"):
            return {"replicas": 0, "availableReplicas": 0}
        case ("apps", "daemonsets"):
            return {"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0,
                    "numberReady": 0}
        case ("autoscaling", "horizontalpodautoscalers"):
            return {"desiredReplicas": 0, "currentMetrics": None}
        case ("policy", "poddisruptionbudgets"):
            return {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}
        case (_, _) if not resource.custom:
            return {}
    return None


def _qos(pod: Object) -> str:
    """Guaranteed, Burstable or BestEffort, from the containers' cpu and memory."""
    spec = pod.get("spec") or {}
    containers = [c for key in ("containers", "initContainers") for c in spec.get(key) or ()]
    guaranteed, some = True, False
    for container in containers:
        resources = container.get("resources") or {}
        requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
        some = some or bool(requests or limits)
        for unit in ("cpu", "memory"):
            if unit not in limits or requests.get(unit, limits[unit]) != limits[unit]:
                guaranteed = False
    if not some:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _job_selector(job: Object) -> None:
    """A job finds its pods by its own uid, unless its author insists on a selector."""
    spec = job.setdefault("spec", {})
    template = spec.get("template")
    if spec.get("manualSelector") or not isinstance(template, dict):
        return
    uid, name = job["metadata"]["uid"], job["metadata"].get("name", "")
    own = {"controller-uid": uid, "job-name": name}
    labels = template.setdefault("metadata", {}).setdefault("labels", {})
    for key, value in own.items():
        labels[f"batch.kubernetes.io/{key}"] = labels[key] = value
    chosen = spec.setdefault("selector", {}).setdefault("matchLabels", {})
    chosen.setdefault("batch.kubernetes.io/controller-uid", uid)


def _string_data(secret: Object) -> None:
    """stringData is write-only: it ends up in data."""
    if text := secret.pop("stringData", None):
        data = secret.setdefault("data", {})
        for key, value in text.items():
            data[key] = base64.b64encode(str(value).encode()).decode()


def terminating(resource: Resource, obj: Object, grace: int) -> Object:
    """A copy marked for deletion `grace` seconds from now."""
    from datetime import UTC, datetime, timedelta

    meta = dict(obj["metadata"])
    meta["deletionTimestamp"] = timestamp(datetime.now(UTC) + timedelta(seconds=grace))
    if "generation" in meta:
        meta["generation"] += 1
    made = {**obj, "metadata": meta}
    if resource.storage != ("", "namespaces"):
        meta["deletionGracePeriodSeconds"] = grace
    else:
        made["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
    return made
