"""The HTTP connection manager: filters, tracing, logs and the headers that a sidecar adds."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Sequence
from enum import Enum

from meshlab.mesh.pilot.actions import CORS, FAULT
from meshlab.mesh.pilot.encode import Fields, duration, pack
from meshlab.mesh.pilot.policy import http_filter
from meshlab.mesh.pilot.proxy import Proxy
from meshlab.mesh.pilot.stats import http_stats, peer_filter, peer_header, tcp_stats
from meshlab.mesh.pilot.world import Mesh

__all__ = [
    "MIXER_CLUSTER",
    "TRACING_CLUSTER",
    "Direction",
    "added_headers",
    "connection_manager",
    "forwarded_attributes",
    "tcp_log",
]

#: Clusters of a proxy's bootstrap.
MIXER_CLUSTER = "mixer_server"
TRACING_CLUSTER = "zipkin"
#: Reports are sent this often, or when 16 KiB are waiting.
REPORT_INTERVAL_NS = 200_000_000
REPORT_BYTES = 16_384
ATTRIBUTES_HEADER = "x-istio-attributes"
#: Where a sidecar logs for which a Telemetry object asks for it in a mesh that logs nothing.
STANDARD_OUTPUT = "/dev/stdout"
SPAN_CONTEXT_HEADER = "x-ot-span-context"
#: A line of the access log, as istiod's text format has it since 1.9. Envoy's own format of 2017 has neither route nor
#: cluster; these fields cost a sidecar about a microsecond a request.
LOG_FORMAT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% '
    '%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% '
    "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)


class Direction(Enum):
    """Seen from the pod; the value is also part of the name under which Mixer gets its reports."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


def connection_manager(
    route_name: str, direction: Direction, mesh: Mesh, first: Sequence[Fields] = (), *, normalize: bool = False
) -> Fields:
    """A network filter that takes its routes `route_name` by RDS.

    The filters are always the same and every rule acts in the routes: a rule never replaces a listener. `first` come
    before them; `normalize`: paths are brought into their shortest form first of all.
    """
    manager: Fields = {
        "stat_prefix": "http",
        "rds": {
            "route_config_name": route_name,
            "config_source": {"ads": {}, "resource_api_version": "V3"},
        },
        "http_filters": [
            *first,
            *([http_filter(MIXER_CLUSTER)] if direction is Direction.INBOUND and mesh.mixer else ()),
            *([peer_filter()] if direction is Direction.INBOUND and mesh.metrics is not None else ()),
            # Off until a route has its own configuration of them: what no rule asks for costs a request nothing.
            {"name": CORS, "disabled": True, "typed_config": pack("Cors", {})},
            {"name": FAULT, "disabled": True, "typed_config": pack("HTTPFault", {})},
            {"name": "envoy.filters.http.router", "typed_config": pack("Router", {})},
        ],
        "generate_request_id": {"value": mesh.tracing},
        # Envoy of 2017 had no limit on a quiet stream; today's five minutes would cut what no rule limits.
        "stream_idle_timeout": duration(0),
    }
    if normalize:
        manager["normalize_path"] = {"value": True}
    if logs := _logs(direction, mesh, "http_grpc", "HttpGrpcAccessLogConfig"):
        manager["access_log"] = logs
    if mesh.tracing:
        inbound = direction is Direction.INBOUND and mesh.inbound_sampling is not None
        manager["tracing"] = _tracing(mesh.inbound_sampling if inbound else mesh.sampling)  # type: ignore[arg-type]
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": pack("HttpConnectionManager", manager),
    }


def tcp_log(mesh: Mesh) -> list[Fields]:
    """Access logs of an inbound TCP listener: one entry when a connection closes."""
    return _logs(Direction.INBOUND, mesh, "tcp_grpc", "TcpGrpcAccessLogConfig")


