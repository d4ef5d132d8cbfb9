"""Protobuf bodies, which `kubectl create <generator>`, `auth can-i` and `drain` send and have no fallback for.

Decoding is generic: `numbers.jsonl` gives a type's field numbers, its node the fields' types. What comes out is the
same JSON as `kubectl create … --dry-run=client -o json` prints, short of what `strict.decode` then leaves out:
protobuf writes the zero values of fields that JSON omits.

    "k8s\\0" + Unknown { 1: TypeMeta { 1: apiVersion, 2: kind }, 2: raw, 3: contentEncoding, 4: contentType }
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from meshlab.cluster.api.schema import Node, Schemas

__all__ = ["MAGIC", "ProtobufError", "decode"]

MAGIC = b"k8s\x00"
NUMBERS = Path(__file__).with_name("numbers.jsonl")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Bounds on what a body may nest.
DEPTH = 64


class ProtobufError(ValueError):
    """A body that is no protobuf of a known kind."""


def decode(body: bytes, schemas: Schemas | None = None) -> dict[str, Any]:
    """The object in a protobuf body, with its apiVersion and kind. Raises ProtobufError."""
    if not body.startswith(MAGIC):
        raise ProtobufError("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    envelope = dict(_fields(body[len(MAGIC):]))
    meta = dict(_fields(_bytes(envelope.get(1, b""))))
    api_version, kind = _text(meta.get(1, b"")), _text(meta.get(2, b""))
    schemas = schemas or Schemas.load()
    # Every group has a DeleteOptions of its own, which is meta's: clients of apps/v1 send it under that name.
    node = schemas.for_kind("v1" if kind == "DeleteOptions" else api_version, kind)
    if node is None:
        raise ProtobufError(f'no kind "{kind}" is registered for version "{api_version}"')
    obj = _Decoder().message(_bytes(envelope.get(2, b"")), node)
    return {"apiVersion": api_version, "kind": kind, **obj}


# The wire


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ProtobufError("unexpected EOF")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value & (1 << 64) - 1, at


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field: an integer for varints, bytes for everything else."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == 2:
            size, at = _varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ProtobufError(f"proto: illegal wireType {kind}")
        if number == 0 or at + size > len(data):
            raise ProtobufError("unexpected EOF")
        yield number, data[at : at + size]
        at += size


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ProtobufError("proto: wrong wireType = 0")
    return value


def _int(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise ProtobufError("proto: wrong wireType = 2")
    return value - (1 << 64) if value >= 1 << 63 else value


def _text(value: int | bytes) -> str:
    try:
        return _bytes(value).decode()
    except UnicodeDecodeError:
        raise ProtobufError("proto: string field contains invalid UTF-8") from None


class _Decoder:
    """Decodes one body; keeps the numbers of the types that it met."""

    def __init__(self) -> None:
        self._numbers: dict[str, dict[str, Any]] = {}
        self._depth = 0

    def _of(self, type_: str) -> dict[str, Any]:
        if type_ not in self._numbers:
            mark = type_.encode() + b"\t"
            found: dict[str, Any] = {}
            with NUMBERS.open("rb") as file:
                for line in file:
                    if line.startswith(mark):
                        found = json.loads(line[len(mark):])
            self._numbers[type_] = found
        return self._numbers[type_]

    def message(self, data: bytes, node: Node) -> dict[str, Any]:
        """A struct. Numbers that its type does not have are passed over, as Go does."""
        self._depth += 1
        if self._depth > DEPTH:
            raise ProtobufError("proto: nesting too deep")
        made: dict[str, Any] = {}
        self._into(made, data, node, self._of(node.ref))
        self._depth -= 1
        return made

    def _into(self, made: dict[str, Any], data: bytes, node: Node, numbers: Mapping[str, Any]) -> None:
        for number, value in _fields(data):
            name = numbers.get(str(number))
            if isinstance(name, dict):  # a struct that Go inlines
                self._into(made, _bytes(value), node, name)
                continue
            field = node.fields.get(name) if name else None
            if name is None or field is None:
                continue
            if field.kind == "list" and field.item is not None:
                made.setdefault(name, []).extend(self._elements(value, field.item))
            elif field.kind == "map" and field.item is not None:
                key, item = self._entry(_bytes(value), field.item)
                made.setdefault(name, {})[key] = item
            else:
                item = self.value(value, field)
                if item is not None:
                    made[name] = item

    def _elements(self, value: int | bytes, item: Node) -> list[Any]:
        if item.kind in ("integer", "boolean") and isinstance(value, bytes):  # packed
            found, at = [], 0
            while at < len(value):
                number, at = _varint(value, at)
                found.append(self.value(number, item))
            return found
        return [self.value(value, item)]

    def _entry(self, data: bytes, item: Node) -> tuple[str, Any]:
        parts = dict(_fields(data))
        key = _text(parts.get(1, b""))
        if item.kind == "list" and item.item is not None:
            # A list as a map's value travels in a message of its own: { 1: items… }.
            inner = [v for number, v in _fields(_bytes(parts.get(2, b""))) if number == 1]
            return key, [element for v in inner for element in self._elements(v, item.item)]
        return key, self.value(parts.get(2, 0 if item.kind in ("integer", "boolean") else b""), item)

    def value(self, value: int | bytes, node: Node) -> Any:
        """A field's value as JSON; None where it stands for nothing."""
        kind = node.kind
        if kind == "object":
            return self.message(_bytes(value), node)
        if kind == "string":
            data = _bytes(value)
            return base64.b64encode(data).decode() if node.format == "byte" else _text(data)
        if kind == "integer":
            return _int(value)
        if kind == "boolean":
            return bool(_int(value))
        if kind == "number":
            return struct.unpack("<d", _bytes(value))[0] if isinstance(value, bytes) else value
        return self._special(_bytes(value), node)

    def _special(self, data: bytes, node: Node) -> Any:
        parts = dict(_fields(data))
        if node.kind == "quantity":
            return _text(parts.get(1, b"")) or "0"
        if node.kind == "intstr":
            return _text(parts.get(3, b"")) if _int(parts.get(1, 0)) == 1 else _int(parts.get(2, 0))
        if node.kind in ("time", "microtime"):
            if not parts:
                return None
            try:
                moment = EPOCH + timedelta(
                    seconds=_int(parts.get(1, 0)), microseconds=_int(parts.get(2, 0)) // 1000
                )
            except OverflowError:
                raise ProtobufError("a time out of range") from None
            finer = f".{moment.microsecond:06d}" if node.kind == "microtime" else ""
            return moment.strftime("%Y-%m-%dT%H:%M:%S") + finer + "Z"
        if node.kind in ("raw", "any") and not node.one_of:
            raw = _bytes(parts.get(1, b""))
            try:
                return json.loads(raw) if raw else None
            except ValueError:
                raise ProtobufError("invalid JSON in a raw field") from None
        schema = node.alternative
        return None if schema is None else self._alternative(data, node.one_of, schema)

    def _alternative(self, data: bytes, type_: str, schema: Node) -> Any:
        """A JSONSchemaPropsOr…: a schema, or what stands in its stead (true or false, schemas, names)."""
        one, more = (2, 1) if type_.endswith("OrBool") else (1, 2)
        fields = list(_fields(data))
        instead = [value for number, value in fields if number == more]
        if type_.endswith("OrArray") and instead:
            return [self.message(_bytes(value), schema) for value in instead]
        if type_.endswith("OrStringArray") and instead:
            return [_text(value) for value in instead]
        for number, value in fields:
            if number == one:
                return self.message(_bytes(value), schema)
        return bool(instead and _int(instead[0])) if type_.endswith("OrBool") else None
