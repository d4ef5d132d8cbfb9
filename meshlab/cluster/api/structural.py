"""Structural schemas of custom resources: pruning, defaults, validation, and types for server-side apply.

All functions take the openAPIV3Schema of one version. `metadata`, `apiVersion` and `kind` at the root are the
server's own, whatever the schema says: metadata has the fields and the shape that all kinds have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshlab.cluster.api.filling import copied
from meshlab.cluster.api.metadata import ORDER as FIELDS
from meshlab.cluster.api.schema import Node
from meshlab.cluster.api.status import BadRequest
from meshlab.cluster.api.structural_rules import EMBEDDED, INT_OR_STRING, OWN, json_kind, validate

__all__ = ["default", "node", "prune", "validate"]

Schema = Mapping[str, Any]
Object = dict[str, Any]
PRESERVE = "x-kubernetes-preserve-unknown-fields"


# Pruning


def prune(obj: Mapping[str, Any], schema: Schema) -> tuple[Object, list[str]]:
    """The object without what its schema does not know, and the paths of that. Raises BadRequest where metadata
    is not of metadata's types."""
    unknown: list[str] = []
    pruned = _pruned(obj, schema, "", unknown, root=True)
    _check_metadata(obj.get("metadata"))
    made: Object = pruned if isinstance(pruned, dict) else dict(obj)
    if isinstance(meta := made.get("metadata"), Mapping):
        unknown += [f"metadata.{key}" for key in meta if key not in FIELDS]
        made["metadata"] = {key: value for key, value in meta.items() if key in FIELDS and value is not None}
    return made, unknown


def _pruned(value: Any, schema: Schema, path: str, unknown: list[str], *, root: bool = False) -> Any:
    if isinstance(value, Mapping):
        properties = schema.get("properties") or {}
        others = schema.get("additionalProperties")
        keep = bool(schema.get(PRESERVE))
        own = OWN if root or schema.get(EMBEDDED) else ()
        kept = {}
        for key, item in value.items():
            here = f"{path}.{key}" if path else str(key)
            if key in own:
                kept[key] = item
            elif key in properties:
                kept[key] = _pruned(item, properties[key], here, unknown)
            elif isinstance(others, Mapping):
                kept[key] = _pruned(item, others, here, unknown)
            elif keep or others is True:
                kept[key] = item
            else:
                unknown.append(here)
        return kept
    if isinstance(value, list):
        items = schema.get("items")
        if isinstance(items, Mapping):
            return [_pruned(item, items, f"{path}[{i}]", unknown) for i, item in enumerate(value)]
    return value


def _check_metadata(meta: Any) -> None:
    if meta is None:
        return
    if not isinstance(meta, Mapping):
        raise _unmarshal(meta, "", "v1.ObjectMeta")
    for key in ("name", "generateName", "namespace", "uid", "resourceVersion"):
        if not isinstance(meta.get(key) or "", str):
            raise _unmarshal(meta[key], f".{key}", "string")
    for key in ("labels", "annotations"):
        values = meta.get(key) or {}
        if not isinstance(values, Mapping):
            raise _unmarshal(values, f".{key}", "map[string]string")
        for value in values.values():
            if not isinstance(value, str):
                raise _unmarshal(value, f".{key}", "string")
    for key, kind, go in (("finalizers", str, "string"), ("ownerReferences", Mapping, "v1.OwnerReference")):
        listed = meta.get(key) or []
        if not isinstance(listed, list):
            raise _unmarshal(listed, f".{key}", f"[]{go}")
        for item in listed:
            if not isinstance(item, kind):
                raise _unmarshal(item, f".{key}", go)


def _unmarshal(value: Any, where: str, go: str) -> BadRequest:
    seen = {"integer": "number"}.get(json_kind(value), json_kind(value))
    seen = "bool" if seen == "boolean" else seen
    field = f" into Go struct field ObjectMeta{where}" if where else " into Go value"
    return BadRequest(f"json: cannot unmarshal {seen}{field} of type {go}")


# Defaults


def default(obj: Mapping[str, Any], schema: Schema) -> Object:
    """A new object with the schema's defaults filled in, at every depth that the object reaches."""
    made: Object = _defaulted(obj, schema)
    return made


def _defaulted(value: Any, schema: Schema) -> Any:
    if isinstance(value, Mapping):
        properties = schema.get("properties") or {}
        made = dict(value)
        for key, child in properties.items():
            if "default" in child:
                absent = key not in made or (made[key] is None and not child.get("nullable"))
                if absent:
                    made[key] = copied(child["default"])
            if key in made:
                made[key] = _defaulted(made[key], child)
        others = schema.get("additionalProperties")
        if isinstance(others, Mapping):
            for key in made:
                if key not in properties:
                    made[key] = _defaulted(made[key], others)
        return made
    if isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        return [_defaulted(item, schema["items"]) for item in value]
    return value


def node(schema: Schema | None) -> Node:
    """The type of a whole custom resource, for server-side apply."""
    built = _node(schema or {PRESERVE: True})
    own = {"apiVersion": Node(None, {"t": "string"}), "kind": Node(None, {"t": "string"}), "metadata": _metadata()}
    made = Node(None, {}, {**built.fields, **own})
    # A schema that names no fields leaves all others to what they look like.
    made.item = built if built.kind == "deduced" else built.item
    return made


def _metadata() -> Node:
    text = {"t": "string"}
    owner = Node(None, {"m": "atomic"}, {
        key: Node(None, {"t": kind})
        for key, kind in (("apiVersion", "string"), ("kind", "string"), ("name", "string"), ("uid", "string"),
                          ("controller", "boolean"), ("blockOwnerDeletion", "boolean"))
    })  # fmt: skip
    owners = Node(None, {"l": text, "x": "map", "k": ["uid"]})
    owners.item = owner
    fields = {
        "labels": Node(None, {"p": text}),
        "annotations": Node(None, {"p": text}),
        "finalizers": Node(None, {"l": text, "x": "set"}),
        "ownerReferences": owners,
    }
    made = Node(None, {}, fields)
    made.item = Node(None, {"t": "any"})
    return made


def _node(schema: Schema) -> Node:
    kind = schema.get("type")
    if schema.get(INT_OR_STRING):
        return Node(None, {"t": "intstr"})
    if kind == "array":
        items = schema.get("items")
        spec: Object = {"l": {"t": "any"}, "x": schema.get("x-kubernetes-list-type", "atomic")}
        if keys := schema.get("x-kubernetes-list-map-keys"):
            spec["k"] = keys
        made = Node(None, spec)
        made.item = _node(items) if isinstance(items, Mapping) else Node(None, {"t": "deduced"})
        return made
    properties, others = schema.get("properties"), schema.get("additionalProperties")
    marks = {"m": schema["x-kubernetes-map-type"]} if "x-kubernetes-map-type" in schema else {}
    if properties is not None:
        made = Node(None, marks, {key: _with_default(child) for key, child in properties.items()})
        if schema.get(PRESERVE):
            made.item = Node(None, {"t": "deduced"})
        return made
    if isinstance(others, Mapping):
        made = Node(None, {"p": {"t": "any"}, **marks})
        made.item = _node(others)
        return made
    if kind in ("string", "integer", "number", "boolean"):
        return Node(None, {"t": kind})
    return Node(None, {"t": "deduced"})


def _with_default(schema: Schema) -> Node:
    made = _node(schema)
    made.default = schema.get("default")
    return made
