"""kube-proxy as Envoy resources: pure functions from entries of services to JSON of Envoy's v3 API.

Programs with the shim find their endpoints themselves. For everybody else (Envoys, Prometheus, a shell on this
machine) one Envoy listens

- on every service address and node port, and gives each connection to a random ready endpoint;
- on the node's address as a forward proxy for HTTP, which knows the names of services.

Endpoints are part of their cluster (STATIC), not resources of their own: each file that Envoy watches costs one
inotify instance, of which a user has 128.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshlab.cluster.network.services import Entry, port_key
from meshlab.settings import bound_port

__all__ = [
    "FORWARD_PORT",
    "Resources",
    "bootstrap",
    "encoded",
    "forward_clusters",
    "forward_listener",
    "forward_routes",
    "resources",
]

#: Port of the forward proxy on the node's address: the usual one for proxies (Squid's).
FORWARD_PORT = 3128
#: Connecting goes over loopback: whoever does not accept within this time is stopped or overloaded.
CONNECT_TIMEOUT = "2s"
#: Envoy's defaults (1,024) are meant to protect upstreams; kube-proxy has no such limit.
NO_LIMIT = 1_000_000

#: Bytes; the kernel takes as much of it as net.core.rmem_max allows. Ten sidecars send their statistics at the same
#: moment, some hundred datagrams each, and the default lost one in five of them.
RECEIVE_BUFFER = 4 << 20

Json = dict[str, Any]
TYPE = "type.googleapis.com/envoy."


@dataclass(frozen=True)
class Resources:
    """What one service adds to the configuration."""

    listeners: Sequence[Json] = ()
    clusters: Sequence[Json] = ()
    hosts: Sequence[Json] = ()


def resources(key: str, entry: Entry, *, node: str, low_port_start: int, domain: str) -> Resources:
    """The resources of the service `<namespace>/<name>`; none for a headless or external one."""
    ip = entry["ip"]
    if ip in ("", "None"):
        return Resources()
    namespace, _, name = key.partition("/")
    names = [f"{name}.{namespace}", f"{name}.{namespace}.svc", f"{name}.{namespace}.svc.{domain}", ip]
    if namespace == "default":
        names.insert(0, name)  # as from a pod of that namespace; of two namespaces only one can have the short name
    listeners, clusters, hosts = [], [], []
    for port in entry["ports"]:
        number, udp = port["port"], port["protocol"] == "UDP"
        ends = entry["endpoints"][port_key(number, port["protocol"])]
        cluster = f"{key}:{port_key(number, port['protocol'])}"
        places = [(ip, bound_port(number, low_port_start))]
        if port["nodePort"]:
            places.append((node, port["nodePort"]))
        make = _udp_listener if udp else _tcp_listener
        listeners += [make(address, bound, cluster, bool(entry.get("affinity"))) for address, bound in places]
        clusters.append(_cluster(cluster, [(host, bound_port(end, low_port_start)) for host, end in ends],
                                 sticky=bool(entry.get("affinity"))))
        if not udp:
            domains = [f"{each}:{number}" for each in names] + (names if number == 80 else [])
            hosts.append({"name": cluster, "domains": domains, "routes": [_route(cluster)]})
    return Resources(listeners, clusters, hosts)


def _address(host: str, port: int, *, udp: bool = False) -> Json:
    address: Json = {"address": host, "port_value": port}
    if udp:
        address["protocol"] = "UDP"
    return {"socket_address": address}


def _tcp_listener(host: str, port: int, cluster: str, sticky: bool) -> Json:
    proxy: Json = {"@type": TYPE + "extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "vip",
                   "cluster": cluster, "idle_timeout": "0s"}
    if sticky:
        proxy["hash_policy"] = [{"source_ip": {}}]
    return {
        "name": f"{host}:{port}",
        "address": _address(host, port),
        # Without this, a second proxy on the address would share it silently instead of failing.
        "enable_reuse_port": False,
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]}],
    }


def _udp_listener(host: str, port: int, cluster: str, sticky: bool) -> Json:
    route = {"@type": TYPE + "extensions.filters.udp.udp_proxy.v3.Route", "cluster": cluster}
    proxy: Json = {"@type": TYPE + "extensions.filters.udp.udp_proxy.v3.UdpProxyConfig", "stat_prefix": "vip",
                   "matcher": {"on_no_match": {"action": {"name": "route", "typed_config": route}}}}
    if sticky:
        proxy["hash_policies"] = [{"source_ip": True}]
    return {
        "name": f"{host}:{port}/UDP",
        "address": _address(host, port, udp=True),
        "udp_listener_config": {},
        "socket_options": [{"level": socket.SOL_SOCKET, "name": socket.SO_RCVBUF, "int_value": RECEIVE_BUFFER}],
        "listener_filters": [{"name": "envoy.filters.udp_listener.udp_proxy", "typed_config": proxy}],
    }


def _cluster(name: str, ends: Iterable[tuple[str, int]], *, sticky: bool) -> Json:
    points = [{"endpoint": {"address": _address(host, port)}} for host, port in ends]
    return {
        "name": name,
        "type": "STATIC",
        "lb_policy": "MAGLEV" if sticky else "RANDOM",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": points}] if points else []},
        **_unlimited(),
    }


def _unlimited() -> Json:
    limits = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests", "max_retries"), NO_LIMIT)
    return {"connect_timeout": CONNECT_TIMEOUT, "circuit_breakers": {"thresholds": [limits]}}


def _route(cluster: str) -> Json:
    return {"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}


def forward_listener(node: str, routes: Path) -> Json:
    """The forward proxy. Its routes are a file of their own: names come and go more often than anything else."""
    manager: Json = {
        "@type": TYPE + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "forward",
        "rds": {"route_config_name": "forward", "config_source": _file(routes)},
        "http_filters": [{"name": "envoy.filters.http.router",
                          "typed_config": {"@type": TYPE + "extensions.filters.http.router.v3.Router",
                                           "suppress_envoy_headers": True}}],
        "server_header_transformation": "PASS_THROUGH",
        "generate_request_id": False,
    }
    return {
        "name": "forward",
        "address": _address(node, FORWARD_PORT),
        "enable_reuse_port": False,
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager",
                                        "typed_config": manager}]}],
    }


def forward_clusters() -> list[Json]:
    """Where requests go whose host is an address: to that address."""
    return [{
        "name": "by-address", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED",
        "original_dst_lb_config": {"use_http_header": True, "http_header_name": ":authority"}, **_unlimited(),
    }]


def forward_routes(hosts: Sequence[str]) -> str:
    """The routes of the forward proxy as text, from the encoded hosts of all services."""
    address: Json = {"name": ":authority", "string_match": {"safe_regex": {"regex": r"[0-9]+(\.[0-9]+){3}(:[0-9]+)?"}}}
    unknown = {"status": 502, "body": {"inline_string": "no service of the lab has this name and port\n"}}
    anywhere: Json = {"name": "others", "domains": ["*"], "routes": [
        {"match": {"prefix": "/", "headers": [address]}, "route": {"cluster": "by-address", "timeout": "0s"}},
        {"match": {"prefix": "/"}, "direct_response": unknown},
    ]}
    every = ",\n".join([*hosts, encoded("")(anywhere)])
    return f'{{"@type":"{TYPE}config.route.v3.RouteConfiguration","name":"forward","virtual_hosts":[{every}]}}'


def encoded(kind: str) -> Callable[[Json], str]:
    """Encodes resources of a kind (`listener.v3.Listener`, or "" for a part of one) as Envoy's files have them."""
    head: Json = {"@type": f"{TYPE}config.{kind}"} if kind else {}
    return lambda found: json.dumps(head | found, separators=(",", ":"))


def _file(path: Path) -> Json:
    return {"path_config_source": {"path": str(path)}, "resource_api_version": "V3"}


def bootstrap(*, listeners: Path, clusters: Path, admin: Path) -> Json:
    """The configuration that Envoy starts with. Statistics are off: with thousands of services they are most of
    its memory, and nobody reads kube-proxy's; but the version of the clusters, which tells when they are in force."""
    return {
        "node": {"id": "kube-proxy", "cluster": "meshlab"},
        "admin": {"address": {"pipe": {"path": str(admin), "mode": 0o600}}},
        "dynamic_resources": {"lds_config": _file(listeners), "cds_config": _file(clusters)},
        "stats_config": {"stats_matcher": {"inclusion_list": {"patterns": [
            {"exact": "cluster_manager.cds.version_text"},
        ]}}},
    }
