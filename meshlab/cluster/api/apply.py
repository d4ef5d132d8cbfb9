"""Server-side apply, and who owns which field (`metadata.managedFields`).

    apply   a manager states what it wants: its fields are merged in, what it no longer states and nobody else
            owns is removed, and a field of another manager is a Conflict unless forced.
    track   any other write: what it changed belongs to its writer from then on.

The rules are those of Kubernetes' structured-merge-diff. Both are pure: objects that come in are not changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from meshlab.cluster.api.convert import convert
from meshlab.cluster.api.fieldset import (
    Comparison,
    DuplicateKey,
    Path,
    Paths,
    compare,
    field_set,
    merge,
    remove_items,
    with_named_fields,
)
from meshlab.cluster.api.filling import copied
from meshlab.cluster.api.ownership import Conflict, Fields, Managed, Owner, owner_of
from meshlab.cluster.api.schema import Node
from meshlab.cluster.api.status import BadRequest

__all__ = ["Conflict", "apply", "track"]

Object = dict[str, Any]
#: Fields that nobody owns: the server's own.
UNOWNED = frozenset(
    {("f:apiVersion",), ("f:kind",), ("f:metadata",)}
    | {
        ("f:metadata", f"f:{name}")
        for name in (
            "name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "managedFields",
            "resourceVersion",
        )
    }
)
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class _Versions:
    """The live and the new object in the version of each owner."""

    def __init__(self, node: Node | None, version: str) -> None:
        self.node, self.version = node, version

    def of(self, obj: Object, version: str) -> tuple[Object, Node | None] | None:
        """None where that version is no longer known: its owners are forgotten."""
        if version == self.version:
            return obj, self.node
        kind = str(obj.get("kind", ""))
        if self.node is None or not self.node.ref:
            same_group = version.rpartition("/")[0] == self.version.rpartition("/")[0]
            return ({**obj, "apiVersion": version}, self.node) if same_group else None
        node = self.node.sibling(version, kind)
        try:
            return None if node is None else (convert(obj, version), node)
        except ValueError:
            return None

    def compared(self, before: Object, after: Object, version: str) -> Comparison | None:
        old, new = self.of(before, version), self.of(after, version)
        if old is None or new is None:
            return None
        return compare(_plain(old[0]), _plain(new[0]), old[1])


def _plain(obj: Mapping[str, Any]) -> Object:
    """An object without its managedFields."""
    meta = obj.get("metadata")
    if not isinstance(meta, Mapping) or "managedFields" not in meta:
        return dict(obj)
    return {**obj, "metadata": {k: v for k, v in meta.items() if k != "managedFields"}}


def _stamp(now: datetime) -> str:
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _nothing(node: Node | None, version: str, kind: str) -> Object:
    """What an object of this kind is before it is made: Go's zero value, as JSON."""
    made: Object = {"apiVersion": version, "kind": kind}
    if node is not None and node.ref:
        made |= _zero(node)
    return made


def _zero(node: Node) -> Object:
    made: Object = {}
    for key, child in node.fields.items():
        if child.always:
            made[key] = _zero(child)
        elif child.kind in ("list", "map") and child.keeps_zero:
            made[key] = None
    return made


def _update(
    managed: Managed, before: Object, after: Object, versions: _Versions, writer: Owner, *, force: bool,
    hidden: tuple[Path, ...],
) -> Comparison:
    """Takes what changed from all but the writer. Raises Conflict unless forced."""
    compared: dict[str, Comparison | None] = {}

    def of(version: str) -> Comparison | None:
        if version not in compared:
            found = versions.compared(before, after, version)
            for prefix in hidden:
                found = found.without(prefix) if found is not None else None
            compared[version] = found
        return compared[version]

    own = of(versions.version) or Comparison()
    conflicts: list[tuple[Owner, Path]] = []
    changes: dict[Owner, Paths | None] = {}
    for owner, fields in managed.owners.items():
        if owner == writer:
            continue
        change = of(fields.version)
        if change is None:
            changes[owner] = None
            continue
        taken = fields.paths & (change.modified | change.added)
        conflicts += [(owner, path) for path in taken]
        changes[owner] = fields.paths - taken - change.removed
    if conflicts and not force:
        raise Conflict(conflicts)
    for owner, paths in changes.items():
        if not paths:
            del managed.owners[owner]
        else:
            managed.owners[owner] = replace(managed.owners[owner], paths=paths)
    return own


