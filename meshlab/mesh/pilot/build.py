"""A World and a Proxy to a Snapshot: pure, and remembered piece by piece.

What proxies have in common (see `shared`) is made once for all of them; of that, only what a change touches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from meshlab.mesh.config.labels import NO_LABELS
from meshlab.mesh.config.outside import OutboundPolicy, SidecarScope
from meshlab.mesh.config.routing import HostRules
from meshlab.mesh.config.telemetry import effective
from meshlab.mesh.pilot import listeners
from meshlab.mesh.pilot.clusters import passthrough
from meshlab.mesh.pilot.destinations import DestinationsBuilder
from meshlab.mesh.pilot.gateways import gateway_snapshot
from meshlab.mesh.pilot.http import MIXER_CLUSTER, STANDARD_OUTPUT, TRACING_CLUSTER, added_headers
from meshlab.mesh.pilot.inbound import Inbound, InboundTable, inbound
from meshlab.mesh.pilot.memo import Memo
from meshlab.mesh.pilot.names import PASSTHROUGH
from meshlab.mesh.pilot.proxy import Proxy, Role
from meshlab.mesh.pilot.resolve import Resolver
from meshlab.mesh.pilot.routes import inbound_host
from meshlab.mesh.pilot.secrets import secrets
from meshlab.mesh.pilot.security import Security
from meshlab.mesh.pilot.shared import Shared
from meshlab.mesh.pilot.snapshot import Kind, Resource, Snapshot, resource
from meshlab.mesh.pilot.statspage import page
from meshlab.mesh.pilot.units import View
from meshlab.mesh.pilot.world import ROOT_NAMESPACE, Mesh, World

__all__ = ["Builder", "scope_of"]

STATIC = frozenset({MIXER_CLUSTER, TRACING_CLUSTER, listeners.BLACK_HOLE_CLUSTER})


class Builder:
    """Makes snapshots and remembers their pieces from one World to the next. Not for several threads."""

    def __init__(self) -> None:
        self.memo = Memo()
        #: While ports begin or cease to take mutual TLS (see `transition`): those that take both for now, and by what
        #: callers still go.
        self.moving: frozenset[tuple[str, int]] = frozenset()
        self.callers: Security | None = None
        self._shared: Shared | None = None

    def snapshot(self, world: World, proxy: Proxy) -> Snapshot:
        """What `proxy` should have in `world`."""
        if self._shared is None or self._shared.world is not world:
            self._shared = Shared(self.memo, world, self._shared)
        found = self._routing(world, proxy, self._shared)
        certificate = world.security.certificates.get(proxy.account)
        if certificate is None:
            return found
        own = self.memo.get("secrets", (certificate,), None, lambda: {
            name: resource(Kind.SECRET, name, fields) for name, fields in secrets(certificate).items()
        })
        if hosts := found.of(Kind.SECRET):
            own = {**hosts, **own}
        return replace(found, resources={**found.resources, Kind.SECRET: own})

    def _routing(self, world: World, proxy: Proxy, shared: Shared) -> Snapshot:
        """Everything but the proxy's own secrets."""
        resolver = Resolver(world, world.caller(proxy.ip, proxy.namespace))
        mesh = self._mesh(world, proxy)
        security = self.callers or world.security
        account = proxy.account if security.in_use else ""
        counted = any(each.metrics is not None for each in world.telemetry)
        if proxy.role is Role.INGRESS:
            builder = DestinationsBuilder(self.memo, resolver, security, account, counted=counted)
            return gateway_snapshot(world, proxy, mesh, resolver, builder, STATIC)
        view = self._view(world, proxy, resolver)
        outbound = shared.outbound(resolver, mesh, view)
        there = shared.destinations(resolver, mesh, view, security, account, counted=counted)
        own = self._inbound(world, proxy, mesh, view)
        passed = view.outbound is OutboundPolicy.ALLOW_ANY
        # Kinds of which nothing changed stay the same objects: whoever compares is done at once.
        clusters = self.memo.get("clusters", (there.clusters, own.clusters, mesh), passed, lambda: {
            **there.clusters, **own.clusters, **(_passing(mesh) if passed else {})
        })
        found = self.memo.get("listeners", (outbound.listeners, own.listeners, mesh), (proxy, passed), lambda: {
            each.name: each for each in
            (*{**outbound.listeners, **own.listeners}.values(), *_ends(proxy, mesh, passed=passed))
        })
        headers = self.memo.get("headers", (mesh,), proxy, lambda: added_headers(proxy, mesh))
        routes = self._inbound_routes(world, proxy, own)
        for port, body in outbound.bodies.items():
            routes[str(port)] = self.memo.get(
                "table", (body, headers), port, lambda b=body, p=port: b.table(str(p), headers)  # type: ignore[misc]
            )
        return Snapshot(proxy, {
            Kind.CLUSTER: clusters, Kind.ENDPOINTS: there.endpoints, Kind.LISTENER: found, Kind.ROUTE: routes,
        }, STATIC)

    def _inbound(self, world: World, proxy: Proxy, mesh: Mesh, view: View) -> Inbound:
        """What the pod itself takes in; the same as long as nothing that concerns the pod changes."""
        here, pod = world.at(proxy.ip), world.workloads.get(proxy.ip)
        moving = frozenset(each for each in self.moving if each[0] == proxy.ip)
        keys = world.services if world.security.tokens else None
        return self.memo.get(
            "inbound", (here, mesh, world.security, world.checks, keys),
            (proxy, pod, view.scope, world.management.get(proxy.ip), moving),
            lambda: inbound(world, proxy, here, mesh, view.scope, moving=moving),
        )

    def _inbound_routes(self, world: World, proxy: Proxy, own: Inbound) -> dict[str, Resource]:
        """Route tables of the pod's own ports, with the rules of its services: for websockets and decorators."""
        names = dict.fromkeys(each.service.hostname for each in world.at(proxy.ip))
        rules = tuple(each for host in names for each in world.rules.hosts.get(host, ())[:1])
        return {name: self._inbound_table(own, name, made, rules) for name, made in own.tables.items()}

    def _inbound_table(self, own: Inbound, name: str, made: InboundTable, rules: tuple[HostRules, ...]) -> Resource:
        host = self.memo.get(
            "inbound host", rules, (made.port, made.number), lambda: inbound_host(made.port, made.number, rules)
        )
        return self.memo.get("inbound table", (own, host), name, lambda: made.resource(host))

    def _view(self, world: World, proxy: Proxy, resolver: Resolver) -> View:
        hidden = frozenset(each for each in world.sources if not resolver.caller.is_one_of(each))
        scope = scope_of(world, proxy)
        outbound = scope.outbound if scope is not None else OutboundPolicy.UNSET
        if outbound is OutboundPolicy.UNSET:
            outbound = world.mesh.outbound
        return View(proxy.domain, hidden, scope, outbound)

    def _mesh(self, world: World, proxy: Proxy) -> Mesh:
        """The mesh's settings, with what Telemetry objects say of this pod."""
        if not world.telemetry:
            return world.mesh
        pod = world.workloads.get(proxy.ip)
        said = effective(world.telemetry, proxy.namespace, pod.labels if pod is not None else NO_LABELS, ROOT_NAMESPACE)
        told = (said.logs("CLIENT"), said.logs("SERVER"), said.sampling("CLIENT"), said.sampling("SERVER"))
        if said.metrics is None and all(each is None for each in told):
            return world.mesh
        client, server, out, into = told
        filters = said.log_filter("CLIENT"), said.log_filter("SERVER")
        base = world.mesh
        log = base.access_log if client is None else (base.access_log or STANDARD_OUTPUT) if client else ""
        return self.memo.get("mesh", (base,), (said.metrics, *told, *filters), lambda: replace(
            base, metrics=said.metrics, access_log=log, log_filters=filters,
            sampling=base.sampling if out is None else out,
            inbound_sampling=base.sampling if into is None else into,
            inbound_log=bool(base.access_log) if server is None else server,
        ))


