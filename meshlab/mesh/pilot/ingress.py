"""Kubernetes Ingress objects as routes, weighted and limited by the route rules of their backends.

Routes with an exact path come before prefixes, longer prefixes first. A backend whose port is not HTTP by name is
left out, as in 0.4.0. Faults of rules do not apply here.
"""

from __future__ import annotations

from typing import Any

from meshlab.mesh.config.model import Config, IngressRule, MatchKind
from meshlab.mesh.config.names import resolve_hostname
from meshlab.mesh.config.services import Port
from meshlab.mesh.pilot.actions import FAULT
from meshlab.mesh.pilot.encode import Fields
from meshlab.mesh.pilot.names import Target
from meshlab.mesh.pilot.resolve import Resolver
from meshlab.mesh.pilot.routes import destination_routes
from meshlab.mesh.pilot.world import World

__all__ = ["backend_problem", "by_path", "combine", "ingress_routes", "secret_of", "tls_problem"]

#: The secret that istio.yaml of 0.4 mounts into the ingress's pod, and which its documentation has one create.
MOUNTED = "istio-system/istio-ingress-certs"


def ingress_routes(
    resolver: Resolver, rule: Config[IngressRule]
) -> tuple[str, list[Fields], tuple[Target, ...]] | None:
    """Host, routes and targets of one path: each route of the backend's, narrowed to this path. None: no backend."""
    world, caller = resolver.world, resolver.caller
    port = _port(world, rule)
    if port is None or rule.spec.destination is None:
        return None
    hostname = resolve_hostname(rule.meta, rule.spec.destination)
    called = Target(hostname, port)
    rules = world.rules_for(hostname, caller)
    wanted = rules.routes_for(caller, port.number) if rules is not None else ()
    default = resolver.led(called) if rules is None or rules.falls_through or not wanted else None
    routes, targets = destination_routes(wanted, resolver.leads(wanted, called), default)
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


def secret_of(world: World) -> str:
    """The one secret for all hosts, `namespace/name`: the sidecars of 0.4 knew no SNI, the smaller name won.

    Where the Ingress's own namespace has none of that name, it is the secret that the ingress's pod of 0.4 mounted.
    """
    names = sorted(rule.spec.tls_secret for rule in world.ingress_rules if rule.spec.tls_secret)
    if not names:
        return ""
    name, _, namespace = names[0].rpartition(".")
    own = f"{namespace}/{name}"
    return MOUNTED if own not in world.secrets and MOUNTED in world.secrets else own


def tls_problem(world: World, rule: Config[IngressRule]) -> str:
    """Why an Ingress with TLS is not served, "" if it is (or has none)."""
    if not rule.spec.tls_secret:
        return ""
    secret = secret_of(world)
    return "" if secret in world.secrets else f"there is no secret {secret} with tls.crt and tls.key"


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
    rest = {k: v for k, v in match.items() if k in ("headers", "query_parameters")}
    if expression := _expression(match):
        # Envoy matches one path condition: the other becomes one on the pseudo header.
        condition: Fields = {"name": ":path", "string_match": {"safe_regex": _with_query(expression)}}
        return {**path, **rest, "headers": [*rest.get("headers", []), condition]}
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


def _expression(match: Fields) -> str:
    """A route's path condition as a regular expression, where it cannot be joined with another as text."""
    if "safe_regex" in match:
        return str(match["safe_regex"]["regex"])
    ignored = "case_sensitive" in match
    if "path_separated_prefix" in match:
        text = _quoted(match["path_separated_prefix"]) + "(/.*)?"
    elif ignored and "path" in match:
        text = _quoted(match["path"])
    elif ignored:
        text = _quoted(match["prefix"]) + ".*"
    else:
        return ""
    return f"(?i:{text})" if ignored else text


def _quoted(text: str) -> str:
    return "".join(f"\\{char}" if char in ".*+?()[]{}|^$\\" else char for char in text)


def _with_query(expression: str) -> dict[str, Any]:
    return {"regex": f"(?:{expression})(?:\\?.*)?"}


def by_path(route: Fields) -> tuple[int, int]:
    """Exact paths, then prefixes by length; equal ones stay in the order of their rules."""
    match = route["match"]
    return (0, -len(match["path"])) if "path" in match else (1, -len(match.get("prefix", "")))
