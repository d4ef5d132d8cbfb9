"""Protobuf bodies as programs in Go send them: client-go uses protobuf for every built-in kind that has it."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from meshlab.cluster.api.protobuf import MAGIC
from meshlab.cluster.api.protobuf import decode as decode_protobuf
from meshlab.cluster.api.schema import Schemas
from meshlab.cluster.api.strict import decode

#: What apiextensions' own client sends for SENT: written by Kubernetes' serializer for protobuf.
DEFINITION = (
    "azhzAAozChdhcGlleHRlbnNpb25zLms4cy5pby92MRIYQ3VzdG9tUmVzb3VyY2VEZWZpbml0aW9uEqYEChkKCXphZ3MueC5pbxIAGgAiACoAMgA4"
    "AEIAEvoDCgR4LmlvGg8KBHphZ3MSACIDWmFnKgAiCk5hbWVzcGFjZWQ60gMKAnYxEAEYASLFAwrCAwoAEgAiACoGb2JqZWN0MgA6AFAAYAB6AJAB"
    "AOoBjAEKAWEShgEKABIAIgAqBWFycmF5MgA6AFAAYAB6AJABAMIBVgpUCgASACIAKgZvYmplY3QyADoAUABgAHoAkAEAugEBa+oBKQoBaxIkCgAS"
    "ACIAKgZzdHJpbmcyADoAUABgAHoAkAEAqAIAuAIAwAIAqAIAuAIAwAIAqAIAuAIAwAIAygIBa9ICA21hcOoBWgoBYhJVCgASACIAKgZvYmplY3Qy"
    "ADoAUABgAHoAkAEA8gEuCAESKgoAEgAiACoHaW50ZWdlcjIAOgBCAwoBM1AAYAB6AJABAKgCALgCAMACAKgCALgCAMACAOoBLgoBYxIpCgASACIA"
    "KgZvYmplY3QyADoAUABgAHoAkAEA8gECCAGoAgC4AgDAAgDqATcKAWQSMgoAEgAiACoAMgA6AFAAYAB6AJABAKgCALgCAMACAeICEQoJc2VsZiAh"
    "PSAxEgAaACoA6gFACgFlEjsKABIAIgAqBnN0cmluZzIAOgBCBQoDIngiUABgAHoAkAEAogEFCgMieCKiAQUKAyJ5IqgCALgCAMACAKgCALACAbgC"
    "AMACADgAUAAaDBIICgASACIAKgAgABoAIgA="
)
#: Its schema, as the same client writes it as JSON.
SENT = {
    "type": "object", "x-kubernetes-preserve-unknown-fields": True,
    "properties": {
        "a": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}}},
        },
        "b": {"type": "object", "additionalProperties": {"type": "integer", "default": 3}},
        "c": {"type": "object", "additionalProperties": True},
        "d": {"x-kubernetes-int-or-string": True, "x-kubernetes-validations": [{"rule": "self != 1"}]},
        "e": {"type": "string", "default": "x", "enum": ["x", "y"]},
    },
}  # fmt: skip


def test_a_definition_keeps_every_word_of_its_schema(schemas: Schemas) -> None:
    node = schemas.for_kind("apiextensions.k8s.io/v1", "CustomResourceDefinition")
    assert node is not None
    decoded = decode(decode_protobuf(base64.b64decode(DEFINITION), schemas), node)
    assert decoded.obj["spec"]["versions"][0]["schema"]["openAPIV3Schema"] == SENT
    assert decoded.unknown == []


@pytest.mark.parametrize(
    ("fields", "stands_for"),
    [
        (b"\x08\x00", False),
        (b"\x08\x01", True),
        (b"\x08\x01\x12\x03\x2a\x01s", {"type": "s"}),
        (b"", False),
    ],
)
def test_a_schema_or_a_truth(schemas: Schemas, fields: bytes, stands_for: Any) -> None:
    assert _property(schemas, 30, fields)["additionalProperties"] == stands_for


@pytest.mark.parametrize(
    ("fields", "stands_for"),
    [
        (b"\x0a\x03\x2a\x01s", {"type": "s"}),
        (b"\x12\x03\x2a\x01s\x12\x03\x2a\x01t", [{"type": "s"}, {"type": "t"}]),
    ],
)
def test_a_schema_or_several(schemas: Schemas, fields: bytes, stands_for: Any) -> None:
    assert _property(schemas, 24, fields)["items"] == stands_for


def test_a_schema_or_names(schemas: Schemas) -> None:
    assert _property(schemas, 32, _field(1, b"k") + _field(2, b"\x12\x01n"))["dependencies"] == {"k": ["n"]}


@pytest.mark.parametrize("version", ["v1", "apps/v1", "apiextensions.k8s.io/v1"])
def test_how_to_delete_is_said_under_the_name_of_every_group(schemas: Schemas, version: str) -> None:
    sent = _field(1, _field(1, version.encode()) + _field(2, b"DeleteOptions")) + _field(2, _field(4, b"Foreground"))
    told = decode_protobuf(MAGIC + sent, schemas)
    assert told == {"apiVersion": version, "kind": "DeleteOptions", "propagationPolicy": "Foreground"}


def _field(number: int, data: bytes) -> bytes:
    """A field of bytes, shorter than 128 and of a number below 16 or, in two bytes, above."""
    tag = number << 3 | 2
    return (bytes([tag]) if tag < 128 else bytes([tag & 0x7F | 0x80, tag >> 7])) + bytes([len(data)]) + data


def _property(schemas: Schemas, number: int, fields: bytes) -> dict[str, Any]:
    """A definition's schema that has one field."""
    spec = _field(7, _field(4, _field(1, _field(number, fields))))
    kind = _field(1, b"apiextensions.k8s.io/v1") + _field(2, b"CustomResourceDefinition")
    told = decode_protobuf(MAGIC + _field(1, kind) + _field(2, _field(2, spec)), schemas)
    made: dict[str, Any] = told["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return made
