"""The pods of a StatefulSet as what they are by name: ordinals, identities, claims. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from meshlab.cluster.controllers.history import REVISION_LABEL
from meshlab.cluster.controllers.objects import Obj
from meshlab.cluster.controllers.replicaset import pod_from

__all__ = ["claims", "first_ordinal", "ordinal", "pod_name", "stateful_pod"]

POD_NAME, POD_INDEX = "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"


def pod_name(stateful_set: Mapping[str, Any], number: int) -> str:
    return f"{stateful_set['metadata']['name']}-{number}"


def ordinal(stateful_set: Mapping[str, Any], pod: Mapping[str, Any]) -> int | None:
    """The number in a pod's name; None for a pod whose name is not one of this set.

    >>> ordinal({"metadata": {"name": "web"}}, {"metadata": {"name": "web-12"}})
    12
    """
    found = re.fullmatch(re.escape(stateful_set["metadata"]["name"]) + r"-(0|[1-9]\d*)", pod["metadata"]["name"])
    return int(found[1]) if found else None


def first_ordinal(spec: Mapping[str, Any]) -> int:
    return int((spec.get("ordinals") or {}).get("start") or 0)


def stateful_pod(stateful_set: Obj, template: Mapping[str, Any], revision: str, number: int) -> Obj:
    """Pod `number` of the set, from the template of the revision of that name."""
    pod = pod_from(template, stateful_set, ("apps/v1", "StatefulSet"))
    name, spec = pod_name(stateful_set, number), stateful_set["spec"]
    meta = pod["metadata"]
    del meta["generateName"]
    meta["name"] = name
    meta["labels"] |= {REVISION_LABEL: revision, POD_NAME: name, POD_INDEX: str(number)}
    pod["spec"] = {**template["spec"], "hostname": name}
    if service := spec.get("serviceName"):
        pod["spec"]["subdomain"] = service
    claimed = {claim["metadata"]["name"]: f"{claim['metadata']['name']}-{name}" for claim in _templates(spec)}
    if claimed:
        others = [volume for volume in template["spec"].get("volumes") or [] if volume["name"] not in claimed]
        pod["spec"]["volumes"] = [
            *({"name": volume, "persistentVolumeClaim": {"claimName": claim}} for volume, claim in claimed.items()),
            *others,
        ]
    return pod


def claims(stateful_set: Mapping[str, Any], number: int) -> list[Obj]:
    """The PersistentVolumeClaims of pod `number`."""
    meta, spec = stateful_set["metadata"], stateful_set["spec"]
    labels = (spec.get("selector") or {}).get("matchLabels") or {}
    return [{
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": f"{template['metadata']['name']}-{pod_name(stateful_set, number)}",
            "namespace": meta["namespace"],
            "labels": {**(template["metadata"].get("labels") or {}), **labels},
            **({"annotations": template["metadata"]["annotations"]} if template["metadata"].get("annotations") else {}),
        },
        "spec": template["spec"],
    } for template in _templates(spec)]


def _templates(spec: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    return spec.get("volumeClaimTemplates") or []
