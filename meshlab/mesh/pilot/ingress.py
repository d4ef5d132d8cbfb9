"""The ingress proxy's snapshot: no listener until there is something to let in."""

from __future__ import annotations

from meshlab.mesh.pilot.proxy import Proxy
from meshlab.mesh.pilot.snapshot import Snapshot

__all__ = ["ingress_snapshot"]


def ingress_snapshot(proxy: Proxy) -> Snapshot:
    """What an ingress proxy should have."""
    return Snapshot(proxy)
