"""Clusters: where a proxy's traffic can go, and how it is balanced and limited."""

from __future__ import annotations

from meshlab.mesh.config.durations import Duration
from meshlab.mesh.config.outside import Endpoint, ExternalService, Resolution
from meshlab.mesh.config.services import Protocol
from meshlab.mesh.config.traffic import NO_TRAFFIC, Balancer, Outlier, Traffic
from meshlab.mesh.pilot.encode import Fields, duration, pack
from meshlab.mesh.pilot.mutual import matches, peer_socket
from meshlab.mesh.pilot.names import ORIGINAL_DESTINATION, PASSTHROUGH, Target, inbound
from meshlab.mesh.pilot.proxy import Capture
from meshlab.mesh.pilot.security import PLAIN_CALLING, Calling, How
from meshlab.mesh.pilot.tls import upstream_tls
from meshlab.mesh.pilot.world import Mesh
from meshlab.settings import bound_port

__all__ = ["inbound_cluster", "original_destination", "outbound_cluster", "passthrough", "socket"]

_BALANCERS = ("LEAST_REQUEST", "RANDOM", "RING_HASH", "MAGLEV")
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def socket(address: str, port: int) -> Fields:
    """An `Address`; a path beginning with unix:// is one, too."""
    if address.startswith("unix://"):
        return {"pipe": {"path": address.removeprefix("unix://")}}
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


def inbound_cluster(
    number: int, protocol: Protocol, local_ip: str, mesh: Mesh, name: str = "", behind: int = 0
) -> Fields:
    """The application behind the sidecar, on the pod's own loopback; on port `behind` if that is another one."""
    name = name or inbound(number)
    found: Fields = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": duration(mesh.connect_timeout.ns),
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [
                {"endpoint": {"address": socket(local_ip, bound_port(behind or number, mesh.low_port_start))}}
            ]}],
        },
        # The application sees its caller as "localhost", as behind a real sidecar.
        "upstream_bind_config": _bind(local_ip),
    }
    _http_options(found, protocol in (Protocol.HTTP2, Protocol.GRPC))
    return found


def original_destination(mesh: Mesh) -> Fields:
    """For headless services: wherever the application wanted to go."""
    return _outside(ORIGINAL_DESTINATION, mesh)


def passthrough(mesh: Mesh) -> Fields:
    """For destinations that the mesh does not know, where it lets them through."""
    found = _outside(PASSTHROUGH, mesh)
    # Whoever speaks HTTP/2 (gRPC) to an unknown host goes on speaking it, as istiod has it.
    options: Fields = {"use_downstream_protocol_config": {"http_protocol_options": {}, "http2_protocol_options": {}}}
    found["typed_extension_protocol_options"] = {_HTTP_OPTIONS: pack("HttpProtocolOptions", options)}
    _let_go(found, mesh)
    return found


def _outside(name: str, mesh: Mesh) -> Fields:
    return {
        "name": name,
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": duration(mesh.connect_timeout.ns),
    }


def outbound_cluster(
    target: Target, mesh: Mesh, traffic: Traffic = NO_TRAFFIC, external: ExternalService | str = "",
    calling: Calling = PLAIN_CALLING,
) -> Fields:
    """The cluster of a target under the policy that applies to it.

    `external`: the service entry that it belongs to, or the DNS name of a Service of type ExternalName. `calling`:
    whether by mutual TLS with the sidecars there.
    """
    if isinstance(external, ExternalService):
        found = _external(target, mesh, external)
    elif external:
        found = _external_name(target, mesh, external)
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
    _balance(found, traffic.balancer)
    if traffic.connect_timeout is not None and traffic.connect_timeout.ns > 0:
        found["connect_timeout"] = duration(traffic.connect_timeout.ns)
    _limits(found, traffic)
    if traffic.outlier is not None:
        _eject(found, traffic.outlier)
    if traffic.keepalive is not None:
        found["upstream_connection_options"] = {"tcp_keepalive": _keepalive(traffic.keepalive)}
    http2 = target.port.protocol in (Protocol.HTTP2, Protocol.GRPC)
    if target.port.protocol.is_http and traffic.http2_upgrade:
        http2 = True
    _tls(found, target, mesh, traffic, external if isinstance(external, ExternalService) else None, http2=http2)
    if calling.how is not How.PLAIN:
        secured = peer_socket(
            mesh.domain, calling.identities, calling.sni, http2=http2, http=target.port.protocol.is_http
        )
        if calling.how is How.ALWAYS:
            found["transport_socket"] = secured
        else:
            found["transport_socket_matches"] = matches(secured)
            # An endpoint's mark counts at once, not when a second's updates are merged.
            found.setdefault("common_lb_config", {})["update_merge_window"] = duration(0)
    _http_options(found, http2, traffic)
    return found


