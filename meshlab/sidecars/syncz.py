"""Which configuration each proxy was sent and has acknowledged, as the control plane's `/debug/syncz` says it.

Two shapes are read: Pilot's own, and istiod's (since 1.7 `cluster_sent`, `cluster_acked`, …; newer ones add `resources`
by type). The page answers to the pod itself only, so it is asked by `pilot-discovery request` in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from meshlab.errors import LabError
from meshlab.sidecars.asked import DISCOVERY, asked
from meshlab.sidecars.remote import upgrade
from meshlab.sidecars.sidecars import Pod, Sidecars

__all__ = ["KINDS", "Sync", "control_planes", "parse", "read"]

#: In the order in which they are shown, and the words that istiod's fields begin with.
KINDS: Mapping[str, str] = {
    "CDS": "cluster",
    "LDS": "listener",
    "EDS": "endpoint",
    "RDS": "route",
    "ECDS": "extensionconfig",
}
_TYPES = {
    "Cluster": "CDS",
    "Listener": "LDS",
    "ClusterLoadAssignment": "EDS",
    "RouteConfiguration": "RDS",
    "TypedExtensionConfig": "ECDS",
    "Secret": "SDS",
}


@dataclass(frozen=True)
class Sync:
    """One proxy: `pod.namespace`; per kind (CDS, …) its state, SYNCED, STALE, NOT SENT or ERROR, and Envoy's reason."""

    proxy: str
    cluster: str = "Kubernetes"
    control_plane: str = ""
    version: str = ""
    states: Mapping[str, str] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        return self.proxy.rpartition(".")[2]


def parse(text: str, control_plane: str) -> list[Sync]:
    """Of one control plane's page; proxies by name."""
    found = json.loads(text)
    made = _ours(found, control_plane) if isinstance(found, dict) else _istiod(found, control_plane)
    return sorted(made, key=lambda each: each.proxy)


def _ours(found: Mapping[str, Any], control_plane: str) -> Iterator[Sync]:
    for node, status in (found.get("proxies") or {}).items():
        parts = str(node).split("~")
        said = {kind.upper(): each for kind, each in status.items() if isinstance(each, Mapping)}
        reasons = {kind: str(each["nack"]) for kind, each in said.items() if each.get("nack")}
        if status.get("broken"):
            reasons["CDS"] = str(status["broken"])
        states = {
            kind: "ERROR" if kind in reasons else _state(each.get("sent"), each.get("acked"))
            for kind, each in said.items()
        }
        yield Sync(parts[2] if len(parts) == 4 else str(node), "Kubernetes", control_plane, "0.4.0", states, reasons)


def _istiod(found: list[Mapping[str, Any]], control_plane: str) -> Iterator[Sync]:
    for each in found:
        states = {
            kind: _state(each.get(f"{word}_sent"), each.get(f"{word}_acked"))
            for kind, word in KINDS.items()
            if each.get(f"{word}_sent") or each.get(f"{word}_acked")
        }
        reasons = {}
        for url, status in (each.get("resources") or {}).items():
            kind = _TYPES.get(str(url).rpartition(".")[2])
            values = {str(name).lower().replace("_", ""): value for name, value in status.items()}
            if kind is None:
                continue
            states[kind] = _state(values.get("sent"), values.get("acked"))
            if error := values.get("lasterror"):
                states[kind], reasons[kind] = "ERROR", str(error)
        yield Sync(
            str(each.get("proxy") or each.get("proxyID") or ""),
            str(each.get("cluster_id") or "Kubernetes"),
            control_plane,
            str(each.get("istio_version") or each.get("proxy_version") or ""),
            states,
            reasons,
        )


def _state(sent: object, acked: object) -> str:
    if not sent:
        return "NOT SENT"
    return "SYNCED" if sent == acked else "STALE"


def control_planes(sidecars: Sidecars, namespace: str) -> list[Pod]:
    """Their pods in a namespace. Raises LabError where there is none."""
    planes = [
        each
        for each in sidecars.pods
        if each.namespace == namespace and "discovery" in each.programs and _is_plane(each)
    ]
    if not planes:
        raise LabError(
            f"no control plane runs in {namespace}",
            why="no pod there has the label app=istiod, nor istio=pilot",
            then="meshlab up, then lab.install()",
        )
    return planes


def _is_plane(pod: Pod) -> bool:
    """Our Pilot, or an istiod; one of a revision says istio=istiod."""
    return pod.labels.get("istio") == "pilot" or pod.labels.get("app") == "istiod"


def read(sidecars: Sidecars, namespace: str = "istio-system") -> list[Sync]:
    """Of all control planes in a namespace. Raises LabError where there is none."""
    found: list[Sync] = []
    for pod in control_planes(sidecars, namespace):
        said = asked(upgrade(sidecars.kube), pod.namespace, pod.name, "discovery", DISCOVERY, "/debug/syncz")
        found += parse(said.decode(), pod.name)
    return sorted(found, key=lambda each: each.proxy)
