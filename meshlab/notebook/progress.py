"""What a learner has solved, kept in a file beside the lab's, so that it outlives kernels and sessions."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import TYPE_CHECKING

from meshlab.notebook.exercise import Outcome, Verdict
from meshlab.phrases import tr

if TYPE_CHECKING:
    from meshlab.lab import Lab

__all__ = ["Progress"]

#: Exercises of each lesson, in their order of lessons; a test compares it with what the lessons hold.
EXERCISES = {
    "00": 2,
    "01": 2,
    "02": 2,
    "03": 2,
    "04": 2,
    "05": 2,
    "06": 2,
    "07": 2,
    "08": 2,
    "09": 3,
    "10": 3,
    "11": 2,
    "12": 3,
    "13": 2,
}


class Progress:
    """The exercises that were judged: per lesson, name → whether it was right once. A broken file counts as none."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @classmethod
    def of(cls, lab: Lab) -> Progress:
        return cls(lab.settings.home / "progress.json")

    @property
    def solved(self) -> dict[str, dict[str, bool]]:
        try:
            kept = json.loads(self._file.read_text())
            return {str(k): {str(n): bool(r) for n, r in v.items()} for k, v in kept.items()}
        except (FileNotFoundError, ValueError, AttributeError):
            return {}

    def record(self, lesson: str, name: str, verdict: Verdict) -> None:
        """Remember a verdict. What was right once stays right; what was not attempted is not remembered."""
        if verdict.outcome is Outcome.NOT_ATTEMPTED:
            return
        kept = self.solved
        mine = kept.setdefault(lesson, {})
        mine[name] = mine.get(name, False) or verdict.outcome is Outcome.RIGHT
        part = self._file.with_suffix(".part")
        part.write_text(json.dumps(kept, sort_keys=True))
        part.replace(self._file)

    def __str__(self) -> str:
        return "\n".join(f"{lesson}  {tr('{done} of {of}', done=done, of=of)}" for lesson, done, of in self._rows())

    __repr__ = __str__

    def _rows(self) -> list[tuple[str, int, int]]:
        kept = self.solved
        return [(lesson, sum(kept.get(lesson, {}).values()), count) for lesson, count in EXERCISES.items()]

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(lesson)}</td><td>{'✓' * done}{'○' * max(0, of - done)}</td>"
            f"<td>{tr('{done} of {of}', done=done, of=of)}</td></tr>"
            for lesson, done, of in self._rows()
        )
        words = (tr("lesson"), tr("exercises"), tr("solved"))
        head = "".join(f'<th scope="col">{word}</th>' for word in words)
        return f"<table><tr>{head}</tr>{rows}</table>"
