"""What of an object does not fit its type, in the words and paths of server-side apply. Pure.

The words are those of Kubernetes' structured-merge-diff, which looks at an object before it merges it: unknown fields,
values of a wrong kind, elements of a list that cannot be told apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from meshlab.cluster.api.schema import Node

__all__ = ["faults"]

SCALARS = {"string": "string", "integer": "numeric (int or float)", "number": "numeric (int or float)",
           "boolean": "boolean"}  # fmt: skip
ANY_SCALAR = ("intstr", "quantity", "time", "microtime")


def faults(value: Any, node: Node, path: str = "") -> Iterator[str]:
    """`.spec.template.spec.containers[name="main"].imagee: field not declared in schema`, for each."""
    at = f"{path}: " if path else ""
    if value is None:
        return
    if node.kind in ("object", "map"):
        if not isinstance(value, Mapping):
            yield f"{at}expected map, got &{{{_go(value)}}}"
            return
        for key, item in value.items():
            child = node.child(key) or node.item
            if child is None:
                yield f"{path}.{key}: field not declared in schema"
            else:
                yield from faults(item, child, f"{path}.{key}")
    elif node.kind == "list":
        if isinstance(value, list):
            yield from _elements(value, node, path, at)
        else:
            yield f"{at}expected list, got &{{{_go(value)}}}"
    elif wrong := _scalar(value, node.kind):
        yield at + wrong


def _elements(items: list[Any], node: Node, path: str, at: str) -> Iterator[str]:
    item_node = node.item
    assert item_node is not None  # noqa: S101 (a list's node has one)
    seen: set[str] = set()
    for i, item in enumerate(items):
        element = f"[{i}]"
        if node.list_type == "map":
            if not isinstance(item, Mapping):
                what = "may not have a null element" if item is None else "may not have non-map elements"
                yield f"{at}element {i}: associative list with keys {what}"
                return
            keys = {key: item.get(key, _default(item_node, key)) for key in sorted(node.map_keys)}
            known = {key: value for key, value in keys.items() if value is not None}
            if not known:
                named = json.dumps(list(node.map_keys), separators=(" ", ":"))
                yield (
                    f"{at}element {i}: associative list with keys has an element that omits all key fields {named} "
                    "(and doesn't have default values for any key fields)"
                )
                return
            element = "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in known.items()) + "]"
        elif node.list_type == "set":
            element = f"[={json.dumps(item)}]"
        if node.list_type in ("map", "set"):
            if element in seen:
                yield f"{at}duplicate entries for key {element}"
            seen.add(element)
        yield from faults(item, item_node, path + element)


def _default(node: Node, key: str) -> Any:
    child = node.fields.get(key)
    return None if child is None else child.default


def _scalar(value: Any, kind: str) -> str:
    if kind in ANY_SCALAR:
        return f"expected any scalar, got &{{{_go(value)}}}" if isinstance(value, list | Mapping) else ""
    if kind not in SCALARS:
        return ""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = {"string": isinstance(value, str), "boolean": isinstance(value, bool)}.get(kind, number)
    if fits:
        return ""
    shown = {
        "string": f"&value.valueUnstructured{{Value:{_go(value)}}}", "boolean": f"&{{{_go(value)}}}",
    }.get(kind, _go_type(value))  # fmt: skip
    return f"expected {SCALARS[kind]}, got {shown}"


def _go(value: Any) -> str:
    """A value as Go prints it with %v."""
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{key}:{_go(item)}" for key, item in sorted(value.items())) + "]"
    if isinstance(value, list):
        return "[" + " ".join(_go(item) for item in value) + "]"
    if value is None:
        return "<nil>"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _go_type(value: Any) -> str:
    names: dict[type, str] = {bool: "bool", str: "string", list: "[]interface {}", dict: "map[string]interface {}"}
    return names.get(type(value), "int64")
