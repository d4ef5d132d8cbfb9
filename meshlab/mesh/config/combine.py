"""Rules of both generations, translated one by one, as one set: who wins where two say something of one host.

Values that nothing forces to change keep their identity, so that what was made of them stays valid.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from meshlab.mesh.config.outside import ExternalService
from meshlab.mesh.config.routing import MESH, Caller, Destination, HostRules, Origin, Route, Weighted
from meshlab.mesh.config.today.outside_rules import originate
from meshlab.mesh.config.traffic import HostTraffic, TrafficRules

__all__ = ["Combined", "Dropped", "combine"]


@dataclass(frozen=True, slots=True)
class Dropped:
    """Something stored that is not in force, and why."""

    origin: Origin
    reason: str


@dataclass(frozen=True, eq=False)
class Combined:
    """All routing rules of a mesh, for look-ups."""

    #: Host (or wildcard) → rules for sidecars, the winning one first; callers may not see them all.
    hosts: Mapping[str, tuple[HostRules, ...]] = field(default_factory=dict)
    #: Rules for gateways (not only `mesh`), in order.
    gateway_rules: tuple[HostRules, ...] = ()
    traffic: TrafficRules = field(default_factory=TrafficRules)
    external: tuple[ExternalService, ...] = ()
    dropped: tuple[Dropped, ...] = ()

    def rules_for(self, host: str, caller: Caller) -> HostRules | None:
        """What this caller's sidecar does with requests for a host; the most specific wildcard if no exact name."""
        candidates = [self.hosts.get(host, ())]
        if any(name.startswith("*") for name in self.hosts):
            wild = [name for name in self.hosts if name.startswith("*") and host.endswith(name[1:]) and name != host]
            candidates += [self.hosts[name] for name in sorted(wild, key=len, reverse=True)]
        for listed in candidates:
            for each in listed:
                if not each.visible_in or caller.namespace in each.visible_in:
                    return each
        return None


def combine(
    *,
    route_rules: Mapping[str, HostRules] | None = None,
    virtual_services: Iterable[HostRules] = (),
    policies: Mapping[str, HostTraffic] | None = None,
    destination_rules: Iterable[HostTraffic] = (),
    egress_rules: Iterable[ExternalService] = (),
    service_entries: Iterable[ExternalService] = (),
) -> Combined:
    """Today's kinds win over those of v1alpha2 for the same host; among themselves the order given decides.

    The order of today's is that of creation, and of name, then namespace where two were created together.
    """
    entries, dropped = list(service_entries), list[Dropped]()
    taken = {name: each for each in entries for name in (*each.hosts, *each.addresses)}
    for each in egress_rules:
        winner = next((taken[name] for name in (*each.hosts, *each.addresses) if name in taken), None)
        if winner is None:
            entries.append(each)
        else:
            dropped += _lost(each.origin, winner.origin, each.key)
    aliases = {alias: each.key for each in entries for alias in each.placeholders if each.key}
    hosts, at_gateways = _hosts(route_rules or {}, [_renamed(each, aliases) for each in virtual_services], dropped)
    homes = {name: each.namespace for each in reversed(entries) for name in (*each.hosts, *each.addresses)}
    traffic = _traffic(policies or {}, destination_rules, aliases, dropped, homes)
    external = tuple(originate(each, traffic) for each in entries)
    return Combined(hosts, at_gateways, traffic, external, tuple(dropped))


def _lost(loser: Origin | None, winner: Origin | None, what: str) -> list[Dropped]:
    if loser is None:
        return []
    return [Dropped(loser, f"{winner.key if winner else 'another rule'} already speaks for {what}")]


def _hosts(
    legacy: Mapping[str, HostRules], today: Iterable[HostRules], dropped: list[Dropped]
) -> tuple[dict[str, tuple[HostRules, ...]], tuple[HostRules, ...]]:
    hosts: dict[str, tuple[HostRules, ...]] = {}
    at_gateways: list[HostRules] = []
    for each in sorted(today, key=_publicity):
        if any(name != MESH for name in each.gateways):
            at_gateways.append(each)
        if MESH in each.gateways:
            for host in each.hosts:
                hosts[host] = (*hosts.get(host, ()), each)
    for host, rules in legacy.items():
        winner = next((each for each in hosts.get(host, ()) if not each.visible_in), None)
        if winner is None:
            hosts[host] = (*hosts.get(host, ()), rules)
            continue
        for origin in dict.fromkeys(route.origin for route in rules.routes):
            dropped += _lost(origin, winner.origin, host)
    return hosts, tuple(at_gateways)


def _publicity(rules: HostRules) -> int:
    """Whose word counts first, as in istiod: the namespace's own, then what is told to it, then what is told to all."""
    return 2 if not rules.visible_in else 0 if rules.visible_in == (rules.namespace,) else 1


def _traffic(
    legacy: Mapping[str, HostTraffic],
    today: Iterable[HostTraffic],
    aliases: Mapping[str, str],
    dropped: list[Dropped],
    homes: Mapping[str, str],
) -> TrafficRules:
    listed = []
    for each in today:
        host = aliases.get(each.host, each.host)
        if host == each.host:
            listed.append(each)
        else:
            policies = tuple(replace(policy, host=host) for policy in each.policies)
            listed.append(replace(each, host=host, policies=policies))
    winners = {each.host: each for each in listed if not each.visible_in and each.source is None}
    for host, each in legacy.items():
        if host in winners:
            for origin in dict.fromkeys(policy.origin for policy in each.policies):
                dropped += _lost(origin, winners[host].origin, host)
        else:
            listed.append(each)
    return TrafficRules(listed, homes)


def _renamed(rules: HostRules, aliases: Mapping[str, str]) -> HostRules:
    """The same rules, with destinations named as their external services are."""
    if not aliases or not any(
        weighted.destination.host in aliases
        for route in rules.routes
        for weighted in (*route.destinations, *(Weighted(mirror.destination) for mirror in route.mirrors))
    ):
        return rules

    def renamed(destination: Destination) -> Destination:
        host = aliases.get(destination.host)
        return destination if host is None else replace(destination, host=host)

    def changed(route: Route) -> Route:
        return replace(
            route,
            destinations=tuple(replace(w, destination=renamed(w.destination)) for w in route.destinations),
            mirrors=tuple(replace(m, destination=renamed(m.destination)) for m in route.mirrors),
        )

    return replace(rules, routes=tuple(changed(route) for route in rules.routes))
