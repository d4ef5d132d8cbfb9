"""Route tables, joined from virtual hosts that were encoded one by one and put together once for many proxies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain

from meshlab.mesh.pilot.encode import Fields, decode, encode
from meshlab.mesh.pilot.routes import Host
from meshlab.mesh.pilot.snapshot import Resource, digest

__all__ = ["Body", "distinct"]


@dataclass(frozen=True, eq=False)
class Body:
    """The virtual hosts of a route table."""

    hosts: tuple[Host, ...] = field(repr=False)

    @classmethod
    def of(cls, hosts: Sequence[Host], before: Body | None = None, listed: Sequence[Host] = ()) -> Body:
        """`before`, made of `listed`, saves the search for twins where the same names are in the same places."""
        if before is not None and len(before.hosts) == len(listed) == len(hosts) and all(
            old is new or old.keys == new.keys for old, new in zip(listed, hosts, strict=True)
        ):
            if all(old is new for old, new in zip(listed, hosts, strict=True)):
                return before
            if all(kept is old for kept, old in zip(before.hosts, listed, strict=True)):
                return cls(tuple(hosts))
        return cls(distinct(hosts))

    @cached_property
    def data(self) -> bytes:
        return b"".join([host.part for host in self.hosts])

    @cached_property
    def digest(self) -> bytes:
        return digest((b"".join([host.digest for host in self.hosts]),)).encode()

    @cached_property
    def needs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(chain.from_iterable([host.clusters for host in self.hosts])))

    def table(self, name: str, headers: list[Fields]) -> Resource:
        """The table of one proxy, whose headers are its own."""
        head = encode("RouteConfiguration", {"name": name, "request_headers_to_add": headers})
        return Resource(name, (head, self.data), digest((head, self.digest)), self.needs)


def distinct(hosts: Iterable[Host]) -> tuple[Host, ...]:
    """Virtual hosts without the domains that an earlier one has: Envoy refuses the whole table for one twin."""
    listed = tuple(hosts)
    if len(set().union(*[host.keys for host in listed])) == sum([len(host.keys) for host in listed]):
        return listed
    seen: set[str] = set()
    kept: list[Host] = []
    for host in listed:
        if seen.isdisjoint(host.keys):
            seen |= host.keys
            kept.append(host)
            continue
        fresh = [each for each in host.domains if each.lower() not in seen]
        seen.update(each.lower() for each in fresh)
        if fresh:
            message = decode("VirtualHost", host.data)
            message.ClearField("domains")
            message.domains.extend(fresh)
            data = message.SerializeToString(deterministic=True)
            kept.append(Host.of(host.name, tuple(fresh), data, host.targets))
    return tuple(kept)
