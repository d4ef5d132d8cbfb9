"""Adding the sidecar to a workload: what `istioctl kube-inject` of 0.4.0 did, as a function of documents.

Which kinds are handled, what is skipped and what is added are 0.4.0's; so is the form of the output, in which every
handled document is written anew with sorted keys and every other one passes through as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from meshlab.mesh.config.goyaml import documents, dump, load
from meshlab.mesh.config.sidecar import (
    POLICY_ANNOTATION,
    STATUS_ANNOTATION,
    Policy,
    SidecarParams,
    add_sidecar,
    objects,
)

__all__ = ["KINDS", "Policy", "SidecarParams", "inject_object", "inject_stream"]

#: Namespaces of the cluster's own.
IGNORED_NAMESPACES = ("kube-system", "kube-public", "istio-system")

#: Kinds that get a sidecar, and the defaults that Go's types wrote for each. Anything else, a newer version of
#: Deployment among it, is left alone: 0.4.0 knew no other.
KINDS: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("v1", "ReplicationController"): {"status": {"replicas": 0}},
    ("extensions/v1beta1", "Deployment"): {"spec": {"strategy": {}}, "status": {}},
    ("extensions/v1beta1", "DaemonSet"): {
        "spec": {"updateStrategy": {}},
        "status": {
            "currentNumberScheduled": 0,
            "desiredNumberScheduled": 0,
            "numberMisscheduled": 0,
            "numberReady": 0,
        },
    },
    ("extensions/v1beta1", "ReplicaSet"): {"status": {"replicas": 0}},
    ("batch/v1", "Job"): {"status": {}},
    ("batch/v2alpha1", "CronJob"): {"status": {}},
    ("apps/v1beta1", "StatefulSet"): {"spec": {"updateStrategy": {}}, "status": {"replicas": 0}},
}


def inject_stream(text: str, params: SidecarParams) -> Iterator[tuple[str, Mapping[str, Any] | None]]:
    """Each document's new text, with the object it was (None for what is no object).

    Raises YamlError for a document that does not parse and TypeError for a workload of the wrong shape.
    """
    for chunk in documents(text, guess_json=False):
        obj = load(chunk)
        if not isinstance(obj, Mapping):
            yield chunk.text, None
        elif (str(obj.get("apiVersion")), str(obj.get("kind"))) in KINDS:
            yield dump(inject_object(obj, params)), obj
        else:
            yield chunk.text, obj


def inject_object(obj: Mapping[str, Any], params: SidecarParams) -> dict[str, Any]:
    """The workload with a sidecar, or only with Go's defaults where it must not have one. The input is not changed."""
    kind = (str(obj["apiVersion"]), str(obj["kind"]))
    out: dict[str, Any] = _copy(obj)
    meta = _child(out, "metadata")
    meta.setdefault("creationTimestamp", None)
    spec = _child(out, "spec")
    # In a CronJob the annotation, and the label that names the service, are those of the job, not of the pod.
    owner = _child(spec, "jobTemplate") if kind[1] == "CronJob" else spec
    if owner is not spec:
        _child(owner, "metadata").setdefault("creationTimestamp", None)
        pod = _child(_child(owner, "spec"), "template")
        template_meta = owner["metadata"]
    else:
        pod = _child(owner, "template")
        template_meta = _child(pod, "metadata")
    _child(pod, "metadata").setdefault("creationTimestamp", None)
    pod_spec = _child(pod, "spec")
    for each in (meta, template_meta, pod["metadata"]):
        _as_text(each, "labels", "annotations")
    _with_defaults(out, KINDS[kind])
    for container in (*objects(pod_spec, "initContainers"), *objects(pod_spec, "containers")):
        _container_defaults(container)
    if _required(meta, params) and not pod_spec.get("hostNetwork"):
        for each in (meta, template_meta):
            _child(each, "annotations")[STATUS_ANNOTATION] = f"injected-version-{params.version}"
        add_sidecar(pod_spec, template_meta.get("labels") or {}, params)
    return out


def _required(meta: Mapping[str, Any], params: SidecarParams) -> bool:
    """0.4.0 looked at the workload's own namespace and annotations, not at the pod template's."""
    namespace = str(meta.get("namespace") or "")
    if namespace in IGNORED_NAMESPACES or namespace in params.exclude_namespaces:
        return False
    if not {"", namespace} & set(params.include_namespaces):
        return False
    annotations: Mapping[str, str] = meta.get("annotations") or {}
    if STATUS_ANNOTATION in annotations:
        return False
    if POLICY_ANNOTATION in annotations:
        return str(annotations[POLICY_ANNOTATION]).lower() in ("y", "yes", "true", "on")
    return params.policy is Policy.ENABLED


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _child(parent: dict[str, Any], key: str) -> dict[str, Any]:
    """The object under a key, made where it is missing or null."""
    value = parent.get(key)
    if value is None:
        value = parent[key] = {}
    if not isinstance(value, dict):
        raise TypeError(f"{key} is {value!r}, not an object")
    return value


def _with_defaults(target: dict[str, Any], defaults: Mapping[str, Any]) -> None:
    for key, value in defaults.items():
        if isinstance(value, Mapping) and target.get(key) is not None:
            _with_defaults(_child(target, key), value)
        elif target.get(key) is None:
            target[key] = _copy(value)


def _container_defaults(container: dict[str, Any]) -> None:
    if container.get("resources") is None:
        container["resources"] = {}
    for key in ("command", "args"):
        if isinstance(container.get(key), list):
            container[key] = [_text(item) for item in container[key]]
    for variable in objects(container, "env"):
        if "value" in variable:
            variable["value"] = _text(variable["value"])


def _as_text(meta: dict[str, Any], *keys: str) -> None:
    """Labels and annotations are text: `version: 1.0` is `"1.0"` to Kubernetes' own YAML reader."""
    for key in keys:
        if meta.get(key) is not None:
            meta[key] = {name: _text(value) for name, value in _child(meta, key).items()}


def _text(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return dump(value).split("\n")[0]
    return value
