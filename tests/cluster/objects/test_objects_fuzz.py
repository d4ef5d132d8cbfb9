"""Whatever decodes can be defaulted, judged, converted, owned, patched and shown: no object breaks a server.

Objects of every kind are made at random out of their types, from fixed seeds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from meshlab.cluster.api.apply import apply, track
from meshlab.cluster.api.convert import convert, stored_version
from meshlab.cluster.api.defaults import apply_defaults
from meshlab.cluster.api.patch import PatchError
from meshlab.cluster.api.schema import Node, Schemas
from meshlab.cluster.api.status import ApiError
from meshlab.cluster.api.strategic import strategic_merge
from meshlab.cluster.api.strict import DecodeError, decode
from meshlab.cluster.api.table import table
from meshlab.cluster.api.validation import validate

NOW = datetime(2026, 1, 1, tzinfo=UTC)
#: Strings that some rule somewhere looks at.
WORDS = ["", "a", "A_b", "1", "50%", "TCP", "RollingUpdate", "Always", "ClusterIP", "None", "127.0.0.1", "*/5 * * * *",
         "/x", "..", "x" * 70, "In", "Exists", "http", "é", "a/b/c", "kubernetes.io/tls", "-", "ClientIP", "Container",
         "ExternalName", "LoadBalancer", "Utilization", "cpu", "Resource", "object", "NoExecute", "Pod"]  # fmt: skip


@dataclass(frozen=True)
class Kind:
    group: str
    version: str
    kind: str
    plural: str = "things"
    namespaced: bool = True


def made(node: Node, random: Random, depth: int = 0) -> Any:
    """A random value of a type, sometimes null."""
    if depth and random.random() < 0.04:
        return None
    if node.kind == "object":
        likely = 0.9 if depth < 2 else 0.5 if depth < 6 else 0.25
        fields = node.fields if depth < 14 else {}
        return {key: made(child, random, depth + 1) for key, child in fields.items() if random.random() < likely}
    if node.item is not None:
        count = random.choice([0, 1, 1, 2])
        if node.kind == "list":
            return [made(node.item, random, depth + 1) for _ in range(count)]
        return {random.choice(WORDS): made(node.item, random, depth + 1) for _ in range(count)}
    choices: dict[str, list[Any]] = {
        "string": ["YQ=="] if node.format == "byte" else WORDS,
        "integer": [0, 1, -1, 80, 70000, 2**31 - 1],
        "number": [1.5],
        "boolean": [True, False],
        "intstr": [0, 80, "http", "25%", "", -3],
        "quantity": ["1", "-1", "100m", "1Gi", 0.5],
        "time": ["2026-01-01T00:00:00Z"],
        "microtime": ["2026-01-01T00:00:00.5Z"],
        "raw": [{"a": 1}],
    }
    return random.choice(choices.get(node.kind, [1, "x", {"type": "object"}, [1], True]))


def known_kinds() -> list[str]:
    return sorted(name for name in Schemas.load()._kinds if not name.endswith("List"))


@pytest.mark.parametrize("name", known_kinds())
def test_no_object_breaks_what_is_done_with_objects(schemas: Schemas, name: str) -> None:
    api_version, _, kind = name.rpartition("/")
    group, _, version = api_version.rpartition("/")
    node, resource = schemas.for_kind(api_version, kind), Kind(group, version, kind)
    assert node is not None
    random = Random(name)  # noqa: S311 - reproducible on purpose
    for _ in range(4):
        raw = [{**made(node, random), "apiVersion": api_version, "kind": kind} for _ in range(2)]
        try:
            new, old = (apply_defaults({"metadata": {}, **decode(obj, node).obj}) for obj in raw)
        except DecodeError:
            continue
        assert apply_defaults(new) == new
        validate(new, resource)
        validate(new, resource, old=old)
        convert(convert(new, stored_version(api_version, kind)), api_version)
        table(resource, [new], now=NOW, schemas=schemas)
        managed = track(None, new, manager="a", node=node, api_version=api_version, now=NOW)
        owned = {**new, "metadata": {**new["metadata"], "managedFields": managed}}
        track(owned, old, manager="b", node=node, api_version=api_version, now=NOW)
        try:
            apply(owned, old, manager="c", force=True, node=node, api_version=api_version, now=NOW)
            strategic_merge(new, raw[1], node)
        except (ApiError, PatchError):
            continue
        json.dumps(new)
