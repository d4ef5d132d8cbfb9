"""Exercises that are judged by measurement, not by comparing texts.

A `Problem` is pure: a task, a check on the running lab, a ladder of hints, a solution. An `Exercise` shows
one in a notebook. Learners get a verdict with its reason; in strict mode (tests) a wrong answer raises.
"""

from __future__ import annotations

import html
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from meshlab.notebook.tones import FAINT, tone
from meshlab.phrases import tr

__all__ = ["Exercise", "Outcome", "Problem", "Verdict", "Words"]

#: Set by tests: a verdict other than right raises.
STRICT = "MESHLAB_STRICT"


class Outcome(Enum):
    NOT_ATTEMPTED = "not attempted"
    NOT_YET = "not yet"
    RIGHT = "right"


@dataclass(frozen=True)
class Verdict:
    """What a check found. `because` is told to the learner, in the lesson's language, and says what was measured.

    The classmethods take the English text, with `{name}` where the value of that name goes.
    """

    outcome: Outcome
    because: str = ""

    @classmethod
    def not_attempted(cls, because: str = "", /, **values: object) -> Verdict:
        return cls(Outcome.NOT_ATTEMPTED, tr(because, **values))

    @classmethod
    def not_yet(cls, because: str, /, **values: object) -> Verdict:
        return cls(Outcome.NOT_YET, tr(because, **values))

    @classmethod
    def right(cls, because: str = "", /, **values: object) -> Verdict:
        return cls(Outcome.RIGHT, tr(because, **values))

    @property
    def word(self) -> str:
        """The outcome in the lesson's language."""
        return {
            Outcome.NOT_ATTEMPTED: tr("not attempted"),
            Outcome.NOT_YET: tr("not yet"),
            Outcome.RIGHT: tr("right"),
        }[self.outcome]

    def __str__(self) -> str:
        if not self.because:
            return self.word
        if self.outcome is Outcome.NOT_YET:
            return tr("{word}, because {because}", word=self.word, because=self.because)
        return tr("{word}: {because}", word=self.word, because=self.because)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        colour, mark = {
            Outcome.NOT_ATTEMPTED: (tone("plain"), "○"),
            Outcome.NOT_YET: (tone("bad"), "✗"),
            Outcome.RIGHT: (tone("good"), "✓"),
        }[self.outcome]
        return (
            f'<div role="status" style="border-left:4px solid {colour};padding:4px 10px">'
            f'<b style="color:{colour}">{mark} {self.word}</b> {html.escape(self.because)}</div>'
        )


@dataclass(frozen=True)
class Problem:
    """One exercise. `check(answer)` judges; `answer` is None where the answer is the state of the lab."""

    name: str
    task: str
    check: Callable[[Any], Verdict]
    hints: tuple[str, ...]
    solution: str


class Words(str):
    """Text that a cell shows as it reads: without quotes, and with its lines."""

    __slots__ = ()
    __repr__ = str.__str__


class Exercise:
    """A problem in a notebook: shows its task; `check()`, `hint()`, `solution()`. `judged` hears of each verdict."""

    def __init__(self, problem: Problem, judged: Callable[[Verdict], None] | None = None) -> None:
        self.problem, self._judged = problem, judged
        self._hinted = 0

    def __repr__(self) -> str:
        return tr("Exercise {name}: {task}", name=tr(self.problem.name), task=tr(self.problem.task))

    def _repr_html_(self) -> str:
        title = tr("Exercise: {name}.", name=tr(self.problem.name))
        helps = tr(
            "check() judges it, hint() helps ({count} of them), solution() tells.", count=len(self.problem.hints)
        )
        calls = re.sub(r"(\w+\(\))", r"<code>\1</code>", html.escape(helps))
        return (
            f'<div style="border:1px solid {FAINT};border-radius:6px;padding:6px 12px;max-width:46rem">'
            f"<b>{html.escape(title)}</b> {html.escape(tr(self.problem.task))}<br><small>{calls}</small></div>"
        )

    def check(self, answer: Any = None) -> Verdict:
        """Judge the answer by what the lab does. In strict mode a verdict other than right raises."""
        verdict = self.problem.check(answer)
        if self._judged is not None:
            self._judged(verdict)
        if verdict.outcome is not Outcome.RIGHT and os.environ.get(STRICT) == "1":
            raise AssertionError(f"{self.problem.name}: {verdict}")
        return verdict

    def hint(self, number: int | None = None) -> Words:
        """The next hint, or the one with this number (from 1); the last one again when there are no more."""
        if number is None:
            self._hinted = min(self._hinted + 1, len(self.problem.hints))
            number = self._hinted
        if not 1 <= number <= len(self.problem.hints):
            raise ValueError(f"there are hints 1 to {len(self.problem.hints)}, not {number}")
        hint, count = tr(self.problem.hints[number - 1]), len(self.problem.hints)
        return Words(tr("hint {number} of {count}: {hint}", number=number, count=count, hint=hint))

    def solution(self) -> Words:
        """A solution, as the cell that you could run."""
        return Words(self.problem.solution)
