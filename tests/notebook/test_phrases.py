"""What controls, exercises and cells say: every marked text is in every catalogue, with the same places for values."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from string import Formatter

import pytest
from babel.messages.pofile import read_po

from meshlab.addons.panels import dashboard, dashboards
from meshlab.notebook.languages import sources
from meshlab.notebook.spoken import Kind, sayings
from meshlab.phrases import LANGUAGES, LOCALE, current, phrases, tr

PACKAGE = Path(__file__).resolve().parents[2] / "meshlab"
OTHERS = [language for language in LANGUAGES if language != "en"]


def literals(node: ast.AST) -> list[str]:
    """The texts that are written out in an expression."""
    return [n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)]


def marked() -> set[str]:
    """Every text that the package says by `tr`, now or `later`, a label, a verdict, a problem (name, task, hints)."""
    found: set[str] = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            lesson = "notebook" in file.parts
            if called in ("tr", "later", "Fact") or (lesson and called in ("right", "not_yet", "not_attempted")):
                found.update(literals(node.args[0]) if node.args else ())
            elif called == "Check":
                found.update(literals(node.args[1]))
            elif lesson and called == "Problem":
                name, task, _, hints, _ = node.args
                found.update(text for part in (name, task, hints) for text in literals(part))
    return found


def drawn() -> set[str]:
    """The titles and texts of dashboards; what a variable stands for has no language."""
    panels = [panel for name in dashboards() for panel in dashboard(name)["panels"]]
    found = {panel.get("options", {}).get("content", "") for panel in panels} | {
        dashboard(n)["title"] for n in dashboards()
    }
    return {text for text in found | {panel.get("title", "") for panel in panels} if text and "$" not in text}


def spoken(*kinds: Kind) -> set[str]:
    """Every text of these kinds that code cells say."""
    cells = [
        "".join(cell["source"])
        for notebook in sources(LOCALE.parent)
        if notebook.suffix == ".ipynb"
        for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == "code"
    ]
    return {saying.text for cell in cells for saying in sayings(cell) if saying.kind in kinds}


def places(text: str) -> list[tuple[str, str | None]]:
    """The values in a text, with their formats."""
    return sorted((value, form) for _, value, form, _ in Formatter().parse(text) if value is not None)


@pytest.mark.parametrize("language", OTHERS)
def test_a_catalogue_holds_every_marked_text_and_no_other(language: str) -> None:
    known, said = set(phrases(language)), marked() | drawn() | spoken(*Kind)
    assert sorted(said - known) == [], "not translated"
    assert sorted(known - said) == [], "no longer said"


@pytest.mark.parametrize("language", OTHERS)
def test_a_translation_has_the_same_places_for_values_and_is_not_fuzzy(language: str) -> None:
    known = phrases(language)
    for english in marked() | spoken(Kind.TEMPLATE):
        assert places(english) == places(known[english]), english
    with (LOCALE / f"{language}.po").open("rb") as stream:
        assert [entry.id for entry in read_po(stream) if entry.id and entry.fuzzy] == []


def test_the_language_is_that_of_the_lessons_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MESHLAB_LANGUAGE", raising=False)
    assert current() == "en"
    (tmp_path / "zh").mkdir()
    monkeypatch.chdir(tmp_path / "zh")
    assert current() == "zh" and tr("not yet") == "还不对"
    monkeypatch.setenv("MESHLAB_LANGUAGE", "en")
    assert tr("not yet") == "not yet"


def test_a_text_without_a_translation_stays_english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHLAB_LANGUAGE", "zh")
    assert tr("no such text: {n}", n=3) == "no such text: 3"
