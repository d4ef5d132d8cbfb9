"""Endpoints: the addresses behind a service, ready and not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from meshlab.cluster.api.status import NotFound
from meshlab.cluster.controllers.backends import Backend, Members, Port, backends, by_ports, target_ref
from meshlab.cluster.controllers.objects import Key, Obj, key_of
from meshlab.cluster.controllers.queue import Source

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["EndpointsController", "subsets"]

HEADLESS = "service.kubernetes.io/headless"


def subsets(found: Sequence[Backend]) -> list[Obj]:
    """Endpoints.subsets. Terminating pods are not in Endpoints at all."""
    result = []
    for ports, group in by_ports([b for b in found if not b.terminating or b.ready]).items():
        subset: Obj = {}
        for field, members in (("addresses", [b for b in group if b.ready]),
                               ("notReadyAddresses", [b for b in group if not b.ready])):
            if members:
                subset[field] = [_address(member) for member in members]
        if ports:
            subset["ports"] = [_port(port) for port in ports]
        result.append(subset)
    return result


def _address(backend: Backend) -> Obj:
    named = {"hostname": backend.hostname} if backend.hostname else {}
    return {**named, "ip": backend.ip, "nodeName": backend.pod["spec"].get("nodeName"),
            "targetRef": target_ref(backend.pod)}


def _port(port: Port) -> Obj:
    return {**({"name": port.name} if port.name else {}), "port": port.port, "protocol": port.protocol,
            **({"appProtocol": port.app_protocol} if port.app_protocol else {})}


class EndpointsController:
    """Keeps the Endpoints object of every service that has a selector."""

    name = "endpoint-controller"

    def __init__(self, api: Api) -> None:
        self._api = api
        self._services, self._resource = api.kinds("Service"), api.kinds("Endpoints")
        self._members = Members(api)

    @property
    def sources(self) -> Sequence[Source]:
        return [
            Source("Service", lambda _, obj: [key_of(obj)]),
            Source("Pod", lambda _, obj: self._members.services(obj)),
            Source("Endpoints", self._of_endpoints),
        ]

    @staticmethod
    def _of_endpoints(kind: str, endpoints: Obj) -> Iterable[Key]:
        return [key_of(endpoints)] if kind == "DELETED" else []

    def reconcile(self, key: Key) -> float | None:
        service = self._api.find(self._services, *key)
        if service is None:
            self._members.forget(key)
            try:
                self._api.delete(self._resource, *key)
            except NotFound:
                return None
            return None
        if not service["spec"].get("selector") or service["spec"].get("type") == "ExternalName":
            return None  # somebody else, or nobody, says what is behind it
        wanted = subsets(backends(service, self._members.of(service)))
        labels = dict(service["metadata"].get("labels") or {})
        labels["endpoints.kubernetes.io/managed-by"] = self.name
        if service["spec"].get("clusterIP") == "None":
            labels[HEADLESS] = ""
        current = self._api.find(self._resource, *key)
        if current is None:
            self._api.create(self._resource, key[0], {
                "apiVersion": "v1", "kind": "Endpoints",
                "metadata": {"name": key[1], "namespace": key[0], "labels": labels},
                **({"subsets": wanted} if wanted else {}),
            }, user=self.name)
        elif (current.get("subsets") or []) != wanted or (current["metadata"].get("labels") or {}) != labels:
            rest = {name: value for name, value in current.items() if name != "subsets"}
            self._api.update(self._resource, *key, {
                **rest, "metadata": {**current["metadata"], "labels": labels},
                **({"subsets": wanted} if wanted else {}),
            }, user=self.name)
        return None
