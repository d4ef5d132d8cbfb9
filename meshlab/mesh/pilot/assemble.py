"""Rules of v1alpha2 as they are stored to the model, leaving out what cannot be in force."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from operator import is_

from meshlab.mesh.config.egress import without_conflicts
from meshlab.mesh.config.legacy import egress_service, host_traffic, route
from meshlab.mesh.config.model import Config, DestinationPolicy, EgressRule, RouteRule
from meshlab.mesh.config.order import destination_of, sort_route_rules
from meshlab.mesh.config.outside import ExternalService
from meshlab.mesh.config.routing import HostRules, Route
from meshlab.mesh.config.traffic import HostTraffic
from meshlab.mesh.pilot.check import egress_problem, route_problem
from meshlab.mesh.pilot.world import Problem

__all__ = ["Judged", "egress_in_force", "policies_by_host", "routes_by_host"]


class Judged:
    """Route rules that were judged and translated before: each once, however often others change."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Config[RouteRule], str, Route | None]] = {}

    def of(self, rule: Config[RouteRule]) -> tuple[str, Route | None]:
        """Why a rule cannot be in force, or what it means."""
        before = self._known.get(rule.key)
        if before is not None and before[0] is rule:
            return before[1:]
        reason = route_problem(rule)
        found = reason, None if reason else route(rule)
        self._known[rule.key] = (rule, *found)
        return found

    def keep(self, keys: Iterable[str]) -> None:
        """Forgets all others."""
        wanted = set(keys)
        self._known = {key: each for key, each in self._known.items() if key in wanted}


def routes_by_host(
    rules: Iterable[Config[RouteRule]],
    before: Mapping[str, HostRules] | None = None,
    judged: Judged | None = None,
) -> tuple[dict[str, HostRules], list[Problem]]:
    """Rules by destination host, in order of precedence. What is as it was `before` is the same object."""
    known, verdicts = before or {}, judged or Judged()
    problems: list[Problem] = []
    hosts: dict[str, list[Route]] = {}
    listed = sort_route_rules(rules)
    for rule in listed:
        reason, made = verdicts.of(rule)
        if made is None:
            problems.append(Problem(rule.meta.key, reason, rule.meta.resource_version))
        elif host := destination_of(rule):
            hosts.setdefault(host, []).append(made)
    verdicts.keep(rule.key for rule in listed)
    found: dict[str, HostRules] = {}
    for host, routes in hosts.items():
        same = known.get(host)
        if same is not None and len(same.routes) == len(routes) and all(map(is_, same.routes, routes)):
            found[host] = same
        else:
            found[host] = HostRules((host,), tuple(routes), falls_through=True)
    return found, problems


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
