"""Listeners: Istio's own tree.

    virtual                     POD_IP:15001     (iptables: every address) takes every captured connection and hands
                                                 it to the listener whose address it was going to; closes what has none
    http_0.0.0.0_<port>         not bound        one per HTTP port number in the mesh, routed by Host
    tcp_<clusterIP>_<port>      not bound        one per other port of a service
    tcp_0.0.0.0_<port>          not bound        TCP egress rules, headless services
    http|tcp_<POD_IP>_<port>    bound (shim)     inbound: the pod's own services

Where two want the same address the first in the order inbound, TCP, egress TCP, HTTP has it, as in 0.4.0.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from meshlab.mesh.config.services import Protocol
from meshlab.mesh.pilot.clusters import socket
from meshlab.mesh.pilot.encode import Fields, duration, pack
from meshlab.mesh.pilot.guard import OPEN, Guard
from meshlab.mesh.pilot.http import MIXER_CLUSTER, Direction, connection_manager, tcp_log
from meshlab.mesh.pilot.names import PASSTHROUGH, Target, inbound
from meshlab.mesh.pilot.policy import http_filter, tcp_filters
from meshlab.mesh.pilot.proxy import Capture, Proxy
from meshlab.mesh.pilot.world import Mesh
from meshlab.settings import bound_port

__all__ = [
    "ANY", "BLACK_HOLE_CLUSTER", "Chain", "gateway", "gateway_http", "gateway_tcp", "inbound_http", "inbound_tcp",
    "outbound_http", "outbound_tcp", "ranges", "virtual",
]

ANY = "0.0.0.0"  # noqa: S104 - in listeners that are not bound "whatever address the connection was going to"
#: A Redis command's time limit, ns.
REDIS_TIMEOUT_NS = 30_000_000_000
#: A cluster of the bootstrap that has no endpoints.
BLACK_HOLE_CLUSTER = "BlackHoleCluster"
#: Of a connection that leads nowhere: how much of it is read, and how long it may be silent, ns.
MOST_READ, SILENCE_NS = 65_536, 1_000_000_000


@dataclass(frozen=True, slots=True)
class Chain:
    """Where connections go: clusters (by target or name) with weights; for these networks or server names, () all."""

    to: tuple[tuple[Target | str, int], ...]
    networks: tuple[str, ...] = ()
    sni: tuple[str, ...] = ()
    #: ns after which a silent connection is closed; 0: never.
    idle: int = 0


def virtual(proxy: Proxy, mesh: Mesh, *, passed: bool = False) -> Fields:
    """Where captured connections arrive. Without a listener for their destination they are closed, or `passed` on."""
    found: Fields = {
        "name": "virtual",
        # REDIRECT leads what the pod's own programs send to 127.0.0.1, and what comes from outside to its address.
        "address": socket(proxy.ip if proxy.capture is Capture.SHIM else ANY, mesh.listen_port),
        "use_original_dst": {"value": True},
        "traffic_direction": "OUTBOUND",
        "filter_chains": [_passing() if passed else _closing()],
        "enable_reuse_port": {"value": False},
    }
    if proxy.capture is Capture.SHIM:
        found["listener_filters"] = [{
            "name": "envoy.filters.listener.proxy_protocol", "typed_config": pack("ProxyProtocol", {})
        }]
    return found


def _closing() -> Fields:
    """The filter chain of what leads nowhere.

    A connection is closed once the application has said something, or has been silent for a second: closing it
    with unread data would end in a reset, where the tutorial's sidecars gave an end of file.
    """
    tcp: Fields = {
        "stat_prefix": "blocked",
        "cluster": BLACK_HOLE_CLUSTER,
        "upstream_connect_mode": "ON_DOWNSTREAM_DATA",
        "max_early_data_bytes": {"value": MOST_READ},
        "idle_timeout": duration(SILENCE_NS),
    }
    return {"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": pack("TcpProxy", tcp)}]}


def outbound_http(
    port: int, mesh: Mesh, chains: Sequence[Chain] = (), logs: Sequence[Fields] = ()
) -> Fields:
    """Requests for any address; `chains` (each with networks or server names) take their connections first."""
    requests = {"filters": [connection_manager(str(port), Direction.OUTBOUND, mesh)]}
    made = _chains("tcp", chains, logs)
    found = _unbound(f"http_{ANY}_{port}", ANY, port, made or [requests])
    if made:
        found["default_filter_chain"] = requests
    if any(each.sni for each in chains):
        found["listener_filters"] = [_tls_inspector()]
    return found


def _passing() -> Fields:
    """The filter chain of what the mesh does not know and lets through."""
    return {"filters": _tcp_filters("tcp", [(PASSTHROUGH, 0)])}


def outbound_tcp(
    address: str, port: int, protocol: Protocol, chains: Sequence[Chain], *, passed: bool = False,
    logs: Sequence[Fields] = (),
) -> Fields:
    """What no chain takes is closed, or `passed` on."""
    kind = {Protocol.MONGO: "mongo", Protocol.REDIS: "redis"}.get(protocol, "tcp")
    if kind == "redis" and (len(chains) != 1 or len(chains[0].to) != 1):
        kind = "tcp"
    found = _unbound(f"{kind}_{address}_{port}", address, port, _chains(kind, chains, logs))
    if any(each.sni for each in chains):
        found["listener_filters"] = [_tls_inspector()]
    if all(each.networks or each.sni for each in chains):
        found["default_filter_chain"] = _passing() if passed else _closing()
    return found


def _chains(kind: str, chains: Sequence[Chain], logs: Sequence[Fields]) -> list[Fields]:
    made: list[Fields] = []
    for each in chains:
        chain: Fields = {"filters": _tcp_filters(kind, _named(each.to), logs, each.idle)}
        match: Fields = {}
        if each.networks:
            match["prefix_ranges"] = ranges(each.networks)
        if each.sni:
            match["server_names"] = list(each.sni)
        if match:
            chain["filter_chain_match"] = match
        made.append(chain)
    return made


def _named(to: Sequence[tuple[Target | str, int]]) -> list[tuple[str, int]]:
    return [(each if isinstance(each, str) else each.cluster, weight) for each, weight in to]


def _tls_inspector() -> Fields:
    return {"name": "envoy.filters.listener.tls_inspector", "typed_config": pack("TlsInspector", {})}


def _unbound(name: str, address: str, port: int, chains: list[Fields]) -> Fields:
    return {
        "name": name,
        "address": socket(address, port),
        "bind_to_port": {"value": False},
        "traffic_direction": "OUTBOUND",
        "filter_chains": chains,
    }


def inbound_http(proxy: Proxy, port: int, route_name: str, mesh: Mesh, guard: Guard = OPEN) -> Fields:
    manager = connection_manager(
        route_name, Direction.INBOUND, mesh, guard.http_filters, normalize=guard.normalize
    )
    return guard.apply(_inbound(f"http_{proxy.ip}_{port}", proxy, port, mesh), [manager], _closing(), http=True)


def inbound_tcp(
    proxy: Proxy, port: int, protocol: Protocol, mesh: Mesh, guard: Guard = OPEN, *, report: bool, check: bool = False
) -> Fields:
    """`report`: tell Mixer of each connection (not of the node's probes of management ports); `check`: ask first."""
    kind = {Protocol.MONGO: "mongo", Protocol.REDIS: "redis"}.get(protocol, "tcp")
    filters = [*guard.tcp_filters, *(tcp_filters(MIXER_CLUSTER) if check else ())]
    filters += _tcp_filters(kind, [(inbound(port), 0)], tcp_log(mesh) if report else [])
    return guard.apply(
        _inbound(f"{kind}_{proxy.ip}_{port}", proxy, port, mesh), filters, _closing(), http=False
    )


def _inbound(name: str, proxy: Proxy, port: int, mesh: Mesh) -> Fields:
    """A listener without its filter chains."""
    bound = proxy.capture is Capture.SHIM
    return {
        "name": name,
        "address": socket(proxy.ip, bound_port(port, mesh.low_port_start) if bound else port),
        "bind_to_port": {"value": bound},
        "enable_reuse_port": {"value": False},
        "traffic_direction": "INBOUND",
    }


def gateway(proxy: Proxy, port: int, name: str, chains: list[Fields], mesh: Mesh) -> Fields:
    """A listener of a gateway, which is bound on the pod's address whatever the capture."""
    found: Fields = {
        "name": name,
        "address": socket(proxy.ip, bound_port(port, mesh.low_port_start)),
        "enable_reuse_port": {"value": False},
        "traffic_direction": "OUTBOUND",
        "filter_chains": chains,
    }
    if any("server_names" in each.get("filter_chain_match", {}) for each in chains):
        found["listener_filters"] = [_tls_inspector()]
    return found


def gateway_http(route_name: str, mesh: Mesh, tls: Fields | None = None, sni: Sequence[str] = ()) -> Fields:
    """A gateway's filter chain for HTTP, decrypted first if `tls` (a `DownstreamTlsContext`) says how."""
    # Off, as in sidecars: a route table switches it on.
    first = [http_filter(MIXER_CLUSTER)] if mesh.mixer else []
    chain: Fields = {"filters": [connection_manager(route_name, Direction.OUTBOUND, mesh, first)]}
    if tls is not None:
        chain["transport_socket"] = {
            "name": "envoy.transport_sockets.tls", "typed_config": pack("DownstreamTlsContext", tls)
        }
    return _for_names(chain, sni)


def gateway_tcp(to: Sequence[tuple[Target | str, int]], sni: Sequence[str] = (), tls: Fields | None = None) -> Fields:
    """A gateway's filter chain for connections."""
    chain: Fields = {"filters": _tcp_filters("tcp", _named(to))}
    if tls is not None:
        chain["transport_socket"] = {
            "name": "envoy.transport_sockets.tls", "typed_config": pack("DownstreamTlsContext", tls)
        }
    return _for_names(chain, sni)


def _for_names(chain: Fields, sni: Sequence[str]) -> Fields:
    if sni:
        chain["filter_chain_match"] = {"server_names": list(sni)}
    return chain


def _tcp_filters(
    kind: str, to: Sequence[tuple[str, int]], logs: Sequence[Fields] = (), idle: int = 0
) -> list[Fields]:
    """`to`: clusters and their weights; of one alone the weight means nothing."""
    if kind == "redis":
        return [{"name": "envoy.filters.network.redis_proxy", "typed_config": pack("RedisProxy", {
            "stat_prefix": "redis",
            "settings": {"op_timeout": duration(REDIS_TIMEOUT_NS)},
            "prefix_routes": {"catch_all_route": {"cluster": to[0][0]}},
        })}]
    tcp: Fields = {"stat_prefix": "tcp", "idle_timeout": duration(idle)}
    weighted = [(name, weight) for name, weight in to if weight > 0]
    if len(to) > 1 and weighted:
        tcp["weighted_clusters"] = {"clusters": [{"name": name, "weight": weight} for name, weight in weighted]}
    else:
        tcp["cluster"] = to[0][0] if to else BLACK_HOLE_CLUSTER
    if logs:
        tcp["access_log"] = list(logs)
    proxy: Fields = {"name": "envoy.filters.network.tcp_proxy", "typed_config": pack("TcpProxy", tcp)}
    if kind != "mongo":
        return [proxy]
    mongo: Fields = {
        "name": "envoy.filters.network.mongo_proxy",
        "typed_config": pack("MongoProxy", {"stat_prefix": "mongo"}),
    }
    return [mongo, proxy]


def ranges(networks: Iterable[str]) -> list[Fields]:
    """`CidrRange`s in canonical form (10.1.2.3/8 is 10.0.0.0/8: Envoy refuses the same range twice).

    What is neither an address nor a CIDR is left out: 0.4.0 let a name through here, to no effect.
    """
    found: dict[str, Fields] = {}
    for each in networks:
        try:
            network = ipaddress.ip_network(each, strict=False)
        except ValueError:
            continue
        found[str(network)] = {
            "address_prefix": str(network.network_address), "prefix_len": {"value": network.prefixlen}
        }
    return list(found.values())
