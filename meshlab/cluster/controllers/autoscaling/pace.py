"""How fast an autoscaler follows its recommendations: stabilization windows, policies, bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["DOWN_WINDOW", "LONGEST", "Pace", "Said", "Step"]

#: Seconds over which scaling down takes the highest recommendation, where a spec does not say.
DOWN_WINDOW = 300.0
#: Seconds of the longest period and window that the API takes.
LONGEST = 3600.0
#: Without a behaviour, the number of replicas doubles at most, or comes to this.
AT_LEAST = 4

READY = ("ReadyForNewScale", "recommended size matches current size")
HIGHER = ("ScaleDownStabilized",
          "recent recommendations were higher than current one, applying the highest recent recommendation")
LOWER = ("ScaleUpStabilized",
         "recent recommendations were lower than current one, applying the lowest recent recommendation")
WITHIN = ("DesiredWithinRange", "the desired count is within the acceptable range")
TOO_FEW = ("TooFewReplicas", "the desired replica count is less than the minimum replica count")
TOO_MANY = ("TooManyReplicas", "the desired replica count is more than the maximum replica count")
UP_LIMIT = ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate")
DOWN_LIMIT = ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate")

#: Reason and message of a condition.
Said = tuple[str, str]


@dataclass(frozen=True)
class Step:
    """What is to be done now. `able` and `limited` are what the conditions AbleToScale and ScalingLimited say."""

    replicas: int
    able: Said
    limited: Said

    @property
    def is_limited(self) -> bool:
        return self.limited is not WITHIN


@dataclass
class Pace:
    """What one autoscaler has recommended and done; times are seconds of a clock."""

    recommended: list[tuple[float, int]] = field(default_factory=list)
    #: Changes of the number of replicas, positive and negative.
    done: list[tuple[float, int]] = field(default_factory=list)

    def step(self, spec: Mapping[str, Any], current: int, wanted: int, now: float) -> Step:
        """From a recommendation to the number of replicas that may be set now."""
        if not self.recommended:
            # Whoever was here before had reasons: nothing is scaled down before its window has passed.
            self.recommended.append((now, current))
        low, high = int(spec.get("minReplicas") or 1), int(spec["maxReplicas"])
        behavior = spec.get("behavior")
        if behavior is None:
            calm, able = self._calm_by_default(wanted, now)
        else:
            calm, able = self._calm(behavior, current, wanted, now)
        self.recommended = [(at, count) for at, count in self.recommended if now - at < LONGEST] + [(now, wanted)]
        if behavior is None:
            limit = max(2 * current, AT_LEAST)
            most, why = (limit, UP_LIMIT) if limit < high else (high, TOO_MANY)
            least, why_not = low, TOO_FEW
        else:
            up = max(current, self._limit(behavior.get("scaleUp") or {}, current, now, up=True))
            down = min(current, self._limit(behavior.get("scaleDown") or {}, current, now, up=False))
            most, why = (up, UP_LIMIT) if up < high else (high, TOO_MANY)
            least, why_not = (down, DOWN_LIMIT) if down > low else (low, TOO_FEW)
            if calm >= current:
                least, why_not = low, TOO_FEW
            if calm <= current:
                most, why = high, TOO_MANY
        if calm > most:
            return Step(most, able, why)
        if calm < least:
            return Step(least, able, why_not)
        return Step(calm, able, WITHIN)

    def note(self, change: int, now: float) -> None:
        """The number of replicas was changed by `change`."""
        self.done = [(at, each) for at, each in self.done if now - at < LONGEST] + [(now, change)]

    def _calm_by_default(self, wanted: int, now: float) -> tuple[int, Said]:
        highest = max([wanted, *(count for at, count in self.recommended if now - at < DOWN_WINDOW)])
        return highest, HIGHER if highest != wanted else READY

    def _calm(self, behavior: Mapping[str, Any], current: int, wanted: int, now: float) -> tuple[int, Said]:
        def window(name: str, default: float) -> list[int]:
            seconds = (behavior.get(name) or {}).get("stabilizationWindowSeconds")
            limit = default if seconds is None else float(seconds)
            return [wanted, *(count for at, count in self.recommended if now - at < limit)]

        lowest, highest = min(window("scaleUp", 0.0)), max(window("scaleDown", DOWN_WINDOW))
        calm = min(max(current, lowest), highest)
        if calm == wanted:
            return calm, READY
        return calm, LOWER if wanted >= current else HIGHER

    def _limit(self, rules: Mapping[str, Any], current: int, now: float, *, up: bool) -> int:
        """As far as the policies of one direction allow to go."""
        if rules.get("selectPolicy") == "Disabled":
            return current
        found = [self._policy(policy, current, now, up=up) for policy in _policies(rules, up=up)]
        farthest = (rules.get("selectPolicy") or "Max") == "Max"
        return max(found) if up is farthest else min(found)

    def _policy(self, policy: Mapping[str, Any], current: int, now: float, *, up: bool) -> int:
        changes = sum(change for at, change in self.done if now - at < float(policy["periodSeconds"]))
        start, value = current - changes, int(policy["value"])
        if policy["type"] == "Pods":
            return start + value if up else start - value
        if up:
            return math.ceil(start * (100 + value) / 100)
        return start * (100 - value) // 100


def _policies(rules: Mapping[str, Any], *, up: bool) -> Sequence[Mapping[str, Any]]:
    """Those of the spec, or the API's defaults."""
    given = rules.get("policies") or []
    if given:
        return list(given)
    all_of_them = {"type": "Percent", "value": 100, "periodSeconds": 15}
    return [{"type": "Pods", "value": 4, "periodSeconds": 15}, all_of_them] if up else [all_of_them]