def _tls(
    cluster: Fields, target: Target, mesh: Mesh, traffic: Traffic, external: ExternalService | None, *, http2: bool
) -> None:
    """TLS that the sidecar originates: said of a port of a service entry, or by a policy."""
    wanted, names = traffic.tls, tuple[str, ...]()
    if external is not None:
        port = next((each for each in external.ports if each.number == target.port.number), None)
        wanted, names = port.tls if port is not None else None, external.subject_alt_names
    if wanted is None:
        return
    if (context := upstream_tls(wanted, mesh, target.hostname, names, http2=http2)) is not None:
        cluster["transport_socket"] = {
            "name": "envoy.transport_sockets.tls", "typed_config": pack("UpstreamTlsContext", context)
        }


def _balance(cluster: Fields, balancer: Balancer | None) -> None:
    if balancer is None or cluster.get("lb_policy") == "CLUSTER_PROVIDED":
        return
    if balancer.name == "PASSTHROUGH":
        # Where the application wanted to go, among whatever there is.
        for each in ("eds_cluster_config", "load_assignment"):
            cluster.pop(each, None)
        cluster |= {"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"}
        return
    name = balancer.name if balancer.name in _BALANCERS else ""
    if name:
        cluster["lb_policy"] = name
    if name == "RING_HASH" and balancer.ring_size:
        cluster["ring_hash_lb_config"] = {"minimum_ring_size": {"value": balancer.ring_size}}
    if name == "MAGLEV" and balancer.table_size:
        cluster["maglev_lb_config"] = {"table_size": {"value": balancer.table_size}}
    if balancer.warmup is not None and balancer.warmup.ns > 0 and name in ("", "LEAST_REQUEST"):
        config = "least_request_lb_config" if name else "round_robin_lb_config"
        slow: Fields = {"slow_start_window": duration(balancer.warmup.ns)}
        if balancer.warmup_percent is not None:
            slow["min_weight_percent"] = {"value": float(balancer.warmup_percent)}
        if balancer.warmup_aggression is not None:
            # Of a runtime setting that nobody has: Envoy wants a name.
            slow["aggression"] = {"default_value": float(balancer.warmup_aggression), "runtime_key": "warmup"}
        cluster[config] = {"slow_start_config": slow}


def _limits(cluster: Fields, traffic: Traffic) -> None:
    """Circuit breakers. 0 means unset: Envoy's default then."""
    limits = {
        "max_connections": traffic.max_connections,
        "max_pending_requests": traffic.max_pending_requests,
        "max_requests": traffic.max_requests,
        "max_retries": traffic.max_retries,
    }
    said = {name: {"value": number} for name, number in limits.items() if number > 0}
    if said:
        cluster["circuit_breakers"] = {"thresholds": [said]}


def _eject(cluster: Fields, outlier: Outlier) -> None:
    found: Fields = {
        "max_ejection_percent": {"value": outlier.max_ejection_percent},
        # By errors in a row alone, as rules of both generations say: Envoy also compares the shares of five and more.
        "enforcing_success_rate": {"value": 0},
        # Envoy of 2017 ejected one host whatever the percentage; with two pods 10 % would otherwise mean none.
        "always_eject_one_host": {"value": True},
    }
    if outlier.consecutive_5xx > 0:
        found["consecutive_5xx"] = {"value": outlier.consecutive_5xx}
    elif outlier.consecutive_5xx < 0:
        found["enforcing_consecutive_5xx"] = {"value": 0}
    if outlier.consecutive_gateway > 0:
        found["consecutive_gateway_failure"] = {"value": outlier.consecutive_gateway}
        found["enforcing_consecutive_gateway_failure"] = {"value": 100}
    if outlier.split_local:
        found["split_external_local_origin_errors"] = True
        found["enforcing_local_origin_success_rate"] = {"value": 0}
        if outlier.consecutive_local > 0:
            found["consecutive_local_origin_failure"] = {"value": outlier.consecutive_local}
            found["enforcing_consecutive_local_origin_failure"] = {"value": 100}
    for name, wanted in (("base_ejection_time", outlier.base_ejection), ("interval", outlier.interval)):
        if wanted is not None and wanted.ns > 0:
            found[name] = duration(wanted.ns)
    cluster["outlier_detection"] = found
    # Without these, ejected hosts still get traffic: in a panic, and until updates are merged.
    cluster["common_lb_config"] = {
        "healthy_panic_threshold": {"value": float(outlier.min_health_percent)}, "update_merge_window": duration(0)
    }


