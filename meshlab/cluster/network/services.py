"""Services as the network sees them: an address, ports, and for each port the ready endpoints.

Pure: a Service, its Endpoints and the EndpointSlices that somebody wrote by hand go in, one plain entry of the network
file comes out. An entry is

    {"ip": "127.105.119.194",                       "None" for a headless service, "" with an externalName
     "ports": [{"name", "port", "protocol", "targetPort", "nodePort"}],
     "endpoints": {"80": [["127.40.0.7", 8080]]},   by port, UDP ports as "9125/UDP"; nominal port numbers
     "hosts": {"web-0": "127.40.0.7"},              pods with names of their own: web-0.web.default.svc…
     "affinity": true,                              only with sessionAffinity ClientIP
     "externalName": "example.com"}                 only with type ExternalName
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["DOMAIN", "Entry", "entry", "of_slice", "port_key"]

#: The cluster's DNS domain.
DOMAIN = "cluster.local"

#: Labels of an EndpointSlice, and who writes those that say what the Endpoints say.
SERVICE, MANAGER = "kubernetes.io/service-name", "endpointslice.kubernetes.io/managed-by"
OF_CONTROLLERS = ("endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io")

Entry = dict[str, Any]


def port_key(port: int, protocol: str) -> str:
    """The key of a port in `endpoints`: TCP and UDP may use the same number."""
    return f"{port}/UDP" if protocol == "UDP" else str(port)


def of_slice(found: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """The service and the subset of Endpoints that a slice stands for; None where it is a controller's own."""
    labels = found["metadata"].get("labels") or {}
    if not labels.get(SERVICE) or labels.get(MANAGER) in OF_CONTROLLERS or found.get("addressType") != "IPv4":
        return None
    addresses = [
        {"ip": address, **({"hostname": each["hostname"]} if each.get("hostname") else {})}
        for each in found.get("endpoints") or [] if (each.get("conditions") or {}).get("ready") is not False
        for address in each["addresses"][:1]
    ]
    return labels[SERVICE], {"addresses": addresses, "ports": found.get("ports") or []}


def entry(
    service: Mapping[str, Any], endpoints: Mapping[str, Any] | None, by_hand: Sequence[Mapping[str, Any]] = ()
) -> Entry:
    """What the network knows of a service; `endpoints` is its Endpoints object, if there is one yet.

    `by_hand` are subsets of further slices, as `of_slice` makes them.
    """
    spec = service.get("spec") or {}
    ports = [_port(port) for port in spec.get("ports") or []]
    subsets = [*((endpoints or {}).get("subsets") or []), *by_hand]
    found: Entry = {
        "ip": spec.get("clusterIP") or "",
        "ports": ports,
        "endpoints": {port_key(port["port"], port["protocol"]): _ends(port, subsets) for port in ports},
    }
    hosts = {address["hostname"]: address["ip"] for subset in subsets
             for address in subset.get("addresses") or [] if address.get("hostname")}
    if hosts:
        found["hosts"] = dict(sorted(hosts.items()))
    if spec.get("sessionAffinity") == "ClientIP":
        found["affinity"] = True
    if spec.get("type") == "ExternalName":
        found["externalName"] = spec.get("externalName") or ""
    return found


def _port(port: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": port.get("name") or "",
        "port": int(port["port"]),
        "protocol": port.get("protocol") or "TCP",
        "targetPort": port.get("targetPort") or int(port["port"]),
        "nodePort": int(port.get("nodePort") or 0),
    }


def _ends(port: Mapping[str, Any], subsets: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """Ready addresses of a service's port. Endpoints name their ports as the service does."""
    return sorted(
        [address["ip"], int(found["port"])]
        for subset in subsets
        for found in subset.get("ports") or []
        if (found.get("name") or "") == port["name"] and (found.get("protocol") or "TCP") == port["protocol"]
        for address in subset.get("addresses") or []
    )
