"""The rules of one schema: where they stand, when they apply, and what they say when they fail."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from meshlab.cluster.api.causes import Cause, duplicate, forbidden, invalid, required
from meshlab.cluster.api.cel.expressions import (
    CompileError,
    EvaluationError,
    Expression,
    Expressions,
    UnknownFunctionError,
)
from meshlab.cluster.api.cel.values import seen

__all__ = ["RULES", "Rules", "definition_causes", "has_rules"]

Schema = Mapping[str, Any]
RULES = "x-kubernetes-validations"
#: Fields that a rule at the root sees although the schema need not have them.
META: Schema = {"type": "object", "properties": {"name": {"type": "string"}, "generateName": {"type": "string"}}}
OWN: Schema = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": META}
OLD = re.compile(r"\boldSelf\b")
REASONS: dict[str, Callable[[str, Any, str], Cause]] = {
    "FieldValueInvalid": invalid,
    "FieldValueRequired": lambda field, _, detail: required(field, detail),
    "FieldValueForbidden": lambda field, _, detail: forbidden(field, detail),
    "FieldValueDuplicate": lambda field, value, _: duplicate(field, value),
}


def has_rules(schema: Schema) -> bool:
    """Whether there is a rule anywhere in a schema."""
    return next(_places("", schema), None) is not None


def _places(path: str, schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Every schema with rules, and where it stands in the definition."""
    if schema.get(RULES):
        yield path, schema
    for name, child in sorted((schema.get("properties") or {}).items()):
        if isinstance(child, Mapping):
            yield from _places(f"{path}.properties[{name}]", child)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), Mapping):
            yield from _places(f"{path}.{key}", schema[key])


def definition_causes(path: str, schema: Schema) -> list[Cause]:
    """What is wrong with the rules of a definition's schema, which stands at `path`."""
    causes: list[Cause] = []
    language: Expressions | None = None
    for place, owner in _places("", schema):
        for i, rule in enumerate(owner[RULES]):
            here = f"{path}{place}.{RULES}[{i}]"
            text = rule.get("rule") or ""
            if not text.strip():
                causes.append(required(f"{here}.rule", "rule is not specified"))
                continue
            if "\n" in text.strip() and not (rule.get("message") or rule.get("messageExpression")):
                causes.append(required(f"{here}.message", "message must be specified if rule contains line breaks"))
            language = language or Expressions()
            for key in ("rule", "messageExpression"):
                if not rule.get(key):
                    continue
                try:
                    language.compile(rule[key])
                except UnknownFunctionError:
                    continue  # a real server takes it; it is kept and not checked
                except CompileError as error:
                    causes.append(invalid(f"{here}.{key}", rule[key], f"compilation failed: {error}"))
    return causes


@dataclass(frozen=True)
class _Rule:
    spec: Mapping[str, Any]
    holds: Expression
    says: Expression | None
    #: The rule for an object that was not there before, where it takes `oldSelf` as an optional value.
    first: Expression | None = None

    @property
    def of_change(self) -> bool:
        """Whether it compares with what was before."""
        return OLD.search(self.spec["rule"]) is not None

    def message(self, variables: Mapping[str, Any]) -> str:
        if self.says is not None:
            try:
                text = self.says(variables)
            except EvaluationError:
                text = ""
            if isinstance(text, str) and text.strip() and "\n" not in text:
                return text.strip()
        text = self.spec.get("message") or f"failed rule: {self.spec['rule'].strip()}"
        return str(text).strip()


