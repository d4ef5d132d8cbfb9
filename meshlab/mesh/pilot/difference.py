"""In which hosts two Worlds differ: what a change can touch, so that nothing else is looked at again.

Found by identity (the registry keeps every object that did not change), in a few dozen nanoseconds for each service.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from meshlab.mesh.config.outside import ExternalService
from meshlab.mesh.config.routing import Source
from meshlab.mesh.pilot.world import World

__all__ = ["Difference", "difference"]


@dataclass(frozen=True, slots=True)
class Difference:
    """What of one World is not as in the other. Hosts are full names, or addresses of external services."""

    #: Of which the service, the routing rules or the traffic policies differ.
    hosts: frozenset[str] = frozenset()
    #: `.example.com` for rules of `*.example.com`; "" for those of `*`.
    suffixes: tuple[str, ...] = ()
    #: Whose endpoints differ, or how these are connected to.
    places: frozenset[str] = frozenset()
    #: Callers that rules of both Worlds are for.
    sources: frozenset[Source] = frozenset()

    def touches(self, hosts: frozenset[str]) -> bool:
        """Whether anything that is said of one of these differs."""
        if not self.hosts.isdisjoint(hosts):
            return True
        return bool(self.suffixes) and any(host.endswith(self.suffixes) for host in hosts)


def difference(before: World, now: World) -> Difference:
    """What concerns outbound traffic; the mesh's settings and its security are compared by who asks."""
    rules = _keys(before.rules.hosts, now.rules.hosts) | _keys(before.rules.traffic.hosts, now.rules.traffic.hosts)
    hosts = {name for name in rules if not name.startswith("*")}
    hosts |= _services(before, now) | _outside(before.outside, now.outside)
    suffixes = tuple(name[1:] for name in rules if name.startswith("*"))
    places = set() if before.instances is now.instances else _keys(before.instances, now.instances)
    if before.sidecars is not now.sidecars:
        for address in before.sidecars.keys() ^ now.sidecars.keys():
            places |= {each.service.hostname for world in (before, now) for each in world.at(address)}
    return Difference(
        frozenset(hosts), suffixes, frozenset(places), frozenset(before.sources) & frozenset(now.sources)
    )


def _keys(before: Mapping[str, tuple[Any, ...]], now: Mapping[str, tuple[Any, ...]]) -> set[str]:
    """Keys that only one has, or with other objects."""
    found = before.keys() ^ now.keys()
    for name, each in now.items():
        other = before.get(name)
        if other is not each and other is not None and (
            len(other) != len(each) or any(a is not b for a, b in zip(other, each, strict=True))
        ):
            found.add(name)
    return found


def _services(before: World, now: World) -> set[str]:
    if before.services is now.services:
        return set()
    old, new = {id(each) for each in before.services}, {id(each) for each in now.services}
    return {
        each.hostname for world, others in ((before, new), (now, old)) for each in world.services
        if id(each) not in others
    }


def _outside(before: Iterable[ExternalService], now: Iterable[ExternalService]) -> set[str]:
    """All names of external services that only one has. Some are made anew for each World: those are compared."""
    old, new = list(before), list(now)
    same = {id(each) for each in old} & {id(each) for each in new}
    gone = [(each, each.namespace) for each in old if id(each) not in same]
    came: list[tuple[ExternalService, str]] = []
    for each in new:
        if id(each) in same:
            continue
        if (each, each.namespace) in gone:
            gone.remove((each, each.namespace))
        else:
            came.append((each, each.namespace))
    return {name for each, _ in (*gone, *came) for name in (each.key, *each.hosts, *each.addresses)}
