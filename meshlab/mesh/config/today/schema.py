"""Schemas of today's kinds: one description from which come both the definitions that an API server checks on
write (`openapi`) and the check of files and stored objects here (`check`), so that the two cannot disagree.

A rule is written twice, side by side: as CEL, which API servers evaluate, and as a predicate in Python.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from meshlab.mesh.config.durations import Duration, InvalidDuration

__all__ = [
    "ANY",
    "BOOL",
    "DURATION",
    "FREE",
    "INT",
    "NUMBER",
    "PORT",
    "TEXT",
    "Rule",
    "Schema",
    "array",
    "check",
    "enum",
    "integer",
    "mapping",
    "number",
    "obj",
    "openapi",
    "text",
]


@dataclass(frozen=True)
class Rule:
    """A condition on a value: in CEL, and in Python."""

    cel: str
    message: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True)
class Schema:
    """One place of a document. `type` "" takes anything."""

    type: str
    properties: Mapping[str, Schema] = field(default_factory=dict)
    #: Of arrays and of maps.
    items: Schema | None = None
    required: tuple[str, ...] = ()
    #: Groups of fields of which at most one may be set.
    at_most_one: tuple[tuple[str, ...], ...] = ()
    #: Groups of fields of which exactly one must be set.
    exactly_one: tuple[tuple[str, ...], ...] = ()
    enum: tuple[str, ...] = ()
    pattern: str = ""
    low: float | None = None
    high: float | None = None
    #: Fewest and most items of arrays and maps, characters of texts.
    fewest: int | None = None
    most: int | None = None
    rules: tuple[Rule, ...] = ()
    doc: str = ""
    format: str = ""

    def but(self, **changes: Any) -> Schema:
        return replace(self, **changes)

    def with_rule(self, cel: str, message: str, holds: Callable[[Any], bool]) -> Schema:
        return replace(self, rules=(*self.rules, Rule(cel, message, holds)))


def text(*, fewest: int | None = None, most: int | None = None, pattern: str = "", doc: str = "") -> Schema:
    return Schema("string", fewest=fewest, most=most, pattern=pattern, doc=doc)


def enum(*values: str, doc: str = "") -> Schema:
    return Schema("string", enum=values, doc=doc)


def integer(low: int | None = None, high: int | None = None, doc: str = "") -> Schema:
    return Schema("integer", low=low, high=high, doc=doc)


def number(low: float | None = None, high: float | None = None, doc: str = "") -> Schema:
    return Schema("number", low=low, high=high, doc=doc)


def array(items: Schema, *, fewest: int | None = None, most: int | None = None, doc: str = "") -> Schema:
    return Schema("array", items=items, fewest=fewest, most=most, doc=doc)


def mapping(values: Schema, *, most: int | None = None, doc: str = "") -> Schema:
    return Schema("object", items=values, most=most, doc=doc)


def obj(
    required: tuple[str, ...] = (),
    properties: Mapping[str, Schema] | None = None,
    /,
    *,
    one: tuple[tuple[str, ...], ...] = (),
    exactly: tuple[tuple[str, ...], ...] = (),
    _doc: str = "",
    **more: Schema,
) -> Schema:
    """An object; a trailing underscore of a name that Python reserves (`from_`) is dropped."""
    named = {name.removesuffix("_"): schema for name, schema in {**(properties or {}), **more}.items()}
    return Schema("object", named, required=required, at_most_one=one, exactly_one=exactly, doc=_doc)


#: Go's durations. That they are not shorter than a millisecond a pattern cannot say.
_GO_DURATION = r"^[-+]?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))+$"


def _at_least_a_millisecond(value: Any) -> bool:
    try:
        return Duration.parse(value).ns >= 1_000_000
    except InvalidDuration:
        return True  # the pattern says what is wrong


TEXT, BOOL, INT, NUMBER = Schema("string"), Schema("boolean"), Schema("integer"), Schema("number")
ANY = Schema("")
#: An object that is kept as it is.
FREE = Schema("object", items=ANY)
PORT = integer(1, 65535)
DURATION = text(pattern=_GO_DURATION).with_rule(
    "duration(self) >= duration('1ms')", "must be a valid duration greater than 1ms", _at_least_a_millisecond
)


# As OpenAPI


def openapi(schema: Schema) -> dict[str, Any]:
    """A structural schema, as a CustomResourceDefinition has it."""
    if not schema.type:
        return {"x-kubernetes-preserve-unknown-fields": True}
    out: dict[str, Any] = {"type": schema.type}
    if schema.doc:
        out["description"] = schema.doc
    if schema.format:
        out["format"] = schema.format
    if schema.properties:
        out["properties"] = {name: openapi(child) for name, child in schema.properties.items()}
    if schema.items is not None:
        if schema.type == "array":
            out["items"] = openapi(schema.items)
        elif not schema.items.type:
            out["x-kubernetes-preserve-unknown-fields"] = True
        else:
            out["additionalProperties"] = openapi(schema.items)
    if schema.required:
        out["required"] = list(schema.required)
    if schema.enum:
        out["enum"] = list(schema.enum)
    if schema.pattern:
        out["pattern"] = schema.pattern
    bounds = {"minimum": schema.low, "maximum": schema.high}
    kind = {"array": "Items", "string": "Length"}.get(schema.type, "Properties")
    bounds |= {f"min{kind}": schema.fewest, f"max{kind}": schema.most}
    out |= {name: bound for name, bound in bounds.items() if bound is not None}
    out |= _alternatives(schema)
    if schema.rules:
        out["x-kubernetes-validations"] = [{"rule": rule.cel, "message": rule.message} for rule in schema.rules]
    return out


def _alternatives(schema: Schema) -> dict[str, Any]:
    groups = [{"oneOf": [{"not": {"anyOf": _each(group)}}, *_each(group)]} for group in schema.at_most_one] + [
        {"oneOf": _each(group)} for group in schema.exactly_one
    ]
    if len(groups) == 1:
        return groups[0]
    return {"allOf": groups} if groups else {}


def _each(group: tuple[str, ...]) -> list[dict[str, Any]]:
    return [{"required": [name]} for name in group]


# Checking


def check(schema: Schema, value: Any, path: str = "") -> list[str]:
    """What is wrong with a value, each with its place (`spec.http[0].route: …`). A null stands for nothing."""
    out: list[str] = []
    _check(schema, value, path, out)
    return out


def _check(schema: Schema, value: Any, path: str, out: list[str]) -> None:
    if value is None or not schema.type:
        return
    if not _fits(schema.type, value):
        out.append(f"{path}: must be of type {schema.type}, not {_type(value)}")
        return
    before = len(out)
    if schema.enum and value not in schema.enum:
        out.append(f"{path}: unknown value {_shown(value)}, must be one of {', '.join(schema.enum)}")
    elif schema.type == "string":
        _check_text(schema, value, path, out)
    elif schema.type == "array":
        _check_size(schema, len(value), "items", path, out)
        for position, item in enumerate(value):
            if item is None:
                out.append(f"{path}[{position}]: must not be null")
            elif schema.items is not None:
                _check(schema.items, item, f"{path}[{position}]", out)
    elif schema.type == "object":
        _check_object(schema, value, path, out)
    elif not (schema.low is None or value >= schema.low) or not (schema.high is None or value <= schema.high):
        out.append(f"{path}: {_shown(value)} {_range(schema)}")
    if len(out) == before and schema.rules:
        said = {k: v for k, v in value.items() if v is not None} if isinstance(value, Mapping) else value
        out += [f"{path}: {rule.message}" for rule in schema.rules if not rule.holds(said)]


def _check_text(schema: Schema, value: str, path: str, out: list[str]) -> None:
    _check_size(schema, len(value), "characters", path, out)
    if schema.pattern and not _compiled(schema.pattern).search(value):
        what = "is not a duration" if schema.pattern == _GO_DURATION else f"does not match {schema.pattern}"
        out.append(f"{path}: {_shown(value)} {what}")


def _check_object(schema: Schema, value: Mapping[str, Any], path: str, out: list[str]) -> None:
    if schema.items is not None:
        _check_size(schema, len(value), "entries", path, out)
        for name, item in value.items():
            if item is None and schema.items.type:
                out.append(f"{path}[{name}]: must not be null")
            _check(schema.items, item, f"{path}[{name}]", out)
        return
    there = {name for name, item in value.items() if item is not None}
    for name in sorted(there - schema.properties.keys()):
        out.append(f'{path}: unknown field "{name}"')
    for name in schema.required:
        if name not in there:
            out.append(f"{path}.{name}: is required")
    for group in schema.at_most_one + schema.exactly_one:
        found = [name for name in group if name in there]
        if len(found) > 1:
            out.append(f"{path}: only one of {' and '.join(found)} may be set")
        if not found and group in schema.exactly_one:
            out.append(f"{path}: one of {', '.join(group)} must be set")
    for name, child in schema.properties.items():
        if name in there:
            _check(child, value[name], f"{path}.{name}" if path else name, out)


def _check_size(schema: Schema, size: int, what: str, path: str, out: list[str]) -> None:
    if schema.fewest is not None and size < schema.fewest:
        out.append(
            f"{path}: must have at least {schema.fewest} {what}"
            if schema.fewest > 1 or what != "characters"
            else f"{path}: must not be empty"
        )
    if schema.most is not None and size > schema.most:
        out.append(f"{path}: must have at most {schema.most} {what}")


def _range(schema: Schema) -> str:
    if schema.low is not None and schema.high is not None:
        return f"must be in the range {_shown(schema.low)}..{_shown(schema.high)}"
    return (
        f"must be at least {_shown(schema.low)}" if schema.low is not None else f"must be at most {_shown(schema.high)}"
    )


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    # Go's $ is the end of the text, Python's also comes before a last line break.
    return re.compile(pattern[:-1] + r"\Z" if pattern.endswith("$") else pattern)


def _fits(kind: str, value: Any) -> bool:
    if kind == "boolean":
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if kind == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    types: dict[str, type | tuple[type, ...]] = {
        "number": (int, float),
        "string": str,
        "array": (list, tuple),
        "object": Mapping,
    }
    return isinstance(value, types[kind])


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    for kind in ("integer", "number", "string", "array"):
        if _fits(kind, value):
            return kind
    return "object"


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
