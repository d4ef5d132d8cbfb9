"""Protobuf's JSON as the decoder of Istio 0.4.0 read it (golang/protobuf's jsonpb of late 2017).

Strict where it was: an unknown field, a number as a string for a 32-bit field, or a bare string where a message
belongs, is an error. Lenient where it was: camelCase and snake_case names, enums by number, null for anything.
Decoded messages are dicts by snake_case name that hold the fields that were set; `{}` and absent stay apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from meshlab.mesh.config.durations import Duration, InvalidDuration
from meshlab.mesh.config.gotext import go_quote, json_number, round32
from meshlab.mesh.config.schema import EnumType, Field, Message, Scalar, Shape

__all__ = ["DecodeError", "decode", "encode"]

_INTEGERS = {
    Scalar.INT32: (-(2**31), 2**31 - 1),
    Scalar.INT64: (-(2**63), 2**63 - 1),
    Scalar.UINT32: (0, 2**32 - 1),
}
_DEFAULTS: dict[Scalar, Any] = {
    Scalar.STRING: "",
    Scalar.BOOL: False,
    Scalar.INT32: 0,
    Scalar.INT64: 0,
    Scalar.UINT32: 0,
    Scalar.FLOAT: 0.0,
    Scalar.DOUBLE: 0.0,
    Scalar.DURATION: None,
    Scalar.ANY: None,
    Scalar.BOOL_VALUE: None,
    Scalar.RAW: None,
}
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
#: Well-known types carry their JSON in `value` when they are wrapped in an Any.
_WELL_KNOWN = frozenset(("Any", "Duration", "Timestamp", "Struct", "Value", "ListValue")) | frozenset(
    f"{kind}Value" for kind in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)


class DecodeError(ValueError):
    """The JSON does not fit the message; the text is Go's."""


def decode(message: Message, value: Any) -> dict[str, Any]:
    """The fields that `value` sets. Raises DecodeError."""
    if not isinstance(value, Mapping):
        raise _mismatch(value, "map[string]json.RawMessage")
    left = dict(value)
    out: dict[str, Any] = {}
    # Oneofs come last, as in jsonpb; of two members of one, the later declared wins (there, a random one).
    for field in sorted(message.fields, key=lambda field: bool(field.oneof)):
        if not {field.name, field.camel} & left.keys():
            continue
        raw = left.pop(field.name, None)
        raw = left.pop(field.camel, raw) if field.camel != field.name else raw
        decoded = _field(field, raw)
        if field.oneof:
            for other in message.fields:
                if other.oneof == field.oneof:
                    out.pop(other.name, None)
            out[field.name] = decoded
        elif decoded is not None:
            out[field.name] = decoded
    if left:
        raise DecodeError(f"unknown field {go_quote(min(left))} in {message.go_name}")
    return out


def _field(field: Field, raw: Any) -> Any:
    """The decoded value; None for what leaves the field unset."""
    if field.shape is Shape.ONE:
        if raw is None:
            # A message or pointer stays unset; a plain value gets its zero, which only a oneof can tell from unset.
            return _zero(field.type) if field.oneof else None
        return _value(field.type, raw)
    if raw is None:
        return None
    if field.shape is Shape.MANY:
        if not isinstance(raw, (list, tuple)):
            raise _mismatch(raw, "[]json.RawMessage")
        return [_element(field.type, item) for item in raw]
    if not isinstance(raw, Mapping):
        raise _mismatch(raw, "map[string]json.RawMessage")
    return {key: _element(field.type, raw[key]) for key in sorted(raw)}


def _element(kind: Scalar | EnumType | Message, raw: Any) -> Any:
    if raw is not None:
        return _value(kind, raw)
    if isinstance(kind, Message):
        # 0.4.0 stored a nil message here and crashed on it in validation.
        raise DecodeError(f"null in a list or map of {kind.go_name}")
    return _zero(kind)


def _zero(kind: Scalar | EnumType | Message) -> Any:
    if isinstance(kind, Message):
        return None
    return 0 if isinstance(kind, EnumType) else _DEFAULTS[kind]


def _value(kind: Scalar | EnumType | Message, raw: Any) -> Any:
    if isinstance(kind, Message):
        return decode(kind, raw)
    if isinstance(kind, EnumType):
        return _enum(kind, raw)
    if kind is Scalar.STRING:
        if not isinstance(raw, str):
            raise _mismatch(raw, "string")
        return raw
    if kind in (Scalar.BOOL, Scalar.BOOL_VALUE):
        if not isinstance(raw, bool):
            raise _mismatch(raw, "bool")
        return raw
    if kind in _INTEGERS:
        return _integer(kind, raw)
    if kind in (Scalar.FLOAT, Scalar.DOUBLE):
        return _float(kind, raw)
    if kind is Scalar.DURATION:
        return _duration(raw)
    return _any(raw) if kind is Scalar.ANY else raw


