"""Lessons with their exercises solved: each wrong answer has to be judged wrong, each right one right."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbformat import NotebookNode

__all__ = ["solved"]

#: In front of a solution: the answer that the notebook comes with must not be right already.
UNSOLVED = """
from meshlab.notebook.exercise import Outcome
verdict = list(Out.values())[-1]
assert verdict.outcome is not Outcome.RIGHT, f"unsolved, and yet {verdict}"
"""
WRONG = """
verdict = list(Out.values())[-1]
assert verdict.outcome is Outcome.NOT_YET and verdict.because, f"a wrong answer is judged: {verdict}"
"""
SOLVED = """
verdict = list(Out.values())[-1]
assert verdict.outcome is Outcome.RIGHT, f"the solution is judged: {verdict}"
"""


def solved(path: Path, folder: Path) -> Path:
    """A copy of the lesson in which each exercise is answered by the solution in its cell's metadata."""
    book = nbformat.read(path, as_version=4)
    cells: list[NotebookNode] = []
    for cell in book.cells:
        cells.append(cell)
        if solution := cell.metadata.get("meshlab", {}).get("solution"):
            wrong = cell.metadata["meshlab"].get("wrong")
            steps = (UNSOLVED, *((wrong, WRONG) if wrong else ()), solution, SOLVED)
            cells += [nbformat.v4.new_code_cell(source) for source in steps]
    book.cells = cells
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(book, folder / path.name)
    return folder / path.name
