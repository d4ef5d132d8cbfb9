"""Which rules apply to one caller and destination, and in what order.

Rules of any namespace apply, in the order of precedence, and of keys where precedence is equal. What a rule's source
says is decided here, for each caller; everything else is decided by the caller's sidecar, request by request.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from meshlab.mesh.config.labels import Labels
from meshlab.mesh.config.model import Config, DestinationPolicy, IstioService, Match, MatchKind, Meta, RouteRule
from meshlab.mesh.config.names import resolve_hostname
from meshlab.mesh.config.services import Instance

__all__ = [
    "destination_of",
    "is_catch_all",
    "match_source",
    "policy_for",
    "route_rules_for",
    "route_rules_of",
    "sort_route_rules",
    "up_to_catch_all",
]


def destination_of(config: Config[Any]) -> str:
    """The host name that a rule or policy is about; "" for one without destination."""
    service: IstioService | None = config.spec.destination
    return resolve_hostname(config.meta, service) if service else ""


def match_source(meta: Meta, source: IstioService | None, callers: Iterable[Instance]) -> bool:
    """Whether some instance in the caller's pod is of this service and has these labels. No source: everybody."""
    if source is None:
        return True
    hostname = resolve_hostname(meta, source)
    return any(
        caller.service.hostname == hostname and source.labels.subset_of(caller.labels) for caller in callers
    )


def sort_route_rules(rules: Iterable[Config[RouteRule]]) -> list[Config[RouteRule]]:
    """Higher precedence first, then by key: `route-rule/<namespace>/<name>`."""
    return sorted(rules, key=lambda rule: (-rule.spec.precedence, rule.key))


def route_rules_for(
    rules: Iterable[Config[RouteRule]], callers: Iterable[Instance], destination: str
) -> list[Config[RouteRule]]:
    """The rules that a caller's sidecar follows on its way to `destination`, in order."""
    instances = tuple(callers)
    return sort_route_rules(
        rule
        for rule in rules
        if destination_of(rule) == destination
        and (rule.spec.match is None or match_source(rule.meta, rule.spec.match.source, instances))
    )


def route_rules_of(rules: Iterable[Config[RouteRule]], instances: Iterable[Instance]) -> list[Config[RouteRule]]:
    """The rules about any service of a pod, which its own sidecar follows for what comes in."""
    hostnames = {instance.service.hostname for instance in instances}
    return sort_route_rules(rule for rule in rules if destination_of(rule) in hostnames)


def is_catch_all(match: Match | None) -> bool:
    """Whether every request matches: no condition on a header, and on the path none but the prefix `/`."""
    headers: Mapping[str, Any] = (match.headers if match else None) or {}
    if set(headers) - {"uri"}:
        return False
    uri = headers.get("uri")
    return uri is None or (uri.kind is MatchKind.PREFIX and uri.value == "/")


def up_to_catch_all(rules: Iterable[Config[RouteRule]]) -> tuple[list[Config[RouteRule]], bool]:
    """Sorted rules up to the first that matches everything, and whether there is one.

    Whatever comes after it can never match; where there is none, the default route follows.
    """
    out = []
    for rule in rules:
        out.append(rule)
        if is_catch_all(rule.spec.match):
            return out, True
    return out, False


def policy_for(
    policies: Iterable[Config[DestinationPolicy]], callers: Iterable[Instance], destination: str, labels: Labels
) -> Config[DestinationPolicy] | None:
    """The policy for one version of a destination: its labels must be equal; of several the smallest key wins."""
    instances = tuple(callers)
    matching = (
        policy
        for policy in policies
        if policy.spec.destination is not None
        and destination_of(policy) == destination
        and policy.spec.destination.labels == labels
        and match_source(policy.meta, policy.spec.source, instances)
    )
    return min(matching, key=lambda policy: policy.key, default=None)
