"""The mesh's rules as values: what a rule says, after decoding, before anything is made of it.

Field names are those of config.istio.io/v1alpha2 in snake_case. An optional message is None when it is
absent, because absent and empty often differ (`match: {}` matches everything, `redirect: {}` is invalid).
All classes are frozen and sequences are tuples, so that a snapshot can be shared between threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

from meshlab.mesh.config.durations import Duration
from meshlab.mesh.config.labels import NO_LABELS, Labels

__all__ = [
    "Abort",
    "CircuitBreaker",
    "Config",
    "CorsPolicy",
    "Delay",
    "DestinationPolicy",
    "DestinationWeight",
    "EgressPort",
    "EgressRule",
    "Fault",
    "Gateway",
    "GatewayServer",
    "IngressRule",
    "IstioService",
    "L4Fault",
    "L4Match",
    "LoadBalancing",
    "Match",
    "MatchKind",
    "Meta",
    "Opaque",
    "Redirect",
    "Retries",
    "Rewrite",
    "RouteRule",
    "ServerTls",
    "StringMatch",
    "Terminate",
    "Throttle",
    "Timeout",
]

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Meta:
    """Metadata of a rule. `type` is the hyphenated form of its kind: `route-rule`."""

    type: str
    name: str = ""
    namespace: str = ""
    #: The mesh's domain, used to complete host names; not part of the key.
    domain: str = ""
    labels: Labels = NO_LABELS
    annotations: Labels = NO_LABELS
    resource_version: str = ""

    @property
    def key(self) -> str:
        """`route-rule/default/route-rules-svcb`: unique, and what rules of equal precedence are sorted by."""
        return f"{self.type}/{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Config(Generic[S]):
    """A stored rule: metadata and spec."""

    meta: Meta
    spec: S

    @property
    def key(self) -> str:
        return self.meta.key


@dataclass(frozen=True, slots=True)
class IstioService:
    """A reference to a service: by short name (completed by namespace and domain), or whole in `service`."""

    name: str = ""
    namespace: str = ""
    domain: str = ""
    service: str = ""
    labels: Labels = NO_LABELS


@dataclass(frozen=True, slots=True)
class Opaque:
    """A `custom` policy (google.protobuf.Any): accepted, kept and used for nothing."""

    type_url: str


class MatchKind(Enum):
    EXACT = "exact"
    PREFIX = "prefix"
    REGEX = "regex"


@dataclass(frozen=True, slots=True)
class StringMatch:
    """How a header is compared. `kind` is None only in an invalid rule (`{}` as matcher)."""

    kind: MatchKind | None = None
    value: str = ""


@dataclass(frozen=True, slots=True)
class L4Match:
    """Subnets, each an IPv4 address or CIDR. 0.4.0 accepts them for TCP and does nothing with them."""

    source_subnet: tuple[str, ...] = ()
    destination_subnet: tuple[str, ...] = ()


@dataclass(frozen=True)
class Match:
    """Conditions, all of which must hold. `source` is evaluated by Pilot for each caller, not by Envoy.

    `headers` is None when `request` is absent. The names `uri`, `authority`, `method` and `scheme` stand for
    the parts of the request line.
    """

    source: IstioService | None = None
    tcp: L4Match | None = None
    udp: L4Match | None = None
    headers: Mapping[str, StringMatch] | None = None


@dataclass(frozen=True, slots=True)
class DestinationWeight:
    """One entry of `route`. `destination` None: the rule's own."""

    labels: Labels = NO_LABELS
    weight: int = 0
    destination: IstioService | None = None


@dataclass(frozen=True, slots=True)
class Redirect:
    """302 to another path and/or host."""

    uri: str = ""
    authority: str = ""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Path (or the matched prefix of it) and/or host as the destination gets them."""

    uri: str = ""
    authority: str = ""


@dataclass(frozen=True, slots=True)
class Timeout:
    """httpReqTimeout. `simple` tells `simpleTimeout: {}` (invalid) from its absence (no timeout)."""

    simple: bool = False
    timeout: Duration | None = None
    override_header_name: str = ""
    custom: Opaque | None = None


@dataclass(frozen=True, slots=True)
class Retries:
    """httpReqRetries. `per_try_timeout` is mandatory once `simpleRetry` is there."""

    simple: bool = False
    attempts: int = 0
    per_try_timeout: Duration | None = None
    override_header_name: str = ""
    custom: Opaque | None = None


@dataclass(frozen=True, slots=True)
class Delay:
    """A fault that waits; `percent` 0 to 100, where 0 (also: absent) makes no fault at all in 0.4.0."""

    percent: float = 0.0
    fixed: Duration | None = None
    exponential: Duration | None = None
    override_header_name: str = ""


@dataclass(frozen=True, slots=True)
class Abort:
    """A fault that answers in the destination's place. At most one of the three errors is set."""

    percent: float = 0.0
    http_status: int | None = None
    http2_error: str | None = None
    grpc_status: str | None = None
    override_header_name: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    delay: Delay | None = None
    abort: Abort | None = None


