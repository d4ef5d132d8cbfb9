"""The answer of Pilot's mutating webhook: the sidecar for a pod that is being created.

Which pods get one is today's rule, which looks at the pod alone; the webhook's configuration has already left out
namespaces without the label `istio-injection=enabled`. What they get is what `istioctl kube-inject` gives them (but for
the init container that set core dumps up), so that both ways lead to the same sidecar, that of this control plane. In a
pod that comes to an end, a job's, it is an init container that is kept running, as today's are: the pod begins when it
listens, and ends without it.

Pure: whoever serves the webhook passes an AdmissionReview (v1) in and sends what comes out.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

from meshlab.mesh.config.admission import answer, refusal
from meshlab.mesh.config.sidecar import POLICY_ANNOTATION, PROXY, STATUS_ANNOTATION, SidecarParams, add_sidecar, objects
from meshlab.mesh.config.today.checks import is_cidr

__all__ = ["IGNORED_NAMESPACES", "injected", "review"]

#: Of the cluster's own, and the control plane's.
IGNORED_NAMESPACES = ("kube-system", "kube-public", "kube-node-lease", "local-path-storage", "istio-system")
#: A pod's own wish which of its connections are captured: CIDRs, `*` for all.
RANGES_ANNOTATION = "traffic.sidecar.istio.io/includeOutboundIPRanges"
REVISION = "default"
#: Members of a pod that change: lists of its spec, and maps of its metadata.
LISTS, MAPS = ("initContainers", "containers", "volumes"), ("labels", "annotations")


def review(request: Mapping[str, Any], params: SidecarParams) -> dict[str, Any]:
    """An AdmissionReview with its response: a JSON patch, or none for a pod that is left as it is."""
    asked = request.get("request")
    pod = asked.get("object") if isinstance(asked, Mapping) else None
    if not isinstance(asked, Mapping) or not isinstance(pod, Mapping) or pod.get("kind") != "Pod":
        return answer(request)
    try:
        made = injected(pod, str(asked.get("namespace") or ""), params)
        if made is None:
            return answer(request)
        patch = _patch(pod, made)
    except (TypeError, ValueError, AttributeError) as error:
        return answer(request, refusal(f"the pod cannot be given a sidecar: {error}"))
    return answer(request, {
        "patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(patch).encode()).decode(),
    })  # fmt: skip


def injected(pod: Mapping[str, Any], namespace: str, params: SidecarParams) -> dict[str, Any] | None:
    """The pod with its sidecar; None for one that gets none, or has one.

    TypeError for one of the wrong shape, ValueError for one whose wishes make no sense.
    """
    if not _required(pod, namespace):
        return None
    made: dict[str, Any] = deepcopy(dict(pod))
    meta, spec = made.get("metadata"), made.get("spec")
    if not isinstance(meta, dict) or not isinstance(spec, dict):
        raise TypeError("it has no metadata or no spec")
    labels = meta["labels"] = dict(meta.get("labels") or {})
    annotations = meta["annotations"] = dict(meta.get("annotations") or {})
    ranges = str(annotations.get(RANGES_ANNOTATION) or params.include_ranges)
    if strange := [each for each in ranges.split(",") if each not in ("", "*") and not is_cidr(each)]:
        raise ValueError(f"{RANGES_ANNOTATION}: {strange[0]!r} is no CIDR")
    before = {key: len(objects(spec, key)) for key in LISTS}
    first = objects(spec, "containers")
    add_sidecar(spec, labels, replace(params, include_ranges="" if ranges == "*" else ranges))
    if spec.get("restartPolicy") in ("Never", "OnFailure"):
        # A pod that is to come to an end must not be kept alive by its proxy, nor begin before it.
        probe = {"tcpSocket": {"port": params.mesh.proxy_listen_port}, "periodSeconds": 1, "failureThreshold": 600}
        kept = {"restartPolicy": "Always", "startupProbe": probe}
        spec["initContainers"].append({**spec["containers"].pop(), **kept})
    app = labels.get("app.kubernetes.io/name") or labels.get("app") or ""
    version = labels.get("app.kubernetes.io/version") or labels.get("version") or "latest"
    labels.setdefault("security.istio.io/tlsMode", "istio")
    if app:
        labels.setdefault("service.istio.io/canonical-name", app)
    labels.setdefault("service.istio.io/canonical-revision", version)
    annotations["istio.io/rev"] = REVISION
    if first:
        annotations.setdefault("kubectl.kubernetes.io/default-container", str(first[0].get("name") or ""))
    added = {key: [each["name"] for each in spec[key][count:]] for key, count in before.items()}
    annotations[STATUS_ANNOTATION] = json.dumps({**added, "imagePullSecrets": None, "revision": REVISION})
    return made


def _required(pod: Mapping[str, Any], namespace: str) -> bool:
    """Today's rule: the pod's label, else its annotation, else yes."""
    meta, spec = pod.get("metadata") or {}, pod.get("spec") or {}
    if namespace in IGNORED_NAMESPACES or spec.get("hostNetwork"):
        return False
    labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
    containers = (*objects(spec, "containers"), *objects(spec, "initContainers"))
    if STATUS_ANNOTATION in annotations or any(each.get("name") == PROXY for each in containers):
        return False
    return labels.get(POLICY_ANNOTATION, annotations.get(POLICY_ANNOTATION, "")) in ("", "true")


def _patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What differs, member by member."""
    return [
        {"op": "add", "path": f"/{part}/{name}", "value": after[part][name]}
        for part, names in (("metadata", MAPS), ("spec", LISTS))
        for name in names
        if before[part].get(name) != after[part][name]
    ]
