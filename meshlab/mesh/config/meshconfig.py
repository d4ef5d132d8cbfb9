"""The mesh's own configuration: key `mesh` of ConfigMap `istio`, with the defaults of 0.4.0."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from meshlab.errors import ManifestError
from meshlab.mesh.config.durations import Duration
from meshlab.mesh.config.goyaml import YamlError, load
from meshlab.mesh.config.names import check_port, check_proxy_address
from meshlab.mesh.config.outside import OutboundPolicy
from meshlab.mesh.config.protojson import DecodeError, decode
from meshlab.mesh.config.schema import EnumType, Field, Message, Scalar, Shape
from meshlab.mesh.config.validate import check_duration, errors_text

__all__ = ["IngressMode", "MeshConfig", "ProxyConfig", "check_mesh_config", "parse_mesh_config"]

_SECOND = Duration.of(seconds=1)
_TWO_SECONDS = Duration.of(seconds=2)
_THREE_SECONDS = Duration.of(seconds=3)


class IngressMode(Enum):
    """Which Ingress objects are served: none, those of no class as well, or only those of the mesh's class."""

    OFF = 0
    DEFAULT = 1
    STRICT = 2


@dataclass(frozen=True)
class ProxyConfig:
    """How a sidecar is started (`defaultConfig`). Addresses are `host:port`, "" for none."""

    config_path: str = "/etc/istio/proxy"
    binary_path: str = "/usr/local/bin/envoy"
    service_cluster: str = "istio-proxy"
    drain_duration: Duration = _TWO_SECONDS
    parent_shutdown_duration: Duration = _THREE_SECONDS
    discovery_address: str = "istio-pilot:15003"
    discovery_refresh_delay: Duration = _SECOND
    zipkin_address: str = ""
    connect_timeout: Duration = _SECOND
    statsd_udp_address: str = ""
    proxy_admin_port: int = 15000
    availability_zone: str = ""
    #: NONE or MUTUAL_TLS: how the sidecar speaks with the control plane.
    control_plane_auth_policy: str = "NONE"
    custom_config_file: str = ""
    #: 0: Envoy's own.
    stat_name_length: int = 0


@dataclass(frozen=True)
class MeshConfig:
    """Settings of the whole mesh."""

    egress_proxy_address: str = ""
    #: "" means that nothing is checked or reported.
    mixer_address: str = ""
    disable_policy_checks: bool = False
    proxy_listen_port: int = 15001
    #: 0: no HTTP proxy port.
    proxy_http_port: int = 0
    #: Of connections to upstream clusters; `defaultConfig.connectTimeout` is another matter.
    connect_timeout: Duration = _SECOND
    ingress_class: str = "istio"
    ingress_service: str = ""
    ingress_controller_mode: IngressMode | None = IngressMode.STRICT
    #: NONE or MUTUAL_TLS: how sidecars speak with each other.
    auth_policy: str = "NONE"
    rds_refresh_delay: Duration = _SECOND
    enable_tracing: bool = True
    access_log_file: str = "/dev/stdout"
    default_config: ProxyConfig = field(default_factory=ProxyConfig)
    mtls_excluded_services: tuple[str, ...] = ()
    #: Not of 0.4: what today's meshes do with destinations that nobody knows.
    outbound_traffic_policy: OutboundPolicy = OutboundPolicy.UNSET
    #: Not of 0.4: pods take mutual TLS beside plain text, and sidecars use it where it is taken. None: unsaid.
    enable_auto_mtls: bool | None = None


def parse_mesh_config(text: str) -> MeshConfig:
    """The configuration in YAML; what it leaves out has its default. Raises ManifestError."""
    try:
        loaded = load(text)
        fields = decode(_mesh_message(), {} if loaded is None else loaded)
    except (YamlError, DecodeError) as error:
        reason = str(error)
        raise ManifestError(
            f"the mesh configuration does not parse: {reason}",
            then="kubectl -n istio-system edit configmap istio",
        ) from None
    config = _mesh(fields)
    if problems := check_mesh_config(config):
        raise ManifestError(
            f"the mesh configuration is invalid: {errors_text(problems)}",
            then="kubectl -n istio-system edit configmap istio",
        )
    return config


