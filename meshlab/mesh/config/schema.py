"""The messages of config.istio.io/v1alpha2, field by field, in the order of their protobuf definitions.

Names, types and oneofs are those of istio.io/api at the revision that Istio 0.4.0 pinned; a decoder needs nothing
else. The Go type names appear in 0.4.0's error messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

__all__ = ["EnumType", "Field", "Message", "Scalar", "Shape", "messages"]


class Scalar(Enum):
    """Types without fields; the value is what Go calls them in errors."""

    STRING = "string"
    BOOL = "bool"
    INT32 = "int32"
    INT64 = "int64"
    UINT32 = "uint32"
    FLOAT = "float32"
    DOUBLE = "float64"
    DURATION = "duration"
    BOOL_VALUE = "bool value"
    ANY = "any"
    #: Messages of Mixer's client that are kept as they are (attribute values).
    RAW = "raw"


class Shape(Enum):
    ONE = "one"
    MANY = "many"
    MAP = "map"


@dataclass(frozen=True, slots=True)
class EnumType:
    """`name` as protobuf says it, `go_name` as Go does."""

    name: str
    go_name: str
    values: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `name` is snake_case; JSON may also write it in lowerCamelCase."""

    name: str
    type: Scalar | EnumType | Message
    shape: Shape = Shape.ONE
    oneof: str = ""

    @property
    def camel(self) -> str:
        head, *rest = self.name.split("_")
        return head + "".join(part[:1].upper() + part[1:] for part in rest)


@dataclass(frozen=True, slots=True)
class Message:
    go_name: str
    fields: tuple[Field, ...]

    def field(self, name: str) -> Field:
        return next(field for field in self.fields if field.name == name)


_STRING, _BOOL, _INT32, _FLOAT = Scalar.STRING, Scalar.BOOL, Scalar.INT32, Scalar.FLOAT
_DURATION, _ANY = Scalar.DURATION, Scalar.ANY
_MANY, _MAP = Shape.MANY, Shape.MAP


def _message(name: str, *fields: Field, package: str = "istio_routing_v1alpha1") -> Message:
    return Message(f"{package}.{name}", fields)


def _service(package: str = "istio_routing_v1alpha1") -> Message:
    return _message(
        "IstioService",
        Field("name", _STRING),
        Field("namespace", _STRING),
        Field("domain", _STRING),
        Field("service", _STRING),
        Field("labels", _STRING, _MAP),
        package=package,
    )


def _string_match(package: str = "istio_routing_v1alpha1") -> Message:
    return _message(
        "StringMatch",
        Field("exact", _STRING, oneof="match_type"),
        Field("prefix", _STRING, oneof="match_type"),
        Field("regex", _STRING, oneof="match_type"),
        package=package,
    )


def _match(service: Message) -> Message:
    l4 = _message("L4MatchAttributes", Field("source_subnet", _STRING, _MANY),
                  Field("destination_subnet", _STRING, _MANY))
    request = _message("MatchRequest", Field("headers", _string_match(), _MAP))
    return _message(
        "MatchCondition",
        Field("source", service),
        Field("tcp", l4),
        Field("udp", l4),
        Field("request", request),
    )


def _faults() -> tuple[Message, Message]:
    delay = _message(
        "HTTPFaultInjection_Delay",
        Field("percent", _FLOAT),
        Field("fixed_delay", _DURATION, oneof="http_delay_type"),
        Field("exponential_delay", _DURATION, oneof="http_delay_type"),
        Field("override_header_name", _STRING),
    )
    abort = _message(
        "HTTPFaultInjection_Abort",
        Field("percent", _FLOAT),
        Field("grpc_status", _STRING, oneof="error_type"),
        Field("http2_error", _STRING, oneof="error_type"),
        Field("http_status", _INT32, oneof="error_type"),
        Field("override_header_name", _STRING),
    )
    throttle = _message(
        "L4FaultInjection_Throttle",
        Field("percent", _FLOAT),
        Field("downstream_limit_bps", Scalar.INT64),
        Field("upstream_limit_bps", Scalar.INT64),
        Field("throttle_after_period", _DURATION, oneof="throttle_after"),
        Field("throttle_after_bytes", Scalar.DOUBLE, oneof="throttle_after"),
        Field("throttle_for_period", _DURATION),
    )
    terminate = _message(
        "L4FaultInjection_Terminate", Field("percent", _FLOAT), Field("terminate_after_period", _DURATION)
    )
    return (
        _message("HTTPFaultInjection", Field("delay", delay), Field("abort", abort)),
        _message("L4FaultInjection", Field("throttle", throttle), Field("terminate", terminate)),
    )


