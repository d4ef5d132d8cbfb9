"""The catalogue is complete, says nothing about texts that changed, and of code changes only what it says."""

from __future__ import annotations

import ast
import json
import re
import shutil
from pathlib import Path

import pytest
from nbconvert.filters.markdown_mistune import markdown2html_mistune

from meshlab.errors import ManifestError
from meshlab.notebook import LanguageSwitch
from meshlab.notebook.languages import Catalogue, digest, sources, switch, texts
from meshlab.notebook.spoken import Kind, in_language, sayings
from meshlab.phrases import LANGUAGES
from meshlab.settings import Settings
from meshlab.workbook import configure

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
CATALOGUES = [Catalogue.load(NOTEBOOKS, language) for language in LANGUAGES if language != "en"]


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda catalogue: catalogue.language)
def test_every_lesson_and_page_is_translated_whole(catalogue: Catalogue) -> None:
    for source in sources(NOTEBOOKS):
        assert (catalogue.lacks(source), catalogue.stale(source)) == ([], []), source.name
    assert set(catalogue.entries) <= {source.stem for source in sources(NOTEBOOKS)}


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda catalogue: catalogue.language)
@pytest.mark.parametrize("source", sources(NOTEBOOKS), ids=lambda source: source.name)
def test_a_translation_keeps_code_links_and_cells(source: Path, catalogue: Catalogue) -> None:
    links = re.compile(r"\]\(([^)]+)\)")
    if source.suffix == ".md":
        english, other = source.read_text(encoding="utf-8"), catalogue.translate(source)
        assert sorted(links.findall(english)) == sorted(links.findall(other))
        assert english.count("\n|") == other.count("\n|") and english.count("\n\n") == other.count("\n\n")
        return
    cells = json.loads(source.read_text(encoding="utf-8"))["cells"]
    others = json.loads(catalogue.translate(source))["cells"]
    assert [(c["id"], c["cell_type"]) for c in cells] == [(c["id"], c["cell_type"]) for c in others]
    for mine, theirs in zip(cells, others, strict=True):
        told, tells = "".join(mine["source"]), theirs["source"]
        if mine["cell_type"] == "code":
            assert without_words(told) == without_words(tells), mine["id"]
        else:
            assert set(links.findall(told)) == set(links.findall(tells)), mine["id"]


def without_words(source: str) -> str:
    """The code of a cell, with what it says to the reader taken out, but for the values in it."""
    if source.startswith("%%"):
        for saying in reversed(sayings(source)):
            source = source[: saying.start] + source[saying.end :]
        return source
    words = {saying.text: "" for saying in sayings(source) if saying.kind is not Kind.TEMPLATE}
    tree = ast.parse(re.sub(r"^[%!]", "#", in_language(source, words), flags=re.M))
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):  # values may come in another order
            node.values = sorted((each for each in node.values if isinstance(each, ast.FormattedValue)), key=ast.dump)
    return ast.dump(tree)


def test_a_text_that_changed_stays_in_its_source_language(tmp_path: Path) -> None:
    shutil.copy(NOTEBOOKS / "00-start-here.ipynb", tmp_path)
    notebook = tmp_path / "00-start-here.ipynb"
    cell, english = next(texts(notebook))
    old = {"of": digest(english + " changed"), "text": "旧"}
    entries = {"00-start-here": {cell: old, "gone": {"of": "", "text": ""}}}
    catalogue = Catalogue("zh", entries)
    assert "旧" not in catalogue.translate(notebook)
    assert cell in catalogue.lacks(notebook) and catalogue.stale(notebook) == ["gone"]


def test_the_switch_makes_the_lessons_beside_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "notebooks"
    shutil.copytree(NOTEBOOKS, folder, ignore=shutil.ignore_patterns("zh", ".ipynb_checkpoints"))
    control = LanguageSwitch(folder)
    made = control.choose("zh")
    assert {path.parent for path in made} == {folder / "zh"} and len(made) == len(switch("en", folder))
    for place, language, leads in (("", "zh", "zh/"), ("zh", "en", "../"), ("zh", "zh", "")):
        monkeypatch.chdir(folder / place)  # the switch of lesson 00 in either language
        control.choose(language)
        assert f'<a href="{leads}00-start-here.ipynb"' in control._links.value
    assert "从这里开始" in made[0].read_text(encoding="utf-8")
    board, page = ((folder / "zh" / name).read_text(encoding="utf-8") for name in ("board.ipynb", "deviations.md"))
    assert "实时看板" in board and "svcb 每秒的请求数，按版本" in board and "有何不同" in page
    with pytest.raises(ManifestError, match="no catalogue"):
        switch("xx", folder)


def test_a_copy_in_which_somebody_worked_stays_until_its_source_changes(tmp_path: Path) -> None:
    folder = tmp_path / "notebooks"
    shutil.copytree(NOTEBOOKS, folder, ignore=shutil.ignore_patterns("zh", ".ipynb_checkpoints"))
    first = switch("zh", folder)[0]
    book = json.loads(first.read_text(encoding="utf-8"))
    book["cells"].append({"cell_type": "markdown", "id": "mine", "metadata": {}, "source": "my own"})
    first.write_text(json.dumps(book), encoding="utf-8")
    switch("zh", folder)
    assert "my own" in first.read_text(encoding="utf-8")
    source = folder / first.name
    source.write_text(source.read_text(encoding="utf-8").replace("meshlab doctor", "meshlab status"), encoding="utf-8")
    switch("zh", folder)
    assert "my own" not in first.read_text(encoding="utf-8")


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda catalogue: catalogue.language)
def test_emphasis_is_drawn_and_no_mark_of_it_is_left(catalogue: Catalogue) -> None:
    """`**预测：**请求` is not bold: marks that close must not stand between a full stop and a character."""
    wrong = []
    for entries in catalogue.entries.values():
        for cell, entry in entries.items():
            text = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", entry["text"])  # as a terminal shows links
            drawn = re.sub(r"<(code|pre|div).*?</\1>", "", markdown2html_mistune(text), flags=re.S)
            wrong += [cell] * ("*" in drawn)
    assert wrong == []


def test_the_workbook_opens_in_the_language_of_its_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JUPYTER_CONFIG_PATH", "JUPYTERLAB_WORKSPACES_DIR"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("MESHLAB_LANGUAGE", "zh")
    configure(Settings(tmp_path))
    (workspace,) = (tmp_path / "jupyter" / "workspaces").iterdir()
    opened = re.findall(r"notebook:([^\"]+)\"\]", workspace.read_text())
    assert opened == ["notebooks/zh/00-start-here.ipynb", "notebooks/zh/board.ipynb"]
    assert all((NOTEBOOKS.parent / path).is_file() for path in opened)
