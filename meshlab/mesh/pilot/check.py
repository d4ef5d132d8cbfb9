"""Rules that Envoy would refuse, found before they are sent.

Envoy takes or refuses a route table as a whole: one regular expression that it cannot compile would keep every
other rule on that port from coming into force. What 0.4.0's validation lets through and today's Envoy does not
is left out here, and reported as a Problem.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from meshlab.mesh.config.model import Config, EgressRule, MatchKind, RouteRule
from meshlab.mesh.config.services import Port, Protocol
from meshlab.mesh.pilot.encode import encode
from meshlab.mesh.pilot.match import regex_problem
from meshlab.mesh.pilot.names import Target
from meshlab.mesh.pilot.routes import rule_route

__all__ = ["egress_problem", "route_problem"]

#: Never in a header's name or value.
_LINE_ENDS = re.compile("[\0\r\n]")
#: What a token of HTTP is made of; Envoy checks headers that it adds.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
#: A `Target` on which to try a rule.
_TRIAL = Target("trial", Port("http", 80, Protocol.HTTP))


def route_problem(rule: Config[RouteRule]) -> str:
    """Why Envoy would refuse this (valid) rule, "" if it would not."""
    for problem in _problems(rule.spec):
        return problem
    try:
        route, _ = rule_route(rule, _TRIAL, lambda _: None)
        encode("VirtualHost", {"name": "trial", "domains": ["*"], "routes": [route]})
    except (ValueError, TypeError, OverflowError) as error:
        return f"cannot be expressed to Envoy: {error}"
    return ""


def _problems(rule: RouteRule) -> Iterator[str]:
    for name, wanted in ((rule.match.headers if rule.match else None) or {}).items():
        if _LINE_ENDS.search(name):
            yield f"match.request.headers: {name!r} is not a header's name"
        if wanted is not None and wanted.kind is MatchKind.REGEX and (problem := regex_problem(wanted.value)):
            yield f"match.request.headers.{name}: {problem}"
    for name, value in rule.append_headers.items():
        if name == "host" or not _TOKEN.fullmatch(name):
            yield f"appendHeaders: {name!r} cannot be added to a request"
        if _LINE_ENDS.search(value):
            yield f"appendHeaders.{name}: a header's value is one line"
    for field, text in _texts(rule):
        if _LINE_ENDS.search(text):
            yield f"{field}: {text!r} is more than one line"


def _texts(rule: RouteRule) -> Iterator[tuple[str, str]]:
    for name, part in (("redirect", rule.redirect), ("rewrite", rule.rewrite)):
        if part is not None:
            yield f"{name}.uri", part.uri
            yield f"{name}.authority", part.authority


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

