"""What an Envoy of the mesh is started with: who it is, where Pilot, Mixer and Zipkin are, and no more.

Everything else it learns from Pilot. The proxies in front of Pilot and Mixer themselves learn nothing: they pass
one port on. All functions give Envoy's own JSON.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from meshlab.mesh.control_tls import ControlTls

__all__ = ["SPANS", "Endpoint", "Identity", "forwarding", "managed"]

Json = dict[str, Any]

#: Seconds between attempts to reach a Pilot that went away: the first and the longest.
RECONNECT = ("0.1s", "1s")
#: Linux' number; Python names it on Linux only.
SO_MARK = 36
#: Envoy warns at every start unless it has a limit for downstream connections.
MOST_CONNECTIONS = 50_000
#: Ends of the names of Envoy's histograms of requests and connections.
HISTOGRAMS = ("upstream_rq_time", "downstream_rq_time", "_cx_length_ms", "_cx_connect_ms")
#: Spans go a hundred at a time, or after half a second. Envoy's own 5 s is long for somebody who waits for a trace, and
#: its own five a time are a request to Zipkin for every fifth of a sidecar's: in JSON that was a third of its CPU.
SPANS = MappingProxyType({"tracing.zipkin.flush_interval_ms": 500, "tracing.zipkin.min_flush_spans": 100})
#: Instructions of a compiled regular expression.
LONGEST_EXPRESSION = 20_000


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address to connect to; None in its place means "not in this lab"."""

    address: str
    port: int

    def json(self, protocol: str = "TCP") -> Json:
        socket: Json = {"address": self.address, "port_value": self.port}
        if protocol != "TCP":
            socket["protocol"] = protocol
        return {"socket_address": socket}


@dataclass(frozen=True)
class Identity:
    """The pod of a proxy. `role` is the first part of its node id."""

    role: str
    pod: str
    namespace: str
    ip: str
    local_ip: str
    #: What Zipkin calls the service.
    cluster: str
    domain: str = "cluster.local"
    metadata: dict[str, str] = field(default_factory=dict)
    #: Set on the sockets of the proxy's own connections, 0 = none.
    mark: int = 0
    #: Of the pod's service account: proves to Pilot whose proxy this is. Not part of the node, which others see too.
    token: str = field(default="", repr=False)

    @property
    def node(self) -> Json:
        return {
            "id": f"{self.role}~{self.ip}~{self.pod}.{self.namespace}~{self.namespace}.svc.{self.domain}",
            "cluster": self.cluster,
            "metadata": {
                "POD_NAME": self.pod, "NAMESPACE": self.namespace, "POD_IP": self.ip, "LOCAL_IP": self.local_ip,
                **self.metadata,
            },
        }


def managed(
    identity: Identity,
    admin: str,
    pilot: Endpoint,
    mixer: Endpoint | None = None,
    zipkin: Endpoint | None = None,
    statsd: Endpoint | None = None,
    tls: ControlTls | None = None,
) -> Json:
    """A proxy that Pilot configures: a sidecar, or the ingress. `admin` is the path of its Unix socket.

    `tls`: it speaks with Pilot and Mixer by mutual TLS.
    """
    ads = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    first, longest = RECONNECT
    found = _common(identity, admin)
    found["dynamic_resources"] = {
        "ads_config": {
            "api_type": "GRPC",
            "transport_api_version": "V3",
            "set_node_on_first_message_only": True,
            "grpc_services": [{
                "envoy_grpc": {
                    "cluster_name": "pilot",
                    "retry_policy": {"retry_back_off": {"base_interval": first, "max_interval": longest}},
                },
                **_proof(identity.token),
            }],
        },
        # 0 s: without Pilot the proxy waits for it, and is not ready, instead of starting with nothing.
        "lds_config": dict(ads),
        "cds_config": dict(ads),
    }
    found["static_resources"] = {"clusters": [
        _secured(_cluster("pilot", pilot, http2=True), tls, "istio-pilot-service-account"),
        _secured(_cluster("mixer_server", mixer, http2=True), tls, "istio-mixer-service-account"),
        _cluster("zipkin", zipkin),
        # Envoy's own pages, from which Prometheus reads once a Telemetry object asks for metrics.
        _own_pages(admin),
        # Where connections go that no listener takes.
        _cluster("BlackHoleCluster", None),
    ]}
    if statsd is not None:
        found["stats_sinks"] = [{
            "name": "envoy.stat_sinks.statsd",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.config.metrics.v3.StatsdSink",
                "address": statsd.json("UDP"),
                "prefix": "envoy",
            },
        }]
        # The sink sends a datagram for each value of a histogram as it comes, seven a request: 40 % of a sidecar's
        # CPU went there, and Mixer has the durations. Counters and gauges go every five seconds.
        found["stats_config"] = {
            "stats_matcher": {"exclusion_list": {"patterns": [{"suffix": name} for name in HISTOGRAMS]}}
        }
    return found


