"""The catalogue is complete, says nothing about texts that changed, and changes no code."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from meshlab.errors import ManifestError
from meshlab.notebook import LanguageSwitch
from meshlab.notebook.languages import LANGUAGES, Catalogue, digest, switch, texts

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
CATALOGUES = [Catalogue.load(NOTEBOOKS, language) for language in LANGUAGES if language != "en"]


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda catalogue: catalogue.language)
def test_every_lesson_is_translated_whole(catalogue: Catalogue) -> None:
    for notebook in sorted(NOTEBOOKS.glob("[0-9][0-9]*.ipynb")):
        assert (catalogue.lacks(notebook), catalogue.stale(notebook)) == ([], []), notebook.stem
    assert set(catalogue.entries) <= {path.stem for path in NOTEBOOKS.glob("*.ipynb")}


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda catalogue: catalogue.language)
def test_a_translation_keeps_code_links_and_cells(catalogue: Catalogue) -> None:
    for stem in catalogue.entries:
        source = NOTEBOOKS / f"{stem}.ipynb"
        english = json.loads(source.read_text(encoding="utf-8"))["cells"]
        other = json.loads(catalogue.translate(source))["cells"]
        assert [(c["id"], c["cell_type"]) for c in english] == [(c["id"], c["cell_type"]) for c in other]
        assert [c for c in english if c["cell_type"] == "code"] == [c for c in other if c["cell_type"] == "code"]
        for mine, theirs in zip(english, other, strict=True):
            links = [set(re.findall(r"\]\(([^)]+)\)", "".join(c["source"]))) for c in (mine, theirs)]
            assert links[0] == links[1], mine["id"]


def test_a_text_that_changed_stays_in_its_source_language(tmp_path: Path) -> None:
    shutil.copy(NOTEBOOKS / "00-start-here.ipynb", tmp_path)
    notebook = tmp_path / "00-start-here.ipynb"
    cell, english = next(texts(notebook))
    old = {"of": digest(english + " changed"), "text": "旧"}
    entries = {"00-start-here": {cell: old, "gone": {"of": "", "text": ""}}}
    catalogue = Catalogue("zh", entries)
    assert "旧" not in catalogue.translate(notebook)
    assert cell in catalogue.lacks(notebook) and catalogue.stale(notebook) == ["gone"]


def test_the_switch_makes_the_lessons_beside_the_source(tmp_path: Path) -> None:
    folder = tmp_path / "notebooks"
    shutil.copytree(NOTEBOOKS, folder, ignore=shutil.ignore_patterns("zh", ".ipynb_checkpoints"))
    control = LanguageSwitch(folder)
    made = control.choose("zh")
    assert {path.parent for path in made} == {folder / "zh"} and len(made) == len(switch("en", folder))
    assert "从这里开始" in made[0].read_text(encoding="utf-8") and "zh/00-start-here.ipynb" in control._links.value
    with pytest.raises(ManifestError, match="no catalogue"):
        switch("xx", folder)
