"""What callers of one namespace to whom the same rules apply have in common: everything outbound.

Made once for all of them; of that, only the virtual hosts, listeners and clusters whose inputs changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from meshlab.mesh.config.outside import ExternalPort, ExternalService, OutboundPolicy, SidecarScope
from meshlab.mesh.config.routing import MESH, Destination, HostRules, Route, Source, TcpMatch, TcpRoute
from meshlab.mesh.config.services import Port, Protocol, Service
from meshlab.mesh.pilot import listeners
from meshlab.mesh.pilot.encode import Fields, decode, duration, embed, encode
from meshlab.mesh.pilot.listeners import Chain
from meshlab.mesh.pilot.memo import Memo
from meshlab.mesh.pilot.names import ORIGINAL_DESTINATION, PASSTHROUGH, Target
from meshlab.mesh.pilot.resolve import Resolver, external_target
from meshlab.mesh.pilot.routes import Host, Led, external_host, outbound_host
from meshlab.mesh.pilot.snapshot import Kind, Resource, digest, resource
from meshlab.mesh.pilot.stats import Metrics, tcp_stats
from meshlab.mesh.pilot.world import Mesh

__all__ = ["Outbound", "OutboundBuilder", "View", "distinct"]

TCP_LIKE = (Protocol.TCP, Protocol.HTTPS, Protocol.MONGO, Protocol.REDIS)
Named = dict[str, Resource]
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


@dataclass(frozen=True, eq=False)
class Body:
    """A route table's virtual hosts, joined and digested once for all proxies that have them."""

    data: bytes
    digest: bytes
    needs: tuple[str, ...]

    @classmethod
    def of(cls, hosts: Iterable[Host]) -> Body:
        listed = list(hosts)
        data = embed(2, (host.data for host in listed))
        needs = dict.fromkeys(target.cluster for host in listed for target in host.targets)
        return cls(data, digest((data,)).encode(), tuple(needs))

    def table(self, name: str, headers: list[Fields]) -> Resource:
        """The table of one proxy, whose headers are its own."""
        head = encode("RouteConfiguration", {"name": name, "request_headers_to_add": headers})
        return Resource(name, head + self.data, digest((head, self.digest)), self.needs)


@dataclass(frozen=True, eq=False)
class Outbound:
    """Virtual hosts, listeners by place, and where they lead."""


    #: Route tables without what differs from proxy to proxy, by port.
    bodies: Mapping[int, Body]
    listeners: tuple[tuple[str, Resource], ...]
    targets: tuple[Target, ...]