def _route_rule(service: Message) -> Message:
    weight = _message(
        "DestinationWeight",
        Field("destination", service),
        Field("labels", _STRING, _MAP),
        Field("weight", _INT32),
    )
    timeout = _message(
        "HTTPTimeout_SimpleTimeoutPolicy", Field("timeout", _DURATION), Field("override_header_name", _STRING)
    )
    retry = _message(
        "HTTPRetry_SimpleRetryPolicy",
        Field("attempts", _INT32),
        Field("per_try_timeout", _DURATION),
        Field("override_header_name", _STRING),
    )
    cors = _message(
        "CorsPolicy",
        Field("allow_origin", _STRING, _MANY),
        Field("allow_methods", _STRING, _MANY),
        Field("allow_headers", _STRING, _MANY),
        Field("expose_headers", _STRING, _MANY),
        Field("max_age", _DURATION),
        Field("allow_credentials", Scalar.BOOL_VALUE),
    )
    http_fault, l4_fault = _faults()
    paths = (Field("uri", _STRING), Field("authority", _STRING))
    timeouts = (
        Field("simple_timeout", timeout, oneof="timeout_policy"),
        Field("custom", _ANY, oneof="timeout_policy"),
    )
    retries = (
        Field("simple_retry", retry, oneof="retry_policy"),
        Field("custom", _ANY, oneof="retry_policy"),
    )
    return _message(
        "RouteRule",
        Field("destination", service),
        Field("precedence", _INT32),
        Field("match", _match(service)),
        Field("route", weight, _MANY),
        Field("redirect", _message("HTTPRedirect", *paths)),
        Field("rewrite", _message("HTTPRewrite", *paths)),
        Field("websocket_upgrade", _BOOL),
        Field("http_req_timeout", _message("HTTPTimeout", *timeouts)),
        Field("http_req_retries", _message("HTTPRetry", *retries)),
        Field("http_fault", http_fault),
        Field("l4_fault", l4_fault),
        Field("mirror", service),
        Field("cors_policy", cors),
        Field("append_headers", _STRING, _MAP),
    )


def _egress_rule(service: Message) -> Message:
    port = _message("EgressRule_Port", Field("port", _INT32), Field("protocol", _STRING))
    return _message(
        "EgressRule",
        Field("destination", service),
        Field("ports", port, _MANY),
        Field("use_egress_proxy", _BOOL),
    )


def _destination_policy(service: Message) -> Message:
    policy = EnumType(
        "istio.routing.v1alpha1.LoadBalancing_SimpleLBPolicy",
        "istio_routing_v1alpha1.LoadBalancing_SimpleLBPolicy",
        {"ROUND_ROBIN": 0, "LEAST_CONN": 1, "RANDOM": 2},
    )
    balancing = _message(
        "LoadBalancing", Field("name", policy, oneof="lb_policy"), Field("custom", _ANY, oneof="lb_policy")
    )
    simple = _message(
        "CircuitBreaker_SimpleCircuitBreakerPolicy",
        Field("max_connections", _INT32),
        Field("http_max_pending_requests", _INT32),
        Field("http_max_requests", _INT32),
        Field("sleep_window", _DURATION),
        Field("http_consecutive_errors", _INT32),
        Field("http_detection_interval", _DURATION),
        Field("http_max_requests_per_connection", _INT32),
        Field("http_max_ejection_percent", _INT32),
        Field("http_max_retries", _INT32),
    )
    breaker = _message(
        "CircuitBreaker", Field("simple_cb", simple, oneof="cb_policy"), Field("custom", _ANY, oneof="cb_policy")
    )
    return _message(
        "DestinationPolicy",
        Field("destination", service),
        Field("source", service),
        Field("load_balancing", balancing),
        Field("circuit_breaker", breaker),
        Field("custom", _ANY),
    )


def _ingress_rule(service: Message) -> Message:
    return _message(
        "IngressRule",
        Field("port", _INT32),
        Field("tls_secret", _STRING),
        Field("precedence", _INT32),
        Field("match", _match(service)),
        Field("destination", service),
        Field("destination_port", _INT32, oneof="destination_service_port"),
        Field("destination_port_name", _STRING, oneof="destination_service_port"),
    )


def _gateway() -> Message:
    package = "istio_routing_v1alpha2"
    mode = EnumType(
        "istio.routing.v1alpha2.Server_TLSOptions_TLSmode",
        f"{package}.Server_TLSOptions_TLSmode",
        {"PASSTHROUGH": 0, "SIMPLE": 1, "MUTUAL": 2},
    )
    port = _message(
        "Server_Port",
        Field("number", Scalar.UINT32),
        Field("protocol", _STRING),
        Field("name", _STRING),
        package=package,
    )
    tls = _message(
        "Server_TLSOptions",
        Field("https_redirect", _BOOL),
        Field("mode", mode),
        Field("server_certificate", _STRING),
        Field("client_ca_bundle", _STRING),
        package=package,
    )
    server = _message(
        "Server", Field("port", port), Field("domains", _STRING, _MANY), Field("tls", tls), package=package
    )
    return _message("Gateway", Field("servers", server, _MANY), package=package)


def messages() -> dict[str, Message]:
    """Messages by the hyphenated type of their kind."""
    service = _service()
    return {
        "route-rule": _route_rule(service),
        "ingress-rule": _ingress_rule(service),
        "gateway": _gateway(),
        "egress-rule": _egress_rule(service),
        "destination-policy": _destination_policy(service),
    }
