"""Addresses, names and the ways between pods.

    addresses           which service and pod gets which address (pure)
    services, envoy     what the network knows of a service, and kube-proxy's configuration from it (pure)
    cluster_network     watches the API; writes home/network.json and kube-proxy's files
    kubeproxy           the Envoy that listens on service addresses
    leftovers           what a killed daemon left running
    shim/               `sitecustomize`: capture, names and addresses inside a pod's Python interpreter
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshlab.cluster.network.cluster_network import ClusterNetwork
    from meshlab.cluster.network.leftovers import stop_leftover

__all__ = ["ClusterNetwork", "stop_leftover"]


def __getattr__(name: str) -> Any:
    """Import on demand: the API server needs `addresses` alone, and pods need none of it."""
    if name == "ClusterNetwork":
        from meshlab.cluster.network.cluster_network import ClusterNetwork

        return ClusterNetwork
    if name == "stop_leftover":
        from meshlab.cluster.network.leftovers import stop_leftover

        return stop_leftover
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
