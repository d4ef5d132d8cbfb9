"""The embedded Kubernetes: API server, controllers, node and network of one machine.

    from meshlab.cluster import Cluster, Parts

`Cluster` is the way to embed it anywhere; `meshlab.cluster.daemon` is the lab's own process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshlab.cluster.parts import Parts

if TYPE_CHECKING:
    from meshlab.cluster.cluster import Cluster

__all__ = ["Cluster", "Parts"]


def __getattr__(name: str) -> Any:
    """`Cluster` on demand: the daemon and its pods import this package, and need none of it."""
    if name == "Cluster":
        from meshlab.cluster.cluster import Cluster

        return Cluster
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
