"""Filling in JSON objects in place, and copying them."""

from __future__ import annotations

from typing import Any

__all__ = ["at", "copied", "fill"]

Object = dict[str, Any]


def copied(value: Any) -> Any:
    """A deep copy of JSON, several times as fast as `copy.deepcopy`."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copied(item) for item in value]
    return value


def at(obj: Object, *path: str) -> Object:
    """The map at this path, made where it is absent."""
    for key in path:
        if not isinstance(obj.get(key), dict):
            obj[key] = {}
        obj = obj[key]
    return obj


def fill(obj: Object, **values: Any) -> None:
    """Sets what is absent, null or an empty string."""
    for key, value in values.items():
        if obj.get(key) is None or obj[key] == "":
            obj[key] = value
