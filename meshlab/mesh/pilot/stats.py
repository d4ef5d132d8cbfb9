"""Today's metrics (istio_requests_total, …), counted by the sidecars themselves and shown on port 15090.

Nothing of it is in any resource until a Telemetry object asks for metrics: counting with sixteen labels costs a
sidecar 10 µs a request, and 4 µs more where it reads who the peer is. Whose pod the sidecar is comes from its
environment (see `mesh.peer`), so that listeners stay the same for all; whom it called comes from the metadata of
endpoints; who called it from the peer's header, which is taken off. The destination's service is the name of the
cluster here: the page takes it apart (`statspage`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from meshlab.mesh.config.services import Instance
from meshlab.mesh.config.telemetry import MetricOverride
from meshlab.mesh.config.today.expressions import is_text
from meshlab.mesh.peer import HEADER, metadata
from meshlab.mesh.pilot.encode import Fields, pack
from meshlab.settings import bound_port

__all__ = [
    "ENDPOINT", "Metrics", "described", "endpoint_metadata", "http_stats", "peer_filter", "peer_header", "tcp_stats",
]

#: Namespaces of metadata: of endpoints, and of what the peer says.
ENDPOINT, PEER = "istio", "istio.peer"
_KEYS = ("workload", "namespace", "app", "version")
_LABELS = {"workload": "workload", "namespace": "workload_namespace", "app": "app", "version": "version"}
PREFIX = "istio"
#: Protocol → today's name of a metric in Telemetry, its name here, a histogram's unit, what is added ("": one).
_METRICS = {
    "http": (
        ("REQUEST_COUNT", "requests_total", "", ""),
        ("REQUEST_DURATION", "request_duration_milliseconds", "Milliseconds", "%DURATION%"),
        ("REQUEST_SIZE", "request_bytes", "Bytes", "%BYTES_RECEIVED%"),
        ("RESPONSE_SIZE", "response_bytes", "Bytes", "%BYTES_SENT%"),
    ),
    "tcp": (
        ("TCP_CLOSED_CONNECTIONS", "tcp_connections_closed_total", "", ""),
        ("TCP_SENT_BYTES", "tcp_sent_bytes_total", "", "%BYTES_SENT%"),
        ("TCP_RECEIVED_BYTES", "tcp_received_bytes_total", "", "%BYTES_RECEIVED%"),
    ),
}
_MODES = {True: "SERVER", False: "CLIENT"}
#: Changes that Telemetry asks for; None: no metrics.
Metrics = tuple[MetricOverride, ...] | None


def http_stats(changes: tuple[MetricOverride, ...], *, inbound: bool) -> list[Fields]:
    """Access logs that count requests, one at most. Durations in milliseconds, sizes in bytes."""
    return _log("http", changes, inbound)


def tcp_stats(changes: tuple[MetricOverride, ...], *, inbound: bool) -> list[Fields]:
    """Access logs that count connections when they close, one at most."""
    return _log("tcp", changes, inbound)


def _log(protocol: str, changes: tuple[MetricOverride, ...], inbound: bool) -> list[Fields]:
    tags = _tags(inbound, protocol)
    config: Fields = {"stat_prefix": PREFIX, "counters": [], "histograms": []}
    for metric, name, unit, value in _METRICS[protocol]:
        kept = _kept(metric, tags, [each for each in changes if each.mode in ("CLIENT_AND_SERVER", _MODES[inbound])])
        if kept is None:
            continue
        stat = {"name": name, "tags": [{"name": tag, "value_format": said} for tag, said in kept.items()]}
        if unit:
            config["histograms"].append({"stat": stat, "unit": unit, "value_format": value})
        else:
            config["counters"].append({"stat": stat, **({"value_format": value} if value else {
                "value_fixed": {"value": 1}})})
    if not config["counters"] and not config["histograms"]:
        return []
    return [{"name": "envoy.access_loggers.stats", "typed_config": pack("StatsAccessLog", config)}]


def _kept(metric: str, tags: dict[str, str], changes: list[MetricOverride]) -> dict[str, str] | None:
    """The tags of a metric; None where it is switched off. Later changes win over earlier ones.

    A tag can be taken off, or set to a constant text or to what an expression over the request says.
    """
    disabled, kept = False, dict(tags)
    for each in changes:
        if each.metric not in ("", metric):
            continue
        if each.disabled is not None:
            disabled = each.disabled
        for tag, value in each.tags:
            if not value:
                kept.pop(tag, None)
            elif is_text(value):
                kept[tag] = value[1:-1].replace("%", "%%")
            else:
                kept[tag] = f"%CEL({value})%"
    return None if disabled else kept


def _tags(inbound: bool, protocol: str) -> dict[str, str]:
    own, other = ("destination", "source") if inbound else ("source", "destination")
    said = f"%DYNAMIC_METADATA({PEER}:peer:{{}})%" if inbound else f"%UPSTREAM_METADATA({ENDPOINT}:{{}})%"
    tags = {"reporter": own}
    for key in _KEYS:
        tags[f"{own}_{_LABELS[key]}"] = f"%ENVIRONMENT(MESHLAB_{key.upper()})%"
        # A connection carries no header.
        tags[f"{other}_{_LABELS[key]}"] = "unknown" if inbound and protocol == "tcp" else said.format(key)
    tags["destination_service"] = (
        "%ENVIRONMENT(MESHLAB_APP)%.%ENVIRONMENT(MESHLAB_NAMESPACE)%" if inbound else "%UPSTREAM_CLUSTER_RAW%"
    )
    tags["request_protocol"] = protocol
    if protocol == "http":
        tags["response_code"] = "%RESPONSE_CODE%"
    tags["response_flags"] = "%RESPONSE_FLAGS%"
    # Only the end that was called knows how; the caller says "unknown", as today's does.
    tags["connection_security_policy"] = "%DOWNSTREAM_TLS_VERSION%" if inbound else "unknown"
    tags["source_principal"] = "%DOWNSTREAM_PEER_URI_SAN%" if inbound else "%UPSTREAM_LOCAL_URI_SAN%"
    tags["destination_principal"] = "%DOWNSTREAM_LOCAL_URI_SAN%" if inbound else "%UPSTREAM_PEER_URI_SAN%"
    return tags


def peer_filter() -> Fields:
    """Takes the peer's header off and keeps what it says."""
    return {"name": "envoy.filters.http.header_to_metadata", "typed_config": pack("HeaderToMetadata", {
        "request_rules": [{
            "header": HEADER,
            "on_header_present": {
                "metadata_namespace": PEER, "key": "peer", "type": "PROTOBUF_VALUE", "encode": "BASE64",
            },
            "remove": True,
        }],
    })}


