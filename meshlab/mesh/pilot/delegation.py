"""VirtualServices with those that they leave routes to put in: again only where one of them changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from operator import is_

from meshlab.mesh.config.routing import HostRules
from meshlab.mesh.config.today.delegates import delegates_of, merged
from meshlab.mesh.config.today.stored import Stored
from meshlab.mesh.config.today.virtual_services import host_rules
from meshlab.mesh.pilot.check import host_rules_problem
from meshlab.mesh.pilot.world import Problem

__all__ = ["Delegation"]

Key = tuple[str, str]


class Delegation:
    """Remembers what it made."""

    def __init__(self) -> None:
        self._made: dict[Key, tuple[tuple[Stored | None, ...], HostRules, str]] = {}

    def rules(self, listed: Iterable[tuple[Stored, HostRules]]) -> tuple[list[HostRules], list[Problem]]:
        """Rules of all that have hosts, in order; what of them is not in force."""
        pairs = list(listed)
        delegates = {(stored.namespace, stored.name): stored for stored, _ in pairs if not stored.spec.get("hosts")}
        found: list[HostRules] = []
        problems: list[Problem] = []
        made: dict[Key, tuple[tuple[Stored | None, ...], HostRules, str]] = {}
        for stored, rules in pairs:
            names = delegates_of(stored)
            if not names:
                found += [rules] if rules.hosts else []
                continue
            key, parts = (stored.namespace, stored.name), (stored, *(delegates.get(name) for name in names))
            before = self._made.get(key)
            if before is None or len(before[0]) != len(parts) or not all(map(is_, before[0], parts)):
                whole, lost = merged(stored, delegates.get)
                wanted = host_rules(whole)
                if wrong := host_rules_problem(wanted):
                    wanted, lost = replace(wanted, routes=()), [wrong]
                before = parts, wanted, "; ".join(lost)
            made[key] = before
            found.append(before[1])
            if before[2]:
                problems.append(Problem(stored.origin.key, before[2], stored.revision))
        self._made = made
        return found, problems
