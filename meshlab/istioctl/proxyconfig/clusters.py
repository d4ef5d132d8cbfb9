"""`proxy-config cluster`."""

from __future__ import annotations

from typing import Any

from meshlab.istioctl.proxyconfig.columns import columns, managed_by
from meshlab.istioctl.proxyconfig.filters import Filters
from meshlab.sidecars.dump import ClusterName, ConfigDump

__all__ = ["by_cluster", "cluster_table", "clusters"]


def by_cluster(name: str) -> tuple[str, str, int, str, str]:
    """In which order clusters are listed: by host, subset, port, direction."""
    found = ClusterName.of(name)
    if not found.structured:
        return name, "", 0, "", ""
    return found.host, found.subset, int(found.port) if found.port.isdigit() else 0, found.port, found.direction


def clusters(dump: ConfigDump, wanted: Filters) -> list[dict[str, Any]]:
    """As Envoy has them, filtered and in order."""
    kept = [each for each in dump.clusters if _fits(each, wanted)]
    return sorted(kept, key=lambda each: by_cluster(str(each.get("name", ""))))


def _fits(cluster: dict[str, Any], wanted: Filters) -> bool:
    name = str(cluster.get("name", ""))
    found = ClusterName.of(name)
    return (
        wanted.fqdn in name
        and wanted.subset in name
        and (not wanted.direction or wanted.direction in (found.direction or name))
        and (not wanted.port or found.port == str(wanted.port))
    )


def cluster_table(dump: ConfigDump, wanted: Filters) -> str:
    heading = ["SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE", "DESTINATION RULE"]
    rows: list[list[str]] = [["NAME", *heading] if wanted.named else heading]
    for each in clusters(dump, wanted):
        name = str(each.get("name", ""))
        shown = f"cluster/{name}" if wanted.named else name
        found = ClusterName.of(name)
        kind = str(
            each.get("type") or ("STATIC" if "cluster_type" not in each else each["cluster_type"].get("name", ""))
        )
        if found.structured:
            row = [found.host, found.port or "-", found.subset or "-", found.direction, kind, managed_by(each)]
        else:
            row = [shown, "-", "-", "-", kind, managed_by(each)]
        rows.append([shown, *row] if wanted.named else row)
    return columns(rows)
