"""Between versions of one kind: the object that is stored once is read and written in all of them.

    extensions/v1beta1 Deployment, ReplicaSet, DaemonSet   ⇄ apps/v1
    extensions/v1beta1, networking.k8s.io/v1beta1 Ingress  ⇄ networking.k8s.io/v1
    networking.k8s.io/v1beta1 IngressClass                 ⇄ networking.k8s.io/v1
    rbac.authorization.k8s.io/v1beta1                      ⇄ v1
    apiextensions.k8s.io/v1beta1                           ⇄ v1
    autoscaling/v1 HorizontalPodAutoscaler                 ⇄ autoscaling/v2
    events.k8s.io/v1 Event                                 ⇄ v1

The right side is the one stored. What a version cannot express is lost on the way out only: it stays in the store,
unless somebody writes the object back in that version. Real servers keep such values in annotations; we do so for
the autoscaler's metrics, which v1 clients see.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from meshlab.cluster.api.filling import copied

__all__ = ["convert", "stored_version"]

Object = dict[str, Any]
RBAC = "rbac.authorization.k8s.io/"
CRD = "apiextensions.k8s.io/"
NETWORK = "networking.k8s.io/"
OLD = "extensions/v1beta1"
METRICS = "autoscaling.alpha.kubernetes.io/metrics"
BEHAVIOR = "autoscaling.alpha.kubernetes.io/behavior"


def stored_version(api_version: str, kind: str) -> str:
    """The apiVersion in which a kind is stored: ("extensions/v1beta1", "Deployment") → "apps/v1"."""
    if api_version == OLD and kind in ("Deployment", "ReplicaSet", "DaemonSet"):
        return "apps/v1"
    if kind == "Ingress" and api_version in (OLD, NETWORK + "v1beta1"):
        return NETWORK + "v1"
    if api_version in (NETWORK + "v1beta1", RBAC + "v1beta1", CRD + "v1beta1"):
        return api_version.removesuffix("beta1")
    if (api_version, kind) == ("autoscaling/v1", "HorizontalPodAutoscaler"):
        return "autoscaling/v2"
    if (api_version, kind) == ("events.k8s.io/v1", "Event"):
        return "v1"
    return api_version


def convert(obj: Mapping[str, Any], api_version: str) -> Object:
    """The same object in another version of its kind; a new one, except that nothing is copied where nothing
    changes but the name of the version. Versions that share no store are a ValueError."""
    kind, seen = str(obj["kind"]), str(obj["apiVersion"])
    if seen == api_version:
        return dict(obj)
    hub = stored_version(seen, kind)
    if stored_version(api_version, kind) != hub:
        raise ValueError(f"{kind}: no conversion from {seen} to {api_version}")
    new = dict(obj)
    if seen != hub and (up := TO_HUB.get((seen, kind))):
        new = up(copied(new))
    if api_version != hub and (down := FROM_HUB.get((api_version, kind))):
        new = down(copied(new))
    new["apiVersion"] = api_version
    return new


def _old_deployment_up(obj: Object) -> Object:
    spec = obj.get("spec", {})
    rollback = spec.pop("rollbackTo", None)
    if rollback is not None:
        annotations = obj.setdefault("metadata", {}).setdefault("annotations", {})
        annotations["deprecated.deployment.rollback.to"] = str(rollback.get("revision", 0))
    return obj


def _old_daemonset_up(obj: Object) -> Object:
    spec = obj.get("spec", {})
    if (generation := spec.pop("templateGeneration", None)) is not None:
        annotations = obj.setdefault("metadata", {}).setdefault("annotations", {})
        annotations["deprecated.daemonset.template.generation"] = str(generation)
    return obj


def _backend_up(backend: Object) -> Object:
    if "resource" in backend:
        return {"resource": backend["resource"]}
    port = backend.get("servicePort", 0)
    number = {"name": port} if isinstance(port, str) else {"number": port}
    return {"service": {"name": backend.get("serviceName", ""), "port": number}}


def _backend_down(backend: Object) -> Object:
    if "resource" in backend:
        return {"resource": backend["resource"]}
    service = backend.get("service") or {}
    port = service.get("port") or {}
    return {"serviceName": service.get("name", ""), "servicePort": port.get("name") or port.get("number", 0)}


def _ingress(change: Callable[[Object], Object], old: str, new: str) -> Callable[[Object], Object]:
    def turn(obj: Object) -> Object:
        spec = obj.get("spec") or {}
        if old in spec:
            spec[new] = change(spec.pop(old))
        for rule in spec.get("rules", ()):
            for path in (rule.get("http") or {}).get("paths", ()):
                if "backend" in path:
                    path["backend"] = change(path["backend"])
        return obj

    return turn


def _definition_up(obj: Object) -> Object:
    spec = obj.get("spec", {})
    shared = {key: spec.pop(key, None) for key in ("validation", "subresources", "additionalPrinterColumns")}
    version = spec.pop("version", None)
    versions = spec.get("versions") or ([{"name": version, "served": True, "storage": True}] if version else [])
    for item in versions:
        schema = item.get("schema") or shared["validation"]
        if schema:
            item["schema"] = schema
        for key in ("subresources", "additionalPrinterColumns"):
            value = item.get(key) or shared[key]
            if value:
                item[key] = copied(value)
        for column in item.get("additionalPrinterColumns", ()):
            if "JSONPath" in column:
                column["jsonPath"] = column.pop("JSONPath")
    spec["versions"] = versions
    if conversion := spec.get("conversion"):
        client = conversion.pop("webhookClientConfig", None)
        reviews = conversion.pop("conversionReviewVersions", None)
        if client or reviews:
            webhook = {"clientConfig": client, "conversionReviewVersions": reviews}
            conversion["webhook"] = {k: v for k, v in webhook.items() if v}
    return obj


def _definition_down(obj: Object) -> Object:
    spec = obj.get("spec", {})
    versions = spec.get("versions") or []
    if versions:
        spec["version"] = versions[0].get("name", "")
    for item in versions:
        for column in item.get("additionalPrinterColumns", ()):
            if "jsonPath" in column:
                column["JSONPath"] = column.pop("jsonPath")
    # What all versions agree on stands at the top, where older clients look for it.
    for key, top in (("schema", "validation"), ("subresources", "subresources"),
                     ("additionalPrinterColumns", "additionalPrinterColumns")):  # fmt: skip
        values = [item.get(key) for item in versions]
        if values and values[0] is not None and all(value == values[0] for value in values):
            spec[top] = values[0]
            for item in versions:
                del item[key]
    if webhook := (spec.get("conversion") or {}).pop("webhook", None):
        if "clientConfig" in webhook:
            spec["conversion"]["webhookClientConfig"] = webhook["clientConfig"]
        spec["conversion"]["conversionReviewVersions"] = webhook.get("conversionReviewVersions", [])
    return obj


def _autoscaler_up(obj: Object) -> Object:
    spec = obj.get("spec", {})
    annotations = obj.get("metadata", {}).get("annotations", {})
    metrics = []
    if (percent := spec.pop("targetCPUUtilizationPercentage", None)) is not None:
        target = {"type": "Utilization", "averageUtilization": percent}
        metrics.append({"type": "Resource", "resource": {"name": "cpu", "target": target}})
    metrics += _annotated(annotations, METRICS) or []
    if metrics:
        spec["metrics"] = metrics
    if behavior := _annotated(annotations, BEHAVIOR):
        spec["behavior"] = behavior
    status = obj.get("status", {})
    if (now := status.pop("currentCPUUtilizationPercentage", None)) is not None:
        current = {"averageUtilization": now, "averageValue": "0"}
        status["currentMetrics"] = [{"type": "Resource", "resource": {"name": "cpu", "current": current}}]
    return obj


def _annotated(annotations: Object, key: str) -> Any:
    """A value that travels in an annotation, taken out of it; nothing where somebody broke it."""
    text = annotations.pop(key, None)
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None


def _autoscaler_down(obj: Object) -> Object:
    spec, others = obj.get("spec", {}), []
    for metric in spec.pop("metrics", ()):
        resource = metric.get("resource") or {}
        target = resource.get("target") or {}
        if resource.get("name") == "cpu" and target.get("averageUtilization") is not None:
            spec["targetCPUUtilizationPercentage"] = target["averageUtilization"]
        else:
            others.append(metric)
    status = obj.get("status", {})
    for metric in status.pop("currentMetrics", None) or ():
        resource = metric.get("resource") or {}
        current = resource.get("current") or {}
        if resource.get("name") == "cpu" and current.get("averageUtilization") is not None:
            status["currentCPUUtilizationPercentage"] = current["averageUtilization"]
    status.pop("conditions", None)
    behavior = spec.pop("behavior", None)
    if others or behavior:
        annotations = obj.setdefault("metadata", {}).setdefault("annotations", {})
        for key, value in ((METRICS, others), (BEHAVIOR, behavior)):
            if value:
                annotations[key] = json.dumps(value, separators=(",", ":"))
    return obj


#: Fields of an Event by their name in v1 and in events.k8s.io/v1.
EVENT_FIELDS = (
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
)


def _event_up(obj: Object) -> Object:
    for core, new in EVENT_FIELDS:
        if new in obj:
            obj[core] = obj.pop(new)
    return obj


def _event_down(obj: Object) -> Object:
    for core, new in EVENT_FIELDS:
        if core in obj:
            obj[new] = obj.pop(core)
    return obj


Turns = dict[tuple[str, str], Callable[[Object], Object]]
TO_HUB: Turns = {
    (OLD, "Deployment"): _old_deployment_up,
    (OLD, "DaemonSet"): _old_daemonset_up,
    (OLD, "Ingress"): _ingress(_backend_up, "backend", "defaultBackend"),
    (NETWORK + "v1beta1", "Ingress"): _ingress(_backend_up, "backend", "defaultBackend"),
    (CRD + "v1beta1", "CustomResourceDefinition"): _definition_up,
    ("autoscaling/v1", "HorizontalPodAutoscaler"): _autoscaler_up,
    ("events.k8s.io/v1", "Event"): _event_up,
}
FROM_HUB: Turns = {
    (OLD, "Ingress"): _ingress(_backend_down, "defaultBackend", "backend"),
    (NETWORK + "v1beta1", "Ingress"): _ingress(_backend_down, "defaultBackend", "backend"),
    (CRD + "v1beta1", "CustomResourceDefinition"): _definition_down,
    ("autoscaling/v1", "HorizontalPodAutoscaler"): _autoscaler_down,
    ("events.k8s.io/v1", "Event"): _event_down,
}
