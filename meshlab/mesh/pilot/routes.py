"""The model's routes as Envoy routes and virtual hosts.

Routes are in the order of their rules, nothing after the first that catches all; hosts of v1alpha2 fall through to a
`default-route` to every version at the end. Each result names the clusters (`targets`) that it leads to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from meshlab.mesh.config.routing import Destination, HostRules, Route
from meshlab.mesh.config.services import Port, Service
from meshlab.mesh.config.traffic import Balancer
from meshlab.mesh.pilot import actions
from meshlab.mesh.pilot.encode import Fields, duration, encode, heading
from meshlab.mesh.pilot.match import route_match
from meshlab.mesh.pilot.names import Target, domains, inbound
from meshlab.mesh.pilot.snapshot import digest

__all__ = [
    "DEFAULT_ROUTE", "Host", "Led", "default_route", "destination_routes", "destinations_of", "encode_host",
    "external_host", "inbound_host", "inbound_table", "outbound_host", "rule_route",
]

DEFAULT_ROUTE = "default-route"
#: What Envoy answers where every destination has the weight 0, which it would refuse.
NOBODY = 503


@dataclass(frozen=True, eq=False, slots=True)
class Host:
    """A virtual host, encoded, with the Hosts it answers to and the clusters it leads to."""

    name: str
    domains: tuple[str, ...]
    data: bytes
    targets: tuple[Target, ...]
    #: The Hosts as Envoy compares them.
    keys: frozenset[str]
    #: As one field of a route table, and a digest of it: a table of thousands is joined of these.
    part: bytes
    digest: bytes
    clusters: tuple[str, ...]

    @classmethod
    def of(cls, name: str, answers: tuple[str, ...], data: bytes, targets: tuple[Target, ...]) -> Host:
        keys, clusters = frozenset(map(str.lower, answers)), tuple([each.cluster for each in targets])
        return cls(name, answers, data, targets, keys, heading(2, len(data)) + data, digest((data,)).encode(), clusters)


@dataclass(frozen=True, slots=True)
class Led:
    """Where a destination leads for one caller: its cluster, and by what its endpoints are chosen if by the request."""

    target: Target
    balancer: Balancer | None = None


Leads = Mapping[Destination, Led]


def destinations_of(routes: Iterable[Route]) -> Iterable[Destination]:
    """All destinations of routes, mirrors included, in order."""
    for route in routes:
        for weighted in route.destinations:
            yield weighted.destination
        for mirror in route.mirrors:
            yield mirror.destination


def outbound_host(
    service: Service, port: Port, routes: Sequence[Route], leads: Leads, default: Led | None, proxy_domain: str
) -> Host:
    """The virtual host of one HTTP port of a service, as callers in `proxy_domain` address it."""
    made, targets = destination_routes(routes, leads, default, port.number)
    return encode_host(service.key(port), domains(service, port.number, proxy_domain), made, targets)


def external_host(
    target: Target, names: Sequence[str], routes: Sequence[Route], leads: Leads, default: Led | None
) -> Host:
    """The virtual host of a destination outside the mesh, which answers to `names` with and without its port."""
    made, targets = destination_routes(routes, leads, default, target.port.number)
    answers = [each for name in names for each in (name, f"{name}:{target.port.number}")]
    return encode_host(f"{target.hostname}:{target.port.number}", answers, made, targets)


def inbound_host(port: Port, number: int, rules: Iterable[HostRules]) -> Host:
    """Routes to the application on its port `number`: the same matches again, for websockets and decorators."""
    cluster = inbound(number)
    routes = []
    for route in (each for host in rules for each in host.routes) if port.protocol.value == "HTTP" else ():
        match = route_match(route.match)
        if route.rewrite is not None and (route.rewrite.path or route.rewrite.regex):
            # What the caller's sidecar rewrote arrives rewritten.
            match = {k: v for k, v in match.items() if k == "headers"} | {"prefix": route.rewrite.path or "/"}
        action: Fields = {"cluster": cluster, "timeout": duration(0)}
        if route.websocket:
            action["upgrade_configs"] = [{"upgrade_type": "websocket"}]
        decorator: Fields = {"operation": route.name}
        routes.append({"name": route.name, "match": match, "route": action, "decorator": decorator})
    routes.append(default_route(cluster))
    return encode_host(inbound_table(number), ["*"], routes, ())


def inbound_table(number: int) -> str:
    """The name of the route table of a pod's port."""
    return f"inbound|{number}"


