"""What lessons take a learner: as much as they say, as the instructors' page says, and no more than twenty minutes."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from meshlab.notebook.execute import lessons
from meshlab.notebook.minutes import Minutes, count

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


@pytest.mark.parametrize("path", lessons(NOTEBOOKS), ids=lambda path: path.stem[:2])
def test_a_lesson_takes_what_it_says_and_ten_to_twenty_minutes(path: Path) -> None:
    found = count(path)
    assert found.stated == found.rounded and 10 <= found.rounded <= 20, found
    page = (NOTEBOOKS / "instructors.md").read_text(encoding="utf-8")
    assert re.findall(rf"(?m)^\| {path.stem[:2]} [^|]*\| (\d+) \|", page) == [str(found.stated)]


def test_minutes_are_for_prose_code_questions_and_exercises_and_optional_sections_apart(tmp_path: Path) -> None:
    text, code = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
    book = nbformat.v4.new_notebook(
        cells=[
            text("# A lesson\n\n**Time:** 10 minutes.\n\n" + "word " * 195),
            text("**Predict:** [this](not-counted.ipynb)?\n\n## If you have time: more\n\n" + "word " * 395),
            code("a = 1\n" * 25),
            text("## Try it"),
            code('ex1 = practice(lab, "00", 1)\nex1'),
        ]
    )
    nbformat.write(book, tmp_path / "book.ipynb")
    found = count(tmp_path / "book.ipynb")
    assert found == Minutes(
        needed=pytest.approx(200 / 200 + 0.5 + 2 / 200 + 2 / 200 + 1 / 12 + 2 / 30 + 2.0),
        optional=pytest.approx(400 / 200 + 1 / 12 + 25 / 30),
        stated=10,
    )
    assert found.rounded == 5