def _passing(mesh: Mesh) -> dict[str, Resource]:
    """The cluster of destinations that the mesh does not know."""
    return {PASSTHROUGH: resource(Kind.CLUSTER, PASSTHROUGH, passthrough(mesh))}


def _ends(proxy: Proxy, mesh: Mesh, *, passed: bool) -> Iterator[Resource]:
    """The listeners that lead to no service: where connections are captured, and the page of metrics."""
    yield resource(Kind.LISTENER, "virtual", listeners.virtual(proxy, mesh, passed=passed))
    if mesh.metrics is not None:
        fields = page(proxy.ip)
        yield resource(Kind.LISTENER, fields["name"], fields)


def scope_of(world: World, proxy: Proxy) -> SidecarScope | None:
    """The Sidecar object for a pod: one that selects it, else its namespace's, else the root namespace's.

    `.` in that of the root namespace is the namespace of the pod.
    """
    pod = world.workloads.get(proxy.ip)
    everybody: SidecarScope | None = None
    root: SidecarScope | None = None
    for each in world.scopes:
        if each.namespace == proxy.namespace:
            if not each.selector:
                everybody = everybody or each
            elif pod is not None and each.selector.subset_of(pod.labels):
                return each
        elif each.namespace == ROOT_NAMESPACE and not each.selector:
            root = root or each
    return everybody or (replace(root, namespace=proxy.namespace) if root is not None else None)
