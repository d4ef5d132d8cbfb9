"""Defaults of pods, of pod templates wherever they stand, and of jobs.

Real servers default a template less than a pod: what was added to pods over the years must not appear in the
templates of stored Deployments, or all of them would roll on an upgrade.
"""

from __future__ import annotations

from typing import Any

from meshlab.cluster.api.filling import fill

__all__ = ["admitted_pod", "image_pull_policy", "job_template", "pod_template", "qos_class",
           "requests_from_limits"]  # fmt: skip

Object = dict[str, Any]
#: Mode of files made from ConfigMaps, Secrets and the like: 0644.
FILE_MODE = 0o644
#: Pods stay this long on a node that went away, by the DefaultTolerationSeconds admission.
TOLERATION_SECONDS = 300


def image_pull_policy(image: str) -> str:
    """Always for `:latest` or no tag at all; IfNotPresent otherwise."""
    if "@" in image:
        return "IfNotPresent"
    tag = image.rpartition("/")[2].partition(":")[2]
    return "Always" if tag in ("", "latest") else "IfNotPresent"


def pod_template(template: Object) -> None:
    """Fills in `template["spec"]`, in place."""
    spec = template.get("spec")
    if not isinstance(spec, dict):
        spec = template["spec"] = {}
    fill(spec, dnsPolicy="ClusterFirst", restartPolicy="Always", terminationGracePeriodSeconds=30,
         schedulerName="default-scheduler")  # fmt: skip
    spec.setdefault("securityContext", {})
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(kind, ()):
            _container(container)
    for volume in spec.get("volumes", ()):
        _volume(volume)
    # The older name of the account is written beside the newer, as real servers still do.
    if name := spec.get("serviceAccountName") or spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"] = name


def _container(container: Object) -> None:
    fill(
        container,
        imagePullPolicy=image_pull_policy(container.get("image") or ""),
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
    )
    container.setdefault("resources", {})
    for port in container.get("ports", ()):
        fill(port, protocol="TCP")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe := container.get(name):
            _probe(probe)
    for hook in (container.get("lifecycle") or {}).values():
        if isinstance(hook, dict):
            _http_get(hook)
    for variable in container.get("env", ()):
        source = variable.get("valueFrom") or {}
        if field := source.get("fieldRef"):
            fill(field, apiVersion="v1")
        if resource := source.get("resourceFieldRef"):
            fill(resource, divisor="0")
    context = container.get("securityContext")
    if context is not None and "procMount" in context:
        fill(context, procMount="Default")


def _probe(probe: Object) -> None:
    for key, value in (("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1),
                       ("failureThreshold", 3)):  # fmt: skip
        if not probe.get(key):
            probe[key] = value
    _http_get(probe)
    if "grpc" in probe and isinstance(probe["grpc"], dict):
        probe["grpc"].setdefault("service", "")


def _http_get(handler: Object) -> None:
    if get := handler.get("httpGet"):
        fill(get, path="/", scheme="HTTP")


def _volume(volume: Object) -> None:
    if not any(key != "name" for key in volume):
        volume["emptyDir"] = {}
    for kind in ("secret", "configMap", "downwardAPI", "projected"):
        if source := volume.get(kind):
            if source.get("defaultMode") is None:
                source["defaultMode"] = FILE_MODE
            for item in source.get("items", ()):
                _downward(item)
            for part in source.get("sources", ()):
                if token := part.get("serviceAccountToken"):
                    fill(token, expirationSeconds=3600)
                for item in (part.get("downwardAPI") or {}).get("items", ()):
                    _downward(item)
    if (path := volume.get("hostPath")) is not None:
        path.setdefault("type", "")
    if image := volume.get("image"):
        fill(image, pullPolicy=image_pull_policy(image.get("reference") or ""))
    if claim := (volume.get("ephemeral") or {}).get("volumeClaimTemplate"):
        fill(claim.setdefault("spec", {}), volumeMode="Filesystem")


def _downward(item: Object) -> None:
    if field := item.get("fieldRef"):
        fill(field, apiVersion="v1")
    if resource := item.get("resourceFieldRef"):
        fill(resource, divisor="0")


def requests_from_limits(spec: Object) -> None:
    """A pod's (not a template's) containers request what they are limited to, unless they say otherwise."""
    for container in [*spec.get("containers", ()), *spec.get("initContainers", ())]:
        resources = container.get("resources") or {}
        if limits := resources.get("limits"):
            requests = resources.setdefault("requests", {})
            for name, value in limits.items():
                requests.setdefault(name, value)


def admitted_pod(obj: Object) -> None:
    """What admission adds to every pod: its priority, and tolerations of a lost node."""
    spec = obj["spec"]
    fill(spec, priority=0, preemptionPolicy="PreemptLowerPriority")
    tolerations = spec.setdefault("tolerations", [])
    for trouble in ("not-ready", "unreachable"):
        key = f"node.kubernetes.io/{trouble}"
        if any(_tolerates(t, key) for t in tolerations):
            continue
        tolerations.append(
            {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATION_SECONDS}
        )
    status = obj.setdefault("status", {})
    fill(status, phase="Pending")
    fill(status, qosClass=qos_class(spec))


def _tolerates(toleration: Object, key: str) -> bool:
    return toleration.get("key", "") in ("", key) and toleration.get("effect", "") in ("", "NoExecute")


def qos_class(spec: Object) -> str:
    """Guaranteed where every container is limited to what it requests of CPU and memory, BestEffort where none
    asks for anything, else Burstable."""
    guaranteed, anything = True, False
    for container in [*spec.get("containers", ()), *spec.get("initContainers", ())]:
        resources = container.get("resources") or {}
        requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
        for name in ("cpu", "memory"):
            request, limit = requests.get(name), limits.get(name)
            anything = anything or request is not None or limit is not None
            if limit is None or (request is not None and request != limit):
                guaranteed = False
    if not anything:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def job_template(spec: Object) -> None:
    """A Job's spec, in place."""
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = spec["parallelism"] = 1
    fill(spec, parallelism=1, completionMode="NonIndexed", suspend=False, manualSelector=False)
    if spec.get("backoffLimit") is None:
        spec["backoffLimit"] = 2**31 - 1 if spec.get("backoffLimitPerIndex") is not None else 6
    fill(spec, podReplacementPolicy="Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed")
    template = spec.get("template")
    if not isinstance(template, dict):
        template = spec["template"] = {}
    pod_template(template)
