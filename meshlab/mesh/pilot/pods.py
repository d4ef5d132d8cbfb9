"""What of a Pod object matters to Pilot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from meshlab.mesh.config.labels import NO_LABELS, Labels
from meshlab.mesh.pilot.world import Workload, World

__all__ = ["Pod", "moved", "read_pod"]

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Pod:
    """What of a pod matters here."""

    name: str
    namespace: str
    ip: str
    labels: Labels
    #: Names of container ports.
    ports: Mapping[str, int]
    #: Ports of probes.
    probes: tuple[int, ...]
    service_account: str
    #: It is ready and has a sidecar: it runs with some configuration, whether or not Pilot hears of it.
    configured: bool


def read_pod(obj: Object) -> Pod | None:
    """None for a pod without an address, finished, or on the host's network."""
    meta, spec, status = obj.get("metadata") or {}, obj.get("spec") or {}, obj.get("status") or {}
    ip = status.get("podIP")
    if not ip or spec.get("hostNetwork") or status.get("phase") in ("Succeeded", "Failed"):
        return None
    containers = spec.get("containers") or ()
    ports = {p["name"]: int(p["containerPort"]) for c in containers for p in c.get("ports") or () if p.get("name")}
    probes: list[int] = []
    for container in containers:
        own = {p["name"]: int(p["containerPort"]) for p in container.get("ports") or () if p.get("name")}
        for kind in ("livenessProbe", "readinessProbe"):
            probe = container.get(kind) or {}
            wanted = (probe.get("httpGet") or probe.get("tcpSocket") or {}).get("port")
            number = own.get(wanted) if isinstance(wanted, str) else wanted
            if number:
                probes.append(int(number))
    return Pod(
        str(meta.get("name") or ""), str(meta.get("namespace") or ""), str(ip),
        Labels(meta.get("labels") or {}) if meta.get("labels") else NO_LABELS, ports,
        tuple(dict.fromkeys(probes)), str(spec.get("serviceAccountName") or "default"),
        _configured(meta, (*containers, *(spec.get("initContainers") or ())), status),
    )


def _configured(meta: Object, containers: Iterable[Object], status: Object) -> bool:
    if meta.get("deletionTimestamp"):
        return False
    ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions") or ())
    return ready and any(list(c.get("args") or ())[:2] == ["proxy", "sidecar"] for c in containers)


def moved(world: World, pods: Mapping[str, Pod], addresses: Iterable[str]) -> dict[str, Any]:
    """What a World knows by the address of a pod, where `addresses` came, changed or went: fields that differ."""
    probes, sidecars, workloads = dict(world.management), dict(world.sidecars), dict(world.workloads)
    for ip in addresses:
        for each in (probes, sidecars, workloads):
            each.pop(ip, None)
        if (pod := pods.get(ip)) is None:
            continue
        workloads[ip] = Workload(pod.namespace, pod.name, pod.labels, pod.service_account)
        if pod.probes:
            probes[ip] = pod.probes
        if pod.configured:
            sidecars[ip] = f"{pod.name}.{pod.namespace}"
    found = {"management": probes, "sidecars": sidecars, "workloads": workloads}
    return {name: each for name, each in found.items() if each != getattr(world, name)}
