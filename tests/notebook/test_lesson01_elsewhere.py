"""Lesson 01's exercises ask what the mesh's configuration says, whichever Istio wrote it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from meshlab.lab import Lab
from meshlab.notebook.exercise import Outcome
from meshlab.notebook.exercises.lesson01 import problems

CASES = {
    "0.4": ("{defaultConfig: {discoveryAddress: 'istio-pilot:15003'}, mixerAddress: 'istio-mixer:15004'}",
            "istio-pilot:15003", "istio-mixer:15004"),
    "of the chart": ("{defaultConfig: {discoveryAddress: 'istiod.m.svc:15012'}, defaultProviders: {metrics: [stats]}}",
                     "istiod.m.svc:15012", "stats"),
    "that says nothing": ("", "istiod.istio-system.svc:15012", "nobody"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_right_and_a_wrong_answer(case: str) -> None:
    config, *right = CASES[case]
    engine = SimpleNamespace(control_plane=[SimpleNamespace(namespace="istio-system")])
    lab: Any = SimpleNamespace(engine=engine, kubectl=lambda command: config)
    found = problems(cast("Lab", lab))
    for problem, answer in zip(found, right, strict=True):
        assert problem.check(answer).outcome is Outcome.RIGHT
        assert problem.check("somebody:1").outcome is Outcome.NOT_YET
        assert answer in problem.solution
