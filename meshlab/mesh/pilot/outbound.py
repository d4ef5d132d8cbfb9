"""What callers of one namespace to whom the same rules apply have in common: everything outbound.

Made once for all of them, and made again from what it was before: only the units (see `units`) that a change touches
are looked at, and only the route tables and listeners that have these are put together anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from meshlab.mesh.config.outside import ExternalPort, ExternalService, OutboundPolicy
from meshlab.mesh.pilot import listeners
from meshlab.mesh.pilot.connections import external_chains, led_to
from meshlab.mesh.pilot.difference import Difference
from meshlab.mesh.pilot.encode import Fields, duration, encode
from meshlab.mesh.pilot.memo import Memo
from meshlab.mesh.pilot.names import PASSTHROUGH, Target
from meshlab.mesh.pilot.resolve import Resolver
from meshlab.mesh.pilot.routes import Host
from meshlab.mesh.pilot.snapshot import Kind, Resource, resource
from meshlab.mesh.pilot.stats import tcp_stats
from meshlab.mesh.pilot.tables import Body
from meshlab.mesh.pilot.units import Place, Unit, Units, View
from meshlab.mesh.pilot.world import Mesh

__all__ = ["Outbound", "OutboundBuilder"]

T = TypeVar("T")
#: Whose unit: "service", "outside" or "other", and a name.
Key = tuple[str, str]


@dataclass(frozen=True, eq=False)
class Outbound:
    """Virtual hosts, listeners by place, and where they lead."""

    #: Route tables without what differs from proxy to proxy, by port.
    bodies: Mapping[int, Body] = field(default_factory=dict)
    listeners: Mapping[str, Resource] = field(default_factory=dict)
    #: By cluster. The same object as long as the same targets are led to.
    targets: Mapping[str, Target] = field(default_factory=dict)
    #: Of what all this was made, for the next time.
    units: Mapping[Key, Unit] = field(default_factory=dict, repr=False)
    listed: Mapping[int, tuple[Host, ...]] = field(default_factory=dict, repr=False)
    places: Mapping[str, Place] = field(default_factory=dict, repr=False)
    connected: tuple[Target, ...] = field(default=(), repr=False)


class OutboundBuilder:
    """Makes one Outbound. `resolver` is of any caller with this view."""

    def __init__(self, memo: Memo, resolver: Resolver, view: View, mesh: Mesh) -> None:
        self._memo, self._resolver, self._view, self._mesh = memo, resolver, view, mesh
        self._world = resolver.world
        self._units = Units(memo, resolver, view, mesh)

    def build(self, before: Outbound | None = None, change: Difference | None = None) -> Outbound:
        """From nothing, or from what it was `before` a change: the result is the same."""
        known = before or Outbound()
        units, made = self._all(known.units, change)
        gone = [known.units[key] for key in known.units.keys() - units.keys()]
        pairs = [(known.units.get(key), unit) for key, unit in made.items()]
        touched = [*gone, *(unit for pair in pairs for unit in pair if unit is not None)]
        listed = self._listed(known, units, {number for unit in touched for number, _ in unit.hosts})
        bodies = {
            number: known.bodies[number] if known.listed.get(number) is hosts
            else Body.of(hosts, known.bodies.get(number), known.listed.get(number, ()))
            for number, hosts in listed.items()
        }
        places = known.places
        if before is None or any(unit.places for unit in touched):
            places = _first(unit.places for unit in units.values())
        shared = self._shared(listed)
        connected = tuple(t for each in (*shared.values(), *places.values()) for t in each.targets)
        targets = known.targets
        if gone or known.connected != connected or any(old is None or old.targets != new.targets for old, new in pairs):
            targets = _first(unit.targets for unit in units.values())
            for each in connected:
                targets.setdefault(each.cluster, each)
        found = {name: each.listener for name, each in {**shared, **places}.items()}
        same = found == known.listeners
        return Outbound(bodies, known.listeners if same else found, targets, units, listed, places, connected)

    def _all(self, known: Mapping[Key, Unit], change: Difference | None) -> tuple[dict[Key, Unit], dict[Key, Unit]]:
        """Every unit in order, and those of them that are new."""
        kept: Mapping[Key, Unit] = {}
        if change is not None:
            kept = {key: unit for key, unit in known.items() if not change.touches(unit.asked)}
        units: dict[Key, Unit] = {}
        made: dict[Key, Unit] = {}
        # A rule for the host svcb.default is one for whoever says just that: of equal domains the first counts.
        for name, rules in self._world.rules.hosts.items():
            if not name.startswith("*"):
                key = ("other", name)
                units[key] = kept.get(key) or made.setdefault(key, self._units.of_other(name, rules))
        for service in self._world.services:
            key = ("service", service.hostname)
            units[key] = kept.get(key) or made.setdefault(key, self._units.of_service(service))
        for outside in self._world.outside:
            key = ("outside", outside.key)
            while key in units:  # several speak of one host: the first has it
                key = (key[0], f"{key[1]} again")
            units[key] = kept.get(key) or made.setdefault(key, self._units.of_outside(outside))
        return units, made

    def _listed(
        self, known: Outbound, units: Mapping[Key, Unit], touched: Iterable[int]
    ) -> dict[int, tuple[Host, ...]]:
        """By port, the virtual hosts in order; those of ports that are not touched as they were."""
        fresh: dict[int, list[Host]] = {number: [] for number in touched}
        if fresh:
            for unit in units.values():
                for number, host in unit.hosts:
                    if number in fresh:
                        fresh[number].append(host)
        last = self._memo.get("unknown", (), self._view.outbound, lambda: _unknown(self._view.outbound))
        more = (last,) if last is not None else ()
        found = {number: hosts for number, hosts in known.listed.items() if number not in fresh}
        return found | {number: (*hosts, *more) for number, hosts in fresh.items() if hosts}

    def _shared(self, listed: Iterable[int]) -> dict[str, Place]:
        """The listeners for any address on a port: connections by address or name, and everything else as HTTP.

        In 0.4.0 one TCP egress rule on port 80 closed that port for all requests; that is not done again.
        """
        pending: dict[int, list[tuple[ExternalService, ExternalPort]]] = {}
        for service in self._world.outside:
            for port in self._units.seen_ports(service):
                if not port.protocol.is_http:
                    pending.setdefault(port.number, []).append((service, port))
        numbers, found = set(listed), dict[str, Place]()
        for number in sorted({*numbers, *pending}):
            wanted = pending.get(number, [])
            chains = external_chains(self._resolver, wanted)
            place = f"{listeners.ANY}:{number}"
            if number in numbers:
                found[place] = self._by_request(number, chains)
            elif chains:
                found[place] = self._units.chained(listeners.ANY, number, wanted[0][1].protocol, chains)
        return found

    def _by_request(self, number: int, chains: tuple[listeners.Chain, ...]) -> Place:
        chains = tuple(chain for chain in chains if chain.networks or chain.sni)
        targets, metrics = led_to(chains), self._mesh.metrics
        logs = tcp_stats(metrics, inbound=False) if chains and metrics is not None else []
        made = self._memo.get("http", (self._mesh,), (number, chains), lambda: resource(
            Kind.LISTENER, f"http_{listeners.ANY}_{number}",
            listeners.outbound_http(number, self._mesh, chains, logs), (str(number),),
            leads=tuple(t.cluster for t in targets),
        ))
        return Place(made, targets)


def _first(listed: Iterable[Iterable[tuple[str, T]]]) -> dict[str, T]:
    """Of several of one name the first."""
    found: dict[str, T] = {}
    for pairs in listed:
        for name, each in pairs:
            if name not in found:
                found[name] = each
    return found


def _unknown(policy: OutboundPolicy) -> Host | None:
    """The last virtual host of every table, for Hosts that nobody knows; None: 404, as in 0.4."""
    if policy is OutboundPolicy.UNSET:
        return None
    if policy is OutboundPolicy.REGISTRY_ONLY:
        name = "block_all"
        route: Fields = {"direct_response": {"status": 502}}
    else:
        name = "allow_any"
        route = {"route": {"cluster": PASSTHROUGH, "timeout": duration(0)}}
    data = encode("VirtualHost", {
        "name": name, "domains": ["*"], "routes": [{"name": name, "match": {"prefix": "/"}, **route}]
    })
    return Host.of(name, ("*",), data, ())
