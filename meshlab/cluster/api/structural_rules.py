"""Validation of custom resources by their structural schema, in the words of a real server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from meshlab.cluster.api.causes import (
    Cause,
    duplicate,
    invalid,
    required,
    too_long,
    too_many,
    type_invalid,
    unsupported,
)

__all__ = ["EMBEDDED", "INT_OR_STRING", "OWN", "json_kind", "validate", "value_causes"]

Schema = Mapping[str, Any]
#: Fields of every object, which its kind's schema does not rule.
OWN = ("apiVersion", "kind", "metadata")
INT_OR_STRING = "x-kubernetes-int-or-string"
EMBEDDED = "x-kubernetes-embedded-resource"


def validate(obj: Mapping[str, Any], schema: Schema, *, old: Mapping[str, Any] | None = None) -> list[Cause]:
    """Every reason why the object does not fit. With `old`, what was wrong before and has not changed is let
    pass, so that a stricter schema does not lock its objects."""
    body = {key: value for key, value in obj.items() if key not in OWN}
    root = {**schema, "properties": {k: v for k, v in (schema.get("properties") or {}).items() if k not in OWN},
            "required": [k for k in schema.get("required") or () if k not in OWN]}  # fmt: skip
    before = None if old is None else {key: value for key, value in old.items() if key not in OWN}
    causes: list[Cause] = []
    _validate(body, root, "", causes, before)
    return list(dict.fromkeys(causes))


def value_causes(path: str, value: Any, schema: Schema) -> list[Cause]:
    """Every reason why a value somewhere, at `path`, is none of its schema's."""
    causes: list[Cause] = []
    _validate(value, schema, path, causes)
    return causes


def json_kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def _fits(value: Any, schema: Schema) -> bool:
    """Whether a value has its schema's type."""
    kind = json_kind(value)
    if kind == "null":
        return bool(schema.get("nullable"))
    if schema.get(INT_OR_STRING):
        return kind in ("integer", "string")
    wanted = schema.get("type")
    if not wanted or kind == wanted:
        return True
    if wanted == "number":
        return kind == "integer"
    return wanted == "integer" and kind == "number" and float(value).is_integer()


def _validate(value: Any, schema: Schema, path: str, causes: list[Cause], old: Any = None) -> None:
    if old is not None and value == old:
        return
    if not _fits(value, schema):
        wanted = "integer,string" if schema.get(INT_OR_STRING) else schema.get("type")
        seen = json_kind(value)
        why = f'{path} in body must be of type {wanted}: "{seen}"'
        causes.append(type_invalid(path, seen, why))
        return
    if value is None:
        return
    if (allowed := schema.get("enum")) is not None and value not in allowed:
        causes.append(unsupported(path, value, [v if isinstance(v, str) else str(v) for v in allowed]))
    if isinstance(value, str):
        _string(value, schema, path, causes)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _number(value, schema, path, causes)
    elif isinstance(value, list):
        _list(value, schema, path, causes, old)
    elif isinstance(value, Mapping):
        _map(value, schema, path, causes, old)
    _combined(value, schema, path, causes)


def _string(value: str, schema: Schema, path: str, causes: list[Cause]) -> None:
    low, high, pattern = schema.get("minLength"), schema.get("maxLength"), schema.get("pattern")
    if high is not None and len(value) > high:
        causes.append(too_long(path, high))
    if low is not None and len(value) < low:
        causes.append(invalid(path, value, f"{path} in body should be at least {low} chars long"))
    if pattern and not _matches(pattern, value):
        causes.append(invalid(path, value, f"{path} in body should match '{pattern}'"))
    if (shape := schema.get("format")) and not _formatted(shape, value):
        why = f'{path} in body must be of type {shape}: "{value}"'
        causes.append(invalid(path, value, why))


def _matches(pattern: str, value: str) -> bool:
    """Go's regular expressions in Python's: the end of text has another name, and so have character classes."""
    text = pattern.replace(r"\z", r"\Z")
    text = text.replace("[[:alnum:]]", "[A-Za-z0-9]").replace("[[:alpha:]]", "[A-Za-z]")
    try:
        return re.search(text, value) is not None
    except re.error:
        return True  # RE2 only: better to store than to refuse what a real server takes


def _formatted(shape: str, value: str) -> bool:
    if shape == "date-time":
        try:
            datetime.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError:
            return False
        return "T" in value
    if shape == "date":
        return re.fullmatch(r"\d{4}-\d\d-\d\d", value) is not None
    if shape in ("ipv4", "ipv6"):
        import ipaddress

        try:
            return ipaddress.ip_address(value).version == int(shape[-1])
        except ValueError:
            return False
    if shape == "byte":
        import base64
        import binascii

        try:
            base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            return False
        return True
    if shape == "uuid":
        return re.fullmatch(r"(?i)[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}", value) is not None
    if shape == "email":
        return re.fullmatch(r"[^@\s]+@[^@\s]+", value) is not None
    return True


