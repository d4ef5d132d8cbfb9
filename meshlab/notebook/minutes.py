"""What a lesson takes a learner, counted from its notebook: the minutes that lessons and the instructors' page give.

A count and no measurement: prose is read at a usual speed, code is looked at and not studied. It says which lesson has
grown too long, and does so before anybody sits in it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import nbformat

__all__ = ["OPTIONAL", "Minutes", "count"]

#: A section with this heading is for whoever has time; the minutes of a lesson are those without it.
OPTIONAL = "## If you have time"
#: Words of prose and lines of code that are read in a minute.
WORDS, LINES = 200, 30
#: Minutes for an answer to a question before the next cell, for an exercise, and for what a cell shows.
QUESTION, EXERCISE, OUTPUT = 0.5, 2.0, 1 / 12
_QUESTIONS = re.compile(r"\*\*(Predict|Question|Before you go on)\b")
_TARGET = re.compile(r"\]\([^)]*\)")
_WORD = re.compile(r"[\w'’-]+")
_STATED = re.compile(r"\*\*Time:\*\* (\d+) minutes")


@dataclass(frozen=True)
class Minutes:
    """`needed` without the optional sections, `optional` those; `stated` is what the lesson says."""

    needed: float
    optional: float
    stated: int

    @property
    def rounded(self) -> int:
        """`needed`, up to the next five minutes: what a lesson says of itself."""
        return 5 * math.ceil(self.needed / 5)


def count(notebook: Path) -> Minutes:
    """The minutes of a lesson, as its English source has them."""
    found = {False: 0.0, True: 0.0}
    optional, stated = False, 0
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type == "code":
            found[optional] += OUTPUT + sum(1 for line in cell.source.splitlines() if line.strip()) / LINES
            found[optional] += EXERCISE * cell.source.count("practice(lab, ")
            continue
        for part in re.split(r"(?m)^(?=## )", cell.source):
            if part.startswith("## "):
                optional = part.startswith(OPTIONAL)
            found[optional] += len(_WORD.findall(_TARGET.sub("]", part))) / WORDS
            found[optional] += QUESTION * len(_QUESTIONS.findall(part))
        stated = int(said[1]) if not stated and (said := _STATED.search(cell.source)) else stated
    return Minutes(found[False], found[True], stated)
