"""EndpointSlices: Endpoints in the form that today's clients read; mirrored where somebody writes them by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from meshlab.cluster.api.status import NotFound
from meshlab.cluster.controllers.backends import Backend, Members, backends, by_ports, target_ref
from meshlab.cluster.controllers.objects import Key, Obj, key_of, owner_reference
from meshlab.cluster.controllers.queue import Source

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["LARGEST", "EndpointSliceController", "mirrored", "slices"]

#: Endpoints per slice; the real controller's default.
LARGEST = 100
SERVICE, MANAGER = "kubernetes.io/service-name", "endpointslice.kubernetes.io/managed-by"
UNMIRRORED = "endpointslice.kubernetes.io/skip-mirror"
OURS, MIRROR = "endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"


def slices(found: Sequence[Backend]) -> list[Obj]:
    """`{"ports", "endpoints"}` of each slice."""
    result = []
    for ports, group in by_ports(found).items():
        endpoints = [_endpoint(backend) for backend in group]
        for start in range(0, len(endpoints), LARGEST):
            result.append({
                "ports": [{"name": port.name, "port": port.port, "protocol": port.protocol,
                           **({"appProtocol": port.app_protocol} if port.app_protocol else {})} for port in ports],
                "endpoints": endpoints[start:start + LARGEST],
            })
    return result or [{"ports": [], "endpoints": []}]


def _endpoint(backend: Backend) -> Obj:
    return {
        "addresses": [backend.ip],
        "conditions": {"ready": backend.ready, "serving": backend.serving, "terminating": backend.terminating},
        **({"hostname": backend.hostname} if backend.hostname else {}),
        "nodeName": backend.pod["spec"].get("nodeName"),
        "targetRef": target_ref(backend.pod),
    }


def mirrored(endpoints: Obj) -> list[Obj]:
    """The slices of an Endpoints object that was written by hand."""
    result = []
    for subset in endpoints.get("subsets") or []:
        members: list[dict[str, Any]] = []
        for field, ready in (("addresses", True), ("notReadyAddresses", False)):
            for address in subset.get(field) or []:
                member: Obj = {"addresses": [address["ip"]], "conditions": {"ready": ready}}
                for name in ("hostname", "nodeName", "targetRef"):
                    if address.get(name):
                        member[name] = address[name]
                members.append(member)
        ports = [{"name": port.get("name") or "", "port": port["port"], "protocol": port.get("protocol") or "TCP"}
                 for port in subset.get("ports") or []]
        result.append({"ports": ports, "endpoints": members})
    return result


class EndpointSliceController:
    """Keeps the slices of every service."""

    name = "endpointslice-controller"

    def __init__(self, api: Api) -> None:
        self._api = api
        self._services, self._resource = api.kinds("Service"), api.kinds("EndpointSlice")
        self._endpoints = api.kinds("Endpoints")
        self._members = Members(api)

    @property
    def sources(self) -> Sequence[Source]:
        return [
            Source("Service", lambda _, obj: [key_of(obj)]),
            Source("Pod", lambda _, obj: self._members.services(obj)),
            Source("Endpoints", lambda _, obj: [key_of(obj)]),
            Source("EndpointSlice", self._of_slice),
        ]

    @staticmethod
    def _of_slice(kind: str, found: Obj) -> Iterable[Key]:
        service = (found["metadata"].get("labels") or {}).get(SERVICE)
        return [(found["metadata"]["namespace"], service)] if kind == "DELETED" and service else []

    def reconcile(self, key: Key) -> float | None:
        service = self._api.find(self._services, *key)
        if service is None:
            self._members.forget(key)
            self._settle(key, None, [], OURS)
            self._settle(key, None, [], MIRROR)
        elif service["spec"].get("type") == "ExternalName":
            self._settle(key, service, [], OURS)
        elif service["spec"].get("selector"):
            self._settle(key, service, slices(backends(service, self._members.of(service))), OURS)
            self._settle(key, service, [], MIRROR)
        else:
            endpoints = self._api.find(self._endpoints, *key)
            if endpoints is not None and (endpoints["metadata"].get("labels") or {}).get(UNMIRRORED) == "true":
                endpoints = None  # whoever writes them writes slices as well
            self._settle(key, service, mirrored(endpoints) if endpoints is not None else [], MIRROR)
        return None

    def _settle(self, key: Key, service: Obj | None, wanted: Sequence[Obj], manager: str) -> None:
        """Make the slices of one manager what they should be; those that are right already are left alone."""
        present, _ = self._api.list(self._resource, key[0], label_selector=f"{SERVICE}={key[1]},{MANAGER}={manager}")
        left = list(present)
        missing = []
        for want in wanted:
            same = next((have for have in left if (have.get("ports") or []) == want["ports"]), None)
            if same is None:
                missing.append(want)
                continue
            left.remove(same)
            self._update(same, want)
        for want in missing:
            if left:
                self._update(left.pop(0), want)
            elif service is not None:
                self._create(service, want, manager)
        for have in left:
            try:
                self._api.delete(self._resource, *key_of(have), uid=have["metadata"]["uid"])
            except NotFound:
                continue

    def _update(self, have: Obj, want: Obj) -> None:
        if (have.get("ports") or []) != want["ports"] or (have.get("endpoints") or []) != want["endpoints"]:
            self._api.update(self._resource, *key_of(have), {**have, **want}, user=self.name)

    def _create(self, service: Obj, want: Obj, manager: str) -> None:
        meta = service["metadata"]
        labels = {**(meta.get("labels") or {}), SERVICE: meta["name"], MANAGER: manager}
        if service["spec"].get("clusterIP") == "None":
            labels["service.kubernetes.io/headless"] = ""
        self._api.create(self._resource, meta["namespace"], {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"generateName": f"{meta['name']}-", "namespace": meta["namespace"], "labels": labels,
                         "ownerReferences": [owner_reference(service, "v1", "Service")]},
            "addressType": "IPv4",
            **want,
        }, user=self.name)