@dataclass(frozen=True, slots=True)
class Throttle:
    percent: float = 0.0
    downstream_limit_bps: int = 0
    upstream_limit_bps: int = 0
    after_period: Duration | None = None
    after_bytes: float = 0.0
    for_period: Duration | None = None


@dataclass(frozen=True, slots=True)
class Terminate:
    percent: float = 0.0
    after_period: Duration | None = None


@dataclass(frozen=True, slots=True)
class L4Fault:
    """Decoded in order to be refused: 0.4.0 implements none of it."""

    throttle: Throttle | None = None
    terminate: Terminate | None = None


@dataclass(frozen=True, slots=True)
class CorsPolicy:
    allow_origin: tuple[str, ...] = ()
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: Duration | None = None
    allow_credentials: bool | None = None


@dataclass(frozen=True)
class RouteRule:
    """How requests to one destination are treated.

    `route` is None when the key is absent and () for `route: []`, which is invalid.
    """

    destination: IstioService | None = None
    precedence: int = 0
    match: Match | None = None
    route: tuple[DestinationWeight, ...] | None = None
    redirect: Redirect | None = None
    rewrite: Rewrite | None = None
    websocket_upgrade: bool = False
    timeout: Timeout | None = None
    retries: Retries | None = None
    fault: Fault | None = None
    l4_fault: L4Fault | None = None
    mirror: IstioService | None = None
    cors: CorsPolicy | None = None
    append_headers: Labels = NO_LABELS


@dataclass(frozen=True, slots=True)
class EgressPort:
    """A port of an egress rule. `protocol` is kept as typed; see `services.Protocol.parse`."""

    port: int = 0
    protocol: str = ""


@dataclass(frozen=True, slots=True)
class EgressRule:
    """Lets sidecars reach a destination outside the mesh: a name, an address, a wildcard or a CIDR."""

    destination: IstioService | None = None
    ports: tuple[EgressPort, ...] = ()
    use_egress_proxy: bool = False


@dataclass(frozen=True, slots=True)
class LoadBalancing:
    """`name` is ROUND_ROBIN, LEAST_CONN, RANDOM or an unknown number as text; None with a custom policy.

    `chosen` is False for `loadBalancing: {}`, which is invalid.
    """

    name: str | None = None
    custom: Opaque | None = None
    chosen: bool = True


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """simpleCb, 0 meaning unset. `simple` tells `simpleCb: {}` (invalid) from its absence."""

    simple: bool = False
    max_connections: int = 0
    http_max_pending_requests: int = 0
    http_max_requests: int = 0
    sleep_window: Duration | None = None
    http_consecutive_errors: int = 0
    http_detection_interval: Duration | None = None
    http_max_requests_per_connection: int = 0
    http_max_ejection_percent: int = 0
    http_max_retries: int = 0
    custom: Opaque | None = None


@dataclass(frozen=True, slots=True)
class DestinationPolicy:
    """How connections to one version of a destination are balanced and limited."""

    destination: IstioService | None = None
    source: IstioService | None = None
    load_balancing: LoadBalancing | None = None
    circuit_breaker: CircuitBreaker | None = None
    custom: Opaque | None = None


@dataclass(frozen=True)
class IngressRule:
    """One path of a Kubernetes Ingress, or the kind IngressRule; at most one destination port is set."""

    destination: IstioService | None = None
    port: int = 0
    tls_secret: str = ""
    precedence: int = 0
    match: Match | None = None
    destination_port: int | None = None
    destination_port_name: str | None = None


@dataclass(frozen=True, slots=True)
class ServerTls:
    https_redirect: bool = False
    #: PASSTHROUGH, SIMPLE or MUTUAL.
    mode: str = "PASSTHROUGH"
    server_certificate: str = ""
    client_ca_bundle: str = ""


@dataclass(frozen=True, slots=True)
class GatewayServer:
    """`port` is None when absent, else number, protocol, name."""

    port: tuple[int, str, str] | None = None
    domains: tuple[str, ...] = ()
    tls: ServerTls | None = None


@dataclass(frozen=True, slots=True)
class Gateway:
    """The first Gateway, of routing.v1alpha2: validated and stored by 0.4.0, used by nothing."""

    servers: tuple[GatewayServer, ...] = field(default=())
