"""Rules that Envoy would refuse, found before they are sent.

Envoy takes or refuses a route table as a whole: one regular expression that it cannot compile would keep every
other rule on that port from coming into force. What validation lets through and today's Envoy does not is left out
here, and reported as a Problem.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from meshlab.mesh.config.header_values import value_problem
from meshlab.mesh.config.legacy import route
from meshlab.mesh.config.model import Config, EgressRule, RouteRule
from meshlab.mesh.config.routing import HostRules, Pattern, PatternKind, Route
from meshlab.mesh.config.services import Port, Protocol
from meshlab.mesh.pilot.encode import encode
from meshlab.mesh.pilot.match import regex_problem
from meshlab.mesh.pilot.names import Target
from meshlab.mesh.pilot.routes import Led, destinations_of, rule_route

__all__ = ["egress_problem", "host_rules_problem", "problem", "route_problem"]

#: Never in a header's name or value.
_LINE_ENDS = re.compile("[\0\r\n]")
#: What a token of HTTP is made of; Envoy checks headers that it adds.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: A `Target` on which to try a rule.
_TRIAL = Target("trial", Port("http", 80, Protocol.HTTP))
#: The longest body that Envoy answers by itself, bytes.
LONGEST_BODY = 4096
#: The longest name of a query parameter by which it matches, bytes.
LONGEST_PARAMETER = 1024


def route_problem(rule: Config[RouteRule]) -> str:
    """Why Envoy would refuse this (valid) rule of v1alpha2, "" if it would not."""
    try:
        return problem(route(rule))
    except (ValueError, TypeError, OverflowError) as error:
        return f"cannot be expressed to Envoy: {error}"


def host_rules_problem(rules: HostRules) -> str:
    """The same for all routes of some hosts: one that is refused takes the others with it."""
    for each in rules.routes:
        if found := problem(each):
            return f"route {each.name}: {found}"
    return ""


def problem(wanted: Route) -> str:
    """Why Envoy would refuse this route, "" if it would not."""
    for found in _problems(wanted):
        return found
    try:
        leads = {each: Led(_TRIAL) for each in destinations_of((wanted,))}
        if not (wanted.destinations or wanted.redirect or wanted.direct):
            return "it leads nowhere"
        made, _ = rule_route(wanted, leads)
        encode("VirtualHost", {"name": "trial", "domains": ["*"], "routes": [made]})
    except (ValueError, TypeError, OverflowError, KeyError) as error:
        return f"cannot be expressed to Envoy: {error}"
    return ""


def _problems(wanted: Route) -> Iterator[str]:
    yield from _match_problems(wanted)
    for origin in wanted.cors.origins if wanted.cors is not None else ():
        yield from _pattern(origin, "corsPolicy: an origin")
    particular = [changes for each in wanted.destinations for changes in (each.request, each.response)]
    for changes in (wanted.request, wanted.response, *particular):
        for name, value in (*changes.set, *changes.add):
            if name.lower() == "host" or not _TOKEN.fullmatch(name):
                yield f"headers: {name!r} cannot be added to a request"
            if _LINE_ENDS.search(value):
                yield f"headers.{name}: a header's value is one line"
            if found := value_problem(value):
                yield f"headers.{name}: {found}"
        for name in changes.remove:
            if name.lower() == "host" or not _TOKEN.fullmatch(name):
                yield f"headers: {name!r} cannot be removed from a request"
    for field, text in _texts(wanted):
        if _LINE_ENDS.search(text):
            yield f"{field}: {text!r} is more than one line"
    if wanted.rewrite is not None and wanted.rewrite.regex and (found := regex_problem(wanted.rewrite.regex)):
        yield f"rewrite: {found}"
    if wanted.direct is not None and len(wanted.direct.body.encode()) > LONGEST_BODY:
        yield f"directResponse: Envoy answers with at most {LONGEST_BODY} bytes by itself"


def _match_problems(wanted: Route) -> Iterator[str]:
    match = wanted.match
    yield from _pattern(match.path, "uri")
    if match.path.kind is PatternKind.SEGMENTS and re.search("[?#]", match.path.value):
        yield f"path {match.path.value!r} has a query or fragment"
    for kind, conditions in (("header", match.headers), ("query parameter", match.query)):
        for each in conditions:
            if not each.name or _LINE_ENDS.search(each.name):
                yield f"match: {each.name!r} is not a {kind}'s name"
            if kind != "header" and len(each.name.encode()) > LONGEST_PARAMETER:
                yield f"match: the name of a {kind} has at most {LONGEST_PARAMETER} bytes"
            yield from _pattern(each.pattern, f"{kind} {each.name}")


def _pattern(wanted: Pattern, where: str) -> Iterator[str]:
    if wanted.kind is PatternKind.REGEX and (found := regex_problem(wanted.value)):
        yield f"{where}: {found}"


def _texts(wanted: Route) -> Iterator[tuple[str, str]]:
    if wanted.redirect is not None:
        yield "redirect.uri", wanted.redirect.path + wanted.redirect.prefix
        yield "redirect.authority", wanted.redirect.authority
    for each in wanted.destinations:
        yield "headers.request.set.host", each.authority
    if wanted.rewrite is not None:
        yield "rewrite.uri", wanted.rewrite.path + wanted.rewrite.substitution
        yield "rewrite.authority", wanted.rewrite.authority


def egress_problem(rule: Config[EgressRule]) -> str:
    """Why this (valid) rule has no effect, "" if it has one."""
    service = rule.spec.destination.service if rule.spec.destination else ""
    is_address = re.fullmatch(r"[0-9.]+(/[0-9]+)?", service) is not None
    if any(not _http_like(port.protocol) for port in rule.spec.ports) and not is_address:
        return f"a TCP port of {service!r} has no effect: sidecars tell TCP destinations by address only"
    return ""


def _http_like(protocol: str) -> bool:
    parsed = Protocol.parse(protocol)
    return parsed.is_http or parsed is Protocol.HTTPS
