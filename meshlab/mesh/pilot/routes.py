"""Route rules as Envoy routes and virtual hosts.

Order, exactly as in 0.4.0: one route per rule by precedence, nothing after the first that catches all, else a
`default-route` to every version at the end. Each result names the clusters (`targets`) that it leads to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from meshlab.mesh.config.model import Config, RouteRule
from meshlab.mesh.config.names import resolve_hostname
from meshlab.mesh.config.order import sort_route_rules
from meshlab.mesh.config.services import Port, Service
from meshlab.mesh.pilot import actions
from meshlab.mesh.pilot.encode import Fields, duration, encode
from meshlab.mesh.pilot.match import catches_all, route_match
from meshlab.mesh.pilot.names import Target, domains, inbound
from meshlab.mesh.pilot.world import World, like

__all__ = [
    "DEFAULT_ROUTE",
    "Host",
    "default_route",
    "destination_routes",
    "egress_host",
    "inbound_host",
    "outbound_host",
    "rule_route",
]

DEFAULT_ROUTE = "default-route"
Rule = Config[RouteRule]
Lookup = Callable[[str], Service | None]


@dataclass(frozen=True, eq=False, slots=True)
class Host:
    """A virtual host, encoded, with the Hosts it answers to and the clusters it leads to."""

    name: str
    domains: tuple[str, ...]
    data: bytes
    targets: tuple[Target, ...]


def outbound_host(service: Service, port: Port, rules: Sequence[Rule], world: World, proxy_domain: str) -> Host:
    """The virtual host of one HTTP port of a service, as callers in `proxy_domain` address it."""
    routes, targets = destination_routes(Target(service.hostname, port), rules, world.service)
    return _host(service.key(port), domains(service, port.number, proxy_domain), routes, targets)


def egress_host(target: Target, rules: Sequence[Rule], lookup: Lookup) -> Host:
    """The virtual host of a destination outside the mesh. Versions and weights mean nothing there."""
    routes, targets = destination_routes(target, rules, lookup)
    name = f"{target.hostname}:{target.port.number}"
    return _host(name, [target.hostname, name], routes, targets)


def inbound_host(port: Port, number: int, rules: Sequence[Rule]) -> Host:
    """Routes to the application on its port `number`: the same matches again, for websockets and decorators."""
    cluster = inbound(number)
    routes = []
    for rule in sort_route_rules(rules) if port.protocol.value == "HTTP" else ():
        match = route_match(rule.spec.match)
        if rule.spec.rewrite is not None and rule.spec.rewrite.uri:
            # What the caller's sidecar rewrote arrives rewritten.
            match = {k: v for k, v in match.items() if k == "headers"} | {"prefix": rule.spec.rewrite.uri}
        action: Fields = {"cluster": cluster, "timeout": duration(0)}
        route: Fields = {"name": rule.meta.name, "match": match, "route": action}
        if rule.spec.websocket_upgrade:
            action["upgrade_configs"] = [{"upgrade_type": "websocket"}]
        else:
            route["decorator"] = {"operation": rule.meta.name}
        routes.append(route)
    routes.append(default_route(cluster))
    return _host(f"inbound|{number}", ["*"], routes, ())


def destination_routes(
    target: Target, rules: Sequence[Rule], lookup: Lookup
) -> tuple[list[Fields], tuple[Target, ...]]:
    """The routes of one destination port under `rules` (sorted; those for other callers already left out)."""
    routes: list[Fields] = []
    targets: dict[Target, None] = {}
    for rule in rules:
        route, led_to = rule_route(rule, target, lookup)
        routes.append(route)
        targets.update(dict.fromkeys(led_to))
        if catches_all(route["match"]):
            break
    else:
        routes.append(default_route(target.cluster))
        targets[target] = None
    return routes, tuple(targets)


def default_route(cluster: str) -> Fields:
    return {
        "name": DEFAULT_ROUTE,
        "match": {"prefix": "/"},
        "route": {"cluster": cluster, "timeout": duration(0)},
        "decorator": {"operation": DEFAULT_ROUTE},
    }


def rule_route(rule: Rule, target: Target, lookup: Lookup) -> tuple[Fields, tuple[Target, ...]]:
    """One rule as one route. `target` is what the rule's destination means on this port."""
    spec = rule.spec
    route: Fields = {"name": rule.meta.name, "match": route_match(spec.match)}
    targets: tuple[Target, ...] = ()
    if (redirect := actions.redirect(rule.spec)) is not None:
        route["redirect"] = redirect
    else:
        action, targets = _forward(rule, target, lookup)
        route["route"] = action
    if found := actions.filters(spec):
        route["typed_per_filter_config"] = found
    if headers := actions.append_headers(spec):
        route["request_headers_to_add"] = headers
    route["decorator"] = {"operation": rule.meta.name}
    return route, targets


def _forward(rule: Rule, target: Target, lookup: Lookup) -> tuple[Fields, tuple[Target, ...]]:
    spec = rule.spec
    action: Fields = {"timeout": actions.timeout(spec)}
    versions = [] if target.external else [
        (_version(rule, target, i), spec.route[i].weight) for i in range(len(spec.route))
    ] if spec.route else []
    targets = tuple(each for each, _ in versions) or (target,)
    if len(versions) > 1:
        action["weighted_clusters"] = {
            "clusters": [{"name": each.cluster, "weight": {"value": weight}} for each, weight in versions]
        }
    else:
        action["cluster"] = targets[0].cluster
    if spec.rewrite is not None:
        if spec.rewrite.authority:
            action["host_rewrite_literal"] = spec.rewrite.authority
        if spec.rewrite.uri:
            action["prefix_rewrite"] = spec.rewrite.uri
    if (policy := actions.retries(spec)) is not None:
        action["retry_policy"] = policy
    if spec.websocket_upgrade:
        action["upgrade_configs"] = [{"upgrade_type": "websocket"}]
    if spec.mirror is not None:
        shadow = _other(resolve_hostname(rule.meta, spec.mirror), target, lookup)
        shadow = Target(shadow.hostname, shadow.port, spec.mirror.labels)
        action["request_mirror_policies"] = [{"cluster": shadow.cluster}]
        targets = (*targets, shadow)
    return action, targets


def _version(rule: Rule, target: Target, index: int) -> Target:
    entry = (rule.spec.route or ())[index]
    host = target.hostname if entry.destination is None else resolve_hostname(rule.meta, entry.destination)
    return Target(host, target.port, entry.labels)


def _other(host: str, target: Target, lookup: Lookup) -> Target:
    """The port of another service that takes what came for `target`."""
    service = lookup(host)
    return Target(host, (like(target.port, service) if service else None) or target.port)


def _host(name: str, answers: Sequence[str], routes: list[Fields], targets: tuple[Target, ...]) -> Host:
    data = encode("VirtualHost", {"name": name, "domains": answers, "routes": routes})
    return Host(name, tuple(answers), data, targets)