def _number(value: float, schema: Schema, path: str, causes: list[Cause]) -> None:
    low, high, step = schema.get("minimum"), schema.get("maximum"), schema.get("multipleOf")
    if high is not None and (value > high or (schema.get("exclusiveMaximum") and value == high)):
        word = "less than" if schema.get("exclusiveMaximum") else "less than or equal to"
        causes.append(invalid(path, value, f"{path} in body should be {word} {_plain(high)}"))
    if low is not None and (value < low or (schema.get("exclusiveMinimum") and value == low)):
        word = "greater than" if schema.get("exclusiveMinimum") else "greater than or equal to"
        causes.append(invalid(path, value, f"{path} in body should be {word} {_plain(low)}"))
    if step and abs(value / step - round(value / step)) > 1e-9:
        causes.append(invalid(path, value, f"{path} in body should be a multiple of {_plain(step)}"))
    bounds = {"int32": 2**31, "int64": 2**63}.get(str(schema.get("format")))
    if bounds and not -bounds <= value < bounds:
        causes.append(invalid(path, value, f'{path} in body must be of type {schema["format"]}: "{_plain(value)}"'))


def _plain(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)


def _list(value: list[Any], schema: Schema, path: str, causes: list[Cause], old: Any) -> None:
    low, high = schema.get("minItems"), schema.get("maxItems")
    if high is not None and len(value) > high:
        causes.append(too_many(path, len(value), high))
    if low is not None and len(value) < low:
        causes.append(invalid(path, len(value), f"{path} in body should have at least {low} items"))
    items = schema.get("items")
    before = old if isinstance(old, list) else []
    kind, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys") or ()
    seen: list[Any] = []
    for i, item in enumerate(value):
        here = f"{path}[{i}]"
        if isinstance(items, Mapping):
            _validate(item, items, here, causes, before[i] if i < len(before) else None)
        name: Any = item
        if kind == "map" and isinstance(item, Mapping):
            name = {key: item[key] for key in keys if key in item}
        if kind in ("set", "map") and name in seen:
            causes.append(duplicate(here, name))
        seen.append(name)


def _map(value: Mapping[str, Any], schema: Schema, path: str, causes: list[Cause], old: Any) -> None:
    before = old if isinstance(old, Mapping) else {}
    for key in schema.get("required") or ():
        if key not in value:
            causes.append(required(f"{path}.{key}" if path else key))
    low, high = schema.get("minProperties"), schema.get("maxProperties")
    if high is not None and len(value) > high:
        causes.append(too_many(path, len(value), high))
    if low is not None and len(value) < low:
        causes.append(invalid(path, len(value), f"{path} in body should have at least {low} properties"))
    properties, others = schema.get("properties") or {}, schema.get("additionalProperties")
    for key, item in value.items():
        here = f"{path}.{key}" if path else str(key)
        child = properties.get(key, others if isinstance(others, Mapping) else None)
        if child is not None and not (schema.get(EMBEDDED) and key in OWN):
            _validate(item, child, here, causes, before.get(key))


def _combined(value: Any, schema: Schema, path: str, causes: list[Cause]) -> None:
    """allOf, anyOf, oneOf and not. What a branch says of a field is not repeated, except for allOf."""

    def failed(branch: Schema) -> list[Cause]:
        found: list[Cause] = []
        _validate(value, branch, path, found)
        return found

    for branch in schema.get("allOf") or ():
        found = failed(branch)
        causes += found
    if branches := schema.get("anyOf"):
        tried = [failed(branch) for branch in branches]
        if all(tried):
            causes.append(invalid(path, _shown(value), f'"{path}" must validate at least one schema (anyOf)'))
            closest = min(tried, key=len)
            causes += closest
    if branches := schema.get("oneOf"):
        tried = [failed(branch) for branch in branches]
        valid = sum(not found for found in tried)
        if valid != 1:
            found_text = "none valid" if valid == 0 else f"{valid} valid alternatives"
            why = f'"{path}" must validate one and only one schema (oneOf). Found {found_text}'
            causes.append(invalid(path, _shown(value), why))
            if valid == 0:
                closest = min(tried, key=len)
                causes += closest
    if (branch := schema.get("not")) is not None and not failed(branch):
        causes.append(invalid(path, _shown(value), f'"{path}" must not validate the schema (not)'))


def _shown(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) else ""
