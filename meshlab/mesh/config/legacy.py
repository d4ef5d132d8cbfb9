"""config.istio.io/v1alpha2 to the routing model, with the meaning that 0.4.0 gave each field.

Rules must be valid (`validate`). Where 0.4.0 had a plain bug (a uri regex, mirrors), the documented meaning is taken.
"""

from __future__ import annotations

from collections.abc import Iterable

from meshlab.mesh.config import model, routing, traffic
from meshlab.mesh.config.durations import Duration
from meshlab.mesh.config.header_values import literal
from meshlab.mesh.config.labels import NO_LABELS, Labels
from meshlab.mesh.config.names import check_subnet, resolve_hostname
from meshlab.mesh.config.order import destination_of, sort_route_rules
from meshlab.mesh.config.outside import ExternalPort, ExternalService
from meshlab.mesh.config.services import Protocol

__all__ = ["RETRY_ON", "egress_service", "host_rules", "host_traffic", "labels_in_routes", "policy", "route"]

#: What 0.4.0 retried.
RETRY_ON = "5xx,connect-failure,refused-stream"
PSEUDO_HEADERS = {"authority": ":authority", "method": ":method", "scheme": ":scheme"}
_KINDS = {
    model.MatchKind.EXACT: routing.PatternKind.EXACT,
    model.MatchKind.PREFIX: routing.PatternKind.PREFIX,
    model.MatchKind.REGEX: routing.PatternKind.REGEX,
}
_BALANCERS = {"LEAST_CONN": "LEAST_REQUEST", "RANDOM": "RANDOM", "ROUND_ROBIN": "ROUND_ROBIN"}
SECOND = 1_000_000_000


def host_rules(rules: Iterable[model.Config[model.RouteRule]]) -> dict[str, routing.HostRules]:
    """Rules by destination host, in order of precedence; what none of them matches goes to the host itself."""
    hosts: dict[str, list[model.Config[model.RouteRule]]] = {}
    for rule in sort_route_rules(rules):
        hosts.setdefault(destination_of(rule), []).append(rule)
    return {
        host: routing.HostRules((host,), tuple(route(rule) for rule in listed), falls_through=True)
        for host, listed in hosts.items()
        if host
    }


def route(rule: model.Config[model.RouteRule]) -> routing.Route:
    """One rule as one route."""
    spec = rule.spec
    answered = spec.redirect is not None
    return routing.Route(
        name=rule.meta.name,
        match=_match(rule.meta, spec.match),
        destinations=() if answered else _destinations(rule),
        redirect=None if spec.redirect is None else routing.Redirect(spec.redirect.uri, "", spec.redirect.authority),
        rewrite=None if spec.rewrite is None else routing.Rewrite(spec.rewrite.uri, spec.rewrite.authority),
        # A redirect forwards nothing that could be limited, repeated or copied.
        timeout=None if answered else _timeout(spec.timeout),
        retries=None if answered else _retries(spec.retries),
        fault=_fault(spec.fault),
        mirrors=() if answered or spec.mirror is None else (routing.Mirror(_destination(rule.meta, spec.mirror)),),
        cors=_cors(spec.cors),
        request=routing.HeaderChanges(add=tuple(sorted((k, literal(v)) for k, v in spec.append_headers.items()))),
        websocket=spec.websocket_upgrade,
        origin=routing.Origin(rule.key, rule.meta.resource_version),
    )


def _source(meta: model.Meta, source: model.IstioService | None) -> routing.Source | None:
    return None if source is None else routing.Source(resolve_hostname(meta, source), source.labels)


def _match(meta: model.Meta, match: model.Match | None) -> routing.RequestMatch:
    path = routing.ANY_PATH
    conditions: list[routing.Condition] = []
    for name, wanted in sorted((match.headers or {}).items() if match else ()):
        if wanted.kind is None:
            continue
        if name == "uri":
            path = routing.Pattern(_KINDS[wanted.kind], wanted.value)
            continue
        # Envoy's first API took an empty value for "the header is there, whatever its value".
        kind = _KINDS[wanted.kind] if wanted.value else routing.PatternKind.PRESENT
        if kind is routing.PatternKind.PRESENT and name in PSEUDO_HEADERS:
            continue  # every request has them
        conditions.append(routing.Condition(PSEUDO_HEADERS.get(name, name), routing.Pattern(kind, wanted.value)))
    conditions.sort(key=lambda each: each.name)
    return routing.RequestMatch(path, tuple(conditions), source=_source(meta, match.source if match else None))


def _destination(meta: model.Meta, service: model.IstioService) -> routing.Destination:
    return routing.Destination(resolve_hostname(meta, service), service.labels)


def _destinations(rule: model.Config[model.RouteRule]) -> tuple[routing.Weighted, ...]:
    host = destination_of(rule)
    if not rule.spec.route:
        return (routing.Weighted(routing.Destination(host)),)
    found = []
    for entry in rule.spec.route:
        place = host if entry.destination is None else resolve_hostname(rule.meta, entry.destination)
        # A single destination gets everything, whatever its weight says.
        weight = entry.weight if len(rule.spec.route) > 1 else 0
        found.append(routing.Weighted(routing.Destination(place, entry.labels), weight))
    return tuple(found)


def _timeout(wanted: model.Timeout | None) -> Duration | None:
    if wanted is None or not wanted.simple or wanted.timeout is None:
        return None
    return Duration(max(0, wanted.timeout.milliseconds) * 1_000_000)


