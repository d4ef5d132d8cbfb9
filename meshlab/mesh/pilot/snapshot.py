"""What one proxy is to have: five kinds of resources, each versioned by its content, frozen.

A Snapshot is checked by `consistent()` before it is served: nothing in it may refer to what it does not hold,
because Envoy answers a missing cluster with 503 and waits 15 s for a missing route table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from itertools import chain
from typing import Any

from meshlab.mesh.pilot.encode import as_json, embed, encode, heading
from meshlab.mesh.pilot.proxy import Proxy
from meshlab.mesh.pilot.secrets import OWN, ROOTS

__all__ = ["Kind", "Resource", "Snapshot", "digest", "resource", "table"]


class Kind(Enum):
    """Resource types in the order in which they are sent: make before break."""

    CLUSTER = "Cluster"
    ENDPOINTS = "ClusterLoadAssignment"
    LISTENER = "Listener"
    ROUTE = "RouteConfiguration"
    #: The proxy's own certificate and key, and whom it believes; those of a gateway's hosts.
    SECRET = "Secret"  # noqa: S105 - the name of a message

    @property
    def type_url(self) -> str:
        return _TYPE_URLS[self]

    @property
    def short(self) -> str:
        """cds, eds, lds, rds or sds."""
        return _SHORT[self]


_TYPE_URLS: Mapping[Kind, str] = {
    Kind.CLUSTER: "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    Kind.ENDPOINTS: "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
    Kind.LISTENER: "type.googleapis.com/envoy.config.listener.v3.Listener",
    Kind.ROUTE: "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
    Kind.SECRET: "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
}
_SHORT: Mapping[Kind, str] = {
    Kind.CLUSTER: "cds", Kind.ENDPOINTS: "eds", Kind.LISTENER: "lds", Kind.ROUTE: "rds", Kind.SECRET: "sds",
}


@dataclass(frozen=True, eq=False, slots=True)
class Resource:
    """One message, encoded, and what it refers to.

    `needs` names resources of the next kind in the chain: a listener's route tables, a route table's clusters,
    a cluster's endpoints. `leads` names the clusters to which a TCP listener leads directly.
    """

    name: str
    #: The message in pieces: a large one shares most of it with those of other proxies.
    parts: tuple[bytes, ...]
    version: str
    needs: tuple[str, ...] = ()
    leads: tuple[str, ...] = ()
    #: It has TLS with the proxy's own certificate.
    secured: bool = False

    @property
    def data(self) -> bytes:
        return b"".join(self.parts)

    def packed(self, url: bytes) -> tuple[bytes, ...]:
        """As field 2 (an Any of type `url`) of a DiscoveryResponse, in pieces."""
        typed, length = embed(1, (url,)), sum(map(len, self.parts))
        value = heading(2, length)
        return heading(2, len(typed) + len(value) + length), typed, value, *self.parts


def digest(parts: Iterable[bytes]) -> str:
    found = hashlib.blake2b(digest_size=8)
    for part in parts:
        found.update(part)
    return found.hexdigest()


def resource(
    kind: Kind, name: str, fields: Mapping[str, Any], needs: tuple[str, ...] = (), *, leads: tuple[str, ...] = (),
    secured: bool = False,
) -> Resource:
    data = encode(kind.value, fields)
    return Resource(name, (data,), digest((data,)), needs, leads, secured)


def table(
    name: str, headers: list[dict[str, Any]], hosts: Iterable[tuple[bytes, tuple[str, ...]]],
    filters: Mapping[str, Any] | None = None, *, any_port: bool = False,
) -> Resource:
    """A route table from encoded virtual hosts, each with the clusters it leads to; `filters` for all its routes.

    `any_port`: a Host means the same with whatever port.
    """
    listed = list(hosts)
    fields: dict[str, Any] = {"name": name, "request_headers_to_add": headers}
    if any_port:
        fields["ignore_port_in_host_matching"] = True
    if filters:
        fields["typed_per_filter_config"] = filters
    head = encode("RouteConfiguration", fields)
    data = head + embed(2, (data for data, _ in listed))
    needs = dict.fromkeys(each for _, clusters in listed for each in clusters)
    return Resource(name, (data,), digest((data,)), tuple(needs))


@dataclass(frozen=True, eq=False)
class Snapshot:
    """All resources of one proxy, by kind and name."""

    proxy: Proxy
    resources: Mapping[Kind, Mapping[str, Resource]] = field(default_factory=dict)
    #: Clusters that the proxy's bootstrap has.
    static: frozenset[str] = frozenset()

    def of(self, kind: Kind) -> Mapping[str, Resource]:
        return self.resources.get(kind, {})

    @cached_property
    def version(self) -> str:
        """Of the whole: equal exactly when every resource is."""
        return digest(
            f"{kind.value} {name} {each.version}\n".encode()
            for kind in Kind
            for name, each in sorted(self.of(kind).items())
        )

    @cached_property
    def wanted_secrets(self) -> frozenset[str]:
        """Names of the secrets for which its Envoy asks, of those that it is to have."""
        asks = any(each.secured for kind in (Kind.LISTENER, Kind.CLUSTER) for each in self.of(kind).values())
        # Those of gateways are there only for listeners that have them.
        return frozenset(name for name in self.of(Kind.SECRET) if asks or name not in (OWN, ROOTS))

    def consistent(self, before: Snapshot | None = None) -> tuple[str, ...]:
        """What refers to something that is not there; () if nothing does, as in the snapshot `before`."""
        missing: list[str] = []
        for kind, wanted in _REFERENCES.items():
            there, found = self.of(wanted), self.of(kind)
            if before is not None and before.of(kind) is found and before.of(wanted) is there:
                continue
            named = set(chain.from_iterable([each.needs for each in found.values()]))
            if lost := named - there.keys() - self.static:
                missing += [
                    f"{kind.value} {each.name} needs {wanted.value} {name}"
                    for each in found.values() for name in each.needs if name in lost
                ]
        clusters = self.of(Kind.CLUSTER)
        missing += [
            f"Listener {each.name} needs Cluster {name}"
            for each in self.of(Kind.LISTENER).values()
            for name in each.leads
            if name not in clusters and name not in self.static
        ]
        return tuple(missing)

    def json(self) -> dict[str, list[dict[str, Any]]]:
        """For people: cds, eds, lds, rds and sds as lists of Envoy's JSON, without private keys."""
        return {
            kind.short: [_without_keys(as_json(kind.value, each.data)) for _, each in sorted(self.of(kind).items())]
            for kind in Kind
        }


def _without_keys(found: Any) -> Any:
    """The same, without what is secret."""
    if isinstance(found, dict):
        return {
            name: {"inline_bytes": "[redacted]"} if name == "private_key" else _without_keys(value)
            for name, value in found.items()
        }
    return [_without_keys(each) for each in found] if isinstance(found, list) else found


_REFERENCES: Mapping[Kind, Kind] = {
    Kind.LISTENER: Kind.ROUTE, Kind.ROUTE: Kind.CLUSTER, Kind.CLUSTER: Kind.ENDPOINTS,
}