def _keepalive(wanted: tuple[int, Duration | None, Duration | None]) -> Fields:
    probes, time, interval = wanted
    found: Fields = {}
    if probes:
        found["keepalive_probes"] = {"value": probes}
    for name, each in (("keepalive_time", time), ("keepalive_interval", interval)):
        if each is not None and each.ns >= 1_000_000_000:
            found[name] = {"value": each.ns // 1_000_000_000}
    return found


def _external(target: Target, mesh: Mesh, service: ExternalService) -> Fields:
    """A cluster of a service entry or egress rule."""
    if service.resolution is Resolution.NONE:
        found = _outside(target.cluster, mesh)
        _let_go(found, mesh)
        return found
    found = {
        "name": target.cluster,
        "type": "STATIC" if service.resolution is Resolution.STATIC else "STRICT_DNS",
        "connect_timeout": duration(mesh.connect_timeout.ns),
    }
    if service.resolution is Resolution.DNS_ROUND_ROBIN:
        found["type"] = "LOGICAL_DNS"
    if found["type"] != "STATIC":
        # The lab's own names are IPv4, and elsewhere the first family that answers would be waited for.
        found["dns_lookup_family"] = "V4_PREFERRED"
    port = next((each for each in service.ports if each.number == target.port.number), None)
    known = service.endpoints
    if not known and service.resolution is not Resolution.STATIC:
        known = tuple(Endpoint(host) for host in service.hosts if "*" not in host)
    endpoints = []
    for each in known:
        if not target.labels.subset_of(each.labels):
            continue
        number = dict(each.ports).get(port.name if port else "") or (port.target if port else 0) or target.port.number
        made: Fields = {"endpoint": {"address": socket(each.address, number)}}
        if each.weight > 0:
            made["load_balancing_weight"] = {"value": each.weight}
        endpoints.append(made)
    if found["type"] == "LOGICAL_DNS":
        del endpoints[1:]  # it takes exactly one
    found["load_assignment"] = {
        "cluster_name": target.cluster, "endpoints": [{"lb_endpoints": endpoints}] if endpoints else []
    }
    if not service.internal:
        _let_go(found, mesh)
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


def _http_options(cluster: Fields, http2: bool, traffic: Traffic = NO_TRAFFIC) -> None:
    common: Fields = {}
    if traffic.max_requests_per_connection > 0:
        common["max_requests_per_connection"] = {"value": traffic.max_requests_per_connection}
    if (idle := traffic.idle_timeout or traffic.tcp_idle_timeout) is not None:
        common["idle_timeout"] = duration(max(0, idle.ns))
    if traffic.max_connection_duration is not None and traffic.max_connection_duration.ns > 0:
        common["max_connection_duration"] = duration(traffic.max_connection_duration.ns)
    if not http2 and not common and not traffic.client_protocol:
        return
    second: Fields = {"max_concurrent_streams": {"value": traffic.max_streams}} if traffic.max_streams > 0 else {}
    options: Fields = {
        "explicit_http_config": {"http2_protocol_options": second} if http2 else {"http_protocol_options": {}}
    }
    if traffic.client_protocol:
        options = {"use_downstream_protocol_config": {"http_protocol_options": {}, "http2_protocol_options": second}}
    if common:
        options["common_http_protocol_options"] = common
    cluster["typed_extension_protocol_options"] = {_HTTP_OPTIONS: pack("HttpProtocolOptions", options)}