def _retries(wanted: model.Retries | None) -> routing.Retries | None:
    if wanted is None or not wanted.simple or wanted.attempts <= 0:
        return None
    each = wanted.per_try_timeout
    limit = Duration(each.milliseconds * 1_000_000) if each is not None and each.milliseconds > 0 else None
    return routing.Retries(wanted.attempts, limit, RETRY_ON)


def _fault(wanted: model.Fault | None) -> routing.Fault | None:
    """As in 0.4.0, percentages are cut to whole numbers and 0 (or none given) injects nothing."""
    if wanted is None:
        return None
    delay, abort = None, None
    if wanted.delay is not None and wanted.delay.fixed is not None and int(wanted.delay.percent) > 0:
        delay = routing.Delay(int(wanted.delay.percent) * 10_000, wanted.delay.fixed)
    # Envoy answers with 200 to 599; other statuses pass 0.4.0's validation and have no effect.
    if wanted.abort is not None and int(wanted.abort.percent) > 0 and 200 <= (wanted.abort.http_status or 0) < 600:
        abort = routing.Abort(int(wanted.abort.percent) * 10_000, wanted.abort.http_status or 0)
    return routing.Fault(delay, abort) if delay or abort else None


def _cors(wanted: model.CorsPolicy | None) -> routing.Cors | None:
    if wanted is None:
        return None
    return routing.Cors(
        origins=tuple(routing.Pattern(routing.PatternKind.EXACT, each) for each in wanted.allow_origin),
        methods=wanted.allow_methods,
        allow_headers=wanted.allow_headers,
        expose_headers=wanted.expose_headers,
        max_age=None if wanted.max_age is None else wanted.max_age.ns // SECOND,
        credentials=wanted.allow_credentials,
    )


def host_traffic(policies: Iterable[model.Config[model.DestinationPolicy]]) -> dict[str, traffic.HostTraffic]:
    """Policies by host, in order of key: for one version and caller the first is in force."""
    hosts: dict[str, list[traffic.Policy]] = {}
    for each in sorted(policies, key=lambda config: config.key):
        made = policy(each)
        hosts.setdefault(made.host, []).append(made)
    return {host: traffic.HostTraffic(host, policies=tuple(listed)) for host, listed in hosts.items() if host}


def policy(config: model.Config[model.DestinationPolicy]) -> traffic.Policy:
    """One policy: for exactly the version with these labels."""
    spec = config.spec
    balancing = spec.load_balancing
    name = _BALANCERS.get(balancing.name or "") if balancing is not None else None
    return traffic.Policy(
        host=destination_of(config),
        labels=spec.destination.labels if spec.destination is not None else NO_LABELS,
        source=_source(config.meta, spec.source),
        traffic=_traffic(spec.circuit_breaker, traffic.Balancer(name) if name else None),
        namespace=config.meta.namespace,
        origin=routing.Origin(config.key, config.meta.resource_version),
    )


def _traffic(breaker: model.CircuitBreaker | None, balancer: traffic.Balancer | None) -> traffic.Traffic:
    if breaker is None or not breaker.simple:
        return traffic.Traffic(balancer)
    return traffic.Traffic(
        balancer,
        max_connections=breaker.max_connections,
        max_pending_requests=breaker.http_max_pending_requests,
        max_requests=breaker.http_max_requests,
        max_requests_per_connection=breaker.http_max_requests_per_connection,
        outlier=traffic.Outlier(
            consecutive_5xx=breaker.http_consecutive_errors,
            interval=_from_a_second(breaker.http_detection_interval),
            base_ejection=_from_a_second(breaker.sleep_window),
            max_ejection_percent=breaker.http_max_ejection_percent or 10,
        ),
    )


def _from_a_second(duration: Duration | None) -> Duration | None:
    """Less than a second was ignored."""
    return duration if duration is not None and duration.ns >= SECOND else None


def egress_service(config: model.Config[model.EgressRule]) -> ExternalService:
    """An egress rule (not one that lost a conflict, see `egress.without_conflicts`)."""
    destination = config.spec.destination.service if config.spec.destination is not None else ""
    by_address = not check_subnet(destination)
    ports = []
    for each in config.spec.ports:
        protocol = Protocol.parse(each.protocol)
        tls = None
        if protocol is Protocol.HTTPS:
            # The application speaks HTTP and the sidecar TLS. As in 0.4.0 nothing is verified; SNI goes beyond it,
            # as today's hosts answer nobody without.
            protocol = Protocol.HTTP
            tls = traffic.ClientTls("SIMPLE", "" if by_address or "*" in destination else destination, verify=False)
        ports.append(ExternalPort(each.port, protocol, tls=tls))
    return ExternalService(
        hosts=() if by_address else (destination,),
        addresses=(destination,) if by_address else (),
        ports=tuple(ports),
        namespace=config.meta.namespace,
        origin=routing.Origin(config.key, config.meta.resource_version),
    )


def labels_in_routes(rules: Iterable[routing.HostRules]) -> dict[str, set[Labels]]:
    """Host → the versions that routes lead to."""
    found: dict[str, set[Labels]] = {}
    for each in rules:
        for one in each.routes:
            for weighted in one.destinations:
                found.setdefault(weighted.destination.host, set()).add(weighted.destination.labels)
            for mirror in one.mirrors:
                found.setdefault(mirror.destination.host, set()).add(mirror.destination.labels)
    return found
