"""What a proxy at the edge of the mesh has: a listener for each port that an Ingress or a Gateway opens.

    80                  always, so that what nothing matches is a 404: Ingress objects and Gateways' servers for HTTP
    443                 Ingress objects with TLS, under the one secret that 0.4 allowed
    any port            servers of Gateways: HTTP; HTTPS, a filter chain for each server's hosts; TLS passed through by
                        the name that is asked for; TCP

Gateways of both of today's APIs are `MeshGateway`s, and routes bound to them `HostRules` that name them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain

from meshlab.mesh.config.labels import NO_LABELS
from meshlab.mesh.config.outside import GatewayServer, MeshGateway, ServerTls
from meshlab.mesh.config.routing import HostRules, PatternKind, Route, TcpMatch, Weighted
from meshlab.mesh.config.services import Port, Protocol
from meshlab.mesh.pilot import listeners
from meshlab.mesh.pilot.destinations import DestinationsBuilder
from meshlab.mesh.pilot.encode import Fields, encode
from meshlab.mesh.pilot.http import added_headers
from meshlab.mesh.pilot.ingress import by_path, ingress_routes, secret_of
from meshlab.mesh.pilot.names import Target
from meshlab.mesh.pilot.policy import asking, checked
from meshlab.mesh.pilot.proxy import Proxy
from meshlab.mesh.pilot.resolve import Resolver
from meshlab.mesh.pilot.routes import destination_routes
from meshlab.mesh.pilot.snapshot import Kind, Resource, Snapshot, resource, table
from meshlab.mesh.pilot.tls import CLIENTS_PROVE, credential_secrets, downstream_tls
from meshlab.mesh.pilot.world import ROOT_NAMESPACE, Mesh, World

__all__ = ["credential_of", "gateway_snapshot", "intersection", "rules_of", "server_problem", "serves"]

HTTP_PORT, HTTPS_PORT = 80, 443
HTTP = ("HTTP", "HTTP2", "GRPC", "GRPC-WEB")


@dataclass
class Table:
    """A route table in the making: routes by Host."""

    hosts: dict[str, list[Fields]] = field(default_factory=dict)
    #: Hosts whose plain requests are sent to HTTPS.
    secured: set[str] = field(default_factory=set)
    targets: dict[Target, None] = field(default_factory=dict)

    def add(self, host: str, routes: Iterable[Fields], targets: Iterable[Target]) -> None:
        self.hosts.setdefault(host, []).extend(routes)
        self.targets.update(dict.fromkeys(targets))

    def resource(self, name: str, proxy: Proxy, mesh: Mesh, *, asks: bool = False) -> Resource:
        """`asks`: Mixer, before anything is let in."""
        listed: list[tuple[bytes, tuple[str, ...]]] = []
        for host, routes in sorted(self.hosts.items()):
            fields: Fields = {"name": f"{host}:{name}", "domains": [host], "routes": routes}
            if host in self.secured:
                fields["require_tls"] = "ALL"
            listed.append((encode("VirtualHost", fields), ()))
        # Whatever port the client thinks it talks to: it may be another one than ours.
        made = table(name, added_headers(proxy, mesh), listed, asking() if asks else None, any_port=True)
        return Resource(made.name, made.parts, made.version, tuple(t.cluster for t in self.targets))


@dataclass
class Listening:
    """A port in the making."""

    chains: list[Fields] = field(default_factory=list)
    #: Route tables and clusters that the chains need.
    tables: list[str] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    #: Whether some chain takes whatever comes.
    plain: bool = False


def gateway_snapshot(
    world: World, proxy: Proxy, mesh: Mesh, resolver: Resolver, builder: DestinationsBuilder, static: frozenset[str]
) -> Snapshot:
    """What the proxy of a gateway should have. `builder` makes the clusters and endpoints of targets."""
    making = _Making(world, proxy, mesh, resolver)
    making.ingresses()
    for gateway in world.gateways:
        if serves(world, proxy, gateway):
            for server in gateway.servers:
                making.server(gateway, server)
    targets: dict[str, Target] = {}
    for listed in [each.targets for each in making.tables.values()], [each.targets for each in making.ports.values()]:
        for target in chain.from_iterable(listed):
            targets.setdefault(target.cluster, target)
    there = builder.build(targets)
    asks = checked(world.checks, proxy.namespace)
    found: dict[str, Resource] = {}
    for port, listening in making.ports.items():
        if not listening.chains:
            continue  # a server for which no rule says anything
        name = f"http_{listeners.ANY}_{port}" if listening.tables else f"tcp_{listeners.ANY}_{port}"
        fields = listeners.gateway(proxy, port, name, listening.chains, mesh)
        leads = tuple(dict.fromkeys(t.cluster for t in listening.targets))
        found[name] = resource(Kind.LISTENER, name, fields, tuple(listening.tables), leads=leads)
    return Snapshot(proxy, {
        Kind.CLUSTER: there.clusters, Kind.ENDPOINTS: there.endpoints, Kind.LISTENER: found,
        Kind.ROUTE: {name: each.resource(name, proxy, mesh, asks=asks) for name, each in making.tables.items()},
        Kind.SECRET: {
            name: resource(Kind.SECRET, name, fields) for credential in sorted(making.credentials)
            for name, fields in credential_secrets(credential, world.secrets[credential]).items()
        },
    }, static)


class _Making:
    """The tables and ports of one gateway's proxy."""

    def __init__(self, world: World, proxy: Proxy, mesh: Mesh, resolver: Resolver) -> None:
        self.world, self.proxy, self.mesh, self.resolver = world, proxy, mesh, resolver
        self.tables: dict[str, Table] = {}
        self.ports: dict[int, Listening] = {}
        #: Secrets, `namespace/name`, whose certificates are shown.
        self.credentials: set[str] = set()
        pod = world.workloads.get(proxy.ip)
        #: Keys are for a proxy that has proved whose it is.
        self.proven = pod is not None and proxy.account == f"{pod.namespace}/{pod.service_account}"

    def ingresses(self) -> None:
        plain, secured = self._plain(HTTP_PORT), Table()
        for rule in self.world.ingress_rules:
            if (found := ingress_routes(self.resolver, rule)) is not None:
                (secured if rule.spec.tls_secret else plain).add(*found)
        for each in (plain, secured):
            for routes in each.hosts.values():
                routes.sort(key=by_path)
        credential = secret_of(self.world)
        if credential in self.world.secrets and secured.hosts and self.proven:
            name = str(HTTPS_PORT)
            self.tables[name] = secured
            chain = listeners.gateway_http(name, self.mesh, self._tls(ServerTls(), credential))
            self.ports[HTTPS_PORT] = Listening([chain], [name], plain=True)

    def _tls(self, tls: ServerTls, credential: str) -> Fields:
        self.credentials.add(credential)
        return downstream_tls(tls, credential)

    def _plain(self, port: int) -> Table:
        """The table of a port that takes HTTP as it comes."""
        name = str(port)
        listening = self.ports.setdefault(port, Listening())
        if name not in self.tables and not listening.plain:
            listening.chains.append(listeners.gateway_http(name, self.mesh))
            listening.tables.append(name)
            listening.plain = True
        return self.tables.setdefault(name, Table())

    def server(self, gateway: MeshGateway, server: GatewayServer) -> None:
        """One port and its hosts; left out with a reason (`server_problem`) where it cannot be served."""
        protocol, tls = server.protocol.upper(), server.tls
        if server_problem(self.world, gateway, server) or (tls is not None and tls.credential and not self.proven):
            return
        if protocol in HTTP and (tls is None or tls.redirect_to_https):
            made = self._plain(server.port)
            for host, routes, targets in self._hosts(gateway, server):
                made.add(host, routes, targets)
            if tls is not None:
                hosts = [host for _, host in server.hosts]
                made.secured.update(hosts)
                for host in hosts:
                    made.hosts.setdefault(host, [])
            return
        listening = self.ports.setdefault(server.port, Listening())
        sni = tuple(dict.fromkeys(host for _, host in server.hosts if host != "*"))
        if any(host == "*" for _, host in server.hosts):
            sni = ()
        if tls is not None and tls.mode in ("PASSTHROUGH", "AUTO_PASSTHROUGH"):
            self._passed(gateway, server, listening)
        elif protocol == "HTTPS" and tls is not None:
            fresh = _new(listening, sni)
            if (not sni and listening.plain) or (sni and not fresh):
                return
            name = f"https.{server.port}.{server.name}.{gateway.name.replace('/', '.')}"
            made = self.tables.setdefault(name, Table())
            for host, routes, targets in self._hosts(gateway, server):
                made.add(host, routes, targets)
            context = self._tls(tls, credential_of(self.world, gateway, tls))
            listening.chains.append(listeners.gateway_http(name, self.mesh, context, fresh))
            listening.tables.append(name)
            listening.plain |= not sni
        else:
            self._connections(gateway, server, listening, sni)

    def _hosts(
        self, gateway: MeshGateway, server: GatewayServer
    ) -> Iterator[tuple[str, list[Fields], tuple[Target, ...]]]:
        """Host, routes and targets of each host that rules route at this server."""
        called = Target("", Port("http", server.port, Protocol.HTTP))
        by_host: dict[str, list[Route]] = {}
        for host, rules in rules_of(self.world, gateway, server):
            by_host.setdefault(host, []).extend(
                rules.routes_for(self.resolver.caller, server.port, gateway.name)
            )
        for host, routes in by_host.items():
            if any(each.origin is not None and each.origin.key.startswith("HTTPRoute/") for each in routes):
                routes.sort(key=_precedence)
            fields, targets = destination_routes(routes, self.resolver.leads(routes, called), None, server.port)
            yield host, fields, targets

    def _passed(self, gateway: MeshGateway, server: GatewayServer, listening: Listening) -> None:
        """TLS that is not decrypted: by the name that is asked for."""
        called = Target("", Port("tls", server.port, Protocol.HTTPS))
        for _, rules in rules_of(self.world, gateway, server):
            for tcp in rules.tcp:
                for match in tcp.matches:
                    if tcp.tls and self._wanted(match, gateway, server) and (sni := _new(listening, match.sni)):
                        self._lead(listening, called, tcp.destinations, sni)

    def _connections(
        self, gateway: MeshGateway, server: GatewayServer, listening: Listening, sni: tuple[str, ...]
    ) -> None:
        called = Target("", Port("tcp", server.port, Protocol.TCP))
        tls = None
        if server.tls is not None:
            tls = self._tls(server.tls, credential_of(self.world, gateway, server.tls))
        for _, rules in rules_of(self.world, gateway, server):
            for tcp in rules.tcp:
                if not tcp.tls and not listening.plain and any(
                    self._wanted(match, gateway, server) for match in tcp.matches or (TcpMatch(),)
                ):
                    self._lead(listening, called, tcp.destinations, sni if tls else (), tls)
                    listening.plain = True

    def _lead(
        self, listening: Listening, called: Target, weighted: Iterable[Weighted], sni: tuple[str, ...],
        tls: Fields | None = None,
    ) -> None:
        to = [(self.resolver.target(each.destination, called), each.weight) for each in weighted]
        if to:
            listening.chains.append(listeners.gateway_tcp(to, sni, tls))
            listening.targets += [target for target, _ in to]

    @staticmethod
    def _wanted(match: TcpMatch, gateway: MeshGateway, server: GatewayServer) -> bool:
        return match.port in (0, server.port) and (not match.gateways or gateway.name in match.gateways)


