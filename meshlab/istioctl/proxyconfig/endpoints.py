"""`proxy-config endpoint`: from Envoy's `/clusters`, which knows what became of each; in `all` from the dump."""

from __future__ import annotations

import json
from typing import Any

from meshlab.istioctl.proxyconfig.clusters import by_cluster
from meshlab.istioctl.proxyconfig.columns import columns
from meshlab.istioctl.proxyconfig.filters import Filters
from meshlab.sidecars.dump import ConfigDump, address_text, socket_of

__all__ = ["assigned_table", "endpoint_table", "endpoints"]

Fields = dict[str, Any]


def _fits(cluster: str, endpoint: Fields, status: str, wanted: Filters) -> bool:
    host, port = socket_of(endpoint)
    return (
        (not wanted.address or wanted.address.lower() in (host.lower(), address_text(endpoint).lower()))
        and (not wanted.port or port == wanted.port)
        and (not wanted.cluster or cluster.lower() == wanted.cluster.lower())
        and (not wanted.status or status.lower() == wanted.status.lower())
    )


def _status(host: Fields) -> str:
    return str((host.get("health_status") or {}).get("eds_health_status") or "UNKNOWN")


def endpoints(text: str, wanted: Filters) -> list[Fields]:
    """Clusters of `/clusters?format=json` that have an endpoint that is asked for."""
    return [
        each
        for each in json.loads(text).get("cluster_statuses") or ()
        if any(
            _fits(each.get("name", ""), host.get("address") or {}, _status(host), wanted)
            for host in each.get("host_statuses") or ()
        )
    ]


def endpoint_table(text: str, wanted: Filters) -> str:
    found = [
        (*socket_of(host.get("address")), cluster.get("name", ""), host)
        for cluster in json.loads(text).get("cluster_statuses") or ()
        for host in cluster.get("host_statuses") or ()
        if _fits(cluster.get("name", ""), host.get("address") or {}, _status(host), wanted)
    ]
    rows = [["ENDPOINT", "STATUS", "OUTLIER CHECK", "CLUSTER"]]
    for address, port, cluster, host in sorted(found, key=lambda each: each[:3]):
        path = "unix://" if address.startswith("/") else ""
        failed = (host.get("health_status") or {}).get("failed_outlier_check")
        shown = f"{address}:{port}" if port else path + address
        rows.append([shown, _status(host), "FAILED" if failed else "OK", cluster])
    return columns(rows)


def assigned_table(dump: ConfigDump, wanted: Filters) -> str:
    """What was assigned to clusters, without what became of it."""
    rows = [["NAME", "STATUS", "LOCALITY", "CLUSTER"]]
    for each in sorted(dump.endpoints, key=lambda each: by_cluster(str(each.get("cluster_name", "")))):
        cluster = str(each.get("cluster_name", ""))
        for place in each.get("endpoints") or ():
            locality = place.get("locality") or {}
            where = "/".join(part for part in (locality.get(k) for k in ("region", "zone", "sub_zone")) if part)
            for endpoint in place.get("lb_endpoints") or ():
                address = (endpoint.get("endpoint") or {}).get("address") or {}
                status = str(endpoint.get("health_status") or "UNKNOWN")
                if _fits(cluster, address, status, wanted):
                    rows.append([f"endpoint/{address_text(address)}", status, where, cluster])
    return columns(rows)