def _hidden(node: Node | None, subresource: str | None) -> tuple[Path, ...]:
    """Fields that a write to the object itself does not set: a built-in kind's status has a door of its own."""
    return (("f:status",),) if subresource is None and node is not None and node.ref else ()


def track(
    live: Mapping[str, Any] | None,
    new: Mapping[str, Any],
    *,
    manager: str,
    operation: str = "Update",
    subresource: str | None = None,
    node: Node | None,
    api_version: str,
    now: datetime,
) -> list[Object]:
    """managedFields after somebody created (`live` None) or changed an object.

    An object whose managedFields are empty stays so: nobody has ever asked who owns it.
    """
    managed = Managed.of(live)
    if live is not None and not managed.owners:
        return []
    before = _nothing(node, api_version, str(new.get("kind", ""))) if live is None else dict(live)
    _record(managed, before, dict(new), owner_of(manager, operation, api_version, subresource or ""), node,
            api_version, now, _hidden(node, subresource))  # fmt: skip
    return managed.encoded()


def _record(
    managed: Managed, before: Object, after: Object, writer: Owner, node: Node | None, version: str, now: datetime,
    hidden: tuple[Path, ...],
) -> None:
    """Gives what changed to its writer, and takes it from all others, the writer's own past included."""
    change = _update(managed, before, after, _Versions(node, version), _NOBODY, force=True, hidden=hidden)
    gained = (change.modified | change.added) - UNOWNED - {()}
    if gained:
        kept = managed.owners[writer].paths if writer in managed.owners else set()
        managed.owners[writer] = Fields(gained | kept, version, _stamp(now))
    managed.capped()


#: Stands for the write that is going on, which owns nothing yet.
_NOBODY = Owner("", "", "")


def apply(
    live: Mapping[str, Any] | None,
    config: Mapping[str, Any],
    *,
    manager: str,
    force: bool,
    node: Node | None,
    api_version: str,
    now: datetime,
    subresource: str | None = None,
) -> Object:
    """The object after `manager` applied `config`, with its managedFields.

    `live` None creates it. Raises Conflict, and BadRequest where a list states the same key twice.
    """
    intent = _intent(_plain(config), node)
    try:
        return _apply(live, intent, manager, force, node, api_version, now, subresource)
    except DuplicateKey as error:
        name = (config.get("metadata") or {}).get("name", "")
        raise BadRequest(f"failed to create typed patch object ({name}; {api_version}, "
                         f"Kind={config.get('kind')}): {error}") from None  # fmt: skip
    except Conflict as conflict:
        # kubectl moves an object from client-side to server-side apply: what its annotation says is its own.
        if manager != "kubectl" or live is None:
            raise
        allowed = _last_applied(live, node, api_version)
        rest = [(owner, path) for owner, path in conflict.pairs if path not in allowed]
        if rest:
            raise Conflict(rest) from None
        return _apply(live, intent, manager, True, node, api_version, now, subresource)


def _intent(config: Object, node: Node | None) -> Object:
    """The configuration without the empty structs that decoding adds."""
    if node is None or not node.ref:
        return config
    made: Object = {}
    for key, value in config.items():
        child = node.child(key)
        if child is None or (value == {} and child.always):
            continue
        made[key] = _stated(value, child)
        if made[key] == {} and child.always:
            del made[key]
    return made


def _stated(value: Any, node: Node) -> Any:
    if node.ref and isinstance(value, dict):
        return _intent(value, node)
    if node.item is not None and isinstance(value, list):
        return [_stated(item, node.item) for item in value]
    if node.item is not None and isinstance(value, dict):
        return {key: _stated(item, node.item) for key, item in value.items()}
    return value


