"""One object of today's API: whether istiod would take it. First its schema, then the rules of its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from meshlab.mesh.config.today import rules_networking, rules_security, rules_virtual_service
from meshlab.mesh.config.today.kinds import GATEWAY_API, Kind, kind_of
from meshlab.mesh.config.today.schema import check

__all__ = ["problems"]

Rule = Callable[[Mapping[str, Any]], list[str]]


def _rules(kind: Kind) -> Rule | None:
    if kind.group == GATEWAY_API:
        return None
    known: Mapping[str, Rule] = {
        "VirtualService": rules_virtual_service.virtual_service,
        "DestinationRule": rules_networking.destination_rule,
        "ServiceEntry": rules_networking.service_entry,
        "WorkloadEntry": rules_networking.workload_entry,
        "Gateway": rules_networking.gateway,
        "Sidecar": rules_networking.sidecar,
        "PeerAuthentication": rules_security.peer_authentication,
        "AuthorizationPolicy": rules_security.authorization_policy,
        "RequestAuthentication": rules_security.request_authentication,
        "Telemetry": rules_security.telemetry,
    }
    return known[kind.kind]


def problems(obj: Mapping[str, Any]) -> list[str]:
    """Why an object of today's groups is invalid; [] if it is not. KeyError for any other kind."""
    kind = kind_of(obj)
    if kind is None:
        raise KeyError(obj.get("kind"))
    version = str(obj.get("apiVersion") or "").partition("/")[2]
    if version not in kind.versions:
        return [f"{kind.kind} of {kind.group} is not served as {version or 'nothing'}: {', '.join(kind.versions)} are"]
    spec = obj.get("spec")
    if spec is None:
        # An empty policy is one, an empty route is none.
        spec = {}
    found = check(kind.spec, spec, "spec")
    rules = _rules(kind)
    return found if found or rules is None else rules(spec)
