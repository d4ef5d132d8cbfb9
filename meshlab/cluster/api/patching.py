"""Patches as requests bring them: read, and the three that need no manager applied to an object."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from meshlab.cluster.api.causes import go_json, invalid
from meshlab.cluster.api.codec import loads, parse_yaml
from meshlab.cluster.api.kinds import Kinds
from meshlab.cluster.api.registry import Resource
from meshlab.cluster.api.status import ApiError, BadRequest, Invalid

__all__ = ["TYPES", "decode_patch", "misfit", "patched"]

Object = dict[str, Any]

#: Content-Type → kind of patch.
TYPES = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
}
#: What the patches are to Go.
OPERATIONS, MAP = "[]handlers.jsonPatchOp", "map[string]interface {}"
#: What Go's decoder says of a value of a wrong type: JSON's kind, and the type of the field.
WRONG = re.compile(r"json: cannot unmarshal (string|bool|number|array|object)(?: \S+)? into .* of type (\S+)$")


class _TooLarge(ApiError):
    code, reason = 413, "RequestEntityTooLarge"


def decode_patch(body: bytes, kind: str) -> Any:
    """The patch in a request's body. Raises BadRequest."""
    if kind == "apply":
        try:
            return parse_yaml(body)
        except ValueError as error:
            raise BadRequest(f"error decoding patch: {error}") from None
    try:
        patch = loads(body)
    except ValueError:
        raise BadRequest("invalid JSON patch") from None
    wanted, type_ = (list, OPERATIONS) if kind == "json" else (dict, MAP)
    if not isinstance(patch, wanted) and patch is not None:
        why = f"json: cannot unmarshal {_kind(patch)} into Go value of type {type_}"
        raise BadRequest(why if kind == "strategic" else f"error decoding patch: {why}")
    return wanted() if patch is None else patch


def patched(types: Kinds, resource: Resource, live: Object, patch: Any, kind: str) -> Object:
    """A new object: `live` with the patch applied. Raises BadRequest, Invalid or UnsupportedMediaType."""
    from meshlab.cluster.api.patch import PatchError, json_patch, merge_patch

    try:
        match kind:
            case "json":
                result = json_patch(live, patch)
            case "merge":
                result = merge_patch(live, patch)
            case "strategic":
                result = types.strategic(resource, live, patch)
            case _:
                raise ValueError(kind)
    except PatchError as error:
        if error.reason == "Invalid":
            raise Invalid.rejected() from None
        if error.reason == "RequestEntityTooLarge":
            raise _TooLarge(str(error)) from None
        raise BadRequest(str(error)) from None
    if not isinstance(result, dict):
        raise Invalid.rejected()
    made: Object = result
    return made


def misfit(why: str, result: Object, patch: Any, kind: str) -> Invalid:
    """What is said of a patch that leaves a value of a wrong type, or an unknown field under Strict."""
    if kind == "strategic":
        cause = invalid("patch", go_map(patch), _converted(why))
    else:
        cause = invalid("patch", go_json(json.loads(json.dumps(result, sort_keys=True))), why)
    return Invalid.kind("", "", "", [cause])


def _kind(value: Any) -> str:
    words: dict[type, str] = {str: "string", bool: "bool", int: "number", float: "number", list: "array"}
    return words.get(type(value), "object")


def go_map(value: Any) -> str:
    """A value as Go prints it with %+v: `map[spec:map[replicas:x]]`."""
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{key}:{go_map(item)}" for key, item in sorted(value.items())) + "]"
    if isinstance(value, list):
        return "[" + " ".join(go_map(item) for item in value) + "]"
    if value is None:
        return "<nil>"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _converted(text: str) -> str:
    """Strategic merge goes from maps to types without JSON, and has its own words for what does not fit."""
    if (found := WRONG.match(text)) is None:
        return text
    kind, type_ = found.groups()
    kind = {"number": "int64", "array": "slice", "object": "map"}.get(kind, kind)
    if type_.startswith("map["):
        return f"cannot restore map from {kind}"
    if type_.startswith("[]"):
        return f"cannot restore slice from {kind}"
    if "." in type_:
        return f"cannot restore struct from: {kind}"
    return f"cannot convert {kind} to {type_}" if kind == "int64" else f"unrecognized type: {type_}"
