"""The exercises of the lessons, one module per lesson, each a function from a lab to its problems.

They are judged by what the lab does, never by comparing texts where a measurement can be had. A learner's cell is
two lines: `practice(lab, "08", 1)` and `check(…)`; what judges it stays here, where no eye falls on it by chance.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from meshlab.notebook.exercise import Exercise, Problem

if TYPE_CHECKING:
    from meshlab.lab import Lab

__all__ = ["practice", "problems"]


def problems(lab: Lab, lesson: str) -> tuple[Problem, ...]:
    """The problems of a lesson ("08"). Raises ValueError where there is no such lesson."""
    try:
        module = importlib.import_module(f"{__name__}.lesson{lesson}")
    except ModuleNotFoundError as error:
        raise ValueError(f"no exercises for lesson {lesson!r}") from error
    found: tuple[Problem, ...] = module.problems(lab)
    return found


def practice(lab: Lab, lesson: str, number: int) -> Exercise:
    """The exercise of this number (from 1) of a lesson; what `check()` finds is kept as the learner's progress."""
    from meshlab.notebook.progress import Progress

    progress = Progress.of(lab)
    problem = problems(lab, lesson)[number - 1]
    return Exercise(problem, judged=lambda verdict: progress.record(lesson, problem.name, verdict))