def _apply(
    live: Mapping[str, Any] | None, config: Object, manager: str, force: bool, node: Node | None, version: str,
    now: datetime, subresource: str | None,
) -> Object:
    managed, versions = Managed.of(live), _Versions(node, version)
    hidden = _hidden(node, subresource)
    before = _nothing(node, version, str(config.get("kind", ""))) if live is None else _plain(live)
    if live is not None and not managed.owners:
        first = owner_of("before-first-apply", "Update", version, "")
        _record(managed, _nothing(node, version, str(config.get("kind", ""))), before, first, node, version, now,
                hidden)  # fmt: skip
    writer = owner_of(manager, "Apply", version, subresource or "")
    merged = merge(before, config, node)
    last = managed.owners.get(writer)
    stated = {path for path in field_set(config, node) if not any(path[: len(h)] == h for h in hidden)}
    managed.owners[writer] = Fields(stated, version, last.time if last else None)
    pruned = _prune(merged, managed, last, versions)
    _update(managed, before, pruned, versions, writer, force=force, hidden=hidden)
    own = managed.owners[writer]
    managed.owners[writer] = replace(own, paths=own.paths - UNOWNED)
    changed = _tidy(pruned) != _tidy(before)
    if changed or live is None:
        managed.owners[writer] = replace(managed.owners[writer], time=_stamp(now))
    result: Object = copied(pruned if changed or live is None else before)
    if manager == "kubectl" and LAST_APPLIED in ((result.get("metadata") or {}).get("annotations") or {}):
        result["metadata"]["annotations"][LAST_APPLIED] = json.dumps(config, separators=(",", ":")) + "\n"
    meta = result.setdefault("metadata", {})
    meta["managedFields"] = managed.encoded()
    return result


def _tidy(value: Any) -> Any:
    """A value for comparison: null and absent are the same in an object."""
    if isinstance(value, dict):
        return {k: _tidy(v) for k, v in value.items() if v is not None}
    return [_tidy(v) for v in value] if isinstance(value, list) else value


def _prune(merged: Object, managed: Managed, last: Fields | None, versions: _Versions) -> Object:
    """Removes what the manager stated last time, states no more, and nobody else owns."""
    if last is None or not last.paths:
        return merged
    seen = versions.of(merged, last.version)
    if seen is None:
        return merged
    whole, node = seen
    pruned = remove_items(whole, with_named_fields(last.paths, node), node) or {}
    by_version: dict[str, Paths] = {}
    for fields in managed.owners.values():
        by_version.setdefault(fields.version, set()).update(fields.paths)
    for version in sorted(by_version, key=lambda v: v != last.version):
        pruned = _restored(whole, pruned, by_version[version], version, versions, last.version)
    gone = with_named_fields(field_set(whole, node), node) - with_named_fields(field_set(pruned, node), node)
    kept = remove_items(whole, gone & with_named_fields(last.paths, node), node) or {}
    back = versions.of({**kept, "kind": merged.get("kind"), "apiVersion": last.version}, versions.version)
    return merged if back is None else back[0]


def _restored(
    whole: Object, pruned: Object, owned: Paths, version: str, versions: _Versions, at: str
) -> Object:
    """Adds back what was pruned though somebody owns it."""
    names = {"kind": whole.get("kind"), "apiVersion": at}
    seen, cut = _from(versions, {**whole, **names}, at, version), _from(versions, {**pruned, **names}, at, version)
    if seen is None or cut is None:
        return pruned
    obj, node = seen
    all_fields = with_named_fields(field_set(obj, node), node)
    keep = with_named_fields(field_set(cut[0], node), node) | with_named_fields(owned, node)
    made = remove_items(obj, all_fields - keep, node) or {}
    back = _from(versions, {**made, "kind": whole.get("kind"), "apiVersion": version}, version, at)
    return pruned if back is None else back[0]


def _from(versions: _Versions, obj: Object, at: str, to: str) -> tuple[Object, Node | None] | None:
    """An object of version `at` in version `to`."""
    if versions.node is not None and versions.node.ref:
        node = versions.node.sibling(to, str(obj.get("kind", "")))
        try:
            return None if node is None else (convert(obj, to), node)
        except ValueError:
            return None
    return versions.of(obj, to)


def _last_applied(live: Mapping[str, Any], node: Node | None, version: str) -> Paths:
    """Fields that kubectl's client-side apply set and that still are as it set them."""
    annotations = (live.get("metadata") or {}).get("annotations") or {}
    try:
        stated = json.loads(annotations.get(LAST_APPLIED, ""))
    except ValueError:
        return set()
    if not isinstance(stated, dict) or stated.get("apiVersion") != version:
        return set()
    change = compare(stated, _plain(live), node)
    return field_set(stated, node) - change.modified - change.added - change.removed
