"""Rules as they are stored to the indexes of a World, leaving out what cannot be in force."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from meshlab.mesh.config.egress import without_conflicts
from meshlab.mesh.config.model import Config, DestinationPolicy, EgressRule, RouteRule
from meshlab.mesh.config.order import destination_of, sort_route_rules
from meshlab.mesh.pilot.check import egress_problem, route_problem
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
            problems.append(Problem(rule.meta.key, reason, rule.meta.resource_version))
        else:
            kept.append(rule)
    hosts = _by_host(kept)
    return {host: tuple(sort_route_rules(listed)) for host, listed in hosts.items()}, problems


def policies_by_host(
    policies: Iterable[Config[DestinationPolicy]],
) -> dict[str, tuple[Config[DestinationPolicy], ...]]:
    """Policies by destination host, in order of key: the first that fits is taken."""
    hosts = _by_host(policies)
    return {host: tuple(sorted(listed, key=lambda p: p.meta.key)) for host, listed in hosts.items()}


def _by_host(rules: Iterable[Config[S]]) -> dict[str, list[Config[S]]]:
    hosts: dict[str, list[Config[S]]] = {}
    for rule in rules:
        hosts.setdefault(destination_of(rule), []).append(rule)
    return hosts


def egress_in_force(
    rules: Iterable[Config[EgressRule]],
) -> tuple[tuple[Config[EgressRule], ...], list[Problem]]:
    """Egress rules without conflict, in order of key; the smaller key wins."""
    by_key = {rule.meta.key: rule for rule in rules}
    kept, conflicts = without_conflicts({key: rule.spec for key, rule in by_key.items()})
    problems = [Problem(each.rule, each.message, by_key[each.rule].meta.resource_version) for each in conflicts]
    problems += [
        Problem(key, reason, by_key[key].meta.resource_version)
        for key in kept
        if (reason := egress_problem(by_key[key]))
    ]
    return tuple(by_key[key] for key in kept), problems
