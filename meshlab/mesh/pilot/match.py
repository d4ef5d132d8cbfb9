"""A rule's conditions as an Envoy route match.

`uri` is the path; the other special names are the request's pseudo headers. In 0.4.0 a `uri` regex became a
condition on a header literally called `uri` and never matched: here it means the path, as documented.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping

# Python's own parser of expressions: internal, unchanged for twenty years, and the only one there is.
from re import _parser  # type: ignore[attr-defined]
from typing import Any

from meshlab.mesh.config.model import Match, MatchKind, StringMatch
from meshlab.mesh.pilot.encode import Fields

__all__ = ["catches_all", "regex_problem", "route_match"]

PSEUDO_HEADERS = {"authority": ":authority", "method": ":method", "scheme": ":scheme"}
CATCH_ALL: Fields = {"prefix": "/"}
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


def catches_all(match: Fields) -> bool:
    """Nothing after such a route is ever reached."""
    return match == CATCH_ALL


def route_match(match: Match | None) -> Fields:
    """A `RouteMatch`. Conditions are ANDed and ordered by header name."""
    path: Fields = dict(CATCH_ALL)
    conditions: list[Fields] = []
    for name, wanted in sorted((match.headers or {}).items() if match else ()):
        if wanted is None or wanted.kind is None:
            continue
        if name == "uri":
            path = _path(wanted)
        else:
            conditions.append(_condition(PSEUDO_HEADERS.get(name, name), wanted))
    return {**path, "headers": conditions} if conditions else path


def _path(wanted: StringMatch) -> Fields:
    if wanted.kind is MatchKind.EXACT:
        return {"path": wanted.value}
    if wanted.kind is MatchKind.PREFIX:
        return {"prefix": wanted.value}
    return {"safe_regex": {"regex": wanted.value}}


def _condition(name: str, wanted: StringMatch) -> Fields:
    # Envoy's first API took an empty value for "the header is there, whatever its value".
    if not wanted.value:
        return {"name": name, "present_match": True}
    if wanted.kind is MatchKind.EXACT:
        how: Fields = {"exact": wanted.value}
    elif wanted.kind is MatchKind.PREFIX:
        how = {"prefix": wanted.value}
    else:
        how = {"safe_regex": {"regex": wanted.value}}
    return {"name": name, "string_match": how}


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
