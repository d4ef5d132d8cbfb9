"""Every lesson as a learner runs it, on a real lab: without a browser, with its exercises solved."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from solving import solved

from meshlab.lab import Lab
from meshlab.notebook.execute import execute, lessons
from meshlab.notebook.export import foreign
from meshlab.notebook.progress import EXERCISES

ROOT = Path(__file__).resolve().parents[2]
#: Seconds for a lesson that takes 5 to 20 on a quiet machine.
PATIENCE = 900.0
#: Backwards, because the lessons must run in any order; `meshlab workbook --html` runs them forwards.
BOOKS = lessons(ROOT / "notebooks")[::-1]


def outputs(path: Path) -> list[NotebookNode]:
    return [output for cell in nbformat.read(path, as_version=4).cells for output in cell.get("outputs", [])]


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_a_lesson_runs_and_leaves_the_lab_as_it_found_it(path: Path, lab: Lab, tmp_path: Path, pages: Path) -> None:
    before = lab.checkpoint().objects
    lesson = execute(solved(path, tmp_path / "in"), tmp_path / "out", deadline=PATIENCE)
    assert lesson.passed, lesson.error
    shutil.copy(lesson.page, pages)
    page = lesson.page.read_text()
    assert foreign(page) == []
    assert "live in the notebook only" not in page and "was not saved" not in page
    complaints = [
        output.text
        for output in outputs(tmp_path / "out" / path.name)
        if output.output_type == "stream" and re.search(r"Traceback|\w+Warning:", output.text)  # Python's own
    ]
    assert complaints == []
    assert lab.checkpoint().objects == before
    assert not (lab.settings.home / "lesson.json").exists()


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_a_lesson_tells_what_one_learns_needs_and_gets_next(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    first, last = cells[0].source, "\n".join(cell.source for cell in cells[-3:])
    assert first.startswith(f"# {path.stem[:2]} · ")
    for part in ("**After this lesson you can**", "**You need**", "**Time:**"):
        assert part in first, part
    assert "## Recap" in last and "**Next:**" in last


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_links_between_lessons_lead_somewhere(path: Path) -> None:

    text = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
    links = re.findall(r"\]\(([^)#:]+\.ipynb)\)", text)
    assert [link for link in links if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_each_lesson_has_two_exercises_at_least_and_the_learners_page_counts_them(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    count = sum("solution" in cell.metadata.get("meshlab", {}) for cell in cells)
    assert count == EXERCISES[path.stem[:2]] >= 2


def test_a_lesson_keeps_its_language_when_it_leaves_its_folder(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "zh").mkdir()
    cell = "import os, meshlab; meshlab.connect(); os.chdir('/'); from meshlab.phrases import tr; print(tr('not yet'))"
    done = subprocess.run(
        [sys.executable, "-c", cell],
        cwd=tmp_path / "zh",
        env={key: value for key, value in os.environ.items() if key != "MESHLAB_LANGUAGE"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[1:] == ["还不对"] and "实验环境" in done.stdout, done.stdout + done.stderr
