"""The scale subresource: autoscaling/v1 Scale of whatever has replicas."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from meshlab.cluster.api.admission import Reason
from meshlab.cluster.api.kinds import check_kind, check_name
from meshlab.cluster.api.patching import patched
from meshlab.cluster.api.registry import Resource
from meshlab.cluster.api.status import Conflict, Invalid
from meshlab.cluster.api.webhooks.review import Attributes, Unreviewed

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["SCALE", "get", "patch", "selector_text", "update"]

Object = dict[str, Any]

#: The kind of the subresource, whose type strategic patches follow.
SCALE = Resource("autoscaling", "v1", "Scale", "scale", "scale", stored_as="autoscaling/v1")


def get(api: Api, resource: Resource, namespace: str | None, name: str) -> Object:
    """The Scale of one object."""
    return _of(api, resource, api.get(resource, namespace, name))


def update(
    api: Api, resource: Resource, namespace: str | None, name: str, scale: Mapping[str, Any], *, user: str,
    dry_run: bool,
) -> Object:
    """Sets the replicas. A resourceVersion that is given must be the stored one."""
    obj = api.get(resource, namespace, name)
    check_kind(SCALE, scale)
    scale = api.types.decode_as("autoscaling/v1", "Scale", scale)
    scale = _reviewed(api, resource, scale, _of(api, resource, obj), dry_run)
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if replicas < 0:
        cause = Reason(
            "spec.replicas", "FieldValueInvalid",
            f"Invalid value: {replicas}: must be greater than or equal to 0",
        )
        raise Invalid.kind("Scale", "autoscaling", name, [cause])
    meta = scale.get("metadata") or {}
    check_name(meta.get("name"), name)
    revision = meta.get("resourceVersion")
    if revision and revision != obj["metadata"]["resourceVersion"]:
        raise Conflict.of(resource, name)
    new = copy.deepcopy(obj)
    where = _parts(_paths(api, resource)["specReplicasPath"])
    target = new
    for part in where[:-1]:
        target = target.setdefault(part, {})
    target[where[-1]] = replicas
    review = api.review
    with api.reviewed_by(Unreviewed()):  # what is asked about is the Scale
        made = api.update(resource, namespace, name, new, field_manager=user, dry_run=dry_run)
    review.done()
    return _of(api, resource, made)


def patch(
    api: Api, resource: Resource, namespace: str | None, name: str, change: Any, kind: str, *, user: str,
    dry_run: bool,
) -> Object:
    """Any patch of the Scale."""
    live = get(api, resource, namespace, name)
    if kind == "apply":
        kind = "merge"
    result = patched(api.types, SCALE, live, change, kind)
    return update(api, resource, namespace, name, result, user=user, dry_run=dry_run)


def _reviewed(api: Api, resource: Resource, new: Object, old: Object, dry_run: bool) -> Object:
    """The Scale that admission webhooks agree to."""
    meta = old["metadata"]
    asked = Attributes(
        resource, "UPDATE", meta.get("namespace", ""), meta["name"],
        {"kind": "Scale", "apiVersion": "autoscaling/v1", **new}, old, "scale", dry_run, ("autoscaling/v1", "Scale"),
    )
    changed = api.review.mutate(asked)
    if changed is not None:
        new = api.types.decode_as("autoscaling/v1", "Scale", changed)
        asked = replace(asked, new=changed)
    api.review.validate(asked)
    return new


def _of(api: Api, resource: Resource, obj: Mapping[str, Any]) -> Object:
    meta, paths = obj["metadata"], _paths(api, resource)
    replicas = _at(obj, paths["specReplicasPath"]) or 0
    selector = _at(obj, paths.get("labelSelectorPath", ".spec.selector")) or ""
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    status: Object = {"replicas": _at(obj, paths["statusReplicasPath"]) or 0}
    if text := selector_text(selector):
        status["selector"] = text
    return {
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {k: meta[k] for k in kept if k in meta},
        "spec": {"replicas": replicas} if replicas else {},
        "status": status,
    }


def _paths(api: Api, resource: Resource) -> Mapping[str, str]:
    if resource.custom:
        return api.definitions.version(resource).scale or {}
    return {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}


def _parts(path: str) -> list[str]:
    return path.lstrip(".").split(".")


def _at(obj: Mapping[str, Any], path: str) -> Any:
    value: Any = obj
    for part in _parts(path):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def selector_text(selector: Any) -> str:
    """A LabelSelector as text: `app=web,tier in (a,b)`."""
    if not isinstance(selector, Mapping):
        return str(selector)
    labels = selector.get("matchLabels", {} if "matchExpressions" in selector else selector)
    terms = [f"{k}={v}" for k, v in sorted(labels.items())]
    for e in selector.get("matchExpressions") or ():
        values = ",".join(sorted(e.get("values") or ()))
        terms.append({
            "In": f"{e['key']} in ({values})", "NotIn": f"{e['key']} notin ({values})", "Exists": e["key"],
            "DoesNotExist": f"!{e['key']}",
        }[e["operator"]])
    return ",".join(terms)