class OutboundBuilder:
    """Makes one Outbound. `resolver` is of any caller with this view."""

    def __init__(self, memo: Memo, resolver: Resolver, view: View, mesh: Mesh) -> None:
        self._memo, self._resolver, self._view, self._mesh = memo, resolver, view, mesh
        self._world, self._caller = resolver.world, resolver.caller
        self._hosts: dict[int, list[Host]] = {}
        self._found: Named = {}
        self._targets: list[Target] = []
        #: Port → connections to external services, which share their listener with requests on that port.
        self._pending: dict[int, tuple[Protocol, tuple[Chain, ...]]] = {}

    def build(self) -> Outbound:
        for service in self._world.services:
            for port in service.ports:
                if not self._sees(service.namespace, service.hostname, port.number):
                    continue
                if port.protocol.is_http or (port.protocol is Protocol.HTTPS and service.external_name):
                    self._hosts.setdefault(port.number, []).append(self._service(service, port))
                elif port.protocol in TCP_LIKE and not service.external_name:
                    self._tcp(service, port)
        self._outside_tcp()
        for outside, external in self._outside(http=True):
            self._hosts.setdefault(external.number, []).append(self._external(outside, external))
        self._others()
        for number in sorted({*self._hosts, *self._pending}):
            self._shared(number)
        last = self._memo.get("unknown", (), self._view.outbound, lambda: _unknown(self._view.outbound))
        kept = {
            number: distinct([*listed, last] if last is not None else listed) for number, listed in self._hosts.items()
        }
        self._targets += [t for listed in kept.values() for host in listed for t in host.targets]
        bodies = {number: Body.of(listed) for number, listed in kept.items()}
        return Outbound(bodies, tuple(self._found.items()), tuple(self._targets))

    def _shared(self, number: int) -> None:
        """The listener for any address on a port: connections by address or name, and everything else as HTTP.

        In 0.4.0 one TCP egress rule on port 80 closed that port for all requests; that is not done again.
        """
        place = f"{listeners.ANY}:{number}"
        protocol, chains = self._pending.get(number, (Protocol.TCP, ()))
        if number not in self._hosts:
            self._listen(listeners.ANY, number, protocol, list(chains), place)
            return
        chains = tuple(chain for chain in chains if chain.networks or chain.sni)
        targets = [t for chain in chains for t, _ in chain.to if isinstance(t, Target)]
        metrics = self._mesh.metrics
        logs = tcp_stats(metrics, inbound=False) if chains and metrics is not None else []
        made = self._memo.get("http", (self._mesh,), (number, chains), lambda: resource(
            Kind.LISTENER, f"http_{listeners.ANY}_{number}",
            listeners.outbound_http(number, self._mesh, chains, logs), (str(number),),
            leads=tuple(t.cluster for t in targets),
        ))
        if self._found.setdefault(place, made) is made:
            self._targets += targets

    def _sees(self, namespace: str, host: str, port: int) -> bool:
        return self._view.scope is None or self._view.scope.sees(namespace, host, port)

    # By request

    def _service(self, service: Service, port: Port) -> Host:
        called = Target(service.hostname, port)
        routes, falls_through = self._routes(service.hostname, port) if port.protocol.is_http else ((), True)
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

    def _routes(self, host: str, port: Port) -> tuple[tuple[Route, ...], bool]:
        """Routes for this caller, and whether what matches none goes to the host itself.

        Where no route of a host's rules is for this caller and port, the rules say nothing.
        """
        rules = self._world.rules_for(host, self._caller)
        if rules is None:
            return (), True
        routes = rules.routes_for(self._caller, port.number)
        return routes, rules.falls_through or not routes

    def _external(self, service: ExternalService, port: ExternalPort) -> Host:
        called = external_target(service, port)
        routes, falls_through = self._routes(service.key, called.port)
        leads = self._resolver.leads(routes, called)
        default = self._resolver.led(called) if falls_through else None
        names = (*service.hosts, *(each for each in service.addresses if "/" not in each))
        return self._memo.get(
            "external", routes, (called, names, default, tuple(leads.items())),
            lambda: external_host(called, names, routes, leads, default),
        )

    def _others(self) -> None:
        """Hosts that rules route although no service has them: on port 80, as istiod does it."""
        for name, listed in self._world.rules.hosts.items():
            if name.startswith("*") or listed[0].falls_through or self._known(name):
                continue
            rules = self._world.rules_for(name, self._caller)
            routes = rules.routes_for(self._caller, HTTP_PORT) if rules is not None else ()
            if not routes:
                continue
            called = Target(name, Port("http", HTTP_PORT, Protocol.HTTP))
            leads = self._resolver.leads(routes, called)
            self._hosts.setdefault(HTTP_PORT, []).append(self._memo.get(
                "other", routes, (called, tuple(leads.items())),
                lambda c=called, n=name, r=routes, to=leads: external_host(c, [n], r, to, None),  # type: ignore[misc]
            ))

    def _known(self, name: str) -> bool:
        return self._world.service(name) is not None or name in self._world.outside_by_name

    # By connection

    def _tcp(self, service: Service, port: Port) -> None:
        """A listener on the cluster IP; headless services share one on any address."""
        address = service.address or listeners.ANY
        place = f"{address}:{port.number}"
        if place in self._found:
            return
        called = Target(service.hostname, port)
        rules = None if service.headless else self._world.rules_for(service.hostname, self._caller)
        wanted = tuple(self._connections(rules, port.number)) if rules is not None else ()
        if not wanted:
            target, made = self._memo.get(
                "tcp", (service, port), self._mesh.metrics,
                lambda: _tcp_listener(service, port, metrics=self._mesh.metrics),
            )
            if not service.headless:
                self._targets.append(target)
            self._found[place] = made
            return
        chains = [self._chain(route, match, called) for route, match in wanted]
        if all(chain.sni or chain.networks for chain in chains):
            chains.append(Chain(((called, 0),)))
        self._listen(address, port.number, port.protocol, chains, place)

    def _listen(self, address: str, number: int, protocol: Protocol, chains: list[Chain], place: str) -> None:
        passed = self._view.outbound is OutboundPolicy.ALLOW_ANY
        made = self._memo.get(
            "chains", (), (address, number, protocol, tuple(chains), passed, self._mesh.metrics),
            lambda: _chained(address, number, protocol, chains, passed, metrics=self._mesh.metrics),
        )
        if self._found.setdefault(place, made) is made:
            self._targets += [t for chain in chains for t, _ in chain.to if isinstance(t, Target)]

    def _connections(self, rules: HostRules, number: int) -> Iterator[tuple[TcpRoute, TcpMatch]]:
        """Each match of a host's TCP routes that is for this caller and port, up to the first that holds always."""
        for route in rules.tcp:
            for match in route.matches or (TcpMatch(),):
                if match.port not in (0, number) or not self._caller.is_one_of(match.source):
                    continue
                if match.gateways and MESH not in match.gateways:
                    continue
                yield route, match
                if not match.sni and not match.destinations:
                    return

    def _chain(self, route: TcpRoute, match: TcpMatch, called: Target) -> Chain:
        leads = {w.destination: self._resolver.target(w.destination, called) for w in route.destinations}
        return Chain(tuple((leads[w.destination], w.weight) for w in route.destinations), match.destinations, match.sni)

    def _outside_tcp(self) -> None:
        ports: dict[int, list[tuple[ExternalService, ExternalPort]]] = {}
        for service, port in self._outside(http=False):
            ports.setdefault(port.number, []).append((service, port))
        for number, wanted in ports.items():
            taken: set[str] = set()
            chains: list[Chain] = []
            for service, port in wanted:
                chains += self._external_chains(service, port, taken)
            # One chain takes what no other takes, and must be the only one of its kind.
            anything = [chain for chain in chains if not chain.networks and not chain.sni]
            chains = [chain for chain in chains if chain.networks or chain.sni] + anything[:1]
            if chains:
                self._pending[number] = (wanted[0][1].protocol, tuple(chains))

    def _external_chains(self, service: ExternalService, port: ExternalPort, taken: set[str]) -> Iterator[Chain]:
        """By address, else (TLS) by the name that is asked for, else everything on that port."""
        called = external_target(service, port)
        target = self._resolver.target(Destination(service.key), called)
        rules = self._world.rules_for(service.key, self._caller)
        routed = {
            match.sni: self._chain(route, match, called).to
            for route, match in (self._connections(rules, port.number) if rules is not None else ())
        }
        networks = [f"{r['address_prefix']}/{r['prefix_len']['value']}" for r in listeners.ranges(service.addresses)]
        fresh = tuple(each for each in networks if each not in taken)
        taken.update(fresh)
        to = routed.get((), ((target, 0),))
        names = tuple(each for each in service.hosts if port.protocol is Protocol.HTTPS and each not in taken)
        taken.update(names)
        for sni, elsewhere in routed.items():
            if sni and not service.addresses:
                names = tuple(each for each in names if each not in sni)
                yield Chain(elsewhere, (), sni)
        if fresh:
            yield Chain(to, fresh)
        elif names and not networks:
            yield Chain(to, (), names)
        elif not networks and not service.hosts:
            return
        elif not networks and port.protocol is not Protocol.HTTPS:
            yield Chain(to)

    def _outside(self, *, http: bool) -> Iterable[tuple[ExternalService, ExternalPort]]:
        """Each port that is routed by request, or each that is not."""
        for service in self._world.outside:
            if service.visible_in and self._caller.namespace not in service.visible_in:
                continue
            for port in service.ports:
                if port.protocol.is_http is http and (http or port.protocol in TCP_LIKE) and self._sees(
                    service.namespace, service.key, port.number
                ):
                    yield service, port


def distinct(hosts: Iterable[Host]) -> tuple[Host, ...]:
    """Virtual hosts without the domains that an earlier one has: Envoy refuses the whole table for one twin."""
    seen: set[str] = set()
    kept: list[Host] = []
    for host in hosts:
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


def _tcp_listener(service: Service, port: Port, *, metrics: Metrics) -> tuple[Target, Resource]:
    target = Target(service.hostname, port)
    to = ORIGINAL_DESTINATION if service.headless else target
    address = listeners.ANY if service.headless else service.address
    return target, _chained(address, port.number, port.protocol, [Chain(((to, 0),))], False, metrics=metrics)


def _chained(
    address: str, number: int, protocol: Protocol, chains: list[Chain], passed: bool, *, metrics: Metrics
) -> Resource:
    logs = tcp_stats(metrics, inbound=False) if metrics is not None else []
    fields = listeners.outbound_tcp(address, number, protocol, chains, passed=passed, logs=logs)
    leads = tuple(t.cluster if isinstance(t, Target) else t for chain in chains for t, _ in chain.to)
    return resource(Kind.LISTENER, fields["name"], fields, leads=leads)
