"""Clusters: where a proxy's traffic can go, and how it is balanced and limited."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from meshlab.mesh.config.labels import Labels
from meshlab.mesh.config.model import CircuitBreaker, Config, DestinationPolicy
from meshlab.mesh.config.order import match_source
from meshlab.mesh.config.services import Instance, Protocol
from meshlab.mesh.pilot.encode import Fields, duration, pack
from meshlab.mesh.pilot.names import ORIGINAL_DESTINATION, Target, inbound
from meshlab.mesh.pilot.proxy import Capture
from meshlab.mesh.pilot.world import Mesh
from meshlab.settings import bound_port

__all__ = ["inbound_cluster", "original_destination", "outbound_cluster", "policy_for", "socket"]

#: 0.4.0's own, whatever Envoy's is.
MAX_EJECTION_PERCENT = 10
SECOND = 1_000_000_000
_BALANCERS = {"LEAST_CONN": "LEAST_REQUEST", "RANDOM": "RANDOM"}
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def socket(address: str, port: int) -> Fields:
    """An `Address`."""
    return {"socket_address": {"address": address, "port_value": port}}


def _bind(address: str) -> Fields:
    return {"source_address": {"address": address, "port_value": 0}}


def _let_go(cluster: Fields, mesh: Mesh) -> None:
    """For clusters outside the mesh, where a loopback address cannot go: the kernel chooses the source address.

    With iptables the pod's address goes anywhere, and the bootstrap's binding has to stay: it carries the mark by which
    the sidecar's own connections are spared.
    """
    if mesh.capture is Capture.SHIM:
        cluster["upstream_bind_config"] = _bind("0.0.0.0")  # noqa: S104


def policy_for(
    target: Target, policies: Iterable[Config[DestinationPolicy]], instances: Sequence[Instance]
) -> Config[DestinationPolicy] | None:
    """The first policy (by key) for exactly these labels and this caller."""
    for each in policies:
        destination = each.spec.destination
        labels = destination.labels if destination is not None else Labels()
        if labels == target.labels and match_source(each.meta, each.spec.source, instances):
            return each
    return None


def inbound_cluster(number: int, protocol: Protocol, local_ip: str, mesh: Mesh) -> Fields:
    """The application behind the sidecar, on the pod's own loopback."""
    found: Fields = {
        "name": inbound(number),
        "type": "STATIC",
        "connect_timeout": duration(mesh.connect_timeout.ns),
        "load_assignment": {
            "cluster_name": inbound(number),
            "endpoints": [{"lb_endpoints": [
                {"endpoint": {"address": socket(local_ip, bound_port(number, mesh.low_port_start))}}
            ]}],
        },
        # The application sees its caller as "localhost", as behind a real sidecar.
        "upstream_bind_config": _bind(local_ip),
    }
    _http_options(found, http2=protocol in (Protocol.HTTP2, Protocol.GRPC))
    return found


def original_destination(mesh: Mesh) -> Fields:
    """For headless services: wherever the application wanted to go."""
    return _outside(ORIGINAL_DESTINATION, mesh)


def _outside(name: str, mesh: Mesh) -> Fields:
    return {
        "name": name,
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": duration(mesh.connect_timeout.ns),
    }


def outbound_cluster(
    target: Target, mesh: Mesh, policy: Config[DestinationPolicy] | None = None, external_name: str = ""
) -> Fields:
    """The cluster of a target under the policy that applies to it (`policy_for`)."""
    if target.external:
        found = _outside(target.cluster, mesh)
        _let_go(found, mesh)
        if target.port.protocol is Protocol.HTTPS:
            found["transport_socket"] = {
                "name": "envoy.transport_sockets.tls", "typed_config": pack("UpstreamTlsContext", _tls(target))
            }
    elif external_name:
        found = _external_name(target, mesh, external_name)
    else:
        found = {
            "name": target.cluster,
            "type": "EDS",
            "connect_timeout": duration(mesh.connect_timeout.ns),
            "eds_cluster_config": {
                "service_name": target.key,
                "eds_config": {"ads": {}, "resource_api_version": "V3"},
            },
        }
    breaker = None
    if policy is not None:
        balancing = policy.spec.load_balancing
        if balancing is not None and not target.external and balancing.name in _BALANCERS:
            found["lb_policy"] = _BALANCERS[balancing.name]
        breaker = policy.spec.circuit_breaker
    http2 = target.port.protocol in (Protocol.HTTP2, Protocol.GRPC)
    if breaker is not None and breaker.simple:
        _circuit_breaker(found, breaker)
        _http_options(found, http2, breaker.http_max_requests_per_connection)
    else:
        _http_options(found, http2)
    return found


def _tls(target: Target) -> Fields:
    """TLS on behalf of the application. As in 0.4.0 nothing is verified; SNI goes beyond it, as today's hosts
    answer nobody without. Envoy's own limit for clients, TLS 1.2, is raised."""
    found: Fields = {"common_tls_context": {"tls_params": {"tls_maximum_protocol_version": "TLSv1_3"}}}
    host = target.hostname
    if "*" not in host and not host.replace(".", "").isdigit():
        found["sni"] = host
    return found


def _external_name(target: Target, mesh: Mesh, name: str) -> Fields:
    endpoint = {"endpoint": {"address": socket(name, target.port.number)}}
    found: Fields = {
        "name": target.cluster,
        "type": "STRICT_DNS",
        "connect_timeout": duration(mesh.connect_timeout.ns),
        "load_assignment": {"cluster_name": target.cluster, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    _let_go(found, mesh)
    return found


def _http_options(cluster: Fields, http2: bool, max_requests: int = 0) -> None:
    if not http2 and max_requests <= 0:
        return
    options: Fields = {
        "explicit_http_config": {"http2_protocol_options": {}} if http2 else {"http_protocol_options": {}}
    }
    if max_requests > 0:
        options["common_http_protocol_options"] = {"max_requests_per_connection": {"value": max_requests}}
    cluster["typed_extension_protocol_options"] = {_HTTP_OPTIONS: pack("HttpProtocolOptions", options)}


def _circuit_breaker(cluster: Fields, breaker: CircuitBreaker) -> None:
    """Limits and outlier detection. 0 means unset: Envoy's default then."""
    limits = {
        "max_connections": breaker.max_connections,
        "max_pending_requests": breaker.http_max_pending_requests,
        "max_requests": breaker.http_max_requests,
    }
    cluster["circuit_breakers"] = {
        "thresholds": [{name: {"value": number} for name, number in limits.items() if number > 0}]
    }
    outlier: Fields = {
        "max_ejection_percent": {"value": breaker.http_max_ejection_percent or MAX_EJECTION_PERCENT},
        # Envoy of 2017 ejected one host whatever the percentage; with two pods 10 % would otherwise mean none.
        "always_eject_one_host": {"value": True},
    }
    if breaker.http_consecutive_errors > 0:
        outlier["consecutive_5xx"] = {"value": breaker.http_consecutive_errors}
    # Less than a second is ignored, as in 0.4.0.
    if breaker.sleep_window is not None and breaker.sleep_window.ns >= SECOND:
        outlier["base_ejection_time"] = duration(breaker.sleep_window.ns)
    if breaker.http_detection_interval is not None and breaker.http_detection_interval.ns >= SECOND:
        outlier["interval"] = duration(breaker.http_detection_interval.ns)
    cluster["outlier_detection"] = outlier
    # Without these, ejected hosts still get traffic: in a panic, and until updates are merged.
    cluster["common_lb_config"] = {
        "healthy_panic_threshold": {"value": 0.0}, "update_merge_window": duration(0)
    }
