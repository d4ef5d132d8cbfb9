"""What controls and exercises say: every marked text is in every catalogue, with the same places for values."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

from meshlab.notebook.languages import LANGUAGES
from meshlab.notebook.phrases import LOCALE, current, phrases, tr

PACKAGE = Path(__file__).resolve().parents[2] / "meshlab" / "notebook"
OTHERS = [language for language in LANGUAGES if language != "en"]


def literals(node: ast.AST) -> list[str]:
    """The texts that are written out in an expression."""
    return [n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)]


def marked() -> set[str]:
    """Every text that the package says by `tr`, a verdict, or a problem (its name, task and hints)."""
    found: set[str] = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("tr", "right", "not_yet", "not_attempted"):
                found.update(literals(node.args[0]) if node.args else ())
            elif called == "Problem":
                name, task, _, hints, _ = node.args
                found.update(text for part in (name, task, hints) for text in literals(part))
    return found


def places(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)[^{}]*\}", text))


@pytest.mark.parametrize("language", OTHERS)
def test_a_catalogue_holds_every_marked_text_and_no_other(language: str) -> None:
    known = set(phrases(language))
    assert sorted(marked() - known) == [], "not translated"
    assert sorted(known - marked()) == [], "no longer said"


@pytest.mark.parametrize("language", OTHERS)
def test_a_translation_has_the_same_places_for_values_and_is_not_fuzzy(language: str) -> None:
    for english, other in phrases(language).items():
        assert places(english) == places(other), english
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
