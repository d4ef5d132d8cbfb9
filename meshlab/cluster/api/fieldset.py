"""Sets of fields, and the four operations of server-side apply on typed values.

A path is a tuple of elements spelt as FieldsV1 spells them: `f:spec`, `k:{"name":"main"}` for an element of a list
with keys, `v:"x"` for one of a list that is a set. A set of fields is a plain Python set of such paths, so that
union, difference and intersection are Python's own.

A value's type decides what a field is: an atomic list or map is one leaf; in a granular one each entry is. Without
a type (`node` None, or kind "deduced") maps are granular and lists atomic.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from meshlab.cluster.api.schema import Node

__all__ = ["Comparison", "Path", "Paths", "compare", "decode_fields", "encode_fields", "field_set", "merge",
           "path_text", "remove_items", "with_named_fields"]  # fmt: skip

Path = tuple[str, ...]
Paths = set[Path]


class _Missing:
    """The absence of a value; None is JSON's null, which is a value."""


MISSING = _Missing()


class DuplicateKey(ValueError):
    """Two elements of an applied list have the same key."""


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


# FieldsV1


def encode_fields(paths: Iterable[Path]) -> dict[str, Any]:
    """FieldsV1 of a set: `{"f:spec": {".": {}, "f:replicas": {}}}`."""
    root: dict[str, Any] = {}
    members = set(paths)
    for path in sorted(members):
        level = root
        for element in path:
            level = level.setdefault(element, {})
    for path in members:
        level = root
        for element in path:
            level = level[element]
        if level:
            level["."] = {}
    return _ordered(root)


def _ordered(tree: dict[str, Any]) -> dict[str, Any]:
    return {key: _ordered(tree[key]) for key in sorted(tree)}


def decode_fields(fields: Mapping[str, Any]) -> Paths:
    """The set that FieldsV1 stands for."""
    found: Paths = set()

    def walk(level: Mapping[str, Any], path: Path) -> None:
        for element, below in level.items():
            if element == ".":
                found.add(path)
                continue
            here = (*path, element)
            if below:
                walk(below, here)
            else:
                found.add(here)

    walk(fields, ())
    return found


def path_text(path: Path) -> str:
    """A path as conflicts name it: `.spec.template.spec.containers[name="main"].image`."""
    text = ""
    for element in path:
        kind, value = element[:2], element[2:]
        if kind == "f:":
            text += "." + value
        elif kind == "k:":
            keys = json.loads(value)
            text += "[" + ",".join(f"{k}={_compact(v)}" for k, v in sorted(keys.items())) + "]"
        else:
            text += f"[={value}]" if kind == "v:" else f"[{value}]"
    return text


# Types


def _is(value: Any, node: Node | None) -> tuple[str, bool]:
    """Shape of a value (map, list, scalar) and whether it is one leaf."""
    shape = "map" if isinstance(value, dict) else "list" if isinstance(value, list) else "scalar"
    if node is None or node.kind == "deduced":
        return shape, shape == "list"
    if node.kind in ("raw", "any"):
        return shape, True
    if value is None or value is MISSING:
        shape = {"object": "map", "map": "map", "list": "list"}.get(node.kind, "scalar")
    return shape, node.is_atomic


def _child(node: Node | None, key: str) -> tuple[Node | None, bool]:
    """The node below a key, and whether the key is a field of a struct."""
    if node is None or node.kind == "deduced":
        return None, False
    if node.kind == "object":
        found = node.fields.get(key)
        return (found, True) if found is not None else (node.item, False)
    return node.item, False


def _element(item: Any, node: Node | None) -> str:
    """How FieldsV1 names an element of a list."""
    keys = node.map_keys if node is not None else ()
    if node is None or node.list_type != "map" or not isinstance(item, dict):
        return "v:" + _compact(item)
    named = {}
    below = node.item.fields if node.item is not None else {}
    for key in sorted(keys):
        if item.get(key) is not None:
            named[key] = item[key]
        elif (field := below.get(key)) is not None and field.default is not None:
            named[key] = field.default
    return "k:" + _compact(named)


