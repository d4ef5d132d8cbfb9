"""What of a service goes when its type changes: clients change `type` alone, and the rest has to fit."""

from __future__ import annotations

from typing import Any

__all__ = ["NODE_PORT_TYPES", "fit_type", "modes_of_addresses"]

Object = dict[str, Any]
#: Types of services that have a port on every node.
NODE_PORT_TYPES = ("NodePort", "LoadBalancer")


def fit_type(new: Object, old: Object) -> None:
    """Drops in place what only the old type had; what the client changed as well stays, and is refused if wrong."""
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    kind, was = spec.get("type"), before.get("type")
    if kind == was:
        return
    gone: list[str] = []
    if kind == "ExternalName":
        gone += ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"]
    if kind not in NODE_PORT_TYPES:
        if _node_ports(spec) == _node_ports(before):
            for port in spec.get("ports") or ():
                port.pop("nodePort", None)
        if not (kind == "ClusterIP" and spec.get("externalIPs")):
            gone.append("externalTrafficPolicy")
    if kind != "LoadBalancer":
        gone += ["allocateLoadBalancerNodePorts", "loadBalancerClass", "healthCheckNodePort"]
        new["status"] = {**(new.get("status") or {}), "loadBalancer": {}}
    for key in gone:
        if key in spec and spec[key] == before.get(key):
            del spec[key]


def _node_ports(spec: Object) -> set[int | None]:
    return {port.get("nodePort") for port in spec.get("ports") or ()}


def modes_of_addresses(service: Object) -> None:
    """Addresses of a load balancer are virtual ones, unless somebody says otherwise."""
    if (service.get("spec") or {}).get("type") != "LoadBalancer":
        return
    for point in ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ():
        if point.get("ip"):
            point.setdefault("ipMode", "VIP")
