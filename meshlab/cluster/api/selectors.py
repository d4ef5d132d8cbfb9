"""Label and field selectors: the texts of `labelSelector=` and `fieldSelector=`, and LabelSelector objects.

The grammar and the messages are those of apimachinery's labels and fields packages. A parsed selector is a plain
function on objects; an empty text selects everything and is None.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Match", "Requirement", "SelectorError", "field_selector", "label_selector", "selector_object"]

#: Whether an object is selected.
Match = Callable[[Mapping[str, Any]], bool]

SPECIAL = "=!(),<>"
TOKENS = {")", ",", "!", "==", "=", ">", "<", "!=", "("}
KEYWORDS = {"in", "notin"}
END = ""
#: Binary operators, in the order of the real message.
OPERATORS = "in, notin, =, ==, !=, gt, lt"
NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")

KEY_RULE = (
    "a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' "
    "(e.g. 'example.com/MyName')"
)
PART_RULE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for "
    "validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


class SelectorError(ValueError):
    """The selector does not parse; the text is the server's message."""


@dataclass(frozen=True)
class Requirement:
    """One condition on one label: operator is in, notin, =, ==, !=, exists, !, gt or lt."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def __call__(self, labels: Mapping[str, str]) -> bool:
        there = self.key in labels
        match self.operator:
            case "exists":
                return there
            case "!":
                return not there
            case "in" | "=" | "==":
                return there and labels[self.key] in self.values
            case "notin" | "!=":
                return not there or labels[self.key] not in self.values
        try:
            have, want = int(labels[self.key]), int(next(iter(self.values)))
        except (KeyError, ValueError):
            return False
        return have > want if self.operator == "gt" else have < want


def label_selector(text: str) -> Match | None:
    """Parses a label selector. SelectorError with the real server's message."""
    if not text.strip():
        return None
    try:
        requirements = _Parser(text).parse()
    except SelectorError as error:
        raise SelectorError(f"unable to parse requirement: {error}") from None
    return _on_labels(requirements)


def selector_object(selector: Mapping[str, Any] | None) -> Match:
    """A LabelSelector (matchLabels, matchExpressions); None selects nothing, {} everything."""
    if selector is None:
        return lambda _: False
    requirements = [
        Requirement(k, "=", frozenset([v])) for k, v in (selector.get("matchLabels") or {}).items()
    ]
    names = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}
    for expression in selector.get("matchExpressions") or ():
        values = frozenset(expression.get("values") or ())
        requirements.append(Requirement(expression["key"], names[expression["operator"]], values))
    return _on_labels(requirements)


def field_selector(text: str, known: Iterable[str], *, strict_names: bool = False) -> Match | None:
    """Parses `path=value,path!=value`. `known` are the paths beyond metadata.name and metadata.namespace.

    `strict_names` picks between the two messages that real kinds have for an unknown path.
    """
    if not text.strip():
        return None
    known = {"metadata.name", "metadata.namespace", *known}
    terms: list[tuple[tuple[str, ...], bool, str]] = []
    for term in _split_fields(text):
        if not term:
            continue
        match = re.match(r"((?:[^\\=!]|\\.)*?)(!=|==|=)(.*)", term, re.S)
        if match is None:
            raise SelectorError(f"invalid selector: '{text}'; can't understand '{term}'")
        path, operator, value = match.groups()
        if path not in known:
            if strict_names:
                raise SelectorError(f"field label not supported: {path}")
            raise SelectorError(
                f'"{path}" is not a known field selector: only "metadata.name", "metadata.namespace"'
            )
        value = re.sub(r"\\([\\,=])", r"\1", value)
        terms.append((tuple(path.split(".")), operator != "!=", value))
    return lambda obj: all((_field(obj, path) == value) is equal for path, equal, value in terms)


def _split_fields(text: str) -> list[str]:
    return re.split(r"(?<!\\),", text)


