"""A World and a Proxy to a Snapshot: pure, and remembered piece by piece.

What proxies have in common (everything outbound, for callers of one namespace to whom the same rules apply) is
made once for all of them; of that, only the virtual hosts, clusters and endpoints whose inputs changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from meshlab.mesh.config.model import Config, EgressRule, RouteRule
from meshlab.mesh.config.names import resolve_hostname
from meshlab.mesh.config.order import match_source
from meshlab.mesh.config.services import Instance, Port, Protocol, Service
from meshlab.mesh.pilot import listeners
from meshlab.mesh.pilot.clusters import inbound_cluster, original_destination, outbound_cluster, policy_for
from meshlab.mesh.pilot.encode import Fields, decode
from meshlab.mesh.pilot.endpoints import load_assignment
from meshlab.mesh.pilot.http import MIXER_CLUSTER, TRACING_CLUSTER, added_headers
from meshlab.mesh.pilot.ingress import ingress_snapshot
from meshlab.mesh.pilot.memo import Memo
from meshlab.mesh.pilot.names import ORIGINAL_DESTINATION, Target
from meshlab.mesh.pilot.policy import asking, checked
from meshlab.mesh.pilot.proxy import Proxy, Role
from meshlab.mesh.pilot.routes import Host, egress_host, inbound_host, outbound_host
from meshlab.mesh.pilot.snapshot import Kind, Resource, Snapshot, resource, table
from meshlab.mesh.pilot.world import World

__all__ = ["Builder", "egress_port"]

STATIC = frozenset({MIXER_CLUSTER, TRACING_CLUSTER, listeners.BLACK_HOLE_CLUSTER})
TCP_LIKE = (Protocol.TCP, Protocol.HTTPS, Protocol.MONGO, Protocol.REDIS)
Named = dict[str, Resource]


@dataclass(frozen=True, eq=False)
class Outbound:
    """What callers of one namespace share: virtual hosts by port, listeners, and where they lead."""

    hosts: Mapping[int, tuple[Host, ...]]
    listeners: tuple[tuple[str, Resource], ...]
    targets: tuple[Target, ...]


class Builder:
    """Makes snapshots and remembers their pieces from one World to the next. Not for several threads."""

    def __init__(self) -> None:
        self.memo = Memo()

    def snapshot(self, world: World, proxy: Proxy) -> Snapshot:
        """What `proxy` should have in `world`."""
        if proxy.role is Role.INGRESS:
            return ingress_snapshot(
                world, proxy, lambda targets: self.clusters(world, world.at(proxy.ip), targets), STATIC
            )
        here = world.at(proxy.ip)
        hidden = frozenset(
            rule.meta.key
            for rules in world.route_rules.values()
            for rule in rules
            if rule.spec.match is not None and rule.spec.match.source is not None
            and not match_source(rule.meta, rule.spec.match.source, here)
        )
        shared = self.memo.get(
            "outbound", (world.mesh, world.services, world.route_rules, world.egress_rules),
            (proxy.domain, hidden), lambda: self._outbound(world, proxy.domain, hidden),
        )
        clusters, endpoints = self.clusters(world, here, shared.targets)
        found: dict[str, Resource] = {}
        routes = self._inbound(world, proxy, here, found, clusters)
        for address, each in shared.listeners:
            found.setdefault(address, each)
        self._management(world, proxy, found, clusters)
        found[""] = resource(Kind.LISTENER, "virtual", listeners.virtual(proxy, world.mesh))
        headers = added_headers(proxy, world.mesh)
        for port, hosts in shared.hosts.items():
            made = table(str(port), headers, ((h.data, tuple(t.cluster for t in h.targets)) for h in hosts))
            routes[made.name] = made
        return Snapshot(proxy, {
            Kind.CLUSTER: clusters, Kind.ENDPOINTS: endpoints,
            Kind.LISTENER: {each.name: each for each in found.values()}, Kind.ROUTE: routes,
        }, STATIC)

    # Outbound

    def _outbound(self, world: World, domain: str, hidden: frozenset[str]) -> Outbound:
        hosts: dict[int, list[Host]] = {}
        found: dict[str, Resource] = {}
        targets: list[Target] = []
        for service in world.services:
            for port in service.ports:
                if port.protocol.is_http or (port.protocol is Protocol.HTTPS and service.external_name):
                    hosts.setdefault(port.number, []).append(self._host(world, service, port, domain, hidden))
                elif port.protocol in TCP_LIKE and not service.external_name:
                    self._tcp(service, port, found, targets)
        self._egress_tcp(world, found, targets)
        for egress, number, target in _egress(world.egress_rules, http=True):
            rules = _visible(world, egress.spec.destination.service if egress.spec.destination else "", hidden)
            host = self.memo.get(
                "egress", (egress, *rules, *_mirrors(world, rules)), number,
                lambda t=target, r=rules: egress_host(t, r, world.service),  # type: ignore[misc]
            )
            hosts.setdefault(number, []).append(host)
        for number in sorted(hosts):
            made = self.memo.get("http", (world.mesh,), number, lambda n=number: resource(  # type: ignore[misc]
                Kind.LISTENER, f"http_{listeners.ANY}_{n}", listeners.outbound_http(n, world.mesh), (str(n),)
            ))
            found.setdefault(f"{listeners.ANY}:{number}", made)
        kept = {number: distinct(listed) for number, listed in hosts.items()}
        targets += [t for listed in kept.values() for host in listed for t in host.targets]
        return Outbound(kept, tuple(found.items()), tuple(targets))

    def _host(self, world: World, service: Service, port: Port, domain: str, hidden: frozenset[str]) -> Host:
        rules = _visible(world, service.hostname, hidden) if port.protocol.is_http else ()
        return self.memo.get(
            "host", (service, port, *rules, *_mirrors(world, rules)), domain,
            lambda: outbound_host(service, port, rules, world, domain),
        )

    def _tcp(self, service: Service, port: Port, found: Named, targets: list[Target]) -> None:
        """A listener on the cluster IP; headless services share one on any address."""
        address = service.address or listeners.ANY
        place = f"{address}:{port.number}"
        if place in found:
            return
        target, made = self.memo.get("tcp", (service, port), None, lambda: _tcp_listener(service, port))
        if not service.headless:
            targets.append(target)
        found[place] = made

    def _egress_tcp(self, world: World, found: Named, targets: list[Target]) -> None:
        ports: dict[int, list[Target]] = {}
        for _, number, target in _egress(world.egress_rules, http=False):
            ports.setdefault(number, []).append(target)
        for number, wanted in ports.items():
            taken: set[str] = set()
            routes: list[tuple[Target | str, list[str]]] = []
            for target in wanted:
                networks = [
                    f"{r['address_prefix']}/{r['prefix_len']['value']}"
                    for r in listeners.ranges([target.hostname])
                ]
                if fresh := [each for each in networks if each not in taken]:
                    taken.update(fresh)
                    routes.append((target, fresh))
                    targets.append(target)
            if routes:
                fields = listeners.outbound_tcp(listeners.ANY, number, wanted[0].port.protocol, routes)
                leads = tuple(t.cluster for t, _ in routes if isinstance(t, Target))
                found.setdefault(
                    f"{listeners.ANY}:{number}", resource(Kind.LISTENER, fields["name"], fields, leads=leads)
                )

    def clusters(
        self, world: World, here: tuple[Instance, ...], targets: Iterable[Target]
    ) -> tuple[Named, Named]:
        """Clusters of these targets and their endpoints."""
        clusters: Named = {}
        endpoints: Named = {}
        external = {s.hostname: s.external_name for s in world.services if s.external_name}
        headless = any(s.headless for s in world.services)
        for target in {id(t): t for t in targets}.values():
            policies = world.policies.get(target.hostname, ())
            policy = policy_for(target, policies, here) if policies else None
            name = external.get(target.hostname, "")
            made = self.memo.get("cluster", (target, world.mesh, policy), name, lambda t=target, p=policy, n=name: (  # type: ignore[misc]
                resource(
                    Kind.CLUSTER, t.cluster, outbound_cluster(t, world.mesh, p, n),
                    () if t.external or n else (t.key,),
                )
            ))
            if made.name in clusters:
                continue
            clusters[made.name] = made
            if made.needs:
                instances = world.instances.get(target.hostname, ())
                found = self.memo.get("endpoints", (target, instances, world.mesh), None,
                                      lambda t=target, i=instances: resource(  # type: ignore[misc]
                    Kind.ENDPOINTS, t.key, load_assignment(t, i, world.mesh.low_port_start)
                ))
                endpoints[found.name] = found
        if headless:
            clusters[ORIGINAL_DESTINATION] = resource(
                Kind.CLUSTER, ORIGINAL_DESTINATION, original_destination(world.mesh)
            )
        return clusters, endpoints

    # Inbound

    def _inbound(
        self, world: World, proxy: Proxy, here: tuple[Instance, ...], found: Named, clusters: Named
    ) -> Named:
        """Listeners, clusters and route tables of the pod's own services; the first wins a port."""
        routes: Named = {}
        rules = tuple({
            rule.meta.key: rule
            for host in dict.fromkeys(i.service.hostname for i in here)
            for rule in world.route_rules.get(host, ())
        }.values())
        for each in here:
            place, protocol = f"{proxy.ip}:{each.port}", each.service_port.protocol
            if place in found or protocol in (Protocol.UDP, Protocol.UNSUPPORTED):
                continue
            fields = inbound_cluster(each.port, protocol, proxy.local_ip, world.mesh)
            clusters[fields["name"]] = resource(Kind.CLUSTER, fields["name"], fields)
            if protocol.is_http:
                host = inbound_host(each.service_port, each.port, rules)
                asks = checked(world.checks, proxy.namespace)
                routes[host.name] = table(
                    host.name, [], [(host.data, (fields["name"],))], asking() if asks else None
                )
                listener: Fields = listeners.inbound_http(proxy, each.port, host.name, world.mesh)
                needs: tuple[str, ...] = (host.name,)
            else:
                listener = listeners.inbound_tcp(
                    proxy, each.port, protocol, world.mesh, report=True,
                    check=checked(world.checks, proxy.namespace, tcp=True),
                )
                needs = ()
            found[place] = resource(
                Kind.LISTENER, listener["name"], listener, needs, leads=() if needs else (fields["name"],)
            )
        return routes

    def _management(self, world: World, proxy: Proxy, found: Named, clusters: Named) -> None:
        """Ports that only the node's probes use: through, without report, unless a service has them."""
        for port in world.management.get(proxy.ip, ()):
            if f"{proxy.ip}:{port}" in found:
                continue
            fields = inbound_cluster(port, Protocol.TCP, proxy.local_ip, world.mesh)
            clusters.setdefault(fields["name"], resource(Kind.CLUSTER, fields["name"], fields))
            listener = listeners.inbound_tcp(proxy, port, Protocol.TCP, world.mesh, report=False)
            found[f"{proxy.ip}:{port}"] = resource(
                Kind.LISTENER, listener["name"], listener, leads=(fields["name"],)
            )


