"""One object of today's API to its value of the model, whatever its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from meshlab.mesh.config.grants import Grant
from meshlab.mesh.config.today import destination_rules, kubernetes_routes, outside_rules, protection, virtual_services
from meshlab.mesh.config.today.kinds import GATEWAY_API
from meshlab.mesh.config.today.stored import Stored

__all__ = ["translate"]


def translate(stored: Stored) -> Any:
    """What the object means; a tuple of HostRules for an HTTPRoute. KeyError for a kind that is not today's.

    The object's spec must have passed `validate.problems` without errors.
    """
    makers: Mapping[str, Callable[[Stored], Any]] = {
        "VirtualService": virtual_services.host_rules,
        "DestinationRule": destination_rules.host_traffic,
        "ServiceEntry": outside_rules.external_service,
        "WorkloadEntry": outside_rules.workload,
        "Gateway": kubernetes_routes.mesh_gateway if stored.group == GATEWAY_API else outside_rules.mesh_gateway,
        "Sidecar": outside_rules.sidecar_scope,
        "PeerAuthentication": protection.peer_authentication,
        "AuthorizationPolicy": protection.authorization,
        "RequestAuthentication": protection.request_authentication,
        "Telemetry": protection.telemetry_of,
        "HTTPRoute": kubernetes_routes.host_rules,
        "ReferenceGrant": Grant.of,
    }
    return makers[stored.kind](stored)
