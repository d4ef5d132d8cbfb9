"""`proxy-config listener`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from meshlab.istioctl.proxyconfig.columns import columns
from meshlab.istioctl.proxyconfig.filters import Filters
from meshlab.istioctl.proxyconfig.routes import match_text
from meshlab.sidecars.dump import ConfigDump, socket_of

__all__ = ["chains_of", "listener_table", "listeners"]

Fields = dict[str, Any]
HTTP, TCP = "envoy.filters.network.http_connection_manager", "envoy.filters.network.tcp_proxy"
BLACK_HOLE = "BlackHoleCluster"
#: Sets of application protocols that istiod writes, and what istioctl calls them.
_PROTOCOLS = {
    ("http/1.0", "http/1.1", "h2c", "istio-http/1.0", "istio-http/1.1", "istio-h2"): "App: HTTP TLS",
    ("istio", "istio-http/1.0", "istio-http/1.1", "istio-h2"): "App: Istio HTTP Plain",
    ("istio-peer-exchange", "istio"): "App: TCP TLS",
    ("http/1.0", "http/1.1", "h2c"): "App: HTTP",
}


def chains_of(listener: Fields) -> list[Fields]:
    """Filter chains, the default one last."""
    last = listener.get("default_filter_chain")
    return [*(listener.get("filter_chains") or ()), *([last] if last else ())]


def listeners(dump: ConfigDump, wanted: Filters) -> list[Fields]:
    """As Envoy has them, filtered and by port, address and type."""
    kept = [each for each in dump.listeners if _fits(each, wanted)]
    return sorted(
        kept, key=lambda each: (socket_of(each.get("address"))[1], socket_of(each.get("address"))[0], _type(each))
    )


def _addresses(listener: Fields) -> list[str]:
    more = (each.get("address") for each in listener.get("additional_addresses") or ())
    return [socket_of(each)[0] for each in (listener.get("address"), *more)]


def _fits(listener: Fields, wanted: Filters) -> bool:
    return (
        (not wanted.address or wanted.address.lower() in map(str.lower, _addresses(listener)))
        and (not wanted.port or socket_of(listener.get("address"))[1] == wanted.port)
        and (not wanted.type or _type(listener).lower() == wanted.type.lower())
    )


def _filters(chain: Fields) -> Iterable[tuple[str, Fields]]:
    return ((str(each.get("name", "")), each.get("typed_config") or {}) for each in chain.get("filters") or ())


def _type(listener: Fields) -> str:
    http = tcp = 0
    for chain in chains_of(listener):
        for name, config in _filters(chain):
            http += name == HTTP
            tcp += name == TCP and BLACK_HOLE not in json.dumps(config)
    if http:
        return "HTTP+TCP" if tcp else "HTTP"
    return "TCP" if tcp else "UNKNOWN"


def _match(chain: Fields) -> str:
    match = chain.get("filter_chain_match") or {}
    said: list[str] = []
    if names := match.get("server_names"):
        said.append(f"SNI: {','.join(names)}")
    if transport := match.get("transport_protocol"):
        said.append(f"Trans: {transport}")
    if protocols := match.get("application_protocols"):
        said.append(_PROTOCOLS.get(tuple(protocols), f"App: {','.join(protocols)}"))
    port = f":{match['destination_port']}" if match.get("destination_port") else ""
    if ranges := match.get("prefix_ranges"):
        said.append("Addr: " + ",".join(f"{r.get('address_prefix')}/{r.get('prefix_len', 0)}" for r in ranges) + port)
    elif port:
        said.append(f"Addr: *{port}")
    return "; ".join(said) or "ALL"


def _destination(chain: Fields) -> str:
    for name, config in _filters(chain):
        if name == HTTP:
            if inline := config.get("route_config"):
                return _inline(inline)
            table = (config.get("rds") or {}).get("route_config_name")
            return f"Route: {table}" if table else "HTTP"
        if name == TCP and BLACK_HOLE not in json.dumps(config):
            weighted = (config.get("weighted_clusters") or {}).get("clusters") or ()
            to = str(
                config.get("cluster") or ", ".join(f"{each['name']} ({each.get('weight', 0)})" for each in weighted)
            )
            return to if "Cluster" in to else f"Cluster: {to}"
    return "Non-HTTP/Non-TCP"


def _inline(table: Fields) -> str:
    hosts = table.get("virtual_hosts") or []
    if len(hosts) == 1 and hosts[0].get("domains") == ["*"] and len(hosts[0].get("routes") or ()) == 1:
        route = hosts[0]["routes"][0]
        cluster = (route.get("route") or {}).get("cluster")
        if (route.get("match") or {}).get("prefix") == "/" and cluster:
            return cluster if "Cluster" in cluster else f"Cluster: {cluster}"
    said = []
    for host in hosts:
        routes = ", ".join(match_text(each.get("match") or {}) for each in host.get("routes") or ())
        domains = "" if host.get("domains") == ["*"] else "/".join(host.get("domains") or ())
        said.append(f"{domains} {routes}".strip())
    return f"Inline Route: {'; '.join(said)}"


def listener_table(dump: ConfigDump, wanted: Filters) -> str:
    heading = ["NAME"] if wanted.named else []
    rows: list[list[object]] = [
        [*heading, "ADDRESSES", "PORT", *(["MATCH", "DESTINATION"] if wanted.verbose else ["TYPE"])]
    ]
    for each in listeners(dump, wanted):
        place: list[object] = [f"listener/{each.get('name', '')}"] if wanted.named else []
        place += [",".join(_addresses(each)), socket_of(each.get("address"))[1]]
        if not wanted.verbose:
            rows.append([*place, _type(each)])
            continue
        said = [(_match(chain), _destination(chain)) for chain in chains_of(each)]
        rows += [[*place, *one] for one in sorted(said, key=lambda pair: pair[1], reverse=True)]
    return columns(rows, padding=1)
