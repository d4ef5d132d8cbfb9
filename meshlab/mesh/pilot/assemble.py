"""Rules of v1alpha2 as they are stored to the model, leaving out what cannot be in force."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from meshlab.mesh.config.egress import without_conflicts
from meshlab.mesh.config.legacy import egress_service, host_rules, host_traffic
from meshlab.mesh.config.model import Config, DestinationPolicy, EgressRule, RouteRule
from meshlab.mesh.config.outside import ExternalService
from meshlab.mesh.config.routing import HostRules
from meshlab.mesh.config.traffic import HostTraffic
from meshlab.mesh.pilot.check import egress_problem, route_problem
from meshlab.mesh.pilot.world import Problem

__all__ = ["egress_in_force", "policies_by_host", "routes_by_host"]


def routes_by_host(
    rules: Iterable[Config[RouteRule]],
    before: Mapping[str, HostRules] | None = None,
    check: Callable[[Config[RouteRule]], str] = route_problem,
) -> tuple[dict[str, HostRules], list[Problem]]:
    """Rules by destination host, in order of precedence. What is as it was `before` is the same object."""
    kept, problems = [], []
    for rule in rules:
        if reason := check(rule):
            problems.append(Problem(rule.meta.key, reason, rule.meta.resource_version))
        else:
            kept.append(rule)
    known = before or {}
    found = host_rules(kept)
    return {host: _same(known[host], each) if host in known else each for host, each in found.items()}, problems


def _same(before: HostRules, now: HostRules) -> HostRules:
    """`before` if nothing but revisions changed, and otherwise `now` with those of its routes that did not."""
    if before == now and [r.origin for r in before.routes] == [r.origin for r in now.routes]:
        return before
    known = {(each, each.origin): each for each in before.routes}
    return replace(now, routes=tuple(known.get((each, each.origin), each) for each in now.routes))


def policies_by_host(
    policies: Iterable[Config[DestinationPolicy]], before: Mapping[str, HostTraffic] | None = None
) -> dict[str, HostTraffic]:
    """Policies by destination host, in order of key: the first that fits is taken."""
    known = before or {}
    return {
        host: known[host] if known.get(host) == each else each for host, each in host_traffic(policies).items()
    }


def egress_in_force(
    rules: Iterable[Config[EgressRule]], before: Mapping[str, ExternalService] | None = None
) -> tuple[dict[str, ExternalService], list[Problem]]:
    """By key, in order, egress rules without conflict; the smaller key wins. TCP to a name has no effect."""
    by_key = {rule.meta.key: rule for rule in rules}
    kept, conflicts = without_conflicts({key: rule.spec for key, rule in by_key.items()})
    problems = [Problem(each.rule, each.message, by_key[each.rule].meta.resource_version) for each in conflicts]
    found: dict[str, ExternalService] = {}
    for key in kept:
        service = egress_service(by_key[key])
        if reason := egress_problem(by_key[key]):
            problems.append(Problem(key, reason, by_key[key].meta.resource_version))
            service = replace(service, ports=tuple(port for port in service.ports if port.protocol.is_http))
        found[key] = before[key] if before and before.get(key) == service else service
    return found, problems
