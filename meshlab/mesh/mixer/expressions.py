"""Mixer's attribute expressions, compiled to functions.

    source.labels["version"] | "unknown"
    context.protocol == "http" && match(request.path, "/pay*")

`a | b` is the first of them that is there and not empty; operators bind as in Go, whose parser the original
uses: `|` before `==` before `&&` before `||`. A text that looks like a duration is one. Pure: no I/O.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

from meshlab.errors import MeshlabError
from meshlab.mesh.mixer.values import Timestamp, parse_duration

__all__ = ["Absent", "Attributes", "Expression", "ExpressionError", "compile_expression", "matches_pattern"]

#: Anything with `[]` that raises Absent for an attribute that is not there.
Bag = Mapping[str, Any]
_TOKEN = re.compile(r"""\s*(?:
    (?P<number>\d+\.\d+|\d+)
  | (?P<text>"(?:[^"\\]|\\.)*"|`[^`]*`)
  | (?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)
  | (?P<op>\|\||&&|==|!=|[|()\[\],])
)""", re.VERBOSE)
_BINDING = {"||": 1, "&&": 2, "==": 3, "!=": 3, "|": 4}


class Absent(KeyError):
    """An attribute that this report does not have."""


class Attributes(dict[str, Any]):
    """Attributes by name; asking for one that is not there raises Absent."""

    def __missing__(self, name: str) -> Any:
        raise Absent(name)


class ExpressionError(MeshlabError):
    """An expression that does not parse, or calls what Mixer does not know."""


@dataclass(frozen=True)
class Expression:
    """`evaluate(bag)` gives a value, or raises Absent. `attributes` are those it can ask for.

    `simple` is (attribute, default) where the expression is no more than that, which most are, and
    (None, value) for a constant: a caller can take a short cut.
    """

    text: str
    evaluate: Callable[[Bag], Any]
    attributes: frozenset[str]
    simple: tuple[str | None, Any] | None = None

    def get(self, bag: Bag, default: Any = None) -> Any:
        """The value, or `default` where an attribute is absent."""
        try:
            return self.evaluate(bag)
        except Absent:
            return default


def compile_expression(text: str) -> Expression:
    """Raises ExpressionError, which shows the text and where it went wrong."""
    parser = _Parser(text)
    node = parser.binary(1)
    if parser.at < len(parser.tokens):
        parser.fail(f"unexpected {parser.tokens[parser.at][1]!r}")
    return Expression(text, node.evaluate, frozenset(parser.names), node.simple)


def matches_pattern(text: str, pattern: str) -> bool:
    """Equality in which a `*` at the end or, else, at the beginning of the pattern stands for anything."""
    if pattern.endswith("*"):
        return text.startswith(pattern[:-1])
    if pattern.startswith("*"):
        return text.endswith(pattern[1:])
    return text == pattern


@dataclass(frozen=True)
class _Node:
    evaluate: Callable[[Bag], Any]
    simple: tuple[str | None, Any] | None = None


class _Parser:
    def __init__(self, text: str) -> None:
        self.text, self.at, self.names = text, 0, set[str]()
        self.tokens: list[tuple[str, str]] = []
        position = 0
        while text[position:].strip():
            found = _TOKEN.match(text, position)
            if found is None or found.lastgroup is None:
                self.fail(f"unexpected {text[position:].strip()[0]!r}")
            self.tokens.append((found.lastgroup, found[found.lastgroup]))
            position = found.end()
        if not self.tokens:
            self.fail("empty")

    def fail(self, why: str) -> NoReturn:
        raise ExpressionError(f"unable to parse expression '{self.text}': {why}")

    def peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def take(self, expected: str | None = None) -> tuple[str, str]:
        if self.at >= len(self.tokens):
            self.fail("ends too early")
        token = self.tokens[self.at]
        if expected is not None and token[1] != expected:
            self.fail(f"expected {expected!r}, found {token[1]!r}")
        self.at += 1
        return token

    def binary(self, level: int) -> _Node:
        left = self.primary()
        while (binding := _BINDING.get(self.peek(), 0)) >= level:
            operator = self.take()[1]
            left = _combine(operator, left, self.binary(binding + 1))
        return left

    def primary(self) -> _Node:
        kind, text = self.take()
        if text == "(":
            inner = self.binary(1)
            self.take(")")
            return inner
        if kind == "number":
            return _constant(float(text) if "." in text else int(text))
        if kind == "text":
            return _constant(_unquote(text))
        if kind != "name":
            self.fail(f"unexpected {text!r}")
        if text.lower() in ("true", "false"):
            return _constant(text.lower() == "true")
        if self.peek() == "(":
            return self.call(text)
        self.names.add(text)
        if self.peek() == "[":
            self.take()
            key = self.binary(1)
            self.take("]")
            return _Node(lambda bag: _entry(bag[text], key.evaluate(bag)))
        return _Node(lambda bag: bag[text], (text, None))

    def call(self, name: str) -> _Node:
        self.take("(")
        arguments = [self.binary(1)]
        while self.peek() == ",":
            self.take()
            arguments.append(self.binary(1))
        self.take(")")
        known = _FUNCTIONS.get(name)
        if known is None:
            self.fail(f"unknown function: {name}")
        arity, function = known
        if len(arguments) != arity:
            self.fail(f"{name} arity mismatch. Got {len(arguments)} arg(s), expected {arity} arg(s)")
        if all(a.simple is not None and a.simple[0] is None for a in arguments):
            try:
                return _constant(function(*(a.evaluate({}) for a in arguments)), duration=False)
            except (AttributeError, TypeError, ValueError) as error:
                self.fail(str(error))
        return _Node(lambda bag: _apply(function, [a.evaluate(bag) for a in arguments]))


def _constant(value: Any, *, duration: bool = True) -> _Node:
    if duration and isinstance(value, str):
        found = parse_duration(value)
        value = value if found is None or value == "0" else found
    return _Node(lambda bag: value, (None, value))


def _combine(operator: str, left: _Node, right: _Node) -> _Node:
    a, b = left.evaluate, right.evaluate
    if operator == "|":
        simple = None
        if (left.simple is not None and left.simple[0] is not None and left.simple[1] is None
                and right.simple is not None and right.simple[0] is None):
            simple = (left.simple[0], right.simple[1])
        return _Node(lambda bag: _first(a, b, bag), simple)
    if operator == "&&":
        return _Node(lambda bag: bool(a(bag)) and bool(b(bag)))
    if operator == "||":
        return _Node(lambda bag: bool(a(bag)) or bool(b(bag)))
    if operator == "==":
        return _Node(lambda bag: _equal(a(bag), b(bag)))
    return _Node(lambda bag: not _equal(a(bag), b(bag)))


def _entry(values: Any, key: Any) -> Any:
    if not isinstance(values, Mapping):
        raise Absent(str(key))
    return values.get(key, "")


def _apply(function: Callable[..., Any], arguments: list[Any]) -> Any:
    """A call; with arguments of the wrong type it has no value, as an absent attribute has none."""
    try:
        return function(*arguments)
    except (AttributeError, TypeError, ValueError) as error:
        raise Absent(str(error)) from None


def _first(a: Callable[[Bag], Any], b: Callable[[Bag], Any], bag: Bag) -> Any:
    try:
        value = a(bag)
    except Absent:
        return b(bag)
    return b(bag) if value is None or value == "" else value


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, str):
        return isinstance(right, str) and matches_pattern(left, right)
    return bool(left == right)


def _unquote(text: str) -> str:
    if text.startswith("`"):
        return text[1:-1]
    try:
        value: str = json.loads(text, strict=False)
    except ValueError:
        return text[1:-1]
    return value


def _ip(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f"could not convert '{text}' to IP_ADDRESS") from None


def _timestamp(text: str) -> Timestamp:
    try:
        return Timestamp(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp())
    except ValueError:
        raise ValueError(f"could not convert '{text}' to TIMESTAMP") from None


_FUNCTIONS: Mapping[str, tuple[int, Callable[..., Any]]] = {
    "ip": (1, _ip), "timestamp": (1, _timestamp), "match": (2, matches_pattern),
}
