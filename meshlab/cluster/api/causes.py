"""Reasons for a 422, worded as a real server words them.

A cause's `message` is `Invalid value: "x": why`; the Status puts the field's path before it. Values are printed as
Go prints them: strings quoted, numbers plain, everything else as compact JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = [
    "Cause", "duplicate", "forbidden", "go_json", "go_struct", "invalid", "join", "not_found", "required", "too_long",
    "too_many", "type_invalid", "unsupported",
]  # fmt: skip

#: What is small in JSON: `APIGroup`, `SELinuxOptions`, `ProcMount`.
CAPITALS = re.compile("^[A-Z]+(?=[A-Z][a-z])|^[A-Z]")
#: Marks a value that is not to be printed.
OMITTED = object()


@dataclass(frozen=True)
class Cause:
    """`field` path (`spec.ports[0].port`), machine's `reason`, `message` without the field."""

    field: str
    reason: str
    message: str


def join(*parts: str) -> str:
    """A path of what is not empty: join("", "spec", "ports") → "spec.ports"."""
    return ".".join(part for part in parts if part)


def go_json(value: Any) -> str:
    """Compact JSON with Go's HTML-safe escapes."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def go_struct(value: Mapping[str, Any] | None, *fields: str, **zeros: Any) -> dict[str, Any] | None:
    """What a struct without JSON names looks like in JSON: capitals, and null, or its zero, for what is not set.

    >>> go_struct({"type": "Foo"}, "Type", "RollingUpdate")
    {'Type': 'Foo', 'RollingUpdate': None}
    """
    if value is None:
        return None
    return {field: value.get(CAPITALS.sub(lambda m: m[0].lower(), field), zeros.get(field)) for field in fields}


def _shown(value: Any) -> str:
    if value is OMITTED:
        return ""
    if value is None:
        return ": null"
    if isinstance(value, str):
        return ": " + json.dumps(value, ensure_ascii=False)
    return ": " + go_json(value)


def _cause(field: str, reason: str, word: str, value: Any, detail: str) -> Cause:
    return Cause(field, reason, word + _shown(value) + (f": {detail}" if detail else ""))


def required(field: str, detail: str = "") -> Cause:
    return _cause(field, "FieldValueRequired", "Required value", OMITTED, detail)


def invalid(field: str, value: Any, detail: str) -> Cause:
    return _cause(field, "FieldValueInvalid", "Invalid value", value, detail)


def type_invalid(field: str, value: Any, detail: str) -> Cause:
    """A custom resource's value of another type than its schema's."""
    return _cause(field, "FieldValueTypeInvalid", "Invalid value", value, detail)


def duplicate(field: str, value: Any) -> Cause:
    return _cause(field, "FieldValueDuplicate", "Duplicate value", value, "")


def forbidden(field: str, detail: str) -> Cause:
    return _cause(field, "FieldValueForbidden", "Forbidden", OMITTED, detail)


def not_found(field: str, value: Any, detail: str = "") -> Cause:
    return _cause(field, "FieldValueNotFound", "Not found", value, detail)


def unsupported(field: str, value: Any, supported: Iterable[str]) -> Cause:
    """`supported` in the order to print."""
    quoted = ", ".join(json.dumps(s) for s in supported)
    detail = f"supported values: {quoted}" if quoted else ""
    return _cause(field, "FieldValueNotSupported", "Unsupported value", value, detail)


def too_long(field: str, limit: int, unit: str = "byte") -> Cause:
    detail = f"may not be more than {limit} {unit}" + ("" if limit == 1 else "s")
    return _cause(field, "FieldValueTooLong", "Too long", OMITTED, detail)


def too_many(field: str, count: int, limit: int) -> Cause:
    detail = f"must have at most {limit} item" + ("" if limit == 1 else "s")
    return _cause(field, "FieldValueTooMany", "Too many", count, detail)
