"""Decoding as Go's types do it: what comes in as JSON becomes what a real server would have held.

Unknown fields are left out and reported (`fieldValidation` decides what becomes of them), nulls and empty values
that Go would not write are left out, quantities and times get their canonical form, and a value of a wrong type
is an error worded as Go words it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from meshlab.cluster.api.quantity import QuantityError, canonical
from meshlab.cluster.api.schema import Node

__all__ = ["DecodeError", "Decoded", "decode", "unknown_fields"]

INT_RANGES = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
#: What a null stands for in a list or map, where it is not the empty string.
ZEROS: dict[str, Any] = {
    "object": {}, "list": [], "map": {}, "integer": 0, "number": 0, "boolean": False, "quantity": 0, "intstr": 0,
}  # fmt: skip
RFC3339 = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$")


class DecodeError(Exception):
    """A value that Go's decoder refuses. A 400 whose message is
    `Pod in version "v1" cannot be handled as a Pod: ` and this one's."""


@dataclass
class Decoded:
    """`obj` as the types have it; `unknown` paths of fields that they do not have, in the order met."""

    obj: dict[str, Any]
    unknown: list[str] = field(default_factory=list)

    def strict_message(self) -> str:
        """What follows `cannot be handled as a Pod: ` under fieldValidation=Strict."""
        return "strict decoding error: " + ", ".join(f'unknown field "{path}"' for path in self.unknown)


@dataclass(frozen=True)
class _Place:
    """Where a value stands: Go names the enclosing struct and the path without indices."""

    struct: str = ""
    names: str = ""
    path: str = ""

    def error(self, value: Any, go_type: str) -> DecodeError:
        seen = _json_kind(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and go_type.startswith(("int", "uint")):
            seen = f"number {value}"
        if not self.names:
            return DecodeError(f"json: cannot unmarshal {seen} into Go value of type {go_type}")
        where = f"Go struct field {self.struct}.{self.names}"
        return DecodeError(f"json: cannot unmarshal {seen} into {where} of type {go_type}")


def _json_kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int | float):
        return "number"
    return "array" if isinstance(value, list) else "object"


def decode(obj: Mapping[str, Any], node: Node) -> Decoded:
    """A new object as the types have it. Raises DecodeError at the first value of a wrong type."""
    decoded = Decoded({})
    try:
        decoded.obj = _struct(obj, node, _Place(), decoded.unknown)
    except RecursionError:
        raise DecodeError("exceeded max depth") from None
    return decoded


def unknown_fields(obj: Mapping[str, Any], node: Node) -> list[str]:
    """Paths of fields that the type does not have: `spec.containers[0].imagee`."""
    return decode(obj, node).unknown


def _struct(value: Any, node: Node, place: _Place, unknown: list[str]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise place.error(value, node.go_type)
    fields, out = node.fields, {}
    for key, item in value.items():
        child = fields.get(key)
        here = f"{place.path}.{key}" if place.path else str(key)
        if child is None:
            unknown.append(here)
            continue
        if item is None:
            continue
        names = f"{place.names}.{key}" if place.names else key
        kept = _value(item, child, _Place(node.go_name, names, here), unknown)
        if kept in ("", [], {}, 0) and not child.keeps_zero and _drops_zero(child):
            continue
        out[key] = kept
    for key, child in fields.items():
        if child.always and key not in out:
            out[key] = _struct({}, child, place, unknown)
    return out


def _drops_zero(node: Node) -> bool:
    return node.kind in ("string", "integer", "number", "boolean", "list", "map")


def _value(value: Any, node: Node, place: _Place, unknown: list[str]) -> Any:
    kind = node.kind
    if kind == "object":
        return _struct(value, node, place, unknown)
    if kind == "list":
        if not isinstance(value, list):
            raise place.error(value, node.go_type)
        item = node.item
        assert item is not None  # noqa: S101 - a list's node has one
        return [
            _element(v, item, _Place(place.struct, place.names, f"{place.path}[{i}]"), unknown)
            for i, v in enumerate(value)
        ]
    if kind == "map":
        if not isinstance(value, Mapping):
            raise place.error(value, node.go_type)
        item = node.item
        assert item is not None  # noqa: S101 - a map's node has one
        return {
            str(k): _element(v, item, _Place(place.struct, place.names, f"{place.path}.{k}"), unknown)
            for k, v in value.items()
        }
    return _scalar(value, node, place)


def _element(value: Any, node: Node, place: _Place, unknown: list[str]) -> Any:
    """An element of a list or map: a null is Go's zero value."""
    if value is None:
        if node.kind in ("any", "raw"):
            return None
        if node.kind not in ZEROS:
            return ""
        value = ZEROS[node.kind]
    return _value(value, node, place, unknown)


def _scalar(value: Any, node: Node, place: _Place) -> Any:
    kind = node.kind
    if kind == "any":
        schema = node.alternative
        return value if schema is None else _alternative(value, schema, place)
    if kind == "string":
        if not isinstance(value, str):
            raise place.error(value, node.go_type)
        if node.format == "byte":
            _check_base64(value)
        return value
    if kind == "boolean":
        if not isinstance(value, bool):
            raise place.error(value, node.go_type)
        return value
    if kind == "integer":
        low, high = INT_RANGES.get(node.format, INT_RANGES["int64"])
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not whole or not low <= value <= high:
            raise place.error(value, node.go_type)
        return int(value)
    if kind == "number":
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise place.error(value, node.go_type)
        return value
    if kind == "intstr":
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise place.error(value, "int32")
        if isinstance(value, int) and not INT_RANGES["int32"][0] <= value <= INT_RANGES["int32"][1]:
            raise place.error(value, "int32")
        return value
    if kind == "quantity":
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise DecodeError(
                "quantities must match the regular expression "
                "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
            )
        try:
            return canonical(value)
        except QuantityError as error:
            raise DecodeError(str(error)) from None
    if kind in ("time", "microtime"):
        return _time(value, kind, place)
    if not isinstance(value, Mapping):  # raw
        raise place.error(value, node.go_type)
    return dict(value)


def _alternative(value: Any, schema: Node, place: _Place) -> Any:
    """A schema or several where something else may stand. Go's decoder of these types reports no unknown fields."""
    if isinstance(value, Mapping):
        return _struct(value, schema, place, [])
    if isinstance(value, list):
        return [_struct(item, schema, place, []) if isinstance(item, Mapping) else item for item in value]
    return value


def _check_base64(value: str) -> None:
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        valid = re.match(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{0,3})", value)
        at = valid.end() if valid else 0
        raise DecodeError(f"illegal base64 data at input byte {min(at, max(len(value) - 1, 0))}") from None


def _time(value: Any, kind: str, place: _Place) -> str:
    if not isinstance(value, str):
        raise place.error(value, "string")
    if value == "":
        return ""
    layout = "2006-01-02T15:04:05" + (".000000" if kind == "microtime" else "") + "Z07:00"
    if not RFC3339.match(value):
        raise DecodeError(f'parsing time "{value}" as "{layout}": cannot parse "{value}" as "2006"')
    text = re.sub(r"\.(\d{1,6})\d*", lambda m: "." + m[1].ljust(6, "0"), value.replace("Z", "+00:00"))
    try:
        moment = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise DecodeError(f'parsing time "{value}": out of range') from None
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + (f".{moment.microsecond:06d}Z" if kind == "microtime" else "Z")
