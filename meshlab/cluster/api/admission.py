"""What is decided about a write by looking at other objects: its namespace, its service address.

Each function raises an ApiError or completes the object in place; they run before validation, as admission does.
"""

from __future__ import annotations

from typing import Any

from meshlab.cluster.api.binding import name_account
from meshlab.cluster.api.causes import invalid
from meshlab.cluster.api.priorities import resolve_priority
from meshlab.cluster.api.registry import Resource
from meshlab.cluster.api.runtime_classes import apply_runtime_class
from meshlab.cluster.api.service_types import NODE_PORT_TYPES
from meshlab.cluster.api.status import Forbidden, Invalid, NotFound
from meshlab.cluster.api.store import Store
from meshlab.settings import Network

__all__ = ["SERVICES", "Admission", "Reason"]

Object = dict[str, Any]

NAMESPACES = "/namespaces"
SERVICES, ACCOUNTS, PODS, NODES = "/services", "/serviceaccounts", "/pods", "/nodes"
#: Namespaces that cannot be deleted.
PERMANENT = ("default", "kube-system", "kube-public")


class Reason:
    """One cause of a 422."""

    def __init__(self, field: str, reason: str, message: str) -> None:
        self.field, self.reason, self.message = field, reason, message


class Admission:
    def __init__(self, store: Store, network: Network) -> None:
        self.store, self.network = store, network

    def namespace(self, resource: Resource, namespaces: Resource, namespace: str, name: str) -> None:
        """That the namespace exists and takes new objects."""
        entry = self.store.get(NAMESPACES, namespace)
        if entry is None:
            raise NotFound.of(namespaces, namespace)
        if entry.obj["metadata"].get("deletionTimestamp"):
            cause = {
                "reason": "NamespaceTerminating", "message": f"namespace {namespace} is being terminated",
                "field": "metadata.namespace",
            }
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise Forbidden.of(resource, name, why, causes=[cause])

    def pod(self, resource: Resource, obj: Object) -> None:
        """That the account that a pod names is there (`default` may still be on its way); its priority and its runtime
        class. Who names no account is given one with the node, as `binding` does."""
        if resource.collection != PODS:
            return
        meta, spec = obj["metadata"], obj.setdefault("spec", {})
        account = spec.get("serviceAccountName") or "default"
        if (node := spec.get("nodeName")) and self.store.get(NODES, node) is not None:
            name_account(spec)
        key = f"{meta.get('namespace', '')}/{account}"
        if account != "default" and self.store.get(ACCOUNTS, key) is None:
            why = f'error looking up service account {key}: serviceaccount "{account}" not found'
            raise Forbidden.of(resource, meta.get("name") or meta.get("generateName", ""), why)
        resolve_priority(self.store, resource, obj)
        apply_runtime_class(self.store, resource, obj)

    def deletable(self, resource: Resource, name: str) -> None:
        if resource.storage == ("", "namespaces") and name in PERMANENT:
            raise Forbidden.of(resource, name, "this namespace may not be deleted")

    def service(self, resource: Resource, service: Object, old: Object | None) -> None:
        """Gives a service its addresses and node ports; those it has stay."""
        spec = service.setdefault("spec", {})
        before = (old or {}).get("spec") or {}
        if spec.get("type") == "ExternalName":
            return
        asked = spec.get("clusterIP") or (spec.get("clusterIPs") or [""])[0]
        kept = before.get("clusterIP", "")
        meta = service["metadata"]
        if not asked and kept and before.get("type") != "ExternalName":
            asked = kept
        if kept and before.get("type") != "ExternalName":
            pass  # another than it has is refused, wherever it lies
        elif asked != "None":
            asked = self._address(resource, meta, asked)
        spec["clusterIP"], spec["clusterIPs"] = asked, [asked]
        if spec.get("type") in NODE_PORT_TYPES:
            self._node_ports(resource, meta, spec, before)

    def _address(self, resource: Resource, meta: Object, asked: str) -> str:
        from meshlab.cluster.network.addresses import AddressError, reserve_service_ip, service_ip

        used = {e.obj["spec"].get("clusterIP") for e in self.store.entries(SERVICES) if "spec" in e.obj}
        taken = {str(ip) for ip in used if ip and ip != "None"}
        try:
            if asked:
                return reserve_service_ip(asked, taken, self.network)
            return service_ip(meta["namespace"], meta["name"], taken, self.network)
        except AddressError as error:
            value = f'Invalid value: "{asked}": {error}' if asked else f"Internal error: {error}"
            cause = Reason("spec.clusterIPs", "FieldValueInvalid", value)
            raise Invalid.of(resource, meta["name"], [cause]) from None

    def _asked_port(self, resource: Resource, meta: Object, index: int, number: int, used: set[int]) -> None:
        """That a port which somebody asks for may be had."""
        from meshlab.cluster.network.addresses import NODE_PORTS

        why = ""
        if number not in NODE_PORTS:
            first, last = NODE_PORTS[0], NODE_PORTS[-1]
            why = f"provided port is not in the valid range. The range of valid ports is {first}-{last}"
        elif number in used:
            why = "provided port is already allocated"
        if why:
            raise Invalid.of(resource, meta["name"], [invalid(f"spec.ports[{index}].nodePort", number, why)])

    def _node_ports(self, resource: Resource, meta: Object, spec: Object, before: Object) -> None:
        from meshlab.cluster.network.addresses import node_port

        used = {
            port["nodePort"] for e in self.store.entries(SERVICES)
            for port in (e.obj.get("spec") or {}).get("ports") or () if port.get("nodePort")
        }
        had = {
            (p.get("port"), p.get("protocol", "TCP")): p["nodePort"]
            for p in before.get("ports") or () if p.get("nodePort")
        }
        for i, port in enumerate(spec.get("ports") or ()):
            if number := port.get("nodePort"):
                if number not in had.values():
                    self._asked_port(resource, meta, i, number, used)
                used.add(number)
            elif spec.get("allocateLoadBalancerNodePorts") is not False or spec.get("type") != "LoadBalancer":
                kept = had.get((port.get("port"), port.get("protocol", "TCP")))
                number = kept or node_port(meta["namespace"], meta["name"], port["port"], used)
                port["nodePort"] = number
                used.add(number)
