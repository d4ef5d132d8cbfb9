"""Server-side apply on the write path: it creates or changes, and keeps account of who owns which field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from meshlab.cluster.api.declared import faults
from meshlab.cluster.api.kinds import check_name
from meshlab.cluster.api.registry import Resource
from meshlab.cluster.api.status import BadRequest, Conflict
from meshlab.cluster.api.store import Entry

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["applied"]

Object = dict[str, Any]
Warn = Callable[[str], None]


def applied(
    api: Api, resource: Resource, namespace: str | None, name: str, entry: Entry | None, config: Any, *, manager: str,
    force: bool, dry_run: bool, validation: str, warn: Warn, subresource: str | None,
) -> Object:
    """The object as stored; `entry` is what there is. Raises ApiError, a Conflict where others own fields."""
    if not isinstance(config, Mapping):
        raise BadRequest("the object provided is unrecognized (must be an object)")
    if not isinstance(config.get("metadata", {}), Mapping):
        raise BadRequest("the object provided is unrecognized: metadata must be an object")
    if config.get("kind") != resource.kind or config.get("apiVersion") != resource.api_version:
        raise BadRequest(f"invalid object type: {_type(config)}")
    meta = config.get("metadata") or {}
    if meta.get("managedFields"):
        raise BadRequest("metadata.managedFields must be nil")
    if (node := api.types.node(resource)) is not None and (wrong := list(faults(config, node))):
        what = f"{meta.get('namespace', '')}/{meta.get('name', '')}; {_type(config)}"
        shown = wrong[0] if len(wrong) == 1 else "errors:" + "".join(f"\n  {fault}" for fault in wrong)
        raise BadRequest(f"failed to create typed patch object ({what}): {shown}")
    intent = api.received(resource, namespace, config, validation, warn)
    check_name(intent["metadata"].get("name") or (entry and name), name)
    intent["metadata"]["name"] = name
    live = None if entry is None else api.types.from_storage(resource, entry.obj)
    if live is None and (uid := intent["metadata"].get("uid")):
        raise Conflict.of(resource, name, f"uid mismatch: the provided object specified uid {uid}, and no "
                          "existing object was found")
    if subresource == "status":
        intent = {k: v for k, v in intent.items() if k in ("kind", "apiVersion", "metadata", "status")}
    elif "status" in resource.subresources:
        intent.pop("status", None)
    result = api.types.apply(resource, live, intent, manager, force, subresource)
    managed = result["metadata"].get("managedFields") or []
    new = api.received(resource, namespace, result, "Ignore", lambda _: None)
    if entry is None:
        new["metadata"].pop("managedFields", None)
        return api.insert(
            resource, namespace, new, manager=manager, dry_run=dry_run, managed=managed
        )
    return api.replace(
        resource, entry, new, subresource=subresource, manager=manager, dry_run=dry_run, managed=managed
    )


def _type(obj: Mapping[str, Any]) -> str:
    """`apps/v1, Kind=Deployment`, as Go prints a type; the core group has no name before its slash."""
    version = str(obj.get("apiVersion") or "")
    return f"{version if '/' in version else '/' + version}, Kind={obj.get('kind') or ''}"