def _mesh(fields: dict[str, Any]) -> MeshConfig:
    known = dict(fields)
    proxy: dict[str, Any] = dict(known.pop("default_config", {}))
    if "control_plane_auth_policy" in proxy:
        names = {0: "NONE", 1: "MUTUAL_TLS", 1000: "INHERIT"}
        number = proxy["control_plane_auth_policy"]
        proxy["control_plane_auth_policy"] = names.get(number, str(number))
    if "auth_policy" in known:
        known["auth_policy"] = {0: "NONE", 1: "MUTUAL_TLS"}.get(known["auth_policy"], str(known["auth_policy"]))
    if "ingress_controller_mode" in known:
        mode = known["ingress_controller_mode"]
        known["ingress_controller_mode"] = IngressMode(mode) if mode in (0, 1, 2) else None
    if "mtls_excluded_services" in known:
        known["mtls_excluded_services"] = tuple(known["mtls_excluded_services"])
    if "outbound_traffic_policy" in known:
        number = known["outbound_traffic_policy"].get("mode", 0)
        known["outbound_traffic_policy"] = OutboundPolicy.ALLOW_ANY if number == 1 else OutboundPolicy.REGISTRY_ONLY
    return MeshConfig(**known, default_config=ProxyConfig(**proxy))


def _mesh_message() -> Message:
    text, number, length, flag = Scalar.STRING, Scalar.INT32, Scalar.DURATION, Scalar.BOOL
    either = {"NONE": 0, "MUTUAL_TLS": 1}
    inherit = either | {"INHERIT": 1000}
    own = EnumType("istio.mesh.v1apha1.AuthenticationPolicy", "v1alpha1.AuthenticationPolicy", inherit)
    auth = EnumType("istio.mesh.v1apha1.MeshConfig_AuthPolicy", "v1alpha1.MeshConfig_AuthPolicy", either)
    mode = EnumType(
        "istio.mesh.v1apha1.MeshConfig_IngressControllerMode",
        "v1alpha1.MeshConfig_IngressControllerMode",
        {mode.name: mode.value for mode in IngressMode},
    )
    outbound_mode = EnumType(
        "istio.mesh.v1alpha1.MeshConfig_OutboundTrafficPolicy_Mode",
        "v1alpha1.MeshConfig_OutboundTrafficPolicy_Mode",
        {"REGISTRY_ONLY": 0, "ALLOW_ANY": 1},
    )
    outbound = Message("v1alpha1.MeshConfig_OutboundTrafficPolicy", (Field("mode", outbound_mode),))
    proxy = Message(
        "v1alpha1.ProxyConfig",
        (
            *(Field(name, text) for name in ("config_path", "binary_path", "service_cluster")),
            *(Field(name, length) for name in ("drain_duration", "parent_shutdown_duration")),
            Field("discovery_address", text),
            Field("discovery_refresh_delay", length),
            Field("zipkin_address", text),
            Field("connect_timeout", length),
            Field("statsd_udp_address", text),
            Field("proxy_admin_port", number),
            Field("availability_zone", text),
            Field("control_plane_auth_policy", own),
            Field("custom_config_file", text),
            Field("stat_name_length", number),
        ),
    )
    return Message(
        "v1alpha1.MeshConfig",
        (
            *(Field(name, text) for name in ("egress_proxy_address", "mixer_address")),
            Field("disable_policy_checks", flag),
            *(Field(name, number) for name in ("proxy_listen_port", "proxy_http_port")),
            Field("connect_timeout", length),
            *(Field(name, text) for name in ("ingress_class", "ingress_service")),
            Field("ingress_controller_mode", mode),
            Field("auth_policy", auth),
            Field("rds_refresh_delay", length),
            Field("enable_tracing", flag),
            Field("access_log_file", text),
            Field("default_config", proxy),
            Field("mtls_excluded_services", text, Shape.MANY),
            Field("outbound_traffic_policy", outbound),
            Field("enable_auto_mtls", flag),
        ),
    )