def destination_routes(
    routes: Sequence[Route], leads: Leads, default: Led | None, port: int = 0
) -> tuple[list[Fields], tuple[Target, ...]]:
    """Routes (those for other callers already left out), then the default route to `default` unless one catches all.

    `default` None: what no route matches is answered with 404. `port` is the one that is called.
    """
    made: list[Fields] = []
    targets: dict[Target, None] = {}
    for route in routes:
        fields, led_to = rule_route(route, leads, port)
        made.append(fields)
        targets.update(dict.fromkeys(led_to))
        if route.match.catches_all:
            break
    else:
        if default is not None:
            made.append(default_route(default.target.cluster, default.balancer))
            targets[default.target] = None
    return made, tuple(targets)


def default_route(cluster: str, balancer: Balancer | None = None) -> Fields:
    action: Fields = {"cluster": cluster, "timeout": duration(0)}
    if balancer is not None and (policy := actions.hash_policy(balancer)):
        action["hash_policy"] = [policy]
    return {
        "name": DEFAULT_ROUTE,
        "match": {"prefix": "/"},
        "route": action,
        "decorator": {"operation": DEFAULT_ROUTE},
    }


def rule_route(route: Route, leads: Leads, port: int = 0) -> tuple[Fields, tuple[Target, ...]]:
    """One route. `leads` says for each of its destinations what that means here."""
    made: Fields = {"name": route.name, "match": route_match(route.match)}
    targets: tuple[Target, ...] = ()
    request, response = route.request, route.response
    if route.redirect is not None:
        made["redirect"] = actions.redirect(route.redirect, route.match, port)
    elif route.direct is not None:
        made["direct_response"] = actions.direct(route.direct)
    else:
        action, targets, extra = _forward(route, leads)
        made |= extra or {"route": action}
    if found := actions.filters(route):
        made["typed_per_filter_config"] = found
    changes = actions.header_changes(request, response)
    if len(route.destinations) == 1:
        # What is said of the only destination is said of the route.
        only = route.destinations[0]
        for name, value in actions.header_changes(only.request, only.response).items():
            changes[name] = [*changes.get(name, ()), *value]
    made |= changes
    made["decorator"] = {"operation": route.name}
    if route.stat_prefix:
        made["stat_prefix"] = route.stat_prefix
    return made, targets


def _forward(route: Route, leads: Leads) -> tuple[Fields, tuple[Target, ...], Fields]:
    """A `RouteAction`, where it leads, and what takes the action's place if it can lead nowhere."""
    action: Fields = {"timeout": actions.timeout(route.timeout)}
    weighted = [(leads[each.destination], each) for each in route.destinations]
    targets = tuple(led.target for led, _ in weighted)
    if route.unknown and all(each.missing for each in targets):
        return {}, (), {"direct_response": {"status": route.unknown}}
    alone = len(weighted) == 1 or (len(set(targets)) == 1 and targets[0].external)
    if alone:
        action["cluster"] = targets[0].cluster
        targets = targets[:1]
    elif not sum(each.weight for _, each in weighted):
        return {}, (), {"direct_response": {"status": NOBODY}}
    else:
        action["weighted_clusters"] = {"clusters": [
            {
                "name": led.target.cluster, "weight": {"value": each.weight},
                **actions.header_changes(each.request, each.response),
                **({"host_rewrite_literal": each.authority} if each.authority else {}),
            }
            for led, each in weighted
        ]}
    action |= actions.rewrite(route.rewrite, route.match, targets[0].hostname)
    if alone and weighted[0][1].authority:
        action.setdefault("host_rewrite_literal", weighted[0][1].authority)
    if route.websocket:
        action["upgrade_configs"] = [{"upgrade_type": "websocket"}]
    hashes = [found for led, _ in weighted if led.balancer and (found := actions.hash_policy(led.balancer))]
    if (policy := actions.retries(route.retries, hashed=bool(hashes) and alone)) is not None:
        action["retry_policy"] = policy
    if hashes:
        action["hash_policy"] = [each for n, each in enumerate(hashes) if each not in hashes[:n]]
    if route.mirrors:
        shadows = [leads[each.destination].target for each in route.mirrors]
        action["request_mirror_policies"] = [
            _mirror(shadow.cluster, each.millionths) for shadow, each in zip(shadows, route.mirrors, strict=True)
        ]
        targets = (*targets, *shadows)
    return action, targets, {}


def _mirror(cluster: str, millionths: int) -> Fields:
    found: Fields = {"cluster": cluster}
    if millionths < 1_000_000:
        found["runtime_fraction"] = {"default_value": actions.share(millionths)}
    return found


def encode_host(name: str, answers: Sequence[str], routes: list[Fields], targets: Iterable[Target]) -> Host:
    answers = tuple(dict.fromkeys(answers))
    data = encode("VirtualHost", {"name": name, "domains": answers, "routes": routes})
    return Host.of(name, answers, data, tuple(targets))
