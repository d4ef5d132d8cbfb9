"""Outbound traffic that is routed by connection: listeners by address, and the filter chains of external services."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from meshlab.mesh.config.outside import ExternalPort, ExternalService
from meshlab.mesh.config.routing import MESH, Caller, Destination, HostRules, TcpMatch, TcpRoute
from meshlab.mesh.config.services import Port, Protocol, Service
from meshlab.mesh.pilot import listeners
from meshlab.mesh.pilot.listeners import Chain
from meshlab.mesh.pilot.names import ORIGINAL_DESTINATION, Target
from meshlab.mesh.pilot.resolve import Resolver, external_target
from meshlab.mesh.pilot.snapshot import Kind, Resource, resource
from meshlab.mesh.pilot.stats import Metrics, tcp_stats

__all__ = ["TCP_LIKE", "chained", "external_chains", "idle_of", "led_to", "service_chains", "tcp_listener"]

TCP_LIKE = (Protocol.TCP, Protocol.HTTPS, Protocol.MONGO, Protocol.REDIS)


def service_chains(resolver: Resolver, service: Service, port: Port) -> list[Chain]:
    """What rules say of the connections to a service; [] where they say nothing."""
    rules = None if service.headless else resolver.rules(service.hostname)
    wanted = tuple(_connections(resolver.caller, rules, port.number)) if rules is not None else ()
    if not wanted:
        return []
    called = Target(service.hostname, port)
    chains = [_chain(resolver, route, match, called) for route, match in wanted]
    if all(chain.sni or chain.networks for chain in chains):
        chains.append(Chain(((called, 0),), idle=idle_of(resolver, called)))
    return list(_free(chains, set()))


def idle_of(resolver: Resolver, called: Target) -> int:
    """How long a connection to a destination may be silent, ns; 0: for ever."""
    policy = resolver.policy(called)
    idle = policy.traffic.tcp_idle_timeout if policy is not None else None
    return max(0, idle.ns) if idle is not None else 0


def external_chains(resolver: Resolver, wanted: Iterable[tuple[ExternalService, ExternalPort]]) -> tuple[Chain, ...]:
    """Of all external services on one port. What takes all that no other takes must be the only one of its kind."""
    taken = set[tuple[str, str]]()
    chains = [each for service, port in wanted for each in _external(resolver, service, port, taken)]
    anything = [chain for chain in chains if not chain.networks and not chain.sni]
    return (*(chain for chain in chains if chain.networks or chain.sni), *anything[:1])


def led_to(chains: Iterable[Chain]) -> tuple[Target, ...]:
    return tuple(target for chain in chains for target, _ in chain.to if isinstance(target, Target))


def tcp_listener(service: Service, port: Port, metrics: Metrics, idle: int = 0) -> tuple[Target, Resource]:
    """On the cluster IP; headless services share one on any address, which keeps the caller's choice."""
    target = Target(service.hostname, port)
    to = ORIGINAL_DESTINATION if service.headless else target
    address = listeners.ANY if service.headless else service.address
    return target, chained(address, port.number, port.protocol, [Chain(((to, 0),), idle=idle)], metrics)


def chained(
    address: str, number: int, protocol: Protocol, chains: Sequence[Chain], metrics: Metrics, *, passed: bool = False
) -> Resource:
    logs = tcp_stats(metrics, inbound=False) if metrics is not None else []
    fields = listeners.outbound_tcp(address, number, protocol, chains, passed=passed, logs=logs)
    leads = tuple(t.cluster if isinstance(t, Target) else t for chain in chains for t, _ in chain.to)
    return resource(Kind.LISTENER, fields["name"], fields, leads=leads)


def _connections(caller: Caller, rules: HostRules, number: int) -> Iterator[tuple[TcpRoute, TcpMatch]]:
    """Each match of a host's TCP routes that is for this caller and port, up to the first that holds always."""
    for route in rules.tcp:
        for match in route.matches or (TcpMatch(),):
            if match.port not in (0, number) or not caller.is_one_of(match.source):
                continue
            if match.gateways and MESH not in match.gateways:
                continue
            yield route, match
            if not match.sni and not match.destinations:
                return


def _chain(resolver: Resolver, route: TcpRoute, match: TcpMatch, called: Target) -> Chain:
    leads = {w.destination: resolver.target(w.destination, called) for w in route.destinations}
    to = tuple((leads[w.destination], w.weight) for w in route.destinations)
    return Chain(to, _networks(match.destinations), match.sni, idle_of(resolver, called))


def _external(
    resolver: Resolver, service: ExternalService, port: ExternalPort, taken: set[tuple[str, str]]
) -> Iterator[Chain]:
    """By address, by the name that is asked for (TLS) or by both; else everything on that port."""
    called, rules = external_target(service, port), resolver.rules(service.key)
    to: tuple[tuple[Target | str, int], ...] = ((resolver.target(Destination(service.key), called), 0),)
    networks, chains = _networks(service.addresses), list[Chain]()
    for route, match in _connections(resolver.caller, rules, port.number) if rules is not None else ():
        made = _chain(resolver, route, match, called)
        if made.sni or made.networks:
            chains.append(replace(made, networks=made.networks or networks))
        else:
            to = made.to
    tls = port.protocol is Protocol.HTTPS
    if (networks or service.hosts) and not (tls and chains):  # as in Istio, rules by name speak for all names
        chains.append(Chain(to, networks, service.hosts if tls and not networks else (), idle_of(resolver, called)))
    yield from _free(chains, taken)


def _networks(said: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{each['address_prefix']}/{each['prefix_len']['value']}" for each in listeners.ranges(said))


def _free(chains: Iterable[Chain], taken: set[tuple[str, str]]) -> Iterator[Chain]:
    """Chains without what an earlier one takes: Envoy refuses a listener in which two match the same.

    `taken`: pairs of network and name, "" for all.
    """
    for each in chains:
        networks, names = each.networks, each.sni
        if names:
            names = tuple(name for name in names if taken.isdisjoint((n, name) for n in networks or ("",)))
        else:
            networks = tuple(network for network in networks if (network, "") not in taken)
        if (each.sni and not names) or (each.networks and not networks):
            continue
        taken.update((network, name) for network in networks or ("",) for name in names or ("",))
        yield replace(each, networks=networks, sni=names)
