"""A lesson in a terminal: texts without their signs, cells that run, one's own words in between."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from meshlab.errors import LabError, ManifestError
from meshlab.notebook.tour import walk
from meshlab.workbook import headless


def book(folder: Path, *cells: tuple[str, str]) -> Path:
    path = folder / "99-test.ipynb"
    path.write_text(json.dumps({"cells": [{"cell_type": kind, "source": text} for kind, text in cells]}))
    return path


def test_texts_are_drawn_and_code_has_a_bar_before_it(tmp_path: Path) -> None:
    text = "## Shift *it*\n\nsee [lesson 03](03-egress.ipynb), **now**; 2 * 3\n\n| a | b |\n|---|---|\n| 1 | 2 |"
    out = io.StringIO()
    console = Console(file=out, width=60)
    assert walk(book(tmp_path, ("markdown", text), ("code", "x = [1]\n\ny = 2"), ("code", "None")), console=console)
    lines = out.getvalue().splitlines()
    assert "Shift it" in lines[1] and "see lesson 03, now; 2 * 3" in out.getvalue()
    assert "a" in out.getvalue() and "|" not in out.getvalue()  # a table, not its signs
    assert lines[-3:] == ["│ x = [1]", "│ ", "│ y = 2"]


def test_cells_run_in_turn_and_what_one_types_runs_between_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = book(tmp_path, ("markdown", "# Hello"), ("code", "x = 1"), ("code", "print('x is', x)"), ("code", "None"))
    typed = iter(["", "x = 41 + x", ""])
    assert walk(path, ask=lambda _: next(typed))
    assert "x is 42" in capsys.readouterr().out


def test_who_leaves_early_leaves_the_lab_as_it_was_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = book(tmp_path, ("code", "lesson = 1"), ("code", "print('second')"), ("code", "print('put back')"))
    typed = iter(["", "q"])
    assert not walk(path, ask=lambda _: next(typed))
    out = capsys.readouterr().out
    assert "put back" in out and out.count("second") == 1  # shown, not run


def test_a_cell_that_fails_with_nobody_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="99-test failed"):
        walk(book(tmp_path, ("code", "1 / 0"), ("code", "None")))


def test_a_lesson_that_there_is_not_is_named_before_anything_runs(tmp_path: Path) -> None:
    lab: Any = SimpleNamespace(engine=SimpleNamespace(environment=dict))
    with pytest.raises(ManifestError, match="no lesson '4'"):
        headless(lab, tmp_path, report=print, only=["04", "4"])
    assert list(tmp_path.iterdir()) == []
