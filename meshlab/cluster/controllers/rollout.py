"""The arithmetic of a rolling update, as pure functions on counts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Bounds", "Counts", "bounds", "new_replicas", "proportions", "scale_down", "share"]


@dataclass(frozen=True)
class Bounds:
    """How far a rollout may leave the wanted number of pods: `surge` above, `unavailable` below."""

    surge: int
    unavailable: int


@dataclass(frozen=True)
class Counts:
    """One ReplicaSet as the rollout sees it: pods asked for, pods there, pods available."""

    wanted: int
    available: int = 0


def share(value: int | str, total: int, *, up: bool) -> int:
    """A number, or a percentage of `total` rounded up or down.

    >>> share("25%", 3, up=True), share("25%", 3, up=False), share(2, 3, up=True)
    (1, 0, 2)
    """
    if isinstance(value, int):
        return value
    part = int(value.rstrip("%")) * total / 100
    return math.ceil(part) if up else math.floor(part)


def bounds(spec: Mapping[str, Any]) -> Bounds:
    """From a Deployment's spec. If both come out as 0, nothing could ever move: one may be unavailable then."""
    strategy = spec.get("strategy") or {}
    if strategy.get("type") == "Recreate":
        return Bounds(0, 0)
    rolling = strategy.get("rollingUpdate") or {}
    replicas = int(spec.get("replicas", 1))
    surge = share(rolling.get("maxSurge", "25%"), replicas, up=True)
    unavailable = share(rolling.get("maxUnavailable", "25%"), replicas, up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return Bounds(surge, min(unavailable, replicas))


def new_replicas(replicas: int, limit: Bounds, new: Counts, old: Sequence[Counts]) -> int:
    """Pods that the new ReplicaSet may have now: as many as fit below replicas + surge."""
    if new.wanted >= replicas:
        return replicas
    room = replicas + limit.surge - new.wanted - sum(counts.wanted for counts in old)
    return min(replicas, new.wanted + max(0, room))


def scale_down(replicas: int, limit: Bounds, new: Counts, old: Sequence[Counts]) -> list[int]:
    """Pods that each old ReplicaSet (oldest first) keeps now.

    Unavailable pods go first, because they serve nobody; then available ones as far as replicas − unavailable
    stay available in all.
    """
    keep = [counts.wanted for counts in old]
    everything = sum(keep) + new.wanted
    least = replicas - limit.unavailable
    # New pods that are not available yet count as gone, or old ones would be taken away for them.
    spare = everything - least - (new.wanted - new.available)
    if spare <= 0:
        return keep
    for i, counts in enumerate(old):
        sick = min(keep[i] - min(counts.available, keep[i]), spare)
        keep[i] -= sick
        spare -= sick
    spare = min(spare, sum(min(c.available, k) for c, k in zip(old, keep, strict=True)) + new.available - least)
    for i in range(len(keep)):
        if spare <= 0:
            break
        gone = min(keep[i], spare)
        keep[i] -= gone
        spare -= gone
    return keep


def proportions(wanted: Sequence[int], total: int) -> list[int]:
    """`total` pods divided over ReplicaSets in the proportion they have now, the largest taking what rounding left.

    For a Deployment that is scaled in the middle of a rollout.

    >>> proportions([8, 2], 20), proportions([3, 1], 2)
    ([16, 4], [1, 1])
    """
    present = sum(wanted)
    if present == 0:
        return [total, *([0] * (len(wanted) - 1))] if wanted else []
    # Halves go up: round() would send them to the even neighbour, 2.5 down and 3.5 up.
    shares = [int(count * total / present + 0.5) for count in wanted]
    largest = max(range(len(wanted)), key=lambda i: wanted[i])
    shares[largest] += total - sum(shares)
    return shares
