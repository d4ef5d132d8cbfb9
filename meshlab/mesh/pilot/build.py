"""A World and a Proxy to a Snapshot: pure, and remembered piece by piece.

What proxies have in common (see `outbound`) is made once for all of them; of that, only what a change touches.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from meshlab.mesh.config.labels import NO_LABELS
from meshlab.mesh.config.outside import OutboundPolicy, SidecarScope
from meshlab.mesh.config.services import Instance
from meshlab.mesh.config.telemetry import effective
from meshlab.mesh.config.traffic import NO_TRAFFIC, ClientTls, Policy
from meshlab.mesh.pilot import listeners
from meshlab.mesh.pilot.clusters import original_destination, outbound_cluster, passthrough
from meshlab.mesh.pilot.endpoints import load_assignment
from meshlab.mesh.pilot.gateways import gateway_snapshot
from meshlab.mesh.pilot.http import MIXER_CLUSTER, STANDARD_OUTPUT, TRACING_CLUSTER, added_headers
from meshlab.mesh.pilot.inbound import inbound
from meshlab.mesh.pilot.memo import Memo
from meshlab.mesh.pilot.mutual import server_name
from meshlab.mesh.pilot.names import ORIGINAL_DESTINATION, PASSTHROUGH, Target
from meshlab.mesh.pilot.outbound import OutboundBuilder, View
from meshlab.mesh.pilot.proxy import Proxy, Role
from meshlab.mesh.pilot.resolve import Resolver
from meshlab.mesh.pilot.secrets import secrets
from meshlab.mesh.pilot.security import PLAIN_CALLING, Calling, How, Security
from meshlab.mesh.pilot.snapshot import Kind, Resource, Snapshot, resource
from meshlab.mesh.pilot.stats import described, page
from meshlab.mesh.pilot.world import ROOT_NAMESPACE, Mesh, World

__all__ = ["Builder", "scope_of"]

STATIC = frozenset({MIXER_CLUSTER, TRACING_CLUSTER, listeners.BLACK_HOLE_CLUSTER})
Named = dict[str, Resource]


class Builder:
    """Makes snapshots and remembers their pieces from one World to the next. Not for several threads."""

    def __init__(self) -> None:
        self.memo = Memo()
        #: While ports begin or cease to take mutual TLS (see `transition`): those that take both for now, and by what
        #: callers still go.
        self.moving: frozenset[tuple[str, int]] = frozenset()
        self.callers: Security | None = None

    def snapshot(self, world: World, proxy: Proxy) -> Snapshot:
        """What `proxy` should have in `world`."""
        found = self._routing(world, proxy)
        certificate = world.security.certificates.get(proxy.account)
        if certificate is None:
            return found
        own = self.memo.get("secrets", (certificate,), None, lambda: {
            name: resource(Kind.SECRET, name, fields) for name, fields in secrets(certificate).items()
        })
        return replace(found, resources={**found.resources, Kind.SECRET: own})

    def _routing(self, world: World, proxy: Proxy) -> Snapshot:
        """Everything but secrets."""
        resolver = Resolver(world, world.caller(proxy.ip, proxy.namespace))
        mesh = self._mesh(world, proxy)
        if proxy.role is Role.INGRESS:
            return gateway_snapshot(
                world, proxy, mesh, resolver, lambda targets: self.clusters(resolver, targets, proxy.account), STATIC
            )
        here = world.at(proxy.ip)
        view = self._view(world, proxy, resolver)
        shared = self.memo.get(
            "outbound", (mesh, world.services, world.rules), view,
            lambda: OutboundBuilder(self.memo, resolver, view, mesh).build(),
        )
        security = self.callers or world.security
        # The same for all sidecars of one view and account.
        together, endpoints = self.memo.get(
            "clusters", (shared, world.instances, world.mesh, security, world.telemetry, world.sidecars),
            proxy.account if security.in_use else "",
            lambda: self.clusters(resolver, shared.targets, proxy.account),
        )
        clusters = dict(together)
        own = inbound(world, proxy, here, mesh, view.scope, moving=self.moving)
        clusters |= own.clusters
        found = dict(own.listeners)
        for address, each in shared.listeners:
            found.setdefault(address, each)
        passed = view.outbound is OutboundPolicy.ALLOW_ANY
        if passed:
            clusters[PASSTHROUGH] = resource(Kind.CLUSTER, PASSTHROUGH, passthrough(mesh))
        found[""] = resource(Kind.LISTENER, "virtual", listeners.virtual(proxy, mesh, passed=passed))
        if mesh.metrics is not None:
            shown = page(proxy.ip)
            found["stats"] = resource(Kind.LISTENER, shown["name"], shown)
        headers = added_headers(proxy, mesh)
        routes = own.routes
        for port, body in shared.bodies.items():
            routes[str(port)] = body.table(str(port), headers)
        return Snapshot(proxy, {
            Kind.CLUSTER: clusters, Kind.ENDPOINTS: endpoints,
            Kind.LISTENER: {each.name: each for each in found.values()}, Kind.ROUTE: routes,
        }, STATIC)

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
        base = world.mesh
        log = base.access_log if client is None else (base.access_log or STANDARD_OUTPUT) if client else ""
        return self.memo.get("mesh", (base,), (said.metrics, *told), lambda: replace(
            base, metrics=said.metrics, access_log=log, sampling=base.sampling if out is None else out,
            inbound_sampling=base.sampling if into is None else into,
            inbound_log=bool(base.access_log) if server is None else server,
        ))

    def _calling(
        self, security: Security, target: Target, instances: tuple[Instance, ...], account: str, tls: ClientTls | None
    ) -> Calling:
        """How the sidecars of `account` connect to a target inside the mesh."""
        sni = server_name(target.hostname, target.port.number)
        return self.memo.get(
            "calling", (security, instances), (target, account, tls),
            lambda: security.calling(account, target.hostname, target.port, instances, tls, sni),
        )

    def _marked(self, world: World, instances: tuple[Instance, ...]) -> frozenset[tuple[str, int]]:
        security = self.callers or world.security
        if not security.automatic:
            return frozenset()
        return self.memo.get(
            "marked", (security, instances, world.sidecars), None,
            lambda: security.marked(instances, world.sidecars),
        )

    def clusters(self, resolver: Resolver, targets: Iterable[Target], account: str = "") -> tuple[Named, Named]:
        """Clusters of these targets and their endpoints, for the sidecars of a service account."""
        clusters: Named = {}
        endpoints: Named = {}
        world = resolver.world
        external = {s.hostname: s.external_name for s in world.services if s.external_name}
        headless = any(s.headless for s in world.services)
        counted = any(each.metrics is not None for each in world.telemetry)
        for target in {id(t): t for t in targets}.values():
            policy = resolver.policy(target) if world.has_traffic(target.hostname) else None
            outside = world.outside_by_name.get(target.hostname) if target.external else None
            name = external.get(target.hostname, "")
            instances = () if target.missing else world.instances.get(target.hostname, ())
            calling = PLAIN_CALLING
            security = self.callers or world.security
            if not (target.external or name) and security.in_use:
                tls = policy.traffic.tls if policy is not None else None
                calling = self._calling(security, target, instances, account, tls)
            made = self.memo.get(
                "cluster", (target, world.mesh, policy, outside), (name, calling),
                lambda t=target, p=policy, o=outside or name, c=calling: resource(  # type: ignore[misc]
                    Kind.CLUSTER, t.cluster,
                    outbound_cluster(t, world.mesh, p.traffic if p is not None else NO_TRAFFIC, o, c),
                    () if o or _chosen_by_caller(p) else (t.key,), secured=c.how is not How.PLAIN,
                ),
            )
            if made.name in clusters:
                continue
            clusters[made.name] = made
            if made.needs:
                marked = self._marked(world, instances)
                found = self.memo.get("endpoints", (target, instances, world.mesh), (marked, counted),
                                      lambda t=target, i=instances, m=marked: resource(  # type: ignore[misc]
                    Kind.ENDPOINTS, t.key, described(
                        load_assignment(t, i, world.mesh.low_port_start, m), i if counted else (),
                        world.mesh.low_port_start,
                    )
                ))
                endpoints[found.name] = found
        if headless:
            clusters[ORIGINAL_DESTINATION] = resource(
                Kind.CLUSTER, ORIGINAL_DESTINATION, original_destination(world.mesh)
            )
        return clusters, endpoints


def _chosen_by_caller(policy: Policy | None) -> bool:
    """Whether a policy leaves the endpoint to the application: there are none to discover then."""
    balancer = policy.traffic.balancer if policy is not None else None
    return balancer is not None and balancer.name == "PASSTHROUGH"


def scope_of(world: World, proxy: Proxy) -> SidecarScope | None:
    """The Sidecar object for a pod: one that selects it, else its namespace's, else the root namespace's."""
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
    return everybody or root
