"""The node's lease: that it lives, said every few seconds in few words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from meshlab.cluster.node.host import NODE_NAME

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["RENEWAL", "renew"]

#: Seconds between renewals, and for which one holds; a kubelet's numbers.
RENEWAL, DURATION = 10.0, 40
NAMESPACE = "kube-node-lease"


def renew(api: Api) -> None:
    """Renew the lease, or make it. Nothing where its namespace is not. Raises ApiError."""
    leases = api.kinds("Lease")
    node = api.find(api.kinds("Node"), None, NODE_NAME)
    if node is None or api.find(api.kinds("Namespace"), None, NAMESPACE) is None:
        return
    spec: dict[str, Any] = {
        "holderIdentity": NODE_NAME, "leaseDurationSeconds": DURATION,
        "renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }
    current = api.find(leases, NAMESPACE, NODE_NAME)
    if current is not None:
        api.update(leases, NAMESPACE, NODE_NAME, {**current, "spec": spec}, user="kubelet")
        return
    owner = {"apiVersion": "v1", "kind": "Node", "name": NODE_NAME, "uid": node["metadata"]["uid"]}
    api.create(leases, NAMESPACE, {
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": NODE_NAME, "namespace": NAMESPACE, "ownerReferences": [owner]}, "spec": spec,
    }, user="kubelet")