def egress_port(number: int, protocol: Protocol) -> Port:
    """The port of an egress rule, as it appears in cluster names: `external-HTTP-9997`."""
    text = protocol.value if protocol is not Protocol.MONGO else "MONGO"
    return Port(f"external-{text}-{number}", number, protocol)


def distinct(hosts: Iterable[Host]) -> tuple[Host, ...]:
    """Virtual hosts without the domains that an earlier one has: Envoy refuses the whole table for one twin."""
    seen: set[str] = set()
    kept: list[Host] = []
    for host in hosts:
        fresh = [each for each in host.domains if each.lower() not in seen]
        seen.update(each.lower() for each in fresh)
        if len(fresh) == len(host.domains):
            kept.append(host)
        elif fresh:
            message = decode("VirtualHost", host.data)
            message.ClearField("domains")
            message.domains.extend(fresh)
            data = message.SerializeToString(deterministic=True)
            kept.append(Host(host.name, tuple(fresh), data, host.targets))
    return tuple(kept)


def _visible(world: World, host: str, hidden: frozenset[str]) -> tuple[Config[RouteRule], ...]:
    rules = world.route_rules.get(host, ())
    if not hidden:
        return rules
    return tuple(rule for rule in rules if rule.meta.key not in hidden)


def _mirrors(world: World, rules: Iterable[Config[RouteRule]]) -> tuple[Service | None, ...]:
    """Other services whose ports the routes depend on."""
    return tuple(
        world.service(resolve_hostname(rule.meta, rule.spec.mirror)) for rule in rules if rule.spec.mirror is not None
    )


def _tcp_listener(service: Service, port: Port) -> tuple[Target, Resource]:
    target = Target(service.hostname, port)
    if service.headless:
        fields = listeners.outbound_tcp(listeners.ANY, port.number, port.protocol, [(ORIGINAL_DESTINATION, ())])
    else:
        fields = listeners.outbound_tcp(
            service.address, port.number, port.protocol, [(target, ())]
        )
    leads = (ORIGINAL_DESTINATION,) if service.headless else (target.cluster,)
    return target, resource(Kind.LISTENER, fields["name"], fields, leads=leads)


def _egress(
    rules: Iterable[Config[EgressRule]], *, http: bool
) -> Iterable[tuple[Config[EgressRule], int, Target]]:
    """(rule, port number, target) of each port that is routed by request, or of each that is not."""
    for rule in rules:
        if rule.spec.destination is None:
            continue
        for port in rule.spec.ports:
            protocol = Protocol.parse(port.protocol)
            if (protocol.is_http or protocol is Protocol.HTTPS) is http:
                named = egress_port(port.port, protocol)
                yield rule, port.port, Target(rule.spec.destination.service, named, external=True)