def _new(listening: Listening, names: Iterable[str]) -> tuple[str, ...]:
    """Server names that no chain of the port has yet: Envoy refuses a listener where two have the same."""
    taken = {n for chain in listening.chains for n in chain.get("filter_chain_match", {}).get("server_names", ())}
    return tuple(each for each in names if each not in taken)


def serves(world: World, proxy: Proxy, gateway: MeshGateway) -> bool:
    """Whether this proxy is that gateway: its pod has the labels that the Gateway selects."""
    pod = world.workloads.get(proxy.ip)
    return gateway.chooses(pod.labels if pod is not None else NO_LABELS)


def credential_of(world: World, gateway: MeshGateway, tls: ServerTls) -> str:
    """`namespace/name` of a server's secret: a mere name is one in the namespace of the gateway's pods."""
    if "/" in tls.credential:
        return tls.credential
    own = (pod.namespace for pod in world.workloads.values() if gateway.chooses(pod.labels))
    return f"{next(own, ROOT_NAMESPACE)}/{tls.credential}"


def server_problem(world: World, gateway: MeshGateway, server: GatewayServer) -> str:
    """Why a server of a Gateway is not served, "" if it is."""
    tls, protocol = server.tls, server.protocol.upper()
    if server.refused:
        return server.refused
    if tls is None or tls.mode in ("PASSTHROUGH", "AUTO_PASSTHROUGH") or (
        protocol in HTTP and tls.redirect_to_https
    ):
        return "" if protocol not in ("HTTPS", "TLS") or tls is not None else f"{protocol} without tls"
    if tls.mode == "ISTIO_MUTUAL":
        return "ISTIO_MUTUAL is not served at gateways"
    if not tls.credential:
        return "certificates come from a secret (credentialName)"
    credential = credential_of(world, gateway, tls)
    if credential not in world.secrets:
        return f"there is no secret {credential} with a certificate and a key"
    if tls.mode in CLIENTS_PROVE and not world.secrets[credential].authority:
        return f"mode {tls.mode} needs an authority for clients: ca.crt in the secret {credential}"
    return ""


