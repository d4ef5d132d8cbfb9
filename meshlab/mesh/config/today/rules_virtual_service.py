"""What istiod refuses of a VirtualService beyond its schema. The texts follow istiod's."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from meshlab.mesh.config.durations import Duration
from meshlab.mesh.config.gotext import go_quote
from meshlab.mesh.config.header_values import value_problem
from meshlab.mesh.config.routing import MESH
from meshlab.mesh.config.today.checks import (
    PSEUDO_HEADERS,
    at,
    check_export_to,
    check_gateway_names,
    check_header_name,
    check_host,
    check_labels,
    check_name,
    check_regex,
    is_address,
    is_cidr,
)

__all__ = ["virtual_service"]

Fields = Mapping[str, Any]
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE"))
_GRPC = frozenset((
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
))  # fmt: skip
#: Headers that are a request's Host.
AUTHORITY = ("host", ":authority")
#: Of a regular expression, characters.
LONGEST_REGEX = 1024
_NOT_IN_VALUES = re.compile("[\0-\x08\x0a-\x1f\x7f]")
_RETRY_ON = frozenset((
    "5xx", "gateway-error", "reset", "connect-failure", "retriable-4xx", "refused-stream", "retriable-status-codes",
    "retriable-headers", "envoy-ratelimited", "cancelled", "deadline-exceeded", "internal", "resource-exhausted",
    "unavailable", "reset-before-request", "http3-post-connect-failure",
))  # fmt: skip


def virtual_service(spec: Fields) -> list[str]:
    hosts, gateways = spec.get("hosts") or (), spec.get("gateways") or ()
    out = check_gateway_names(gateways)
    if not hosts:
        if gateways:
            out.append("delegate virtual service must have no gateways specified")
        if spec.get("tcp") or spec.get("tls"):
            out.append("delegate virtual service must not have tls or tcp routes")
    out += _hosts(hosts, in_mesh=not gateways or MESH in gateways)
    for number, block in enumerate(spec.get("http") or ()):
        out += at(f"http[{number}]", _http(block, delegate=not hosts))
    for number, block in enumerate(spec.get("tls") or ()):
        out += at(f"tls[{number}]", _tls(block, hosts))
    for number, block in enumerate(spec.get("tcp") or ()):
        out += at(f"tcp[{number}]", _tcp(block))
    if not any(spec.get(kind) for kind in ("http", "tls", "tcp")):
        out.append("http, tcp or tls must be provided in virtual service")
    return out + check_export_to(spec.get("exportTo") or ())


def _hosts(hosts: Iterable[str], *, in_mesh: bool) -> list[str]:
    out, seen = [], list[str]()
    for host in hosts:
        if (problems := check_host(host)) and not is_address(host):
            out += problems
        elif in_mesh and host == "*":
            out.append("wildcard host * is not allowed for virtual services bound to the mesh gateway")
        out += [f"duplicate hosts in virtual service: {host} & {other}" for other in seen if _overlap(host, other)]
        seen.append(host)
    return out


def _overlap(one: str, other: str) -> bool:
    if one == other:
        return True
    for wild, name in ((one, other), (other, one)):
        if wild.startswith("*") and name.removeprefix("*").endswith(wild[1:]):
            return True
    return False


def _http(block: Fields, *, delegate: bool) -> list[str]:
    redirect, direct, routes = block.get("redirect"), block.get("directResponse"), block.get("route") or ()
    out = []
    if block.get("delegate"):
        if delegate:
            out.append("delegate virtual service cannot delegate again")
        if routes or redirect is not None or direct is not None:
            out.append("root HTTP route must not have route, redirect or direct_response specified")
    elif redirect is not None:
        out += _excluded("redirect", block, ("route", "fault", "rewrite"))
        out += _redirect(redirect)
    elif direct is not None:
        out += _excluded("direct_response", block, ("route", "fault", "rewrite", "redirect"))
    elif not routes:
        out.append("HTTP route, redirect or direct_response is required")
    for number, match in enumerate(block.get("match") or ()):
        out += at(f"match[{number}]", _match(match))
    out += _weighted(routes)
    if block.get("mirror"):
        out += at("mirror", _destination(block["mirror"]))
    for number, mirror in enumerate(block.get("mirrors") or ()):
        out += at(f"mirrors[{number}]", _destination(mirror["destination"]))
    if block.get("mirror") and block.get("mirrors"):
        out.append("HTTP route cannot contain both mirror and mirrors")
    out += _headers(block.get("headers")) + _authorities(block)
    out += _rewrite(block.get("rewrite")) + _retries(block.get("retries")) + _fault(block.get("fault"))
    return out + _cors(block.get("corsPolicy"))


def _excluded(what: str, block: Fields, others: Iterable[str]) -> list[str]:
    return [f"HTTP route cannot contain both {other} and {what}" for other in others if block.get(other)]


def _redirect(redirect: Fields) -> list[str]:
    if (redirect.get("scheme") or "http") not in ("http", "https"):
        return ['invalid redirect scheme, must be "http" or "https"']
    if not any(redirect.get(name) for name in ("uri", "authority", "port", "derivePort", "scheme")):
        return ["redirect must specify URI, authority, scheme, or port"]
    code = int(redirect.get("redirectCode") or 301)
    if code not in (301, 302, 303, 307, 308):
        return [f"{code} is not a redirect code that Envoy knows: 301, 302, 303, 307 or 308"]
    return []


def _match(match: Fields) -> list[str]:
    out = []
    for name in ("uri", "scheme", "method", "authority"):
        out += _string(match.get(name), name, empty=("prefix",) if name == "uri" else ("exact",))
    for kind in ("headers", "withoutHeaders"):
        for name, each in (match.get(kind) or {}).items():
            out += at(f"{kind}[{name}]", check_header_name(name, others=PSEUDO_HEADERS))
            if kind != "withoutHeaders" or (each or {}).get("regex") != "*":
                out += _string(each, f"{kind}[{name}]")
    for name, each in (match.get("queryParams") or {}).items():
        out += _string(each, f"queryParams[{name}]")
    out += check_labels((match.get("sourceLabels") or {}).items())
    if match.get("sourceNamespace"):
        out += check_name(match["sourceNamespace"], "sourceNamespace")
    return out + check_gateway_names(match.get("gateways") or ())


def _string(match: Fields | None, where: str, *, empty: Collection[str] = ("exact",)) -> list[str]:
    """`empty`: which of exact, prefix and regex may be empty."""
    if match is None:
        return []
    out = [
        f"{where}: {kind} string match should not be empty"
        for kind in ("exact", "prefix", "regex")
        if kind not in empty and match.get(kind) == ""
    ]
    if len(match.get("regex") or "") > LONGEST_REGEX:
        out.append(f"{where}: regex is too large, max length allowed is {LONGEST_REGEX}")
    return out + (check_regex(match["regex"], where) if match.get("regex") else [])


def _destination(destination: Fields) -> list[str]:
    host = destination["host"]
    out = ["invalid destination host *"] if host == "*" else check_host(host)
    if destination.get("subset") is not None:
        out += check_name(destination["subset"], "subset name")
    return out


def _weighted(routes: Iterable[Fields]) -> list[str]:
    listed, out = list(routes), list[str]()
    for number, each in enumerate(listed):
        out += at(f"route[{number}]", _destination(each["destination"]) + _headers(each.get("headers")))
    if len(listed) > 1 and not sum(int(each.get("weight") or 0) for each in listed):
        out.append("total destination weight = 0")
    return out


def _headers(headers: Fields | None) -> list[str]:
    out = []
    for side in ("request", "response"):
        changes = (headers or {}).get(side) or {}
        for kind in ("set", "add", "remove"):
            for name in changes.get(kind) or ():
                found = check_header_name(name, others=(":authority",))
                if name.lower() in AUTHORITY and (side == "response" or kind == "remove"):
                    found = [f"invalid header {go_quote(name)}: it cannot be changed"]
                out += at(f"headers.{side}.{kind}", found)
        for kind in ("set", "add"):
            for name, value in (changes.get(kind) or {}).items():
                what = f"header value configuration {go_quote(value)} is invalid"
                if _NOT_IN_VALUES.search(value):
                    out.append(f"headers.{side}.{kind}[{name}]: {what}")
                elif why := value_problem(value):
                    out.append(f"headers.{side}.{kind}[{name}]: {what}: {why}")
    return out


def _authorities(block: Fields) -> list[str]:
    """The Host can be set in one place."""
    request = (block.get("headers") or {}).get("request") or {}
    found = [value for kind in ("set", "add") for name, value in (request.get(kind) or {}).items()
             if name.lower() in AUTHORITY]  # fmt: skip
    if own := (block.get("rewrite") or {}).get("authority"):
        found.insert(0, own)
    if len(found) < 2:
        return []
    return [f"authority header cannot be set multiple times: have {go_quote(found[0])}, attempting to set "
            f"{go_quote(found[1])}"]  # fmt: skip


def _rewrite(rewrite: Fields | None) -> list[str]:
    if rewrite is None:
        return []
    regex = rewrite.get("uriRegexRewrite")
    if (rewrite.get("uri") and regex) or not (rewrite.get("uri") or regex or rewrite.get("authority")):
        return [
            "rewrite must specify at least one of uri, uriRegexRewrite, or authority. "
            "Only one of uri or uriRegexRewrite may be specified"
        ]
    if regex is None:
        return []
    if not regex.get("match") or regex.get("rewrite") is None:
        return ["uriRegexRewrite requires both Rewrite and Match fields to be specified"]
    return check_regex(regex["match"], "uriRegexRewrite.match")


def _retries(retries: Fields | None) -> list[str]:
    if retries is None:
        return []
    out = []
    if not retries.get("attempts") and any(retries.get(name) for name in ("perTryTimeout", "retryOn")):
        out.append("http retry policy configured when attempts are set to 0 (disabled)")
    for word in (retries.get("retryOn") or "").split(","):
        policy = word.strip()
        if policy and policy not in _RETRY_ON and not (policy.isdigit() and 100 <= int(policy) <= 599):
            out.append(f"{go_quote(policy)} is not a valid retryOn policy")
    return out


def _fault(fault: Fields | None) -> list[str]:
    if fault is None:
        return []
    if not fault.get("abort") and not fault.get("delay"):
        return ["HTTP fault injection must have an abort and/or a delay"]
    out = []
    if abort := fault.get("abort"):
        if abort.get("http2Error"):
            out.append("HTTP/2 abort fault injection not supported yet")
        elif not any(abort.get(name) for name in ("httpStatus", "grpcStatus")):
            out.append("HTTP fault abort: an httpStatus or grpcStatus is required")
        elif abort.get("grpcStatus") and abort["grpcStatus"] not in _GRPC:
            out.append(f"gRPC status {go_quote(abort['grpcStatus'])} is not supported")
    if delay := fault.get("delay"):
        if delay.get("exponentialDelay"):
            out.append("exponentialDelay not supported yet")
        elif delay.get("fixedDelay") is None:
            out.append("HTTP fault delay: fixedDelay is required")
    return out


def _cors(cors: Fields | None) -> list[str]:
    if cors is None:
        return []
    out = []
    if cors.get("allowOrigin") and cors.get("allowOrigins"):
        out.append("CORS policy may only specify one of allow_origin or allow_origins")
    for each in cors.get("allowOrigins") or ():
        out += _string(each, "allowOrigins", empty=())
    out += [
        f"{go_quote(method)} is not a supported HTTP method"
        for method in cors.get("allowMethods") or ()
        if method not in _METHODS and method != "*"
    ]
    for name in (*(cors.get("allowHeaders") or ()), *(cors.get("exposeHeaders") or ())):
        out += check_header_name(name, others=("*",))
    age = cors.get("maxAge")
    if age is not None and Duration.parse(age).ns % 1_000_000_000:
        out.append("max_age duration is accurate only to seconds precision")
    return out


def _tls(block: Fields, hosts: Iterable[str]) -> list[str]:
    out = []
    for match in block.get("match") or ():
        for sni in match.get("sniHosts") or ():
            out += at("sniHosts", check_host(sni))
            if not any(_overlap(sni, host) or host == "*" for host in hosts):
                out.append(f"SNI host {go_quote(sni)} is not a compatible subset of any of the virtual service hosts")
        out += _connection(match)
    return out + _connections(block)


def _tcp(block: Fields) -> list[str]:
    return [problem for match in block.get("match") or () for problem in _connection(match)] + _connections(block)


def _connection(match: Fields) -> list[str]:
    out = [
        f"destinationSubnets: {subnet} is not a valid CIDR block"
        for subnet in match.get("destinationSubnets") or ()
        if not is_address(subnet) and not is_cidr(subnet)
    ]
    out += check_labels((match.get("sourceLabels") or {}).items())
    return out + check_gateway_names(match.get("gateways") or ())


def _connections(block: Fields) -> list[str]:
    routes = block.get("route") or ()
    return _weighted(routes) if routes else ["a route is required"]
