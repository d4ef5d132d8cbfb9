"""Egress rules that contradict each other: the one with the smaller key wins, the other is dropped whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from meshlab.mesh.config.model import EgressRule
from meshlab.mesh.config.services import Protocol
from meshlab.mesh.config.validate import EGRESS_HTTP

__all__ = ["Conflict", "without_conflicts"]


@dataclass(frozen=True, slots=True)
class Conflict:
    """A dropped rule, the rules that won over it, and 0.4.0's text, which Pilot logs and nobody else sees."""

    rule: str
    winners: tuple[str, ...]
    message: str


def without_conflicts(rules: Mapping[str, EgressRule]) -> tuple[dict[str, EgressRule], list[Conflict]]:
    """The rules in force, by key in order, and the dropped ones.

    Two rules conflict when they name the same destination, whatever their ports, or when they give one port
    different protocols. All HTTP protocols count as one there; TCP and Mongo are two.
    """
    kept, conflicts = _by_destination(rules)
    kept, more = _by_port(kept)
    return kept, conflicts + more


def _by_destination(rules: Mapping[str, EgressRule]) -> tuple[dict[str, EgressRule], list[Conflict]]:
    kept: dict[str, EgressRule] = {}
    conflicts: list[Conflict] = []
    owners: dict[str, str] = {}
    for key in sorted(rules):
        destination = rules[key].destination
        domain = destination.service if destination else ""
        if domain in owners:
            text = f"rule {key} conflicts with rule {owners[domain]} on domain {domain}, is rejected"
            conflicts.append(Conflict(key, (owners[domain],), text))
            continue
        owners[domain] = key
        kept[key] = rules[key]
    return kept, conflicts


def _by_port(rules: Mapping[str, EgressRule]) -> tuple[dict[str, EgressRule], list[Conflict]]:
    kept: dict[str, EgressRule] = {}
    conflicts: list[Conflict] = []
    protocols: dict[int, Protocol] = {}
    owners: dict[int, list[str]] = {}
    for key in sorted(rules):
        for port in rules[key].ports:
            protocol = Protocol.parse(port.protocol)
            if protocol in EGRESS_HTTP:
                protocol = Protocol.HTTP
            taken = protocols.get(port.port, protocol)
            if taken is not protocol:
                winners = owners[port.port]
                text = (
                    f"rule {key} is rejected since it conflicts rules [{' '.join(winners)}] on port {port.port}, "
                    f"protocol {protocol} vs. protocol {taken}"
                )
                conflicts.append(Conflict(key, tuple(winners), text))
                break
            # Ports before the conflicting one stay taken, although their rule is dropped: so did 0.4.0.
            protocols[port.port] = protocol
            owners.setdefault(port.port, []).append(key)
        else:
            kept[key] = rules[key]
    return kept, conflicts
