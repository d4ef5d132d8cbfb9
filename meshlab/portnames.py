"""Endpoints under the names that the ports of their Service have now.

A controller renames them a moment after the Service, and sidecars find endpoints by these names: in between a request
gets `503 no healthy upstream`, in this lab as on a cluster.
"""

from __future__ import annotations

from typing import Any

from .access import Access
from .follow import follow

__all__ = ["renamed"]


def renamed(access: Access, namespace: str, name: str, timeout: float) -> int | None:
    """The revision of a Service's Endpoints, once they have the names of its ports.

    None where there is no such Service, where somebody else keeps its Endpoints (it selects no pods), and where the
    names have not come after `timeout` seconds.
    """
    service = access.find("v1", "Service", namespace, name)
    if service is None or not service["spec"].get("selector"):
        return None
    wanted = _names(service["spec"].get("ports"))
    path = f"{access.path('v1', 'Endpoints', namespace)}?fieldSelector=metadata.name%3D{name}"
    for states in follow(access, path, timeout):
        for found in states.values():
            if all(_names(subset.get("ports")) <= wanted for subset in found.get("subsets") or ()):
                return int(found["metadata"]["resourceVersion"])
    return None


def _names(ports: list[dict[str, Any]] | None) -> set[str]:
    return {str(port.get("name") or "") for port in ports or ()}
