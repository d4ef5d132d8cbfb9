"""What a pod's own sidecar takes in: listeners, clusters and route tables of the services that run there.

Each listener is made by `_listener`, its filters by `listeners.inbound_http` and `inbound_tcp`: what a port takes
(mutual TLS, permissive or not) is decided there, per workload, and what is asked before a request is let in by the
HTTP filters of `http.connection_manager`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from meshlab.mesh.config.outside import SidecarScope
from meshlab.mesh.config.services import Instance, Port, Protocol
from meshlab.mesh.config.today.outside_rules import PROTOCOLS
from meshlab.mesh.pilot import listeners
from meshlab.mesh.pilot.clusters import inbound_cluster
from meshlab.mesh.pilot.encode import Fields
from meshlab.mesh.pilot.guard import guard
from meshlab.mesh.pilot.policy import asking, checked
from meshlab.mesh.pilot.proxy import Proxy
from meshlab.mesh.pilot.routes import Host, inbound_table
from meshlab.mesh.pilot.snapshot import Kind, Resource, resource, table
from meshlab.mesh.pilot.world import Mesh, World

__all__ = ["Inbound", "InboundTable", "inbound"]


@dataclass(frozen=True)
class InboundTable:
    """What a route table needs besides its routes, which change with the rules."""

    port: Port
    number: int
    cluster: str
    filters: Mapping[str, Fields]

    def resource(self, host: Host) -> Resource:
        """With the virtual host of its routes."""
        return table(host.name, [], [(host.data, (self.cluster,))], self.filters)


@dataclass(frozen=True)
class Inbound:
    """Listeners by place (`address:port`), clusters and route tables by name."""

    listeners: dict[str, Resource] = field(default_factory=dict)
    clusters: dict[str, Resource] = field(default_factory=dict)
    tables: dict[str, InboundTable] = field(default_factory=dict)
    #: (address, port) of those that take both plain text and mutual TLS for now.
    moving: frozenset[tuple[str, int]] = frozenset()


def inbound(
    world: World, proxy: Proxy, here: tuple[Instance, ...], mesh: Mesh, scope: SidecarScope | None = None, *,
    moving: frozenset[tuple[str, int]] = frozenset(),
) -> Inbound:
    """The pod's own services (the first wins a port), or what a Sidecar object says instead; then probed ports."""
    found = Inbound(moving=moving)
    if scope is not None and scope.ingress is not None:
        for number, protocol, name, endpoint in scope.ingress:
            port = Port(name, number, PROTOCOLS.get(protocol.upper(), Protocol.TCP))
            behind = endpoint.rpartition(":")[2]
            _listener(world, proxy, mesh, found, port, number, int(behind) if behind.isdigit() else 0)
    else:
        for each in here:
            _listener(world, proxy, mesh, found, each.service_port, each.port)
    for number in world.management.get(proxy.ip, ()):
        place = f"{proxy.ip}:{number}"
        if place in found.listeners:
            continue
        # Only the node's probes use it: through, without report.
        cluster = _cluster(found, number, Protocol.TCP, proxy, mesh)
        listener = listeners.inbound_tcp(proxy, number, Protocol.TCP, mesh, report=False)
        found.listeners[place] = resource(Kind.LISTENER, listener["name"], listener, leads=(cluster,))
    return found


def _listener(
    world: World, proxy: Proxy, mesh: Mesh, found: Inbound, port: Port, number: int, behind: int = 0
) -> None:
    place, protocol = f"{proxy.ip}:{number}", port.protocol
    if place in found.listeners or protocol in (Protocol.UDP, Protocol.UNSUPPORTED):
        return
    cluster = _cluster(found, number, protocol, proxy, mesh, behind)
    before = guard(world, proxy, number, port, both=(proxy.ip, number) in found.moving, log=mesh.access_log)
    for name, fields in before.clusters.items():
        found.clusters.setdefault(name, resource(Kind.CLUSTER, name, fields))
    if protocol.is_http:
        name, asks = inbound_table(number), checked(world.checks, proxy.namespace)
        found.tables[name] = InboundTable(port, number, cluster, {**before.routes, **(asking() if asks else {})})
        listener: Fields = listeners.inbound_http(proxy, number, name, mesh, before)
        needs: tuple[str, ...] = (name,)
    else:
        asks = checked(world.checks, proxy.namespace, tcp=True)
        listener = listeners.inbound_tcp(proxy, number, protocol, mesh, before, report=True, check=asks)
        needs = ()
    found.listeners[place] = resource(
        Kind.LISTENER, listener["name"], listener, needs, leads=(*before.clusters, *(() if needs else (cluster,))),
        secured=before.secured,
    )


def _cluster(found: Inbound, number: int, protocol: Protocol, proxy: Proxy, mesh: Mesh, behind: int = 0) -> str:
    fields = inbound_cluster(number, protocol, proxy.local_ip, mesh, behind=behind)
    name = str(fields["name"])
    found.clusters.setdefault(name, resource(Kind.CLUSTER, name, fields))
    return name