def peer_header() -> Fields:
    """What an outbound request gains: who calls."""
    return {
        "header": {"key": HEADER, "value": "%ENVIRONMENT(MESHLAB_PEER)%"},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }


def endpoint_metadata(instance: Instance) -> Fields:
    """`Metadata` of an endpoint: whose pod it is. {} where no pod is known."""
    if not instance.pod:
        return {}
    found = metadata(instance.pod, instance.namespace, instance.labels)
    values = {key: {"string_value": value} for key, value in found.items()}
    return {"filter_metadata": {ENDPOINT: {"fields": values}}}


def described(assignment: Fields, instances: Iterable[Instance], low_port_start: int) -> Fields:
    """A `ClusterLoadAssignment` with whose pods its endpoints are."""
    by_address: dict[tuple[Any, Any], Instance] = {
        (each.address, bound_port(each.port, low_port_start)): each for each in instances
    }
    if not by_address:
        return assignment
    for locality in assignment.get("endpoints") or ():
        for each in locality["lb_endpoints"]:
            socket = each["endpoint"]["address"].get("socket_address") or {}
            found = by_address.get((socket.get("address"), socket.get("port_value")))
            if found is not None and (told := endpoint_metadata(found)):
                known = each.get("metadata", {}).get("filter_metadata", {})
                each["metadata"] = {"filter_metadata": {**known, **told["filter_metadata"]}}
    return assignment
