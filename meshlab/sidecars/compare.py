"""What the control plane means a proxy to have, beside what it has: `proxy-status POD`.

Pilot's page gives resources by kind (`cds`, …), istiod's one in the shape of Envoy's own, in the other of protobuf's
two spellings (`dynamicActiveClusters`). Only what comes by discovery is compared.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from meshlab.errors import LabError
from meshlab.sidecars.asked import DISCOVERY, asked
from meshlab.sidecars.remote import upgrade
from meshlab.sidecars.sidecars import Pod, Sidecars
from meshlab.sidecars.syncz import control_planes

__all__ = ["Compared", "compare", "compared"]

#: What is compared: Pilot's short name; Envoy's section, its list, the resource in an entry.
_KINDS: Mapping[str, tuple[str, str, str, str]] = {
    "Clusters": ("cds", "ClustersConfigDump", "dynamic_active_clusters", "cluster"),
    "Listeners": ("lds", "ListenersConfigDump", "dynamic_listeners", "listener"),
    "Routes": ("rds", "RoutesConfigDump", "dynamic_route_configs", "route_config"),
}
#: Lines around a difference.
CONTEXT = 7
_HUMP = re.compile(r"(?<=[a-z0-9])[A-Z]")


@dataclass(frozen=True)
class Compared:
    """One kind: `difference` is a unified diff, "" where both are the same; when the proxy last got one."""

    kind: str
    difference: str
    loaded: datetime | None = None


def compare(sidecars: Sidecars, pod: Pod, namespace: str) -> list[Compared]:
    """Asks both. Raises LabError where no control plane knows the pod."""
    has = sidecars.admin(pod, "config_dump")
    for plane in control_planes(sidecars, namespace):
        page = f"/debug/config_dump?proxyID={pod.id}"
        try:
            meant = asked(upgrade(sidecars.kube), plane.namespace, plane.name, "discovery", DISCOVERY, page)
        except LabError:
            continue  # it is another one's proxy
        return list(compared(meant.decode(), has))
    raise LabError(
        f"no control plane in {namespace} knows {pod.id}",
        why="it is not connected to any",
        then=f"kubectl -n {pod.namespace} logs {pod.name} -c {pod.proxy}",
    )


def compared(meant: str, has: str) -> Iterator[Compared]:
    """Of the texts of both pages."""
    wanted, got = _plain(json.loads(meant)), _plain(json.loads(has))
    # Our Pilot takes a cluster that is needed no more away later.
    extra = set(wanted.get("lingering") or ())
    for kind in _KINDS:
        lines = difflib.unified_diff(
            _lines(_resources(kind, wanted)),
            _lines({n: each for n, each in _resources(kind, got).items() if n not in extra}),
            f"Istiod {kind}",
            f"Envoy {kind}",
            n=CONTEXT,
            lineterm="",
        )
        moments = [
            datetime.fromisoformat(each["last_updated"]) for each in _entries(kind, got) if "last_updated" in each
        ]
        yield Compared(kind, "\n".join(lines), max(moments) if kind == "Routes" and moments else None)


def _resources(kind: str, page: Mapping[str, Any]) -> dict[str, Any]:
    short, _, _, key = _KINDS[kind]
    listed = page[short] if short in page else [_entry(each).get(key) or {} for each in _entries(kind, page)]
    return {str(each.get("name")): {k: v for k, v in each.items() if k != "@type"} for each in listed if each}


def _entries(kind: str, page: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Entries of the section of a kind, in a page of Envoy's shape."""
    _, section, name, _ = _KINDS[kind]
    found = [each for each in page.get("configs") or () if str(each.get("@type", "")).endswith(f".{section}")]
    return [_entry(each) for part in found for each in part.get(name) or ()]


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    """A listener's entry has states; the active one counts."""
    if "active_state" in entry:
        active: dict[str, Any] = entry["active_state"]
        return active
    return entry


def _lines(resources: Mapping[str, Any]) -> list[str]:
    return json.dumps(dict(sorted(resources.items())), indent=4, sort_keys=True).splitlines()


def _plain(value: Any) -> Any:
    """The same as Envoy would write it: its spelling of names, and whole numbers without a point."""
    if isinstance(value, dict):
        return {_HUMP.sub(lambda hump: "_" + hump.group().lower(), key): _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
