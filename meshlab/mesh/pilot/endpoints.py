"""Endpoints: the ready pods of one version of a service's port."""

from __future__ import annotations

from collections.abc import Iterable

from meshlab.mesh.config.services import Instance
from meshlab.mesh.pilot.clusters import socket
from meshlab.mesh.pilot.encode import Fields
from meshlab.mesh.pilot.mutual import ENDPOINT_MARK, MARK
from meshlab.mesh.pilot.names import Target
from meshlab.settings import bound_port

__all__ = ["load_assignment"]


def load_assignment(
    target: Target, instances: Iterable[Instance], low_port_start: int,
    marked: frozenset[tuple[str, int]] = frozenset(),
) -> Fields:
    """A `ClusterLoadAssignment`; without endpoints (no such version: 503) where nobody matches.

    `marked`: (address, port) of those that take mutual TLS.
    """
    addresses = {
        (each.address, bound_port(each.port, low_port_start)): (each.address, each.port) in marked
        for each in instances
        if each.service_port.name == target.port.name and target.labels.subset_of(each.labels)
    }
    if not addresses:
        return {"cluster_name": target.key}
    return {
        "cluster_name": target.key,
        "endpoints": [{
            "lb_endpoints": [
                {"endpoint": {"address": socket(*address)}} if not mark else
                {"endpoint": {"address": socket(*address)}, "metadata": {"filter_metadata": {ENDPOINT_MARK: MARK}}}
                for address, mark in addresses.items()
            ]
        }],
    }
