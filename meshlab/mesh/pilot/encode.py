"""Plain dicts to Envoy's protobuf messages.

Translation writes dicts in the shape of the messages (a Duration is `{"seconds": 1}`, a wrapped number is
`{"value": 3}`, an enum is its name), because such a dict can be read and compared in a test. The message's
own constructor takes it: 2 to 5 microseconds for a cluster or a virtual host, where JSON parsing takes 70.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from typing import Any

__all__ = ["Fields", "as_json", "decode", "duration", "embed", "encode", "heading", "pack", "type_url"]

Fields = dict[str, Any]

#: Short name → module (and `:message` where that has another name), imported when the first is made.
_MESSAGES: Mapping[str, str] = {
    "Cluster": "envoy.config.cluster.v3.cluster_pb2",
    "ClusterLoadAssignment": "envoy.config.endpoint.v3.endpoint_pb2",
    "Listener": "envoy.config.listener.v3.listener_pb2",
    "RouteConfiguration": "envoy.config.route.v3.route_pb2",
    "VirtualHost": "envoy.config.route.v3.route_components_pb2",
    "HttpConnectionManager":
        "envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2",
    "TcpProxy": "envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2",
    "MongoProxy": "envoy.extensions.filters.network.mongo_proxy.v3.mongo_proxy_pb2",
    "RedisProxy": "envoy.extensions.filters.network.redis_proxy.v3.redis_proxy_pb2",
    "ProxyProtocol": "envoy.extensions.filters.listener.proxy_protocol.v3.proxy_protocol_pb2",
    "OriginalDst": "envoy.extensions.filters.listener.original_dst.v3.original_dst_pb2",
    "Router": "envoy.extensions.filters.http.router.v3.router_pb2",
    "Lua": "envoy.extensions.filters.http.lua.v3.lua_pb2",
    "Cors": "envoy.extensions.filters.http.cors.v3.cors_pb2",
    "CorsPolicy": "envoy.extensions.filters.http.cors.v3.cors_pb2",
    "HTTPFault": "envoy.extensions.filters.http.fault.v3.fault_pb2",
    "ExtAuthz": "envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2",
    "ExtAuthzPerRoute": "envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2",
    "TcpExtAuthz": "envoy.extensions.filters.network.ext_authz.v3.ext_authz_pb2:ExtAuthz",
    "ExpressionFilter": "envoy.extensions.access_loggers.filters.cel.v3.cel_pb2",
    "FileAccessLog": "envoy.extensions.access_loggers.file.v3.file_pb2",
    "HttpGrpcAccessLogConfig": "envoy.extensions.access_loggers.grpc.v3.als_pb2",
    "TcpGrpcAccessLogConfig": "envoy.extensions.access_loggers.grpc.v3.als_pb2",
    "StatsAccessLog": "envoy.extensions.access_loggers.stats.v3.stats_pb2:Config",
    "HeaderToMetadata": "envoy.extensions.filters.http.header_to_metadata.v3.header_to_metadata_pb2:Config",
    "ZipkinConfig": "envoy.config.trace.v3.zipkin_pb2",
    "HttpProtocolOptions": "envoy.extensions.upstreams.http.v3.http_protocol_options_pb2",
    "UpstreamTlsContext": "envoy.extensions.transport_sockets.tls.v3.tls_pb2",
    "TlsInspector": "envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2",
    "PreviousHostsPredicate": "envoy.extensions.retry.host.previous_hosts.v3.previous_hosts_pb2",
    "DownstreamTlsContext": "envoy.extensions.transport_sockets.tls.v3.tls_pb2",
    "RawBuffer": "envoy.extensions.transport_sockets.raw_buffer.v3.raw_buffer_pb2",
    "Secret": "envoy.extensions.transport_sockets.tls.v3.secret_pb2",
    "RBAC": "envoy.extensions.filters.http.rbac.v3.rbac_pb2",
    "RBACPerRoute": "envoy.extensions.filters.http.rbac.v3.rbac_pb2",
    "TcpRBAC": "envoy.extensions.filters.network.rbac.v3.rbac_pb2:RBAC",
    "JwtAuthentication": "envoy.extensions.filters.http.jwt_authn.v3.config_pb2",
    "UriTemplateMatchConfig": "envoy.extensions.path.match.uri_template.v3.uri_template_match_pb2",
}


@cache
def _message(name: str) -> Any:
    module, _, other = _MESSAGES[name].partition(":")
    return getattr(import_module(module), other or name)


def type_url(name: str) -> str:
    """`type.googleapis.com/envoy.config.cluster.v3.Cluster` for `Cluster`."""
    return f"type.googleapis.com/{_message(name).DESCRIPTOR.full_name}"


def encode(name: str, fields: Mapping[str, Any]) -> bytes:
    """The message in wire format; equal dicts give equal bytes, in every process (maps are sorted)."""
    data: bytes = _message(name)(**fields).SerializeToString(deterministic=True)
    return data


def pack(name: str, fields: Mapping[str, Any]) -> Fields:
    """The message as a `google.protobuf.Any`, to be a field of another."""
    return {"type_url": type_url(name), "value": encode(name, fields)}


def decode(name: str, data: bytes) -> Any:
    return _message(name).FromString(data)


def as_json(name: str, data: bytes) -> dict[str, Any]:
    """Envoy's JSON of a wire format message, as its own admin interface would print it."""
    from google.protobuf.json_format import MessageToDict

    # What an Any holds can only be printed by who knows its type: all are loaded here, where time is cheap.
    for each in _MESSAGES:
        _message(each)
    shown: dict[str, Any] = MessageToDict(decode(name, data), preserving_proto_field_name=True)
    return shown


def embed(field: int, parts: Iterable[bytes]) -> bytes:
    """Already encoded messages as a repeated field: appended to an encoded message they become its own.

    This is what lets a route table of a thousand virtual hosts be put together from parts that did not change.
    """
    return b"".join(heading(field, len(part)) + part for part in parts)


def heading(field: int, length: int) -> bytes:
    """What stands before `length` bytes of an embedded message."""
    if length < 0x80 and field < 16:
        return bytes((field << 3 | 2, length))
    if length < 0x4000 and field < 16:
        return bytes((field << 3 | 2, length & 0x7F | 0x80, length >> 7))
    return _varint(field << 3 | 2) + _varint(length)


def duration(ns: int) -> Fields:
    """A Duration message from nanoseconds."""
    return {"seconds": ns // 1_000_000_000, "nanos": ns % 1_000_000_000}


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