def rules_of(world: World, gateway: MeshGateway, server: GatewayServer) -> Iterator[tuple[str, HostRules]]:
    """(host, rules) of what is bound to this gateway, for each host that the server takes, too."""
    for rules in world.rules.gateway_rules:
        if gateway.name not in rules.gateways and f"{gateway.name}/{server.name}" not in rules.gateways:
            continue
        for host in rules.hosts:
            for pattern in server.hosts_for(rules.namespace, world.namespaces):
                if common := intersection(host, pattern):
                    yield common, rules
                    break


def intersection(one: str, other: str) -> str:
    """The narrower of two hosts, of which either may be a wildcard; "" if they have nothing in common.

    >>> intersection("*", "a.com"), intersection("*.com", "a.com"), intersection("a.com", "b.com")
    ('a.com', 'a.com', '')
    """
    if one == other:
        return one
    for wide, narrow in ((one, other), (other, one)):
        if wide == "*" or (wide.startswith("*") and narrow.endswith(wide[1:])):
            return narrow
    return ""


def _precedence(route: Route) -> tuple[int, int, int, int, int]:
    """Of HTTPRoutes: exact paths, longer prefixes, a method, more headers, more query parameters."""
    match = route.match
    order = {PatternKind.EXACT: 0, PatternKind.SEGMENTS: 1, PatternKind.PREFIX: 1}.get(match.path.kind, 2)
    method = any(each.name == ":method" for each in match.headers)
    return order, -len(match.path.value), -int(method), -len(match.headers), -len(match.query)
