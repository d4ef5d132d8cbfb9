"""Endpoints: the ready pods of one version of a service's port."""

from __future__ import annotations

from collections.abc import Iterable

from meshlab.mesh.config.services import Instance
from meshlab.mesh.pilot.clusters import socket
from meshlab.mesh.pilot.encode import Fields
from meshlab.mesh.pilot.names import Target
from meshlab.settings import bound_port

__all__ = ["load_assignment"]


def load_assignment(target: Target, instances: Iterable[Instance], low_port_start: int) -> Fields:
    """A `ClusterLoadAssignment`; without endpoints (no such version: 503) where nobody matches."""
    addresses = dict.fromkeys(
        (each.address, bound_port(each.port, low_port_start))
        for each in instances
        if each.service_port.name == target.port.name and target.labels.subset_of(each.labels)
    )
    if not addresses:
        return {"cluster_name": target.key}
    return {
        "cluster_name": target.key,
        "endpoints": [{
            "lb_endpoints": [{"endpoint": {"address": socket(*address)}} for address in addresses]
        }],
    }
