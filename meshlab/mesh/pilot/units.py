"""What one service, or one external service, adds to the outbound configuration of a sidecar.

A unit remembers which hosts were looked up for it: while nothing that is said of these changes, it stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from meshlab.mesh.config.outside import ExternalPort, ExternalService, OutboundPolicy, SidecarScope
from meshlab.mesh.config.routing import HostRules, Route, Source
from meshlab.mesh.config.services import Port, Protocol, Service
from meshlab.mesh.pilot import listeners
from meshlab.mesh.pilot.connections import TCP_LIKE, chained, idle_of, led_to, service_chains, tcp_listener
from meshlab.mesh.pilot.memo import Memo
from meshlab.mesh.pilot.names import Target
from meshlab.mesh.pilot.resolve import Resolver, external_target
from meshlab.mesh.pilot.routes import Host, Led, external_host, outbound_host
from meshlab.mesh.pilot.snapshot import Resource
from meshlab.mesh.pilot.world import Mesh

__all__ = ["Place", "Unit", "Units", "View"]

#: Hosts of virtual services that are no service's are routed on this port.
HTTP_PORT = 80


@dataclass(frozen=True)
class View:
    """All in which callers differ as far as outbound traffic goes."""

    #: `default.svc.cluster.local`
    domain: str
    #: Sources of rules that these callers are none of.
    hidden: frozenset[Source] = frozenset()
    scope: SidecarScope | None = None
    outbound: OutboundPolicy = OutboundPolicy.UNSET

    @property
    def rest(self) -> tuple[object, ...]:
        """Everything but what is hidden."""
        return self.domain, self.scope, self.outbound

    def sees(self, namespace: str, host: str, port: int) -> bool:
        return self.scope is None or self.scope.sees(namespace, host, port)


@dataclass(frozen=True, eq=False, slots=True)
class Place:
    """A listener and where it leads."""

    listener: Resource
    targets: tuple[Target, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Unit:
    """Virtual hosts by port, listeners by `address:port`, and the hosts that were looked up."""

    hosts: tuple[tuple[int, Host], ...] = ()
    places: tuple[tuple[str, Place], ...] = ()
    asked: frozenset[str] = frozenset()
    #: By cluster, all that the virtual hosts lead to.
    targets: tuple[tuple[str, Target], ...] = field(default=())


class Units:
    """Makes units for one view. `resolver` is of any caller with this view."""

    def __init__(self, memo: Memo, resolver: Resolver, view: View, mesh: Mesh) -> None:
        self._memo, self._resolver, self._view, self._mesh = memo, resolver, view, mesh
        self._world = resolver.world

    def of_service(self, service: Service) -> Unit:
        hosts: list[tuple[int, Host]] = []
        places: list[tuple[str, Place]] = []
        self._begin(service.hostname)
        for port in service.ports:
            if not self._view.sees(service.namespace, service.hostname, port.number):
                continue
            if port.protocol.is_http or (port.protocol is Protocol.HTTPS and service.external_name):
                hosts.append((port.number, self._service(service, port)))
            elif port.protocol in TCP_LIKE and not service.external_name:
                places.append((f"{service.address or listeners.ANY}:{port.number}", self._tcp(service, port)))
        return self._made(hosts, places)

    def of_outside(self, service: ExternalService) -> Unit:
        """Of an external service's ports only those that are routed by request."""
        self._begin(service.key, *service.hosts, *service.addresses)
        hosts = [
            (port.number, self._external(service, port)) for port in self.seen_ports(service) if port.protocol.is_http
        ]
        return self._made(hosts, [])

    def of_other(self, name: str, listed: tuple[HostRules, ...]) -> Unit:
        """A host that rules route although no service has it: on port 80, as istiod does it."""
        self._begin(name)
        if listed[0].falls_through or self._world.service(name) is not None or name in self._world.outside_by_name:
            return self._made([], [])
        rules = self._resolver.rules(name)
        routes = rules.routes_for(self._resolver.caller, HTTP_PORT) if rules is not None else ()
        if not routes:
            return self._made([], [])
        called = Target(name, Port("http", HTTP_PORT, Protocol.HTTP))
        leads = self._resolver.leads(routes, called)
        made = self._memo.get(
            "other", routes, (called, tuple(leads.items())), lambda: external_host(called, [name], routes, leads, None)
        )
        return self._made([(HTTP_PORT, made)], [])

    def seen_ports(self, service: ExternalService) -> Iterator[ExternalPort]:
        """The ports of an external service that these callers know, and that mean something."""
        if service.visible_in and self._resolver.caller.namespace not in service.visible_in:
            return
        for port in service.ports:
            if (port.protocol.is_http or port.protocol in TCP_LIKE) and self._view.sees(
                service.namespace, service.key, port.number
            ):
                yield port

    def _begin(self, *names: str) -> None:
        self._resolver.asked = set(names)

    def _made(self, hosts: list[tuple[int, Host]], places: list[tuple[str, Place]]) -> Unit:
        targets = tuple((target.cluster, target) for _, host in hosts for target in host.targets)
        return Unit(tuple(hosts), tuple(places), frozenset(self._resolver.asked), targets)

    # By request

    def _service(self, service: Service, port: Port) -> Host:
        called = Target(service.hostname, port)
        routes, falls_through = self._routes(service.hostname, port.number) if port.protocol.is_http else ((), True)
        if not routes and not self._world.has_traffic(service.hostname):
            return self._memo.get(
                "host", (service, port), self._view.domain,
                lambda: outbound_host(service, port, (), {}, Led(called), self._view.domain),
            )
        leads = self._resolver.leads(routes, called)
        default = self._resolver.led(called) if falls_through else None
        return self._memo.get(
            "host", (service, port, *routes), (self._view.domain, default, tuple(leads.items())),
            lambda: outbound_host(service, port, routes, leads, default, self._view.domain),
        )

    def _routes(self, host: str, port: int) -> tuple[tuple[Route, ...], bool]:
        """Routes for this caller, and whether what matches none goes to the host itself.

        Where no route of a host's rules is for this caller and port, the rules say nothing.
        """
        rules = self._resolver.rules(host)
        if rules is None:
            return (), True
        routes = rules.routes_for(self._resolver.caller, port)
        return routes, rules.falls_through or not routes

    def _external(self, service: ExternalService, port: ExternalPort) -> Host:
        called = external_target(service, port)
        routes, falls_through = self._routes(service.key, port.number)
        leads = self._resolver.leads(routes, called)
        default = self._resolver.led(called) if falls_through else None
        names = (*service.hosts, *(each for each in service.addresses if "/" not in each))
        return self._memo.get(
            "external", routes, (called, names, default, tuple(leads.items())),
            lambda: external_host(called, names, routes, leads, default),
        )

    # By connection

    def _tcp(self, service: Service, port: Port) -> Place:
        chains, metrics = service_chains(self._resolver, service, port), self._mesh.metrics
        if not chains:
            idle = idle_of(self._resolver, Target(service.hostname, port))
            target, made = self._memo.get(
                "tcp", (service, port), (metrics, idle), lambda: tcp_listener(service, port, metrics, idle)
            )
            return Place(made, () if service.headless else (target,))
        return self.chained(service.address or listeners.ANY, port.number, port.protocol, tuple(chains))

    def chained(self, address: str, number: int, protocol: Protocol, chains: tuple[listeners.Chain, ...]) -> Place:
        """A listener with several filter chains."""
        passed, metrics = self._view.outbound is OutboundPolicy.ALLOW_ANY, self._mesh.metrics
        made = self._memo.get(
            "chains", (), (address, number, protocol, chains, passed, metrics),
            lambda: chained(address, number, protocol, chains, metrics, passed=passed),
        )
        return Place(made, led_to(chains))
