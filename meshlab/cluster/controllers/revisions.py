"""The ReplicaSets of a Deployment as its revisions: templates, hashes, numbers and annotations. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from meshlab.cluster.controllers.objects import Obj, owner_reference

__all__ = [
    "DESIRED",
    "HASH",
    "MAXIMUM",
    "REVISION",
    "annotations_for",
    "find_new",
    "new_replica_set",
    "revision",
    "safe_hash",
    "surplus",
    "template_hash",
]

HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
#: Annotations of a Deployment that its ReplicaSets do not inherit.
OWN = {"kubectl.kubernetes.io/last-applied-configuration", REVISION, HISTORY, DESIRED, MAXIMUM,
       "deprecated.deployment.rollback.to"}
#: Letters of safe names: no vowels, so that no words come out.
SAFE = "bcdfghjklmnpqrstvwxz2456789"


def revision(obj: Mapping[str, Any]) -> int:
    """The number in an object's revision annotation, 0 without one."""
    try:
        return int((obj["metadata"].get("annotations") or {}).get(REVISION, "0"))
    except ValueError:
        return 0


def _plain(template: Mapping[str, Any]) -> dict[str, Any]:
    """A template without what does not make it another revision: the hash and empty metadata."""
    meta = template.get("metadata") or {}
    labels = {key: value for key, value in (meta.get("labels") or {}).items() if key != HASH}
    return {"labels": labels, "annotations": meta.get("annotations") or {}, "spec": template["spec"]}


def template_hash(template: Mapping[str, Any], collisions: int = 0) -> str:
    """What a deployment controller adds to the name of the ReplicaSet of a template."""
    return safe_hash(json.dumps([_plain(template), collisions], sort_keys=True))


def safe_hash(text: str) -> str:
    """FNV-1a (32 bits) of a text, in letters that make no words."""
    value = 2166136261
    for byte in text.encode():
        value = ((value ^ byte) * 16777619) & 0xFFFFFFFF
    return "".join(SAFE[ord(digit) % len(SAFE)] for digit in str(value))


def find_new(deployment: Mapping[str, Any], replica_sets: Iterable[Obj]) -> Obj | None:
    """The ReplicaSet of the present template; the oldest if there are several."""
    wanted = _plain(deployment["spec"]["template"])
    same = [rs for rs in replica_sets if _plain(rs["spec"]["template"]) == wanted]
    return min(same, key=lambda rs: (rs["metadata"]["creationTimestamp"], rs["metadata"]["name"]), default=None)


def annotations_for(deployment: Mapping[str, Any], replica_set: Mapping[str, Any] | None, number: int,
                    maximum: int) -> dict[str, str]:
    """The annotations of a Deployment's present ReplicaSet; a revision that comes back remembers its old numbers."""
    inherited = {key: value for key, value in (deployment["metadata"].get("annotations") or {}).items()
                 if key not in OWN}
    before = dict((replica_set or {"metadata": {}})["metadata"].get("annotations") or {})
    result = {**before, **inherited, DESIRED: str(deployment["spec"].get("replicas", 1)), MAXIMUM: str(maximum),
              REVISION: str(number)}
    old = before.get(REVISION)
    if old is not None and old != str(number):
        result[HISTORY] = ",".join(filter(None, [before.get(HISTORY, ""), old]))
    return result


def new_replica_set(deployment: Mapping[str, Any], *, collisions: int, replicas: int,
                    annotations: Mapping[str, str]) -> Obj:
    """A ReplicaSet for the present template."""
    meta, spec = deployment["metadata"], deployment["spec"]
    template = spec["template"]
    digest = template_hash(template, collisions)
    template_meta = template.get("metadata") or {}
    labels = {**(template_meta.get("labels") or {}), HASH: digest}
    selector = spec.get("selector") or {}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{meta['name']}-{digest}",
            "namespace": meta["namespace"],
            "labels": labels,
            "annotations": dict(annotations),
            "ownerReferences": [owner_reference(deployment, "apps/v1", "Deployment")],
        },
        "spec": {
            "replicas": replicas,
            **({"minReadySeconds": spec["minReadySeconds"]} if spec.get("minReadySeconds") else {}),
            "selector": {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), HASH: digest}},
            "template": {**template, "metadata": {**template_meta, "labels": labels}},
        },
    }


def surplus(old: Sequence[Obj], limit: int) -> list[Obj]:
    """Old ReplicaSets beyond revisionHistoryLimit, without pods: the oldest revisions first."""
    clean = [rs for rs in old if not rs["spec"].get("replicas") and not (rs.get("status") or {}).get("replicas")
             and not rs["metadata"].get("deletionTimestamp")]
    return sorted(clean, key=revision)[:max(0, len(old) - limit)]