def _field(obj: Mapping[str, Any], path: tuple[str, ...]) -> str:
    value: Any = obj
    for i, part in enumerate(path):
        if not isinstance(value, Mapping):
            return ""
        value = value.get(part)
        if part == "source" and isinstance(value, Mapping) and i == len(path) - 1:
            return str(value.get("component") or obj.get("reportingComponent") or "")
        if part == "podIPs" and isinstance(value, list):
            return ",".join(str(v.get("ip", "")) for v in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "false" if path[-1] in ("unschedulable", "hostNetwork") else ""
    return str(value)


def _on_labels(requirements: list[Requirement]) -> Match:
    def match(obj: Mapping[str, Any]) -> bool:
        labels = obj["metadata"].get("labels") or {}
        return all(requirement(labels) for requirement in requirements)

    return match


class _Parser:
    """A recursive descent over the tokens, as apimachinery's is, because its messages follow from that."""

    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.at = 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else END

    def next(self) -> str:
        lexeme = self.peek()
        self.at += 1
        return lexeme

    def parse(self) -> list[Requirement]:
        found: list[Requirement] = []
        while True:
            lexeme = self.peek()
            if lexeme == END:
                return found
            if lexeme != "!" and lexeme in TOKENS:
                raise SelectorError(f"found '{lexeme}', expected: !, identifier, or 'end of string'")
            found.append(self.requirement())
            after = self.next()
            if after == END:
                return found
            if after != ",":
                raise SelectorError(f"found '{after}', expected: ',' or 'end of string'")
            then = self.peek()
            if then == END or (then != "!" and then in TOKENS):
                raise SelectorError(f"found '{then}', expected: identifier after ','")

    def requirement(self) -> Requirement:
        key, absent = self.next(), False
        if key == "!":
            key, absent = self.next(), True
        if key == END or key in TOKENS:
            raise SelectorError(f"found '{key}', expected: identifier")
        _check_key(key)
        if self.peek() in (END, ","):
            return Requirement(key, "!" if absent else "exists")
        if absent:
            raise SelectorError(f"found '{self.peek()}', expected: ',' or 'end of string'")
        operator = self.next()
        if operator in KEYWORDS:
            values = self.set()
        elif operator in ("=", "==", "!=", ">", "<"):
            values = {self.exact()}
        else:
            raise SelectorError(f"found '{operator}', expected: {OPERATORS}")
        operator = {">": "gt", "<": "lt"}.get(operator, operator)
        for i, value in enumerate(sorted(values)):
            if operator in ("gt", "lt"):
                if not re.fullmatch(r"[+-]?\d+", value):
                    why = "for 'Gt', 'Lt' operators, the value must be an integer"
                    raise SelectorError(f'values[{i}]: Invalid value: "{value}": {why}')
            elif value and not (len(value) <= 63 and NAME.fullmatch(value)):
                why = VALUE_RULE if len(value) <= 63 else "must be no more than 63 bytes"
                raise SelectorError(f'values[{i}][{key}]: Invalid value: "{value}": {why}')
        return Requirement(key, operator, frozenset(values))

    def exact(self) -> str:
        if self.peek() in (END, ","):
            return ""
        value = self.next()
        if value in TOKENS:
            raise SelectorError(f"found '{value}', expected: identifier")
        return value

    def set(self) -> set[str]:
        if (lexeme := self.next()) != "(":
            raise SelectorError(f"found '{lexeme}' expected: '('")
        values: set[str] = set()
        pending = True  # an empty place between commas is the empty string
        while True:
            lexeme = self.next()
            if lexeme == ")":
                if pending and values:
                    values.add("")
                return values
            if lexeme == ",":
                if pending:
                    values.add("")
                pending = True
            elif lexeme == END or lexeme in TOKENS:
                raise SelectorError(f"found '{lexeme}', expected: ',', ')' or identifier")
            elif not pending:
                raise SelectorError(f"found '{lexeme}', expected: ',' or ')'")
            else:
                values.add(lexeme)
                pending = False


def _tokens(text: str) -> list[str]:
    found = []
    i = 0
    while i < len(text):
        if text[i].isspace():
            i += 1
        elif text[i] in SPECIAL:
            size = 2 if text[i : i + 2] in TOKENS else 1
            found.append(text[i : i + size])
            i += size
        else:
            start = i
            while i < len(text) and text[i] not in SPECIAL and not text[i].isspace():
                i += 1
            found.append(text[start:i])
    return found


def _check_key(key: str) -> None:
    prefix, slash, name = key.rpartition("/")
    why = ""
    if "/" in prefix:
        why = KEY_RULE
    elif slash and not prefix:
        why = "prefix part must be non-empty"
    elif slash and not (len(prefix) <= 253 and SUBDOMAIN.fullmatch(prefix)):
        why = (
            "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
            "'.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for "
            "validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        )
    elif not name:
        why = "name part must be non-empty"
    elif len(name) > 63:
        why = "name part must be no more than 63 bytes"
    elif not NAME.fullmatch(name):
        why = PART_RULE
    if why:
        raise SelectorError(f'<nil>: Invalid value: "{key}": {why}')
