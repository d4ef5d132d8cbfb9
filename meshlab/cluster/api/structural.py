"""Structural schemas of custom resources: pruning, defaults, validation, and types for server-side apply.

All functions take the openAPIV3Schema of one version. `metadata`, `apiVersion` and `kind` at the root are the
server's own and never pruned; the shape of metadata is checked all the same, for a list must be able to show what
was stored.
"""

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
from meshlab.cluster.api.defaults import copied
from meshlab.cluster.api.schema import Node
from meshlab.cluster.api.status import BadRequest

__all__ = ["default", "node", "prune", "validate"]

Schema = Mapping[str, Any]
Object = dict[str, Any]
OWN = ("apiVersion", "kind", "metadata")
PRESERVE = "x-kubernetes-preserve-unknown-fields"
INT_OR_STRING = "x-kubernetes-int-or-string"
EMBEDDED = "x-kubernetes-embedded-resource"


# Pruning


def prune(obj: Mapping[str, Any], schema: Schema) -> tuple[Object, list[str]]:
    """The object without what its schema does not know, and the paths of that. Raises BadRequest where metadata
    is not of metadata's types."""
    unknown: list[str] = []
    pruned = _pruned(obj, schema, "", unknown, root=True)
    _check_metadata(obj.get("metadata"))
    made: Object = pruned if isinstance(pruned, dict) else dict(obj)
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
    seen = {"integer": "number"}.get(_kind(value), _kind(value))
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


# Validation


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


def _kind(value: Any) -> str:
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
    kind = _kind(value)
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
        seen = _kind(value)
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


def node(schema: Schema | None) -> Node:
    """The type of a whole custom resource, for server-side apply."""
    built = _node(schema or {PRESERVE: True})
    own = {"apiVersion": Node(None, {"t": "string"}), "kind": Node(None, {"t": "string"}), "metadata": _metadata()}
    made = Node(None, {}, {**built.fields, **own})
    made.item = built.item
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