def check_mesh_config(mesh: MeshConfig) -> list[str]:
    """Problems of a mesh configuration, in 0.4.0's words."""
    out = []
    for what, address in (("egress proxy", mesh.egress_proxy_address), ("Mixer", mesh.mixer_address)):
        if address:
            out += [f"invalid {what} address: {problem}" for problem in check_proxy_address(address)]
    out += [f"invalid proxy listen port: {problem}" for problem in check_port(mesh.proxy_listen_port)]
    out += _within("connect timeout", mesh.connect_timeout, Duration.of(milliseconds=1), Duration.of(seconds=30))
    if mesh.auth_policy not in ("NONE", "MUTUAL_TLS"):
        out.append(f'unrecognized auth policy "{mesh.auth_policy}"')
    out += _refresh(mesh.rds_refresh_delay)
    return out + _check_proxy(mesh.default_config)


def _check_proxy(proxy: ProxyConfig) -> list[str]:
    out = [
        f"{name} must be set"
        for name, value in (
            ("config path", proxy.config_path),
            ("binary path", proxy.binary_path),
            ("service cluster", proxy.service_cluster),
        )
        if not value
    ]
    out += _drain(proxy.drain_duration, proxy.parent_shutdown_duration)
    out += _refresh(proxy.discovery_refresh_delay)
    if not proxy.discovery_address:
        out.append("discovery address must be set to the proxy discovery service")
    out += [f"invalid discovery address: {each}" for each in _optional(proxy.discovery_address)]
    out += [f"invalid zipkin address: {each}" for each in _optional(proxy.zipkin_address)]
    out += _within("connect timeout", proxy.connect_timeout, Duration.of(milliseconds=1), Duration.of(seconds=30))
    out += [f"invalid statsd udp address: {each}" for each in _optional(proxy.statsd_udp_address)]
    out += [f"invalid proxy admin port: {each}" for each in check_port(proxy.proxy_admin_port)]
    if proxy.control_plane_auth_policy not in ("NONE", "MUTUAL_TLS"):
        out.append(f'unrecognized control plane auth policy "{proxy.control_plane_auth_policy}"')
    return out


def _optional(address: str) -> list[str]:
    return check_proxy_address(address) if address else []


def _refresh(delay: Duration) -> list[str]:
    return _within("refresh delay", delay, Duration.of(seconds=1), Duration.of(seconds=600))


def _within(what: str, value: Duration, low: Duration, high: Duration) -> list[str]:
    problems = check_duration(value)
    if not problems and not low <= value <= high:
        problems = [f"time {value} must be >{low} and <{high}"]
    return [f"invalid {what}: {problem}" for problem in problems]


def _drain(drain: Duration, parent: Duration) -> list[str]:
    """Old connections drain first, then the old proxy goes; both in whole seconds, within an hour."""
    prefix = "invalid parent and drain time combination"
    out = [f"{prefix} invalid drain duration: {each}" for each in check_duration(drain)]
    out += [f"{prefix} invalid parent shutdown duration: {each}" for each in check_duration(parent)]
    if out:
        return out
    hour = Duration.of(seconds=3600)
    if drain.ns % 1_000_000_000:
        out.append("drain time only supports durations to seconds precision")
    if parent.ns % 1_000_000_000:
        out.append("parent shutdown time only supports durations to seconds precision")
    if parent <= drain:
        out.append(f"parent shutdown time {parent} must be greater than drain time {drain}")
    if drain > hour:
        out.append(f"drain time {drain} must be <{hour}")
    if parent > hour:
        out.append(f"parent shutdown time {parent} must be <{hour}")
    return [f"{prefix} {problem}" for problem in out]