class Rules:
    """The compiled rules of one version's schema. Expressions that do not compile are left out: what is wrong was
    refused when the definition was stored, the others are those that only a real server understands."""

    def __init__(self, schema: Schema) -> None:
        self._schema = {**schema, "properties": {**OWN, **(schema.get("properties") or {}), "metadata": META}}
        language = Expressions()
        #: By the identity of the schema that has them, which lives as long as this.
        self._compiled: dict[int, list[_Rule]] = {}
        self._inside: set[int] = set()
        for _, owner in _places("", self._schema):
            self._compiled[id(owner)] = list(_compiled(language, owner[RULES]))
        self._mark(self._schema)

    def _mark(self, schema: Schema) -> bool:
        """Notes which schemas have rules in or below them: the others need no walk."""
        children = [*(schema.get("properties") or {}).values(), schema.get("items"), schema.get("additionalProperties")]
        below = [self._mark(child) for child in children if isinstance(child, Mapping)]
        if id(schema) in self._compiled or any(below):
            self._inside.add(id(schema))
            return True
        return False

    def check(self, obj: Mapping[str, Any], old: Mapping[str, Any] | None) -> list[Cause]:
        """Why the object breaks rules. What has not changed since `old` was right, or is let be."""
        causes: list[Cause] = []
        self._check(obj, old, self._schema, "", causes)
        return causes

    def _check(self, value: Any, old: Any, schema: Schema, path: str, causes: list[Cause]) -> None:
        if value is None or id(schema) not in self._inside or (path and old is not None and value == old):
            return
        if rules := self._compiled.get(id(schema)):
            variables = {"self": seen(value, schema)}
            before = {} if old is None else {"oldSelf": seen(old, schema)}
            for rule in rules:
                self._apply(rule, {**variables, **before}, schema, path, causes, compared=old is not None)
        if isinstance(value, Mapping):
            had = old if isinstance(old, Mapping) else {}
            properties, others = schema.get("properties") or {}, schema.get("additionalProperties")
            for key, item in value.items():
                child = properties.get(key, others if isinstance(others, Mapping) else None)
                if child is not None:
                    here = (f"{path}.{key}" if path else str(key)) if key in properties else f"{path}[{key}]"
                    self._check(item, had.get(key), child, here, causes)
        elif isinstance(value, list) and isinstance(schema.get("items"), Mapping):
            find = _finder(schema, old)
            for i, item in enumerate(value):
                self._check(item, find(item), schema["items"], f"{path}[{i}]", causes)

    def _apply(
        self, rule: _Rule, variables: Mapping[str, Any], schema: Schema, path: str, causes: list[Cause], *,
        compared: bool,
    ) -> None:
        kind, holds = schema.get("type") or "object", rule.holds
        if rule.of_change and not compared:
            if rule.first is None:
                return
            holds = rule.first
        where = path + (rule.spec.get("fieldPath") or "")
        where = where.lstrip(".") or "<nil>"
        try:
            kept = holds(variables)
        except EvaluationError as error:
            causes.append(invalid(where, kind, f"{error} evaluating rule: {rule.message(variables)}"))
            return
        if kept is not True:
            made = REASONS.get(rule.spec.get("reason") or "", invalid)
            causes.append(made(where, kind, rule.message(variables)))


def _compiled(language: Expressions, rules: Any) -> Iterator[_Rule]:
    for spec in rules:
        try:
            says = language.compile(spec["messageExpression"]) if spec.get("messageExpression") else None
            rule, first = spec["rule"], None
            if spec.get("optionalOldSelf"):
                first = language.compile(f"cel.bind(oldSelf, optional.none(), {rule})")
                rule = f"cel.bind(oldSelf, optional.of(oldSelf), {rule})"
            yield _Rule(spec, language.compile(rule), says, first)
        except CompileError:
            continue


def _finder(schema: Schema, old: Any) -> Callable[[Any], Any]:
    """Finds what an element was before: only elements with keys are known again."""
    keys = schema.get("x-kubernetes-list-map-keys")
    if not keys or not isinstance(old, list):
        return lambda _: None

    def key_of(item: Any) -> Any:
        return tuple(str(item.get(key)) for key in keys) if isinstance(item, Mapping) else None

    known = {key_of(item): item for item in old}
    return lambda item: known.get(key_of(item))
