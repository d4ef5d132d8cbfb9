"""Counters of a proxy, before and after: what happened where nothing is logged.

A connection that is passed on as TCP is logged when it closes, one that leads nowhere not at all; both are counted at
once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from meshlab.sidecars.dump import address_text
from meshlab.sidecars.sidecars import Pod, Sidecars

__all__ = ["Change", "Reading", "blocked", "changes", "read_counters"]

#: Of all of Envoy's: connections that led nowhere, and traffic and troubles by cluster.
_WANTED = (
    r"^(tcp\.blocked\.downstream_cx_total|listener\..*\.(no_filter_chain_match|ssl\.connection_error)"
    r"|cluster\..*\.(upstream_cx_tx_bytes_total|upstream_cx_rx_bytes_total|upstream_rq_retry|upstream_rq_pending_overflow"
    r"|upstream_cx_overflow|upstream_cx_none_healthy))$"
)
BLOCKED = "tcp.blocked.downstream_cx_total"
_BLACK_HOLE = "cluster.BlackHoleCluster.upstream_cx_none_healthy"


@dataclass(frozen=True)
class Reading:
    """Counters at one moment. `hosts`: (cluster, address) → Envoy's counters of that endpoint, and `ejected` 0 or 1."""

    hosts: Mapping[tuple[str, str], Mapping[str, int]] = field(default_factory=dict)
    stats: Mapping[str, int] = field(default_factory=dict)

    def endpoints(self, cluster: str) -> list[str]:
        """Addresses of a cluster's endpoints."""
        return [address for name, address in self.hosts if name == cluster]


@dataclass(frozen=True)
class Change:
    """What a cluster's counters say about an interval: endpoints with new, open, failed connections; bytes."""

    cluster: str
    opened: tuple[str, ...] = ()
    used: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    sent: int = 0


def read_counters(sidecars: Sidecars, pod: Pod) -> Reading:
    """Two questions to the pod's proxy. Raises LabError."""
    stats = {}
    for line in sidecars.admin(pod, f"stats?usedonly&filter={quote(_WANTED, safe='')}").splitlines():
        name, _, value = line.rpartition(": ")
        if value.isdigit():
            stats[name] = int(value)
    hosts: dict[tuple[str, str], dict[str, int]] = {}
    for cluster in json.loads(sidecars.admin(pod, "clusters?format=json")).get("cluster_statuses") or ():
        for host in cluster.get("host_statuses") or ():
            counted = {str(each["name"]): int(each.get("value") or 0) for each in host.get("stats") or ()}
            counted["ejected"] = int(bool((host.get("health_status") or {}).get("failed_outlier_check")))
            hosts[str(cluster.get("name", "")), address_text(host.get("address"))] = counted
    return Reading(hosts, stats)


def changes(before: Reading, after: Reading) -> Iterator[Change]:
    """Clusters to which something was sent in between, or to which a connection was tried."""
    for cluster in dict.fromkeys(name for name, _ in after.hosts):
        grown: dict[str, list[str]] = {"cx_total": [], "cx_connect_fail": []}
        used = []
        for address in after.endpoints(cluster):
            old, new = before.hosts.get((cluster, address), {}), after.hosts[cluster, address]
            for name, listed in grown.items():
                if new.get(name, 0) > old.get(name, 0):
                    listed.append(address)
            if new.get("cx_active") or new.get("rq_active"):
                used.append(address)
        sent = _grown(before, after, f"cluster.{cluster}.upstream_cx_tx_bytes_total")
        if sent or grown["cx_total"]:
            yield Change(cluster, tuple(grown["cx_total"]), tuple(used), tuple(grown["cx_connect_fail"]), sent)


def blocked(before: Reading, after: Reading) -> int:
    """Connections that no listener took, and that were closed."""
    return max(_grown(before, after, BLOCKED), _grown(before, after, _BLACK_HOLE))


def _grown(before: Reading, after: Reading, name: str) -> int:
    return after.stats.get(name, 0) - before.stats.get(name, 0)
