"""A rule's conditions as an Envoy route match.

`uri` is the path; the other special names are the request's pseudo headers. In 0.4.0 a `uri` regex became a
condition on a header literally called `uri` and never matched: here it means the path, as documented.
"""

from __future__ import annotations

import re

from meshlab.mesh.config.model import Match, MatchKind, StringMatch
from meshlab.mesh.pilot.encode import Fields

__all__ = ["catches_all", "regex_problem", "route_match"]

PSEUDO_HEADERS = {"authority": ":authority", "method": ":method", "scheme": ":scheme"}
CATCH_ALL: Fields = {"prefix": "/"}
#: What ECMAScript (0.4's Envoy) or Python know and RE2 (today's) does not: look-around, back-references,
#: atomic groups, conditions, comments, possessive quantifiers.
_NOT_RE2 = re.compile(
    r"\(\?(?:[=!>(#]|<[=!])|\(\?P=|\\[1-9]|(?<!\\)[*+?}]\+|\\[ZGkR]|\\c|\\u|\(\?[a-zA-Z-]*[^a-zA-Z:)<P=!>(#-]"
)
#: RE2 refuses longer repetitions.
_REPETITION = re.compile(r"(?<!\\)\{(\d+)(?:,(\d*))?\}")
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
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return f"not a regular expression: {error}"
    if found := _NOT_RE2.search(re.sub(r"\\\\", "", pattern)):
        return f"Envoy's regular expressions (RE2) have no {found.group()!r}"
    for low, high in _REPETITION.findall(pattern):
        if max(int(low), int(high or 0)) > RE2_REPETITIONS:
            return f"more than {RE2_REPETITIONS} repetitions"
    return ""

