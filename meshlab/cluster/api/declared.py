"""Which fields of an object its type does not have, in the words and paths of server-side apply."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from meshlab.cluster.api.schema import Node

__all__ = ["undeclared"]


def undeclared(value: Any, node: Node, path: str = "") -> Iterator[str]:
    """`.spec.template.spec.containers[name="main"].imagee: field not declared in schema`, for each."""
    if isinstance(value, Mapping) and node.kind in ("object", "map"):
        for key, item in value.items():
            child = node.child(key) or node.item
            if child is None:
                yield f"{path}.{key}: field not declared in schema"
            else:
                yield from undeclared(item, child, f"{path}.{key}")
    elif isinstance(value, list) and node.kind == "list" and node.item is not None:
        for i, item in enumerate(value):
            yield from undeclared(item, node.item, path + _element(item, i, node))


def _element(item: Any, index: int, node: Node) -> str:
    if node.list_type == "map" and isinstance(item, Mapping):
        return "[" + ",".join(f"{key}={json.dumps(item.get(key))}" for key in node.map_keys) + "]"
    return f"[{index}]"
