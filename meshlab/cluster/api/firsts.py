"""Objects that every cluster has from its first second: namespaces, roles, and the API server as a service."""

from __future__ import annotations

from typing import Any

from meshlab.cluster.api.api import Api
from meshlab.cluster.api.apiservices import ensure_api_services
from meshlab.cluster.api.priorities import SYSTEM_CLASSES
from meshlab.cluster.api.rbac.bootstrap import ensure_roles

__all__ = ["ensure_firsts"]

Object = dict[str, Any]

#: The class that a lab begins with, as the small clusters of laptops do: folders on the node's own disk.
STANDARD: Object = {
    "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
    "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
    "provisioner": "meshlab.io/node-disk", "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate",
}
#: Marks in the store that it was made.
STORAGE = "storage-class"
NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


def ensure_firsts(api: Api, host: str, port: int) -> None:
    """Creates what is missing, and points default/kubernetes at host:port. Idempotent."""
    namespaces = api.kinds("Namespace")
    for name in NAMESPACES:
        if api.find(namespaces, None, name) is None:
            api.create(namespaces, None, {
                "kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}
            })
    ensure_roles(api)
    ensure_api_services(api)
    _ensure_storage(api)
    for each in SYSTEM_CLASSES:
        _ensure(api, each)
    labels = {"component": "apiserver", "provider": "kubernetes"}
    _ensure(api, {
        "kind": "Service", "apiVersion": "v1",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
        "spec": {
            "type": "ClusterIP", "clusterIP": f"{api.network.services}.0.1",
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": port}],
        },
    })
    _ensure(api, {
        "kind": "Endpoints", "apiVersion": "v1",
        "metadata": {"name": "kubernetes", "namespace": "default"},
        "subsets": [{
            "addresses": [{"ip": host}], "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        }],
    })


def _ensure_storage(api: Api) -> None:
    """The class of storage that claims get. Made once: who deletes it means it."""
    classes = api.kinds("StorageClass")
    if api.store.meta(STORAGE) is None:
        if api.find(classes, None, STANDARD["metadata"]["name"]) is None:
            api.create(classes, None, STANDARD)
        api.store.set_meta(STORAGE, "1")


def _ensure(api: Api, obj: Object) -> None:
    resource = api.resource(obj["apiVersion"], obj["kind"])
    meta = obj["metadata"]
    namespace = meta.get("namespace")
    live = api.find(resource, namespace, meta["name"])
    if live is None:
        api.create(resource, namespace, obj)
    elif obj["kind"] == "Endpoints":
        change = {k: v for k, v in obj.items() if k == "subsets"}
        api.patch(resource, namespace, meta["name"], change, "merge")