def _indexed(items: Any, node: Node | None) -> dict[str, list[Any]]:
    """Elements of a list by their name; several where names repeat."""
    found: dict[str, list[Any]] = {}
    for item in items or ():
        found.setdefault(_element(item, node), []).append(item)
    return found


def _empty(value: Any) -> bool:
    return value is MISSING or value is None or value in ({}, [])


# Set of a value


def field_set(value: Any, node: Node | None) -> Paths:
    """Every field that a value holds."""
    found: Paths = set()
    _collect(value, node, (), found)
    return found


def _collect(value: Any, node: Node | None, path: Path, into: Paths) -> None:
    shape, leaf = _is(value, node)
    if leaf or shape == "scalar":
        into.add(path)
        return
    if shape == "map":
        for key, item in (value or {}).items():
            below, named = _child(node, key)
            here = (*path, "f:" + key)
            _collect(item, below, here, into)
            if item is None or item == {} or not named:
                into.add(here)
        return
    for name, items in _indexed(value, node).items():
        here = (*path, name)
        into.add(here)
        if len(items) == 1:
            _collect(items[0], node.item if node else None, here, into)


# Comparison


class Comparison:
    """Fields that the second of two values added, changed and removed."""

    def __init__(self) -> None:
        self.added: Paths = set()
        self.modified: Paths = set()
        self.removed: Paths = set()

    def without(self, prefix: Path) -> Comparison:
        """The same without everything at and below a path."""
        made = Comparison()
        for name in ("added", "modified", "removed"):
            setattr(made, name, {p for p in getattr(self, name) if p[: len(prefix)] != prefix})
        return made


def compare(before: Any, after: Any, node: Node | None) -> Comparison:
    """What changed from one value to the other."""
    found = Comparison()
    _compare(before, after, node, (), found)
    return found


def _compare(before: Any, after: Any, node: Node | None, path: Path, into: Comparison) -> None:
    if before is not MISSING and after is not MISSING and before == after and type(before) is type(after):
        return
    known = after if after is not MISSING and after is not None else before
    shape, leaf = _is(known, node)
    both_empty = _empty(before) and _empty(after)
    there = before is not MISSING and before is not None and after is not MISSING and after is not None
    mixed = there and _is(before, node)[0] != _is(after, node)[0]
    if leaf or shape == "scalar" or both_empty or mixed:
        if before is MISSING:
            into.added.add(path)
        elif after is MISSING:
            into.removed.add(path)
        else:
            into.modified.add(path)
        return
    if shape == "map":
        left = {} if _empty(before) else before
        right = {} if _empty(after) else after
        for key in [*left, *(k for k in right if k not in left)]:
            below, _ = _child(node, key)
            here = (*path, "f:" + key)
            _compare(left.get(key, MISSING), right.get(key, MISSING), below, here, into)
    else:
        _compare_lists(before, after, node, path, into)
    if before is MISSING:
        into.added.add(path)
    elif after is MISSING:
        into.removed.add(path)


def _compare_lists(before: Any, after: Any, node: Node | None, path: Path, into: Comparison) -> None:
    left = _indexed(None if _empty(before) else before, node)
    right = _indexed(None if _empty(after) else after, node)
    item = node.item if node else None
    for name in [*left, *(n for n in right if n not in left)]:
        old, new, here = left.get(name, []), right.get(name, []), (*path, name)
        if len(old) <= 1 and len(new) <= 1:
            _compare(old[0] if old else MISSING, new[0] if new else MISSING, item, here, into)
        elif len(old) > 1 and len(new) > 1:
            if old != new:
                into.modified.add(here)
        elif len(old) > 1:
            if new:
                _compare(MISSING, new[0], item, here, into)
            into.removed.add(here)
        else:
            if old:
                _compare(old[0], MISSING, item, here, into)
            into.added.add(here)


# Merge


def merge(live: Any, config: Any, node: Node | None) -> Any:
    """The live value with everything that the configuration says."""
    merged = _merge(live, config, node)
    return {} if merged is MISSING else merged