def _logs(direction: Direction, mesh: Mesh, name: str, message: str) -> list[Fields]:
    logs: list[Fields] = []
    wanted = bool(mesh.access_log)
    if direction is Direction.INBOUND and mesh.inbound_log is not None:
        wanted = mesh.inbound_log
    if wanted:
        log: Fields = {
            "name": "envoy.access_loggers.file",
            "typed_config": pack("FileAccessLog", {
                "path": mesh.access_log or STANDARD_OUTPUT,
                "log_format": {"text_format_source": {"inline_string": LOG_FORMAT}},
            }),
        }
        if expression := mesh.log_filters[direction is Direction.INBOUND]:
            log["filter"] = {"extension_filter": {
                "name": "envoy.access_loggers.extension_filters.cel",
                "typed_config": pack("ExpressionFilter", {"expression": expression}),
            }}
        logs.append(log)
    # A report costs both who makes it and who counts it, so what nobody counts is not made.
    if mesh.mixer and (direction is Direction.INBOUND or mesh.double_report):
        config: Fields = {
            "common_config": {
                "log_name": f"mixer-{direction.value}",
                "grpc_service": {"envoy_grpc": {"cluster_name": MIXER_CLUSTER}},
                "transport_api_version": "V3",
                "buffer_flush_interval": duration(REPORT_INTERVAL_NS),
                "buffer_size_bytes": {"value": REPORT_BYTES},
            }
        }
        if name == "http_grpc":
            config["additional_request_headers_to_log"] = [ATTRIBUTES_HEADER]
        logs.append({"name": f"envoy.access_loggers.{name}", "typed_config": pack(message, config)})
    if mesh.metrics is not None:
        count = http_stats if name == "http_grpc" else tcp_stats
        logs += count(mesh.metrics, inbound=direction is Direction.INBOUND)
    return logs


def _tracing(sampling: float) -> Fields:
    """`sampling` percent of the requests; all unless a Telemetry object says less, as in 2017 by Envoy's default."""
    zipkin: Fields = {
        "collector_cluster": TRACING_CLUSTER,
        "collector_endpoint": "/api/v2/spans",
        # As JSON the same spans cost a sidecar three times as much.
        "collector_endpoint_version": "HTTP_PROTO",
        "collector_hostname": TRACING_CLUSTER,
        "shared_span_context": {"value": False},
    }
    return {
        "client_sampling": {"value": 100.0},
        "random_sampling": {"value": sampling},
        "overall_sampling": {"value": 100.0},
        "provider": {"name": "envoy.tracers.zipkin", "typed_config": pack("ZipkinConfig", zipkin)},
    }


def added_headers(proxy: Proxy, mesh: Mesh) -> list[Fields]:
    """What an outbound request gains beyond what Envoy adds by itself."""
    headers: list[Fields] = []
    if mesh.mixer:
        value = forwarded_attributes(proxy.ip, proxy.uid)
        headers.append(_header(ATTRIBUTES_HEADER, value, "OVERWRITE_IF_EXISTS_OR_ADD"))
    if mesh.tracing:
        # `trace;span;parent`. Envoy of 2017 wrote it, today's does not. A request that begins a trace has the
        # trace's id as its span's; one that continues a trace carries the header already.
        headers.append(_header(SPAN_CONTEXT_HEADER, f"%TRACE_ID%;%TRACE_ID%;{'0' * 16}", "ADD_IF_ABSENT"))
    if mesh.metrics is not None:
        headers.append(peer_header())
    return headers


def _header(name: str, value: str, action: str) -> Fields:
    return {"header": {"key": name, "value": value}, "append_action": action}


def forwarded_attributes(ip: str, uid: str) -> str:
    """`x-istio-attributes`: Mixer's Attributes message {source.ip: bytes, source.uid: string} in base64.

    The message is written by hand, as two entries of a map: its schema is the only thing of Mixer's API that
    a sidecar needs. `ip` becomes 16 bytes, an IPv4 address in IPv6 (::ffff:a.b.c.d).
    """
    address = ipaddress.ip_address(ip)
    packed = address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed
    message = _entry("source.ip", 6, packed) + _entry("source.uid", 2, uid.encode())
    return base64.b64encode(message).decode()


def _entry(name: str, kind: int, value: bytes) -> bytes:
    """attributes[name] = AttributeValue{kind: value}; lengths are below 16 KiB."""
    return _field(1, _field(1, name.encode()) + _field(2, _field(kind, value)))


def _field(number: int, data: bytes) -> bytes:
    length = len(data)
    size = bytes([length]) if length < 0x80 else bytes([length & 0x7F | 0x80, length >> 7])
    return bytes([number << 3 | 2]) + size + data
