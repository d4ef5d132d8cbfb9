"""One policy, compiled, and what it says of a write."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from meshlab.cluster.api.cel.expressions import (
    CompileError,
    EvaluationError,
    Expression,
    Expressions,
    UnknownFunctionError,
)

__all__ = ["NAMES", "Compiled", "Decision"]

Object = dict[str, Any]

#: What expressions may speak of.
NAMES = ("object", "oldObject", "request", "params", "namespaceObject", "variables")
#: Characters of a message that an expression makes; a longer one is not used.
LONGEST_MESSAGE = 5 * 1024
MISSING = re.compile(r"^no such key: (\w+)$")


@dataclass(frozen=True)
class Decision:
    """One broken rule, or one that could not be evaluated (`failed`)."""

    message: str
    #: "" for what could not be evaluated.
    reason: str = ""
    failed: bool = False


class _Rule:
    """A validation with its message."""

    def __init__(self, spec: Mapping[str, Any], language: Expressions) -> None:
        self.spec = spec
        self.holds = language.compile(str(spec.get("expression", "")))
        text = spec.get("messageExpression")
        self.says = language.compile(text) if text else None

    def message(self, variables: Mapping[str, Any]) -> str:
        made: Any = ""
        if self.says is not None:
            try:
                made = self.says(variables)
            except EvaluationError:
                made = ""  # the plain message stands in, as on a real server
        text = made.strip() if isinstance(made, str) and len(made) <= LONGEST_MESSAGE else ""
        if not text or "\n" in text:
            text = str(self.spec.get("message") or "").strip()
        return text or f"failed expression: {str(self.spec.get('expression', '')).strip()}"


class Compiled:
    """The expressions of one policy. What only a real server understands is left out; what nobody does is a fault."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        #: Why the policy cannot be used; "" if it can.
        self.fault = ""
        self._conditions: list[tuple[str, Expression]] = []
        self._variables: list[tuple[str, Expression]] = []
        self._rules: list[_Rule] = []
        try:
            language = Expressions(NAMES)
            for condition in spec.get("matchConditions") or ():
                self._conditions.append((condition["expression"], language.compile(condition["expression"])))
            for variable in spec.get("variables") or ():
                self._variables.append((variable["name"], language.compile(variable["expression"])))
            for validation in spec.get("validations") or ():
                try:
                    self._rules.append(_Rule(validation, language))
                except UnknownFunctionError:
                    continue
        except UnknownFunctionError:
            self._rules = []  # everything below depends on what we cannot say
        except CompileError as error:
            self.fault = f"compilation error: {error}"

    def decide(self, variables: Mapping[str, Any]) -> Iterator[Decision]:
        """What is wrong with a write; nothing where it is right, or of no concern to the policy."""
        if self.fault:
            yield Decision(self.fault, failed=True)
            return
        faults: dict[str, str] = {}
        known = {**variables, "variables": self._values(variables, faults)}
        errors = []
        for text, condition in self._conditions:
            try:
                if condition(known) is not True:
                    return
            except EvaluationError as error:
                errors.append(f"expression '{text}' resulted in error: {error}")
        if errors:
            yield Decision("; ".join(errors), failed=True)
            return
        for rule in self._rules:
            try:
                kept = rule.holds(known)
            except EvaluationError as error:
                yield Decision(_worded(str(rule.spec["expression"]), str(error), faults), failed=True)
                continue
            if kept is not True:
                yield Decision(rule.message(known), str(rule.spec.get("reason") or "Invalid"))

    def _values(self, variables: Mapping[str, Any], faults: dict[str, str]) -> Object:
        """The policy's own variables, each of which may speak of those before it."""
        values: Object = {}
        for name, expression in self._variables:
            try:
                values[name] = expression({**variables, "variables": values})
            except EvaluationError as error:
                faults[name] = str(error)  # it matters only to who uses it
        return values


def _worded(expression: str, error: str, faults: Mapping[str, str]) -> str:
    missing = MISSING.match(error)
    if missing and missing[1] in faults:
        error = f'composited variable "{missing[1]}" fails to evaluate: {faults[missing[1]]}'
    return f"expression '{expression}' resulted in error: {error}"
