"""JSON patch (RFC 6902) and merge patch (RFC 7396), as the API server applies them.

Pure: neither the object nor the patch is changed. What the two other patch kinds need is in `strategic` and
`apply`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["PatchError", "json_patch", "merge_patch"]

#: More operations than this are refused with a 413 by a real server (`MaxJSONPatchOperations`).
MAX_OPERATIONS = 10_000


class PatchError(Exception):
    """A patch that cannot be applied. `reason` is what the API answers: BadRequest (400) where the patch itself
    is no patch, Invalid (422) where it does not fit the object, RequestEntityTooLarge (413)."""

    def __init__(self, message: str, reason: str = "BadRequest") -> None:
        self.reason = reason
        super().__init__(message)


def merge_patch(obj: Any, patch: Any) -> Any:
    """RFC 7396: maps merge, null deletes, everything else replaces.

    >>> merge_patch({"a": 1, "b": {"c": 2}}, {"a": None, "b": {"d": 3}})
    {'b': {'c': 2, 'd': 3}}
    """
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    merged = dict(obj) if isinstance(obj, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def json_patch(obj: Any, operations: Any) -> Any:
    """RFC 6902. A test that fails, or a path that is not there, raises a PatchError of reason Invalid."""
    if not isinstance(operations, Sequence) or isinstance(operations, str):
        why = "json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
        raise PatchError(f"error decoding patch: {why}")
    if len(operations) > MAX_OPERATIONS:
        raise PatchError(
            f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(operations)}",
            "RequestEntityTooLarge",
        )
    result = copy.deepcopy(obj)
    for operation in operations:
        if not isinstance(operation, Mapping):
            raise PatchError("error decoding patch: json: cannot unmarshal into Go value of type handlers.jsonPatchOp")
        result = _operate(result, operation)
    return result


def _operate(obj: Any, operation: Mapping[str, Any]) -> Any:
    name, path = operation.get("op"), operation.get("path")
    if not isinstance(path, str):
        raise _misfit(f"{name} operation does not have a path")
    if name in ("add", "replace", "test") and "value" not in operation and name != "test":
        raise _misfit(f"{name} operation does not have a value")
    if name == "add":
        return _add(obj, path, copy.deepcopy(operation["value"]))
    if name == "remove":
        return _remove(obj, path)[0]
    if name == "replace":
        if path == "":
            return copy.deepcopy(operation["value"])
        obj, _ = _remove(obj, path)
        return _add(obj, path, copy.deepcopy(operation["value"]))
    if name in ("move", "copy"):
        source = operation.get("from")
        if not isinstance(source, str):
            raise _misfit(f"{name} operation does not have a from")
        if name == "move":
            if path.startswith(source + "/"):
                raise _misfit(f"cannot move {source} into its own {path}")
            obj, value = _remove(obj, source)
        else:
            value = copy.deepcopy(_get(obj, source))
        return _add(obj, path, value)
    if name == "test":
        try:
            seen = _get(obj, path)
        except PatchError:
            if operation.get("value") is None:
                return obj
            raise
        if not _equal(seen, operation.get("value")):
            raise _misfit(f"testing value {path} failed: test failed")
        return obj
    raise _misfit(f"Unexpected kind: {name}")


def _misfit(message: str) -> PatchError:
    return PatchError(message, "Invalid")


def _equal(a: Any, b: Any) -> bool:
    """JSON equality: True is not 1."""
    if isinstance(a, bool) != isinstance(b, bool):
        return False
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_equal(v, b[k]) for k, v in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def _tokens(path: str) -> list[str]:
    if path == "":
        return []
    if not path.startswith("/"):
        raise _misfit(f"path {path!r} does not start with a slash")
    return [part.replace("~1", "/").replace("~0", "~") for part in path[1:].split("/")]


def _index(items: list[Any], token: str, *, last: int) -> int:
    """The place a token names; negative numbers count from the end, as the server's library allows."""
    try:
        index = int(token)
    except ValueError:
        raise _misfit(f"index {token!r} is not a number") from None
    if token[0] in "+ " or (token.lstrip("-") != "0" and token.lstrip("-").startswith("0")):
        raise _misfit(f"index {token!r} is not a number")
    if index < 0:
        index += last + 1
    if not 0 <= index <= last:
        raise _misfit(f"unable to access invalid index: {token}")
    return index


def _step(value: Any, token: str, path: str) -> Any:
    if isinstance(value, dict):
        if token in value:
            return value[token]
    elif isinstance(value, list):
        return value[_index(value, token, last=len(value) - 1)]
    raise _misfit(f"path {path} does not exist: missing value")


def _get(obj: Any, path: str) -> Any:
    for token in _tokens(path):
        obj = _step(obj, token, path)
    return obj


def _parent(obj: Any, path: str) -> tuple[Any, str]:
    tokens = _tokens(path)
    for token in tokens[:-1]:
        obj = _step(obj, token, path)
    return obj, tokens[-1]


def _add(obj: Any, path: str, value: Any) -> Any:
    if path == "":
        return value
    parent, last = _parent(obj, path)
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list):
        parent.insert(len(parent) if last == "-" else _index(parent, last, last=len(parent)), value)
    else:
        raise _misfit(f"add operation does not apply: doc is missing path: {path}: missing value")
    return obj


def _remove(obj: Any, path: str) -> tuple[Any, Any]:
    if path == "":
        return None, obj
    parent, last = _parent(obj, path)
    value = _step(parent, last, path)
    if isinstance(parent, dict):
        del parent[last]
    else:
        del parent[_index(parent, last, last=len(parent) - 1)]
    return obj, value
