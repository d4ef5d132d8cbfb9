"""`proxy-config route`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from meshlab.istioctl.proxyconfig.columns import columns, managed_by
from meshlab.istioctl.proxyconfig.filters import Filters
from meshlab.sidecars.describe import UNRULED
from meshlab.sidecars.dump import ConfigDump

__all__ = ["match_text", "route_table", "routes"]

#: Domains of a virtual host that are shown.
SHOWN = 2


def routes(dump: ConfigDump, wanted: Filters) -> list[dict[str, Any]]:
    """Route tables as Envoy has them, filtered: those called by a port by number, then the others as they come."""
    kept = [each for each in dump.routes if wanted.name in ("", each.get("name"))]
    return sorted(kept, key=lambda each: (0, int(name)) if (name := str(each.get("name", ""))).isdigit() else (1, 0))


def match_text(match: Mapping[str, Any]) -> str:
    """The path of a `RouteMatch`; headers are not shown."""
    said = []
    if "prefix" in match:
        said.append(f"{match['prefix']}*")
    if "path_separated_prefix" in match:
        said.append(f"PathPrefix:{match['path_separated_prefix']}")
    if "path" in match:
        said.append(str(match["path"]))
    if "safe_regex" in match:
        said.append(f"regex {match['safe_regex'].get('regex', '')}")
    return " ".join(said)


def _domains(domains: Sequence[str]) -> str:
    """The shortest names, without ports and without what they are in full."""
    if len(domains) <= 1:
        return "".join(domains)
    plain = [each for each in domains if ":" not in each]
    known = set(plain)
    kept = [
        each
        for each in plain
        if not any(each.endswith(end) and each.removesuffix(end) in known for end in (".svc.cluster.local", ".svc"))
    ]
    more = len(kept) - SHOWN
    return ", ".join(kept[:SHOWN]) + (f" + {more} more..." if more > 0 else "")


def _rule(route: Mapping[str, Any]) -> str:
    """Which rule made it. Ours has no metadata: there the route is called like the rule."""
    if said := managed_by(route):
        return said
    name = str(route.get("name") or "")
    return "" if name in UNRULED else name


def route_table(dump: ConfigDump, wanted: Filters) -> str:
    listed = routes(dump, wanted)
    mark = "route/" if wanted.named else ""
    if not wanted.verbose:
        rows: list[list[object]] = [["NAME", "VIRTUAL HOSTS"]]
        return columns([*rows, *([f"{mark}{t.get('name', '')}", len(t.get("virtual_hosts") or ())] for t in listed)])
    rows = [["NAME", "VHOST NAME", "DOMAINS", "MATCH", "VIRTUAL SERVICE"]]
    for table in listed:
        for host in table.get("virtual_hosts") or ():
            place = [f"{mark}{table.get('name', '')}", host.get("name", ""), _domains(host.get("domains") or ())]
            for each in host.get("routes") or ():
                if (each.get("route") or {}).get("cluster") != "PassthroughCluster":
                    rows.append([*place, match_text(each.get("match") or {}), _rule(each)])
            if not host.get("routes"):
                rows.append([*place, "/*", "404"])
    return columns(rows)
