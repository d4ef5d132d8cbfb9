"""A canary: a new version gets more and more of the traffic, and is rolled back when it fails more than it may.

The judgement is a measurement. At each step requests are sent, those that the new version answered are counted,
and its failures are compared with the most that chance explains at the failure rate that is allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ipywidgets as widgets

from meshlab.addons.svg import bar_chart
from meshlab.notebook.chance import band
from meshlab.notebook.controls import Control, acknowledged
from meshlab.notebook.weights import split_rule
from meshlab.phrases import tr

if TYPE_CHECKING:
    from meshlab.inforce import InForce
    from meshlab.lab import Lab
    from meshlab.traffic import Answers

__all__ = ["Canary", "Stage"]

#: How often a version that keeps within what it may fail is rolled back all the same: one step in ten thousand.
FALSE_ALARM = 1e-4


@dataclass(frozen=True)
class Stage:
    """One step: the canary's weight, how many requests it answered, how many of these failed (5xx), and how many
    failures chance explains. `passed` tells whether it goes on."""

    weight: int
    answered: int
    failed: int
    most: int

    @property
    def passed(self) -> bool:
        return self.failed <= self.most

    def __str__(self) -> str:
        verdict = tr("goes on") if self.passed else tr("ROLLED BACK")
        return tr(
            "{weight:3} %: answered {answered}, failed {failed} (at most {most} by chance): {verdict}",
            weight=self.weight,
            answered=self.answered,
            failed=self.failed,
            most=self.most,
            verdict=verdict,
        )


class Canary(Control):
    """A button that runs the whole canary; `run()` does the same, `step()` one step of it, `roll_back()` ends it.

    `send(n)` sends n requests and returns the answers; whoever answered is read from X-Served-By. `allowed` is
    the share of failures that the new version may have.
    """

    def __init__(
        self,
        lab: Lab,
        send: Callable[[int], Answers],
        *,
        service: str = "svcb",
        versions: tuple[str, str] = ("v0.1", "v0.2"),
        steps: Sequence[int] = (5, 25, 50, 100),
        n: int = 200,
        allowed: float = 0.01,
    ) -> None:
        super().__init__(tr("Canary: {service} from {old} to {new}", service=service, old=versions[0], new=versions[1]))
        self._lab, self._requests, self._service, self._versions = lab, send, service, versions
        self._steps, self._n, self._allowed = tuple(steps), n, allowed
        self.stages: list[Stage] = []
        self._button = widgets.Button(description=tr("start the canary"), layout=widgets.Layout(width="max-content"))
        self._button.on_click(lambda _: self.pressed(self.run))
        self._picture = widgets.HTML("")
        self.assemble(self._button, self._picture)
        self._show(0)

    def yaml(self, weight: int) -> str:
        """The RouteRule that gives `weight` of 100 to the new version."""
        first, second = self._versions
        return split_rule(f"canary-{self._service}", self._service, {first: 100 - weight, second: weight})

    def step(self, weight: int) -> Stage:
        """Give the new version this weight, send requests, judge."""
        with self._lock:
            self._lab.apply(self.yaml(weight))
            mine = [a for a in self._requests(self._n) if a.served_by.endswith(";" + self._versions[1])]
            failed = sum(a.status >= 500 for a in mine)
            limits = band(len(mine), self._allowed, false_alarm=FALSE_ALARM)
            stage = Stage(weight, len(mine), failed, limits.high)
            self.stages.append(stage)
            self._show(weight)
            self.say("\n".join(map(str, self.stages)), tone="good" if stage.passed else "bad")
            return stage

    def run(self) -> bool:
        """All steps, until the new version has everything (True) or was rolled back (False)."""
        with self._lock:
            self.stages = []
            for weight in self._steps:
                if not self.step(weight).passed:
                    self.roll_back()
                    return False
            return True

    def roll_back(self) -> InForce:
        """Everything to the old version, at once."""
        with self._lock:
            done = self._lab.apply(self.yaml(0))
            self._show(0)
            self.say("\n".join([*map(str, self.stages), tr("rolled back: {how}", how=acknowledged(done))]), tone="bad")
            return done

    def _show(self, weight: int) -> None:
        self.show_yaml(self.yaml(weight), command=f"istioctl replace -f canary.yaml   # {weight} %")
        if self.stages:
            bars = {f"{s.weight} %": 100 * s.failed / s.answered if s.answered else 0.0 for s in self.stages}
            self._picture.value = bar_chart(
                bars,
                title=tr("failures of {version} at each step, percent", version=self._versions[1]),
                maximum=100.0,
                width=520,
            )
