"""Whether sidecars ask Mixer before they let a request in, and the filters by which they ask.

A check costs a round trip, so nobody asks until a stored `rule` gives instances to a handler that can refuse.
The HTTP filter is in every inbound listener but switched off there, and switched on in the route table: a rule
that comes or goes changes routes, never a listener. A TCP listener has no routes: there the filter itself comes
and goes, unless the rule is about requests only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meshlab.mesh.mixer.expressions import ExpressionError, compile_expression
from meshlab.mesh.pilot.encode import Fields, duration, pack

__all__ = ["CHECK", "CheckRule", "asking", "check_rule", "checked", "http_filter", "tcp_filters"]

CHECK = "envoy.filters.http.ext_authz"
TCP_CHECK = "envoy.filters.network.ext_authz"
#: Kinds of handlers that answer checks.
REFUSING = frozenset({"denier", "listchecker", "memquota"})
#: How long Mixer may think. One that is not there is noticed at once; either way the request then passes.
PATIENCE_NS = 2_000_000_000
#: Rules of this namespace hold for the whole mesh, those of others for their own.
EVERYWHERE = "istio-system"


@dataclass(frozen=True, slots=True)
class CheckRule:
    """Where a rule with checks holds: `namespace` "" is everywhere; `tcp` whether for connections too."""

    namespace: str
    tcp: bool


def check_rule(obj: Mapping[str, Any]) -> CheckRule | None:
    """What a stored `rule` asks of sidecars; None for one that refuses nothing, or is of no known shape."""
    try:
        meta, spec = obj["metadata"], obj.get("spec") or {}
        if not any(_refuses(action) for action in spec.get("actions") or ()):
            return None
        namespace = str(meta.get("namespace") or "")
        protocol = str((meta.get("labels") or {}).get("istio-protocol") or "")
        tcp = protocol == "tcp" or (not protocol and not _only_requests(str(spec.get("match") or "true")))
    except (AttributeError, TypeError, KeyError):
        return None
    return CheckRule("" if namespace == EVERYWHERE else namespace, tcp)


def _refuses(action: Mapping[str, Any]) -> bool:
    """`handler: denyall.denier[.namespace]`."""
    parts = str(action.get("handler") or "").split(".")
    return len(parts) >= 2 and parts[1] in REFUSING and bool(action.get("instances"))


def _only_requests(match: str) -> bool:
    """Whether a match fails for want of a request's attribute: conditions without any `or`."""
    try:
        expression = compile_expression(match)
    except ExpressionError:
        return True  # Mixer leaves such a rule out
    return "|" not in match and any(name.startswith("request.") for name in expression.attributes)


def checked(rules: frozenset[CheckRule], namespace: str, *, tcp: bool = False) -> bool:
    """Whether a pod of `namespace` has something to ask about its requests (or connections)."""
    return any(rule.namespace in ("", namespace) and (rule.tcp or not tcp) for rule in rules)


def http_filter(mixer: str) -> Fields:
    """The filter, off until a route table switches it on; `mixer` is the cluster that it asks."""
    return {
        "name": CHECK,
        "disabled": True,
        "typed_config": pack("ExtAuthz", {
            "grpc_service": _service(mixer), "transport_api_version": "V3", "failure_mode_allow": True,
        }),
    }


def asking() -> Fields:
    """`typed_per_filter_config` that switches the filter on."""
    return {CHECK: pack("ExtAuthzPerRoute", {"check_settings": {}})}


def tcp_filters(mixer: str) -> list[Fields]:
    """The check of a connection, made once when its first bytes come."""
    return [{
        "name": TCP_CHECK,
        "typed_config": pack("TcpExtAuthz", {
            "stat_prefix": "mixer", "grpc_service": _service(mixer), "transport_api_version": "V3",
            "failure_mode_allow": True,
        }),
    }]


def _service(mixer: str) -> Fields:
    return {"envoy_grpc": {"cluster_name": mixer}, "timeout": duration(PATIENCE_NS)}
