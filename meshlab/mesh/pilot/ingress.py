"""The ingress proxy: Kubernetes Ingress objects as routes, weighted and limited by the route rules of their backends.

One virtual host per Host; routes with an exact path before prefixes, longer prefixes first. A backend whose port
is not HTTP by name is left out, as in 0.4.0. Faults of route rules do not apply here. Port 80 always listens, so
that what matches nothing is a 404.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from meshlab.mesh.config.model import Config, IngressRule, MatchKind, RouteRule
from meshlab.mesh.config.names import resolve_hostname
from meshlab.mesh.config.order import match_source
from meshlab.mesh.config.services import Port
from meshlab.mesh.pilot import listeners
from meshlab.mesh.pilot.actions import FAULT
from meshlab.mesh.pilot.encode import Fields, encode
from meshlab.mesh.pilot.http import added_headers
from meshlab.mesh.pilot.names import Target
from meshlab.mesh.pilot.proxy import Proxy
from meshlab.mesh.pilot.routes import destination_routes
from meshlab.mesh.pilot.snapshot import Kind, Resource, Snapshot, resource, table
from meshlab.mesh.pilot.world import World

__all__ = ["backend_problem", "combine", "ingress_snapshot"]

HTTP_PORT = 80
Clusters = Callable[[Iterable[Target]], tuple[dict[str, Resource], dict[str, Resource]]]


def ingress_snapshot(world: World, proxy: Proxy, clusters: Clusters, static: frozenset[str]) -> Snapshot:
    """What an ingress proxy should have. `clusters` makes the clusters and endpoints of targets."""
    hosts: dict[str, list[Fields]] = {}
    targets: dict[Target, None] = {}
    for rule in world.ingress_rules:
        port = _port(world, rule)
        if port is None:
            continue
        host, routes, led_to = _routes(world, proxy, rule, port)
        hosts.setdefault(host, []).extend(routes)
        targets.update(dict.fromkeys(led_to))
    made, endpoints = clusters(targets)
    listed: list[tuple[bytes, tuple[str, ...]]] = []
    for host, routes in sorted(hosts.items()):
        answers = [host] if host == "*" else [host, f"{host}:{HTTP_PORT}"]
        data = encode("VirtualHost", {
            "name": f"{host}:{HTTP_PORT}", "domains": answers, "routes": sorted(routes, key=_by_path)
        })
        listed.append((data, ()))
    first = table(str(HTTP_PORT), added_headers(proxy, world.mesh), listed)
    routes_80 = Resource(first.name, first.data, first.version, tuple(t.cluster for t in targets))
    listener = listeners.ingress_http(proxy, HTTP_PORT, world.mesh)
    return Snapshot(proxy, {
        Kind.CLUSTER: made, Kind.ENDPOINTS: endpoints,
        Kind.LISTENER: {
            listener["name"]: resource(Kind.LISTENER, listener["name"], listener, (str(HTTP_PORT),))
        },
        Kind.ROUTE: {routes_80.name: routes_80},
    }, static)


def backend_problem(world: World, rule: Config[IngressRule]) -> str:
    """Why a path of an Ingress leads nowhere, "" if it leads somewhere."""
    if _port(world, rule) is not None:
        return ""
    host = resolve_hostname(rule.meta, rule.spec.destination) if rule.spec.destination else ""
    wanted = rule.spec.destination_port or rule.spec.destination_port_name
    service = world.service(host)
    if service is None:
        return f"there is no service {host}"
    if all(port.number != wanted and port.name != wanted for port in service.ports):
        return f"{host} has no port {wanted}"
    return f"port {wanted} of {host} is not HTTP by its name"


def _port(world: World, rule: Config[IngressRule]) -> Port | None:
    if rule.spec.destination is None:
        return None
    service = world.service(resolve_hostname(rule.meta, rule.spec.destination))
    if service is None:
        return None
    number, name = rule.spec.destination_port, rule.spec.destination_port_name
    port = service.port(number) if number is not None else service.port_named(name or "")
    return port if port is not None and port.protocol.is_http else None


def _routes(
    world: World, proxy: Proxy, rule: Config[IngressRule], port: Port
) -> tuple[str, list[Fields], tuple[Target, ...]]:
    """Host, routes and targets of one path: each route of the backend's, narrowed to this path."""
    hostname = resolve_hostname(rule.meta, rule.spec.destination) if rule.spec.destination else ""
    here = world.at(proxy.ip)
    backend: list[Config[RouteRule]] = [
        each for each in world.route_rules.get(hostname, ())
        if each.spec.match is None or match_source(each.meta, each.spec.match.source, here)
    ]
    routes, targets = destination_routes(Target(hostname, port), backend, world.service)
    headers = (rule.spec.match.headers if rule.spec.match else None) or {}
    authority, path = headers.get("authority"), _path(rule)
    found: list[Fields] = []
    for route in routes:
        match = combine(path, route["match"])
        if match is None:
            continue
        filters = {k: v for k, v in route.get("typed_per_filter_config", {}).items() if k != FAULT}
        narrowed = {k: v for k, v in route.items() if k != "typed_per_filter_config"} | {"match": match}
        found.append(narrowed | ({"typed_per_filter_config": filters} if filters else {}))
    host = authority.value if authority is not None and authority.kind is MatchKind.EXACT else "*"
    return host, found, targets


def _path(rule: Config[IngressRule]) -> Fields:
    headers = (rule.spec.match.headers if rule.spec.match else None) or {}
    uri = headers.get("uri")
    if uri is None or uri.kind is None or not uri.value:
        return {"prefix": "/"}
    return {"path": uri.value} if uri.kind is MatchKind.EXACT else {"prefix": uri.value}


def combine(path: Fields, match: Fields) -> Fields | None:
    """Both conditions at once: an Ingress path (exact or prefix) and a route's match; None if they exclude
    each other.

    >>> combine({"prefix": "/a"}, {"prefix": "/"}), combine({"path": "/a"}, {"prefix": "/b"})
    ({'prefix': '/a'}, None)
    """
    rest = {k: v for k, v in match.items() if k == "headers"}
    if "safe_regex" in match:
        # Envoy matches one path condition: the rest of the regular expression's is on the pseudo header.
        condition: Fields = {"name": ":path", "string_match": {"safe_regex": _with_query(match["safe_regex"])}}
        return {**path, "headers": [*rest.get("headers", []), condition]}
    mine, its = path.get("path"), match.get("path")
    if mine is not None and its is not None:
        return {**path, **rest} if mine == its else None
    if mine is not None:
        return {**path, **rest} if mine.startswith(match["prefix"]) else None
    if its is not None:
        return {**match} if its.startswith(path["prefix"]) else None
    first, second = path["prefix"], match["prefix"]
    if first.startswith(second):
        return {"prefix": first, **rest}
    return {**match} if second.startswith(first) else None


def _with_query(expression: dict[str, Any]) -> dict[str, Any]:
    return {"regex": f"(?:{expression['regex']})(?:\\?.*)?"}


def _by_path(route: Fields) -> tuple[int, int]:
    """Exact paths, then prefixes by length; equal ones stay in the order of their rules."""
    match = route["match"]
    return (0, -len(match["path"])) if "path" in match else (1, -len(match.get("prefix", "")))
