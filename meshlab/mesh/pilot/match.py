"""Conditions on a request as an Envoy route match, and regular expressions that Envoy would refuse."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping

# Python's own parser of expressions: internal, unchanged for twenty years, and the only one there is.
from re import _parser  # type: ignore[attr-defined]
from typing import Any

from meshlab.mesh.config.routing import Condition, Pattern, PatternKind, RequestMatch
from meshlab.mesh.pilot.encode import Fields

__all__ = ["regex_problem", "route_match", "string_match"]

#: Elements of an expression that ECMAScript (0.4's Envoy) or Python know and RE2 (today's) does not.
_NOT_RE2: Mapping[Any, str] = {
    _parser.ASSERT: "look-around",
    _parser.ASSERT_NOT: "look-around",
    _parser.ATOMIC_GROUP: "atomic groups",
    _parser.GROUPREF: "back-references",
    _parser.GROUPREF_EXISTS: "conditions",
    _parser.POSSESSIVE_REPEAT: "possessive quantifiers",
}
#: The same for what leaves no trace in a parsed expression: comments, flags beyond i, m and s, escapes, classes.
_NOT_RE2_TEXT = re.compile(
    r"\(\?#|\(\?[ims]*[aLux]|\\[Zu]|\[[^]]*\\b|\\[^\0-\x7f]"
    r"|\[:(?!(?:alnum|alpha|ascii|blank|cntrl|digit|graph|lower|print|punct|space|upper|word|xdigit):)"
)
#: RE2 refuses more repetitions than this, nested ones multiplied.
RE2_REPETITIONS = 1000


def route_match(match: RequestMatch) -> Fields:
    """A `RouteMatch`: path, headers and query parameters, all of which must hold."""
    found = _path(match.path)
    if match.headers:
        found["headers"] = [_header(each) for each in match.headers]
    if match.query:
        found["query_parameters"] = [_parameter(each) for each in match.query]
    return found


def _path(wanted: Pattern) -> Fields:
    kind, value = wanted.kind, wanted.value
    if kind is PatternKind.REGEX:
        return {"safe_regex": {"regex": value}}
    if kind is PatternKind.EXACT:
        found: Fields = {"path": value}
    elif kind is PatternKind.SEGMENTS and value.rstrip("/"):
        # Envoy takes /a here and not /a/, which means the same.
        found = {"path_separated_prefix": value.rstrip("/")}
    else:
        found = {"prefix": value if kind is PatternKind.PREFIX else "/"}
    if wanted.ignore_case:
        found["case_sensitive"] = {"value": False}
    return found


def string_match(wanted: Pattern) -> Fields:
    """A `StringMatcher`; not for PRESENT, which compares nothing."""
    if wanted.kind is PatternKind.REGEX:
        return {"safe_regex": {"regex": wanted.value}}
    found: Fields = {"exact" if wanted.kind is PatternKind.EXACT else "prefix": wanted.value}
    if wanted.ignore_case:
        found["ignore_case"] = True
    return found


def _header(wanted: Condition) -> Fields:
    found: Fields = {"name": wanted.name}
    if wanted.pattern.kind is PatternKind.PRESENT:
        found["present_match"] = True
    else:
        found["string_match"] = string_match(wanted.pattern)
        if wanted.inverted:
            # "not this value" holds for a request without the header, too.
            found["treat_missing_header_as_empty"] = True
    if wanted.inverted:
        found["invert_match"] = True
    return found


def _parameter(wanted: Condition) -> Fields:
    if wanted.pattern.kind is PatternKind.PRESENT:
        return {"name": wanted.name, "present_match": True}
    return {"name": wanted.name, "string_match": string_match(wanted.pattern)}


def regex_problem(pattern: str) -> str:
    """Why today's Envoy would refuse this regular expression, "" if it would not.

    0.4.0 checks no regular expression. One that Envoy refuses would take every later change of the same route
    table with it, so Pilot leaves such a rule out and says so.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # [[:alpha:]] means something to Envoy, and to Python one day
            parsed = _parser.parse(pattern)
        for name in _unknown(parsed):
            return f"Envoy's regular expressions (RE2) have no {name}"
        if _repetitions(parsed) > RE2_REPETITIONS:
            return f"more than {RE2_REPETITIONS} repetitions"
    except (re.error, OverflowError, RecursionError) as error:
        return f"not a regular expression: {error}"
    if found := _NOT_RE2_TEXT.search(re.sub(r"\\\\", "", pattern)):
        return f"Envoy's regular expressions (RE2) have no {found.group()!r}"
    return ""


def _unknown(parsed: Iterable[Any]) -> Iterator[str]:
    for kind, argument in parsed:
        if kind in _NOT_RE2:
            yield _NOT_RE2[kind]
        for _, part in _parts(argument):
            yield from _unknown(part)


def _repetitions(parsed: Iterable[Any]) -> int:
    """The largest number of repetitions of anything in a parsed expression. An open end counts as its beginning."""
    most = 1
    for _, argument in parsed:
        for times, part in _parts(argument):
            most = max(most, times * _repetitions(part))
    return most


def _parts(argument: Any) -> Iterator[tuple[int, Iterable[Any]]]:
    """(repetitions, expression) of everything inside one element."""
    if isinstance(argument, _parser.SubPattern):
        yield 1, argument
    elif isinstance(argument, tuple) and len(argument) == 3 and isinstance(argument[2], _parser.SubPattern):
        low, high, part = argument
        yield max(1, low if high is _parser.MAXREPEAT else high), part
    elif isinstance(argument, tuple | list):
        for each in argument:
            yield from _parts(each)
