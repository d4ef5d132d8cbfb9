"""Who gets a sidecar: on a cluster istiod's webhook puts it in, into pods that ask for it by a label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["inject"]

_WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "ReplicationController")


def inject(document: Mapping[str, Any], revision: str = "default", ranges: str = "") -> dict[str, Any]:
    """The document with the label on its pods; what makes no pods comes back as it is.

    Pods of a revision that is not the default name it. A label that is there already stays: `inject: "false"` is a
    decision, and so is the annotation of 2018 with these words. `ranges`: only these destinations are led into the
    sidecar.
    """
    if document.get("kind") == "Pod":
        if _declined(document):
            return dict(document)
        return _asking(document, revision, ranges)
    if document.get("kind") not in _WORKLOADS:
        return dict(document)
    spec = document["spec"]
    if _declined(document) or _declined(spec["template"]):
        return dict(document)
    return {**document, "spec": {**spec, "template": _asking(spec["template"], revision, ranges)}}


def _declined(made: Mapping[str, Any]) -> bool:
    """Is it said in the words of 2018, an annotation, that there shall be no sidecar?"""
    return (made.get("metadata", {}).get("annotations") or {}).get("sidecar.istio.io/inject") == "false"


def _asking(pod: Mapping[str, Any], revision: str, ranges: str) -> dict[str, Any]:
    asked = {"sidecar.istio.io/inject": "true"}
    if revision != "default":
        asked = {"istio.io/rev": revision}
    metadata = dict(pod.get("metadata") or {})
    metadata["labels"] = {**asked, **(metadata.get("labels") or {})}
    if ranges:
        said = {"traffic.sidecar.istio.io/includeOutboundIPRanges": ranges}
        metadata["annotations"] = {**(metadata.get("annotations") or {}), **said}
    return {**pod, "metadata": metadata}
