"""From what pods use to how many there should be: the arithmetic of a horizontal autoscaler, as pure functions.

Amounts are integers in thousandths (of a core, of a request per second, of a byte), as a real one has them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from meshlab.cluster.controllers.objects import condition_of, is_ready, parse_time, phase_of

__all__ = ["Groups", "NoMetric", "Tolerance", "grouped", "mean", "needed", "of_total", "shared"]

#: How long after its start a pod's CPU is its own warming up, and how long an early failure to be ready may last.
WARMING, STARTING = timedelta(seconds=300), timedelta(seconds=30)

Amounts = Mapping[str, int]


class NoMetric(Exception):
    """A metric cannot be had; the text is that of the condition."""


@dataclass(frozen=True)
class Tolerance:
    """How far from 1 a ratio may be without anything being done; a real controller's number is 0.1."""

    up: float = 0.1
    down: float = 0.1

    def covers(self, ratio: float) -> bool:
        return 1.0 - self.down <= ratio <= 1.0 + self.up


@dataclass(frozen=True)
class Groups:
    """The pods of a target by what their amounts are good for."""

    ready: frozenset[str]
    unready: frozenset[str]
    missing: frozenset[str]
    ignored: frozenset[str]


def grouped(pods: Sequence[Mapping[str, Any]], measured: Mapping[str, tuple[datetime, float] | None], *, cpu: bool,
            now: datetime) -> Groups:
    """Sort pods. `measured` has when and over how many seconds the amount of each was measured, None without a time."""
    sets: dict[str, set[str]] = {"ready": set(), "unready": set(), "missing": set(), "ignored": set()}
    for pod in pods:
        name = pod["metadata"]["name"]
        if pod["metadata"].get("deletionTimestamp") or phase_of(pod) == "Failed":
            sets["ignored"].add(name)
        elif phase_of(pod) == "Pending":
            sets["unready"].add(name)
        elif name not in measured:
            sets["missing"].add(name)
        elif cpu and _warming(pod, measured[name], now):
            sets["unready"].add(name)
        else:
            sets["ready"].add(name)
    return Groups(**{key: frozenset(names) for key, names in sets.items()})


def _warming(pod: Mapping[str, Any], measured: tuple[datetime, float] | None, now: datetime) -> bool:
    """Whether the CPU that a pod used says nothing yet."""
    condition, started = condition_of(pod, "Ready"), pod["status"].get("startTime")
    if condition is None or started is None:
        return True
    begun, since = parse_time(started), parse_time(condition["lastTransitionTime"])
    if begun + WARMING > now:
        early = measured is not None and measured[0] < since + timedelta(seconds=measured[1])
        return not is_ready(pod) or early
    return not is_ready(pod) and begun + STARTING > since


def shared(usage: Callable[[Amounts], float], amounts: Amounts, groups: Groups, current: int, tolerance: Tolerance,
           assumed: Callable[[str], int]) -> int:
    """Replicas for amounts per pod. `usage` is their ratio to the target, `assumed` what a pod without one would have.

    What is not known is taken to speak against any change: pods without an amount use their target when there seem to
    be too many and nothing when there seem to be too few, and pods that are not ready use nothing.
    """
    known = {name: amount for name, amount in amounts.items() if name in groups.ready}
    if not known:
        raise NoMetric("did not receive metrics for targeted pods (pods might be unready)")
    ratio = usage(known)
    lifted = bool(groups.unready) and ratio > 1
    if not lifted and not groups.missing:
        return current if tolerance.covers(ratio) else math.ceil(ratio * len(known))
    filled = dict(known)
    if ratio < 1:
        filled |= {name: assumed(name) for name in groups.missing}
    elif ratio > 1:
        filled |= dict.fromkeys(groups.missing, 0)
    if lifted:
        filled |= dict.fromkeys(groups.unready, 0)
    again = usage(filled)
    if tolerance.covers(again) or (ratio < 1) is not (again < 1):
        return current
    wanted = math.ceil(again * len(filled))
    # What was filled in must not turn the direction.
    return min(wanted, current) if again < 1 else max(wanted, current)


def of_total(value: int, target: int, current: int, ready: int, tolerance: Tolerance) -> int:
    """Replicas for one amount that grows and shrinks with the load: `ready` pods have it as it is."""
    ratio = value / target
    if current == 0:
        return math.ceil(ratio)
    return current if tolerance.covers(ratio) else math.ceil(ratio * ready)


def needed(value: int, target: int, current: int, tolerance: Tolerance) -> int:
    """Replicas for one amount that all of them share, `target` for each."""
    if current and tolerance.covers(value / (target * current)):
        return current
    return math.ceil(value / target)


def mean(amounts: Collection[int]) -> int:
    return sum(amounts) // len(amounts) if amounts else 0
