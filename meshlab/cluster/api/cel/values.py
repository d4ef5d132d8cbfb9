"""Objects as expressions see them: typed by their schema, with names that CEL can write. Pure but for protobuf's two
types of time, which are how the language takes them."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

__all__ = ["escaped", "seen"]

Schema = Mapping[str, Any]
#: Words of the language, which a field's name must not be.
RESERVED = frozenset((
    "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import",
    "let", "loop", "package", "namespace", "return", "var", "void", "while",
))  # fmt: skip
SIGNS = {".": "__dot__", "-": "__dash__", "/": "__slash__"}
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def escaped(name: str) -> str:
    """A field's name in an expression: `namespace` → `__namespace__`, `a-b` → `a__dash__b`."""
    if name in RESERVED:
        return f"__{name}__"
    name = name.replace("__", "__underscores__")
    return "".join(SIGNS.get(char, char) for char in name)


def seen(value: Any, schema: Schema) -> Any:
    """The value for an expression. Fields without a schema, and nulls, are not seen."""
    if isinstance(value, Mapping):
        properties = schema.get("properties")
        if properties is None:
            others = schema.get("additionalProperties")
            return {
                str(key): seen(item, others if isinstance(others, Mapping) else {}) for key, item in value.items()
            }
        return {
            escaped(key): seen(value[key], child)
            for key, child in properties.items() if value.get(key) is not None
        }
    if isinstance(value, list):
        items = schema.get("items")
        return [seen(item, items if isinstance(items, Mapping) else {}) for item in value]
    if isinstance(value, str):
        return _text(value, schema.get("format") or "")
    if isinstance(value, int) and schema.get("type") == "number":
        return float(value)
    if isinstance(value, float) and schema.get("type") == "integer":
        return int(value)
    return value


def _text(value: str, form: str) -> Any:
    try:
        match form:
            case "date-time" | "date":
                from google.protobuf.timestamp_pb2 import Timestamp

                moment = Timestamp()
                text = value if form == "date-time" else f"{value}T00:00:00+00:00"
                moment.FromDatetime(datetime.fromisoformat(text))
                return moment
            case "duration":
                from google.protobuf.duration_pb2 import Duration

                length = Duration()
                length.FromNanoseconds(_nanoseconds(value))
                return length
            case "byte":
                return base64.b64decode(value)
    except (ValueError, binascii.Error):
        return value  # the schema's own check says that it is wrong
    return value


def _nanoseconds(text: str) -> int:
    parts = re.findall(r"([0-9.]+)(h|ms|us|µs|ns|m|s)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text.lstrip("+-"):
        raise ValueError(text)
    total = sum(float(number) * UNITS[unit] for number, unit in parts)
    return round(total * 1e9) * (-1 if text.startswith("-") else 1)
