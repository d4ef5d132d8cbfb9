"""Rules as they are stored to the indexes of a World, leaving out what cannot be in force."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from meshlab.mesh.config.model import Config, DestinationPolicy, EgressRule, IstioService, RouteRule
from meshlab.mesh.config.names import resolve_hostname
from meshlab.mesh.config.services import Protocol
from meshlab.mesh.pilot.check import egress_problem, route_problem
from meshlab.mesh.pilot.routes import by_precedence
from meshlab.mesh.pilot.world import Problem

__all__ = ["egress_in_force", "policies_by_host", "routes_by_host"]

S = TypeVar("S", RouteRule, DestinationPolicy)


def routes_by_host(
    rules: Iterable[Config[RouteRule]], check: Callable[[Config[RouteRule]], str] = route_problem
) -> tuple[dict[str, tuple[Config[RouteRule], ...]], list[Problem]]:
    """Rules by destination host, in order of precedence."""
    kept, problems = [], []
    for rule in rules:
        if reason := check(rule):
            problems.append(Problem(rule.meta.key, reason))
        else:
            kept.append(rule)
    hosts = _by_host(kept, lambda rule: rule.spec.destination)
    return {host: tuple(by_precedence(listed)) for host, listed in hosts.items()}, problems


def policies_by_host(
    policies: Iterable[Config[DestinationPolicy]],
) -> dict[str, tuple[Config[DestinationPolicy], ...]]:
    """Policies by destination host, in order of key: the first that fits is taken."""
    hosts = _by_host(policies, lambda policy: policy.spec.destination)
    return {host: tuple(sorted(listed, key=lambda p: p.meta.key)) for host, listed in hosts.items()}


def _by_host(
    rules: Iterable[Config[S]], destination: Callable[[Config[S]], IstioService | None]
) -> dict[str, list[Config[S]]]:
    hosts: dict[str, list[Config[S]]] = {}
    for rule in rules:
        service = destination(rule)
        if service is not None:
            hosts.setdefault(resolve_hostname(rule.meta, service), []).append(rule)
    return hosts


def egress_in_force(
    rules: Iterable[Config[EgressRule]],
) -> tuple[tuple[Config[EgressRule], ...], list[Problem]]:
    """Egress rules without conflict, in order of key; the smaller key wins.

    Two rules conflict over the same destination text, whatever the ports, and over a port number with different
    classes of protocol (all kinds of HTTP are one class). The later rule is dropped as a whole.
    """
    kept: list[Config[EgressRule]] = []
    problems: list[Problem] = []
    services: dict[str, str] = {}
    ports: dict[int, tuple[str, str]] = {}
    for rule in sorted(rules, key=lambda each: each.meta.key):
        key, service = rule.meta.key, rule.spec.destination.service if rule.spec.destination else ""
        wanted = {port.port: _class(port.protocol) for port in rule.spec.ports}
        if service in services:
            problems.append(Problem(key, f"conflicts with {services[service]} on {service}: not in force"))
            continue
        if clash := next((p for p, c in wanted.items() if p in ports and ports[p][0] != c), None):
            cause = f"conflicts with {ports[clash][1]} on port {clash}, which is {ports[clash][0]} there"
            problems.append(Problem(key, f"{cause}: not in force"))
            continue
        services[service] = key
        for number, each in wanted.items():
            ports.setdefault(number, (each, key))
        if reason := egress_problem(rule):
            problems.append(Problem(key, reason))
        kept.append(rule)
    return tuple(kept), problems


def _class(protocol: str) -> str:
    parsed = Protocol.parse(protocol)
    return "HTTP" if parsed.is_http or parsed is Protocol.HTTPS else parsed.value
