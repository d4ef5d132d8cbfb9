from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest

from meshlab.notebook.execute import Lesson, execute, execute_all, index_page, lessons, title_of
from meshlab.notebook.export import export_text, foreign
from meshlab.notebook.snapshot import snapshot

PIECES = """import sys
for piece in ("dest", "ination: svcb\\n"):
    print(piece, end="", flush=True)
    sys.stdout.flush()
    __import__("threading").Event().wait(0.4)  # two messages: the kernel gathers what comes within 0.2 s"""
LINKS = """import IPython.display as d
d.display(d.HTML('<a href="01-x.ipynb">next</a> <a href="https://a.example/b.ipynb">elsewhere</a>'))"""
CONTROLS = """
from meshlab.notebook import WeightSlider, EgressSwitch, LivePlot, claim
from notebook_fakes import FakeLab
lab = FakeLab()
slider = WeightSlider(lab); slider.set(30)
display(slider, EgressSwitch(lab))
plot = LivePlot(lambda: {"v0.1": 3.0, "v0.2": 1.0}, title="requests by version"); plot.take()
display(plot)
claim("weights are 70/30", slider.weights == {"v0.1": 70, "v0.2": 30})
"""


def book(path: Path, *cells: str, title: str = "A lesson") -> Path:
    made = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell(f"# {title}"), *map(nbformat.v4.new_code_cell, cells)],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbformat.write(made, path)
    return path


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Path(__file__).resolve().parent
    monkeypatch.setenv("PYTHONPATH", f"{here}{os.pathsep}{here.parents[1]}")


@pytest.mark.usefixtures("here")
def test_a_lesson_becomes_a_page_that_fetches_nothing_and_shows_its_controls(tmp_path: Path) -> None:
    lesson = execute(book(tmp_path / "00-a.ipynb", CONTROLS, LINKS, PIECES), tmp_path / "out", deadline=900)
    assert lesson.passed, lesson.error
    page = lesson.page.read_text()
    assert foreign(page) == []
    assert "<script" not in page
    assert "30 of 0 to 100" in page  # the slider
    assert 'aria-checked="false"' in page  # the switch
    assert "requests by version" in page and "<svg" in page  # the live picture
    assert "weights are 70/30" in page
    assert "weight: 30" in page  # the YAML
    assert 'href="01-x.html"' in page and 'href="https://a.example/b.ipynb"' in page  # to lessons, and away
    assert "destination: svcb" in page
    assert "widget-view" not in page and "live in the notebook only" not in page


@pytest.mark.usefixtures("here")
def test_a_failing_lesson_still_gives_a_page_and_the_index_says_so(tmp_path: Path) -> None:
    said: list[str] = []
    bad = book(tmp_path / "01-bad.ipynb", "print('before')", "raise ValueError('no <such> thing')", title="Bad")
    done = execute_all([bad], tmp_path / "out", say=said.append, deadline=900)
    assert not done[0].passed and "ValueError: no <such> thing" in done[0].error
    assert "before" in done[0].page.read_text()
    index = (tmp_path / "out" / "index.html").read_text()
    assert 'href="01-bad.html"' in index and "no &lt;such&gt; thing" in index and foreign(index) == []
    assert "FAILED" in said[-1]


@pytest.mark.usefixtures("here")
def test_a_lesson_that_hangs_ends_at_its_deadline(tmp_path: Path) -> None:
    hanging = book(tmp_path / "02-hangs.ipynb", "import threading; threading.Event().wait(60)")
    lesson = execute(hanging, tmp_path / "out", deadline=3)
    assert "not finished within 3 s" in lesson.error and lesson.seconds < 30


def test_lessons_are_found_in_order_and_other_notebooks_are_not(tmp_path: Path) -> None:
    for name in ("10-last.ipynb", "02-two.ipynb", "scratch.ipynb"):
        book(tmp_path / name, title=name)
    assert [path.name for path in lessons(tmp_path)] == ["02-two.ipynb", "10-last.ipynb"]
    assert title_of(tmp_path / "02-two.ipynb") == "02-two.ipynb"


def test_the_index_escapes_titles() -> None:
    page = index_page([Lesson(Path("a.ipynb"), Path("a.html"), "<b>a</b>", 1.0)], remaining=2)
    assert "&lt;b&gt;a&lt;/b&gt;" in page and "2 more to run" in page


@pytest.mark.parametrize(
    ("page", "found"),
    [
        ('<script src="https://cdn.example/x.js"></script>', ["https://cdn.example/x.js"]),
        ("<img alt='' src='//cdn.example/x.png'>", ["//cdn.example/x.png"]),
        ('<link rel="stylesheet" href="http://a.example/s.css">', ["http://a.example/s.css"]),
        ("<style>@import url(https://a.example/f.css)</style>", ["https://a.example/f.css"]),
        ('<a href="https://istio.io">a link that a reader follows</a>', []),
        ('<img src="data:image/png;base64,AA==">', []),
    ],
)
def test_what_a_browser_would_fetch_is_found(page: str, found: list[str]) -> None:
    assert foreign(page) == found


def test_an_unknown_or_unsaved_control_is_named() -> None:
    assert "not saved" in snapshot("gone", {})
    assert "FancyModel" in snapshot("x", {"x": {"_model_name": "FancyModel"}})


def test_a_control_that_contains_itself_ends() -> None:
    states = {"x": {"_model_name": "VBoxModel", "children": ["IPY_MODEL_x"]}}
    assert "nested too deeply" in snapshot("x", states)


def test_a_text_beside_the_lessons_becomes_a_page(tmp_path: Path) -> None:
    text = tmp_path / "notes.md"
    text.write_text("# Notes\n\n[lesson](04-x.ipynb), [list](list.md#end), [away](https://a.example/b.md)\n")
    page = export_text(text, tmp_path / "notes.html").read_text()
    assert foreign(page) == [] and "Notes" in page
    assert [link for link in ("04-x.html", "list.html#end", "https://a.example/b.md") if f'"{link}"' not in page] == []
