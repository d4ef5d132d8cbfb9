"""Which pods are behind a service, and on which ports: what Endpoints and EndpointSlices have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meshlab.cluster.controllers.objects import Key, Obj, is_ready, key_of

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["Backend", "Members", "Port", "backends", "target_port"]


@dataclass(frozen=True, order=True)
class Port:
    """A port of an endpoint: the name that the service gives it ("" for none), its number and protocol."""

    name: str
    port: int
    protocol: str
    app_protocol: str = ""


@dataclass(frozen=True)
class Backend:
    """One pod behind a service. `ready` as the service sees it, `serving` as the pod itself says."""

    pod: Mapping[str, Any]
    ip: str
    ports: tuple[Port, ...]
    ready: bool
    serving: bool
    terminating: bool
    #: Its own name below the service's, if it has one there.
    hostname: str = ""


def target_port(service_port: Mapping[str, Any], pod: Mapping[str, Any]) -> int | None:
    """The number of the pod's port that a service port means; None if the pod has no port of that name."""
    target = service_port.get("targetPort", service_port["port"])
    if isinstance(target, int):
        return target
    if target.isdecimal():
        return int(target)
    protocol = service_port.get("protocol") or "TCP"
    for container in [*(pod["spec"].get("initContainers") or []), *pod["spec"]["containers"]]:
        for port in container.get("ports") or []:
            if port.get("name") == target and (port.get("protocol") or "TCP") == protocol:
                return int(port["containerPort"])
    return None


def backends(service: Mapping[str, Any], pods: Iterable[Mapping[str, Any]]) -> list[Backend]:
    """In the order of their addresses. Pods without an address, or that have ended, are none."""
    spec = service["spec"]
    publish = bool(spec.get("publishNotReadyAddresses"))
    found = []
    for pod in pods:
        status = pod.get("status") or {}
        if not status.get("podIP") or status.get("phase") in ("Succeeded", "Failed"):
            continue
        ports = tuple(
            Port(port.get("name") or "", number, port.get("protocol") or "TCP", port.get("appProtocol") or "")
            for port in spec.get("ports") or [] if (number := target_port(port, pod)) is not None)
        terminating, serving = bool(pod["metadata"].get("deletionTimestamp")), is_ready(pod)
        found.append(Backend(pod, status["podIP"], ports, publish or (serving and not terminating), serving,
                             terminating, _hostname(service, pod)))
    return sorted(found, key=lambda backend: [int(part) for part in backend.ip.split(".")])


def _hostname(service: Mapping[str, Any], pod: Mapping[str, Any]) -> str:
    """The name that a pod asks for with `hostname`, where its `subdomain` is this service."""
    spec = pod["spec"]
    named = spec.get("hostname") and spec.get("subdomain") == service["metadata"]["name"]
    return str(spec["hostname"]) if named else ""


class Members:
    """Remembers which pods were behind which service, so that a pod that leaves is noticed too."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._services: dict[Key, set[Key]] = {}

    def of(self, service: Mapping[str, Any]) -> list[Obj]:
        """The pods that the service's selector chooses, now."""
        key = key_of(service)
        text = ",".join(f"{name}={value}" for name, value in service["spec"]["selector"].items())
        pods, _ = self._api.list(self._api.kinds("Pod"), key[0], label_selector=text)
        self.forget(key)
        for pod in pods:
            self._services.setdefault(key_of(pod), set()).add(key)
        return pods

    def forget(self, service: Key) -> None:
        for pod in [pod for pod, services in self._services.items() if service in services]:
            self._services[pod].discard(service)
            if not self._services[pod]:
                del self._services[pod]

    def services(self, pod: Mapping[str, Any]) -> set[Key]:
        """The services that choose the pod, or did."""
        labels = (pod["metadata"].get("labels") or {}).items()
        namespace = pod["metadata"]["namespace"]
        chosen = set(self._services.get(key_of(pod), ()))
        for service in self._api.list(self._api.kinds("Service"), namespace)[0]:
            selector = service["spec"].get("selector")
            if selector and selector.items() <= labels:
                chosen.add(key_of(service))
        return chosen


def target_ref(pod: Mapping[str, Any]) -> Obj:
    """The reference from an endpoint to its pod."""
    meta = pod["metadata"]
    return {"kind": "Pod", "namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]}


def by_ports(found: Sequence[Backend]) -> dict[tuple[Port, ...], list[Backend]]:
    """Backends grouped by their ports: pods may name them differently."""
    groups: dict[tuple[Port, ...], list[Backend]] = {}
    for backend in found:
        groups.setdefault(backend.ports, []).append(backend)
    return groups