def _enum(kind: EnumType, raw: Any) -> int:
    if isinstance(raw, str):
        if raw not in kind.values:
            raise DecodeError(f"unknown value {go_quote(raw)} for enum {kind.name}")
        return kind.values[raw]
    return _whole(raw, kind.go_name, *_INTEGERS[Scalar.INT32])


def _integer(kind: Scalar, raw: Any) -> int:
    if kind is Scalar.INT64 and isinstance(raw, str):
        try:
            return _whole(int(raw, 10), kind.value, *_INTEGERS[kind], exact=True)
        except ValueError:
            raise _mismatch(raw, kind.value) from None
    return _whole(raw, kind.value, *_INTEGERS[kind])


def _whole(raw: Any, go_name: str, low: int, high: int, *, exact: bool = False) -> int:
    if isinstance(raw, bool) or not isinstance(raw, (int, float)):
        raise _mismatch(raw, go_name)
    number = raw if exact else _number(raw)
    if number != int(number) or not low <= number <= high or (number and abs(number) >= 1e21):
        raise DecodeError(f"json: cannot unmarshal number {json_number(number)} into Go value of type {go_name}")
    return int(number)


def _number(raw: float) -> float:
    """The number after its detour through YAML with 32 bits, which every number of a rule took."""
    number = round32(raw)
    if math.isinf(number) or math.isnan(number):
        sign = "NaN" if math.isnan(number) else "+Inf" if number > 0 else "-Inf"
        raise DecodeError(f"json: unsupported value: {sign}")
    return number


def _float(kind: Scalar, raw: Any) -> float:
    if isinstance(raw, str) and raw in _NON_FINITE:
        return _NON_FINITE[raw]
    if isinstance(raw, bool) or not isinstance(raw, (int, float)):
        raise _mismatch(raw, kind.value)
    return _number(raw)


def _duration(raw: Any) -> Duration:
    if not isinstance(raw, str):
        raise DecodeError("invalid syntax")
    try:
        return Duration.parse(raw)
    except InvalidDuration as error:
        raise DecodeError(f"bad Duration: {error}") from None


def _any(raw: Any) -> Mapping[str, Any]:
    """An Any is kept as its JSON: nothing in the mesh reads one."""
    if not isinstance(raw, Mapping):
        raise _mismatch(raw, "map[string]*json.RawMessage")
    url = raw.get("@type")
    if url is None:
        raise DecodeError("Any JSON doesn't have '@type'")
    if not isinstance(url, str):
        raise DecodeError(f"can't unmarshal Any's '@type': {go_quote(str(url))}")
    name = url.rsplit("/", 1)[-1]
    if name.removeprefix("google.protobuf.") in _WELL_KNOWN and name.startswith("google.protobuf."):
        if "value" not in raw:
            raise DecodeError("Any JSON doesn't have 'value'")
    elif not name.startswith("istio."):
        raise DecodeError(f"unknown message type {go_quote(name)}")
    return dict(raw)


def _mismatch(raw: Any, go_name: str) -> DecodeError:
    return DecodeError(f"json: cannot unmarshal {_json_type(raw)} into Go value of type {go_name}")


def _json_type(raw: Any) -> str:
    if isinstance(raw, bool):
        return "bool"
    if isinstance(raw, str):
        return "string"
    if isinstance(raw, (int, float)):
        return "number"
    return "array" if isinstance(raw, (list, tuple)) else "object"


def encode(message: Message, fields: Mapping[str, Any]) -> dict[str, Any]:
    """JSON with camelCase names; values that equal their default are left out, except in a oneof."""
    out: dict[str, Any] = {}
    for field in message.fields:
        if field.name not in fields:
            continue
        value = fields[field.name]
        if field.shape is Shape.MANY:
            out[field.camel] = [_encoded(field.type, item) for item in value]
        elif field.shape is Shape.MAP:
            out[field.camel] = {key: _encoded(field.type, item) for key, item in value.items()}
        elif field.oneof or isinstance(field.type, Message) or value != _zero(field.type):
            out[field.camel] = _encoded(field.type, value)
    return out


def _encoded(kind: Scalar | EnumType | Message, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(kind, Message):
        return encode(kind, value)
    if isinstance(kind, EnumType):
        return next((name for name, number in kind.values.items() if number == value), value)
    if isinstance(value, Duration):
        return value.json
    if kind is Scalar.INT64:
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return int(value) if isinstance(value, float) and value == int(value) else value