def _merge(live: Any, config: Any, node: Node | None) -> Any:
    if config is MISSING:
        return live
    if config is None and not _empty(live):
        seen, whole = _is(live, node)
        if seen != "scalar" and not whole:
            return live  # null states no entries, and takes none away
    if live is MISSING and _is(config, node)[0] != "list":
        live = None if not isinstance(config, dict) else {}
    shape, leaf = _is(config, node)
    if leaf or shape == "scalar" or (_empty(live) and _empty(config)) or _is(live, node)[0] != shape:
        return config
    if shape == "map":
        live, config = live or {}, config or {}
        merged = {}
        for key in [*live, *(k for k in config if k not in live)]:
            value = _merge(live.get(key, MISSING), config.get(key, MISSING), _child(node, key)[0])
            if value is not MISSING:
                merged[key] = value
        return merged
    return _merge_lists([] if _empty(live) else live, [] if _empty(config) else config, node)


def _merge_lists(live: list[Any], config: list[Any], node: Node | None) -> list[Any]:
    """Elements of both: those of the configuration in its order, the others where they stood among them."""
    item = node.item if node else None
    right = _indexed(config, node)
    for name, items in right.items():
        if len(items) > 1:
            raise DuplicateKey(f"duplicate entries for key {path_text((name,))}")
    left_names, right_names = [_element(i, node) for i in live], list(right)
    left = {name: items[0] if len(items) == 1 else MISSING for name, items in _indexed(live, node).items()}
    shared = iter([name for name in right_names if name in left])
    awaited = next(shared, None)
    out: list[Any] = []
    done: set[str] = set()
    i = j = 0
    while i < len(left_names) or j < len(right_names):
        if i < len(left_names) and j < len(right_names):
            name = left_names[i]
            if name == right_names[j]:
                done.add(name)
                out.append(_merge(left[name], right[name][0], item))
                i, j, awaited = i + 1, j + 1, next(shared, None)
                continue
            if name in right and awaited is not None and awaited != name:
                i += 1  # the configuration has it elsewhere
                continue
        if i < len(left_names):
            name = left_names[i]
            if name not in right:
                out.append(live[i])
                i += 1
                continue
            if name in done:
                i += 1
        if j < len(right_names):
            name = right_names[j]
            done.add(name)
            out.append(_merge(left.get(name, MISSING), right[name][0], item))
            j += 1
            if awaited == name:
                awaited = next(shared, None)
    return out


# Removal


def remove_items(value: Any, paths: Paths, node: Node | None) -> Any:
    """The value without these fields; what becomes empty by that is gone too."""
    tree: dict[str, Any] = {}
    for path in paths:
        level = tree
        for element in path[:-1]:
            level = level.setdefault(element, {})
        if path:
            level.setdefault(path[-1], {})[""] = True
    return _remove(value, tree, node)


def _remove(value: Any, tree: Mapping[str, Any], node: Node | None) -> Any:
    shape, leaf = _is(value, node)
    if shape == "scalar":
        return value
    if leaf or not value:
        return None
    if shape == "map":
        kept = {}
        for key, item in value.items():
            below = tree.get("f:" + key, {})
            if "" in below:
                continue
            kept[key] = _remove(item, below, _child(node, key)[0]) if below else item
        return kept or None
    out = []
    for item in value:
        below = tree.get(_element(item, node), {})
        if "" not in below:
            out.append(_remove(item, below, node.item if node else None) if below else item)
    return out or None


def with_named_fields(paths: Paths, node: Node | None) -> Paths:
    """The set and the fields of structs on the way to its members: a set with `a.b.c` owns the struct's field `a`,
    but not the map's entry `b`."""
    return paths | set(_named(paths, node))


def _named(paths: Paths, node: Node | None) -> Iterator[Path]:
    for path in paths:
        at = node
        for depth, element in enumerate(path[:-1]):
            if element[:2] == "f:":
                at, named = _child(at, element[2:])
                if named:
                    yield path[: depth + 1]
            else:
                at = at.item if at is not None else None