def _proof(token: str) -> Json:
    return {"initial_metadata": [{"key": "authorization", "value": f"Bearer {token}"}]} if token else {}


def _secured(cluster: Json, tls: ControlTls | None, account: str) -> Json:
    return cluster if tls is None else {**cluster, "transport_socket": tls.upstream(account)}


def forwarding(
    identity: Identity, admin: str, listen: Endpoint, to: Endpoint, tls: ControlTls | None = None
) -> Json:
    """The proxy in front of Pilot or Mixer: what comes in on `listen`, by mutual TLS if `tls`, goes to `to`."""
    found = _common(identity, admin)
    found["static_resources"] = {
        "clusters": [{
            **_cluster("local", to),
            "upstream_bind_config": {"source_address": {"address": identity.local_ip, "port_value": 0}},
        }],
        "listeners": [{
            "name": f"tcp_{listen.address}_{listen.port}",
            "address": listen.json(),
            "enable_reuse_port": False,
            "filter_chains": [{**({"transport_socket": tls.downstream()} if tls else {}), "filters": [{
                "name": "envoy.filters.network.tcp_proxy",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                    "stat_prefix": "tcp",
                    "cluster": "local",
                    # A stream of discovery or reports may be quiet for long.
                    "idle_timeout": "0s",
                },
            }]}],
        }],
    }
    return found


def _common(identity: Identity, admin: str) -> Json:
    return {
        "node": identity.node,
        "admin": {"address": {"pipe": {"path": admin, "mode": 0o600}}},
        # Who is called sees the pod's address, not 127.0.0.1.
        "cluster_manager": {
            "upstream_bind_config": {
                "source_address": {"address": identity.ip, "port_value": 0}, **_marked(identity.mark)
            }
        },
        # Envoy's own limit of 100 instructions refuses ordinary expressions.
        "layered_runtime": {"layers": [{"name": "static", "static_layer": {
            "re2.max_program_size.error_level": LONGEST_EXPRESSION,
            "re2.max_program_size.warn_level": LONGEST_EXPRESSION,
            **SPANS,
        }}]},
        "overload_manager": {"resource_monitors": [{
            "name": "envoy.resource_monitors.global_downstream_max_connections",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3."
                         "DownstreamConnectionsConfig",
                "max_active_downstream_connections": MOST_CONNECTIONS,
            },
        }]},
    }


def _marked(mark: int) -> Json:
    """iptables rules spare connections with this mark, or a sidecar would capture its own."""
    if not mark:
        return {}
    return {"socket_options": [{"level": socket.SOL_SOCKET, "name": SO_MARK, "int_value": mark,
                                "state": "STATE_PREBIND", "description": "not to be redirected"}]}


def _own_pages(admin: str) -> Json:
    return {
        "name": "prometheus_stats",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": "prometheus_stats",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": admin}}}}]}],
        },
    }


def _cluster(name: str, endpoint: Endpoint | None, *, http2: bool = False) -> Json:
    found: Json = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": endpoint.json()}}]}] if endpoint else [],
        },
    }
    if http2:
        found["typed_extension_protocol_options"] = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {
                # A peer that died without closing is noticed; the defaults would wait for the kernel's.
                "connection_keepalive": {"interval": "30s", "timeout": "5s"},
            }},
        }}
    return found
