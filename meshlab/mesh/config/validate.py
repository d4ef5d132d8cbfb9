"""Which rules Istio 0.4.0 accepted, and what it said of the others.

Every check returns its problems as texts, in 0.4.0's order and words; no problem means valid. Where Go walked a map
in random order (headers, protocols), the order here is fixed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from meshlab.mesh.config import model
from meshlab.mesh.config.durations import Duration
from meshlab.mesh.config.gotext import go_quote
from meshlab.mesh.config.names import (
    check_cidr,
    check_fqdn,
    check_header_name,
    check_port,
    check_subnet,
    check_wildcard_domain,
    is_label,
)
from meshlab.mesh.config.services import Protocol

__all__ = [
    "EGRESS_HTTP",
    "EGRESS_TCP",
    "check_circuit_breaker",
    "check_destination_policy",
    "check_duration",
    "check_egress_port",
    "check_egress_rule",
    "check_egress_service",
    "check_gateway",
    "check_ingress_rule",
    "check_labels",
    "check_match",
    "check_route_rule",
    "check_service",
    "errors_text",
    "validate",
]

#: Protocols of egress rules, in the two classes that matter: by domain, and by address.
EGRESS_HTTP = (Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC, Protocol.HTTPS)
EGRESS_TCP = (Protocol.TCP, Protocol.MONGO)
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE"))
_TAG = re.compile("[-A-Za-z0-9_./]*")


def validate(type_name: str, spec: Any) -> list[str]:
    """Problems of a decoded spec; see `v1alpha2.spec_from_fields`."""
    checks: dict[str, Callable[[Any], list[str]]] = {
        "route-rule": check_route_rule,
        "egress-rule": check_egress_rule,
        "destination-policy": check_destination_policy,
        "ingress-rule": check_ingress_rule,
        "gateway": check_gateway,
    }
    if type_name in checks:
        return checks[type_name](spec)
    from meshlab.mesh.config.validate_client import check_client_kind

    problems: list[str] = check_client_kind(type_name, spec)
    return problems


def errors_text(problems: Iterable[str]) -> str:
    """Problems as 0.4.0 printed them.

    >>> print(errors_text(["egress rule must have a ports list"]))
    1 error occurred:
    <BLANKLINE>
    * egress rule must have a ports list
    """
    items = list(problems)
    count = "1 error" if len(items) == 1 else f"{len(items)} errors"
    return f"{count} occurred:\n\n" + "\n".join(f"* {item}" for item in items)


def _prefixed(prefix: str, problems: Iterable[str]) -> list[str]:
    return [f"{prefix} {problem}" for problem in problems]


def check_labels(labels: Mapping[str, str]) -> list[str]:
    out = []
    for key, value in labels.items():
        if not _TAG.fullmatch(key):
            out.append(f"invalid tag key: {go_quote(key)}")
        if not _TAG.fullmatch(value):
            out.append(f"invalid tag value: {go_quote(value)}")
    return out


def check_service(service: model.IstioService) -> list[str]:
    """A reference to a service: by name or by service, not both."""
    out = []
    if not service.name and not service.service:
        out.append("name or service is mandatory for a service reference")
    elif service.service and service.name:
        out.append("specify either name or service, not both")
    elif service.service:
        out += check_egress_service(service.service)
        if service.namespace:
            out.append("namespace is not valid when service is provided")
        if service.domain:
            out.append("domain is not valid when service is provided")
    elif not is_label(service.name):
        out.append(f"name {go_quote(service.name)} must be a valid label")
    if service.namespace and not is_label(service.namespace):
        out.append(f"namespace {go_quote(service.namespace)} must be a valid label")
    if service.domain:
        out += check_fqdn(service.domain)
    return out + check_labels(service.labels)


def check_duration(duration: Duration | None) -> list[str]:
    """At least a millisecond, and no fraction of one."""
    if duration is None:
        return ["duration: nil Duration"]
    if duration.ns < 1_000_000:
        return ["duration must be greater than 1ms"]
    return ["only durations to ms precision is supported"] if duration.ns % 1_000_000 else []


def _percent(value: float) -> list[str]:
    return ["must be in range 0..100"] if value < 0 or value > 100 else []


def check_match(match: model.Match) -> list[str]:
    out = check_service(match.source) if match.source else []
    for number, l4 in enumerate((match.tcp, match.udp)):
        if l4:
            for subnet in (*l4.source_subnet, *l4.destination_subnet):
                out += check_subnet(subnet)
            if number == 1:
                out.append("UDP protocol not supported yet")
    for name, value in sorted((match.headers or {}).items()):
        out += _prefixed(f"header name {go_quote(name)} invalid: ", check_header_name(name))
        if value.kind is None:
            out.append(f'header {go_quote(name)} value invalid:  unrecognized string match ""')
        elif name == "uri" and not value.value:
            out.append(f'{value.kind.value} header value for "uri" must be non-empty')
    return out


def _weights(route: tuple[model.DestinationWeight, ...]) -> list[str]:
    out = []
    for entry in route:
        out += check_labels(entry.labels)
        out += _prefixed("weight invalid: ", _percent(entry.weight))
    total = sum(entry.weight for entry in route)
    if total != 100 and not (len(route) == 1 and total == 0):
        out.append(f"route weights total {total} (must total 100)")
    return out


def check_route_rule(rule: model.RouteRule) -> list[str]:
    out = []
    if rule.destination is None:
        out.append("route rule must have a destination service")
    else:
        out += check_service(rule.destination)
        if rule.destination.labels:
            out.append("route rule destination labels must be empty")
    if rule.match:
        out += check_match(rule.match)
    if rule.rewrite and not rule.rewrite.uri and not rule.rewrite.authority:
        out.append("rewrite must specify path, host, or both")
    if rule.redirect:
        out += _redirect(rule, rule.redirect)
    if rule.route is not None:
        out += _weights(rule.route)
    if rule.mirror:
        out += check_service(rule.mirror)
    for name, value in rule.append_headers.items():
        out += check_header_name(name)
        if not value:
            out.append(f"appended header {go_quote(name)} must have a non-empty value")
    if rule.cors:
        out += _cors(rule.cors)
    if rule.timeout and rule.timeout.simple:
        out += _prefixed("httpTimeout invalid: ", check_duration(rule.timeout.timeout))
    if rule.retries and rule.retries.simple:
        if rule.retries.attempts < 0:
            out.append("attempts must be in range [0..]")
        out += _prefixed("perTryTimeout invalid: ", check_duration(rule.retries.per_try_timeout))
    if rule.fault:
        out += _fault(rule.fault)
    if rule.l4_fault:
        out += _l4_fault(rule.l4_fault)
    return out


def _redirect(rule: model.RouteRule, redirect: model.Redirect) -> list[str]:
    out = []
    if rule.route:
        out.append("rule cannot contain both route and redirect")
    if rule.fault:
        out.append("rule cannot contain both fault and redirect")
    if not redirect.authority and not redirect.uri:
        out.append("redirect must specify path, host, or both")
    if rule.websocket_upgrade:
        out.append("WebSocket upgrade is not allowed on redirect rules")
    if rule.rewrite:
        out.append("rule cannot contain both rewrite and redirect")
    return out


def _cors(cors: model.CorsPolicy) -> list[str]:
    out = []
    if cors.max_age is not None:
        out += check_duration(cors.max_age)
        if cors.max_age.ns > 0 and cors.max_age.ns % 1_000_000_000:
            out.append("max_age duration is accurate only to seconds precision")
    for name in (*cors.allow_headers, *cors.expose_headers):
        out += check_header_name(name)
    for method in cors.allow_methods:
        if method not in _METHODS:
            out.append(f"{go_quote(method)} is not a supported HTTP method")
    return out


def _fault(fault: model.Fault) -> list[str]:
    out = []
    if delay := fault.delay:
        out += _prefixed("percent invalid: ", _percent(delay.percent))
        out += _prefixed("fixedDelay invalid:", check_duration(delay.fixed))
        if delay.exponential is not None:
            out += _prefixed("exponentialDelay invalid: ", check_duration(delay.exponential))
            out.append("exponentialDelay not supported yet")
    if abort := fault.abort:
        out += _prefixed("percent invalid: ", _percent(abort.percent))
        if abort.grpc_status is not None:
            out.append("gRPC fault injection not supported yet")
        elif abort.http_status is not None and not 0 <= abort.http_status <= 600:
            out.append(f"invalid abort http status {abort.http_status}")
    return out


def _l4_fault(fault: model.L4Fault) -> list[str]:
    out = []
    if fault.terminate:
        out += _prefixed("terminate percent invalid: ", _percent(fault.terminate.percent))
        out.append("the terminate fault not supported yet")
    if throttle := fault.throttle:
        out += _prefixed("throttle percent invalid: ", _percent(throttle.percent))
        if throttle.downstream_limit_bps < 0:
            out.append("downstreamLimitBps invalid")
        if throttle.upstream_limit_bps < 0:
            out.append("upstreamLimitBps invalid")
        if check_duration(throttle.after_period):
            out.append("throttleAfterPeriod invalid")
        if throttle.after_bytes < 0:
            out.append("throttleAfterBytes invalid")
    return [*out, "L4 faults are not implemented"]


def check_egress_service(text: str) -> list[str]:
    """A domain (perhaps with a wildcard in front), or an IPv4 CIDR when there is exactly one `/`."""
    if text.count("/") == 1:
        return check_cidr(text)
    if not text:
        return ["domain must not be empty string"]
    if text[0] == "*":
        text = text[1:]
        if not text:
            return []
        if text[0] in ".-":
            text = text[1:]
    return check_fqdn(text)


def _named(protocols: Iterable[Protocol]) -> str:
    return ",".join(protocol.value for protocol in protocols)


def check_egress_port(port: model.EgressPort) -> list[str]:
    if problems := check_port(port.port):
        return problems
    if Protocol.parse(port.protocol) in EGRESS_HTTP + EGRESS_TCP:
        return []
    known = _named(EGRESS_HTTP + EGRESS_TCP)
    return [f"egress rule support is available only for the following protocols: {known}"]


def check_egress_rule(rule: model.EgressRule) -> list[str]:
    out = []
    destination = rule.destination
    if destination is None:
        out.append("destination of egress rule must have destination field")
    else:
        for name in ("name", "namespace", "domain", "labels"):
            if getattr(destination, name):
                out.append(f"destination of egress rule must not have {name} field")
        out += check_egress_service(destination.service)
    if not rule.ports:
        out.append("egress rule must have a ports list")
    seen = set()
    for port in rule.ports:
        if port.port in seen:
            out.append(f"duplicate port: {port.port}")
        seen.add(port.port)
        out += check_egress_port(port)
        by_address = destination is not None and destination.service.count("/") == 1
        if destination and by_address and Protocol.parse(port.protocol) not in EGRESS_TCP:
            out.append(
                "Only the following protocols can be defined for CIDR destination service notation: "
                f"{_named(EGRESS_TCP)}. This rule - port: {port.port} protocol: {port.protocol} "
                f"destination.service: {destination.service}"
            )
    if rule.use_egress_proxy:
        out.append("directing traffic through egress proxy is not implemented yet")
    return out


def check_destination_policy(policy: model.DestinationPolicy) -> list[str]:
    out = []
    if policy.destination is None:
        out.append("destination is required in the destination policy")
    else:
        out += check_service(policy.destination)
    if policy.source:
        out += check_service(policy.source)
    if policy.load_balancing and not policy.load_balancing.chosen:
        out.append("must set load balancing if specified")
    if policy.circuit_breaker:
        out += check_circuit_breaker(policy.circuit_breaker)
    return out


def check_circuit_breaker(breaker: model.CircuitBreaker) -> list[str]:
    if not breaker.simple:
        return []
    # The first text is misspelled in 0.4.0; sleepWindow and httpDetectionInterval are mandatory there.
    wrong = {
        "circuitBreak maxConnections": breaker.max_connections < 0,
        "circuitBreaker maxPendingRequests": breaker.http_max_pending_requests < 0,
        "circuitBreaker maxRequests": breaker.http_max_requests < 0,
        "circuitBreaker sleepWindow": bool(check_duration(breaker.sleep_window)),
        "circuitBreaker httpConsecutiveErrors": breaker.http_consecutive_errors < 0,
        "circuitBreaker httpDetectionInterval": bool(check_duration(breaker.http_detection_interval)),
        "circuitBreaker httpMaxRequestsPerConnection": breaker.http_max_requests_per_connection < 0,
    }
    out = [f"{name} must be in range [0..]" for name, is_wrong in wrong.items() if is_wrong]
    ejected = _percent(breaker.http_max_ejection_percent)
    return out + _prefixed("circuitBreaker httpMaxEjectionPercent invalid: ", ejected)


def check_ingress_rule(rule: model.IngressRule) -> list[str]:
    if rule.destination is None:
        return ["ingress rule must have a destination service"]
    out = check_service(rule.destination)
    return [*out, "ingress rule destination labels must be empty"] if rule.destination.labels else out


def check_gateway(gateway: model.Gateway) -> list[str]:
    if not gateway.servers:
        return ["gateway must have at least one server"]
    return [problem for server in gateway.servers for problem in _gateway_server(server)]


def _gateway_server(server: model.GatewayServer) -> list[str]:
    out = [] if server.domains else ["server config must contain at least one domain"]
    for domain in server.domains:
        as_name, as_address = check_wildcard_domain(domain), check_subnet(domain)
        if as_name and as_address:
            out += as_name + as_address
    if tls := server.tls:
        if tls.mode in ("SIMPLE", "MUTUAL") and not tls.server_certificate:
            out.append(f"{tls.mode} TLS requires a server certificate")
        if tls.mode == "MUTUAL" and not tls.client_ca_bundle:
            out.append("MUTUAL TLS requires a client CA bundle")
    if server.port is None:
        return [*out, "port is required"]
    number, protocol, name = server.port
    if Protocol.parse(protocol) is Protocol.UNSUPPORTED:
        known = "HTTP, HTTP2, GRPC, MONGO, REDIS, TCP"
        out.append(f"invalid protocol {go_quote(protocol)}, supported protocols are {known}")
    if number > 0:
        out += check_port(number)
    elif not name:
        said = f'protocol:"{protocol}" ' if protocol else ""
        out.append(f"either port number or name must be set: {said}")
    return out
