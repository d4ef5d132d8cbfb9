"""Every lesson, exercises solved, on the engine for clusters: for whoever asks for it with --lessons."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from solving import solved

from meshlab.lab import Lab
from meshlab.notebook.execute import LESSON_DEADLINE, execute, lessons

BOOKS = lessons(Path(__file__).resolve().parents[2] / "notebooks")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "book" in metafunc.fixturenames:
        ask = pytest.mark.skip("every lesson on the engine for clusters: pytest tests/conformance --lessons")
        books = BOOKS if metafunc.config.getoption("--lessons") else [pytest.param(None, marks=ask)]
        metafunc.parametrize("book", books, ids=lambda book: book.stem if book else "none")


def test_a_lesson_runs_there_and_leaves_the_cluster_as_it_found_it(
    cluster: Lab, book: Path, tmp_path: Path, artifacts: Path
) -> None:
    before = cluster.checkpoint().objects
    there = cluster.engine.environment(os.environ)
    deadline = LESSON_DEADLINE * cluster.engine.slowness
    lesson = execute(solved(book, tmp_path / "in"), tmp_path / "out", environ=there, deadline=deadline)
    shutil.copy(lesson.page, artifacts)
    assert lesson.passed, f"{lesson.error}\nThe page as far as it came: {artifacts / lesson.page.name}"
    made = {key for key in cluster.checkpoint().objects if key not in before}
    # What lessons bring up on purpose stays for the next: the demo.
    assert {name for kind, _, name in made if kind in ("Deployment", "Service")} <= {"svca", "svcb"}
    assert {kind for kind, _, _ in made} <= {"Deployment", "Service"}
