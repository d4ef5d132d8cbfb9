"""What people read: words spelt right, links that lead somewhere, pictures that are told in words."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
BOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TEXTS = [ROOT / "README.md", *sorted((ROOT / "notebooks").glob("*.md")), *BOOKS]
#: [text](target) and ![alt](target) of Markdown; the target up to a title.
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)[^)]*\)")


def markdown(path: Path) -> str:
    """The text of a page, or of a notebook's text cells, without what is code."""
    text = path.read_text()
    if path.suffix == ".ipynb":
        cells = nbformat.read(path, as_version=4).cells
        text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)


def anchors(path: Path) -> set[str]:
    """The fragments of a page's headings, as GitHub and JupyterLab make them."""
    headings = re.findall(r"^#+ (.+)$", markdown(path), re.M)
    plain = {re.sub(r"[^\w\- ]", "", heading).strip().replace(" ", "-") for heading in headings}
    return plain | {heading.lower() for heading in plain}


def name(path: Path) -> str:
    return path.name


def test_words_are_spelt_right() -> None:
    """By a list of common mistakes: [tool.codespell] in pyproject.toml says what is none."""
    words = ["README.md", "notebooks", "binder", "meshlab/notebook", "pyproject.toml"]
    done = subprocess.run(
        [Path(sys.prefix) / "bin" / "codespell", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout == "" and done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_links_lead_somewhere(path: Path) -> None:
    wrong = []
    for _, _, target in LINK.findall(markdown(path)):
        place, _, fragment = target.partition("#")
        if re.match(r"[a-z]+:", target):
            if not re.fullmatch(r"https://[a-z0-9.-]+\.[a-z]+(/\S*)?", target):  # not asked: tests have no network
                wrong.append(target)
        elif (place and not (path.parent / place).exists()) or (
            fragment and fragment not in anchors(path.parent / place if place else path)
        ):
            wrong.append(target)
    assert wrong == []


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_a_link_says_where_it_leads_and_a_picture_what_it_shows(path: Path) -> None:
    text = markdown(path)
    assert [target for _, words, target in LINK.findall(text) if not words.strip()] == []
    assert [words for words in ("here", "this", "link", "click here") if f"[{words}](" in text.lower()] == []
    assert [tag for tag in re.findall(r"<img\b[^>]*>", text) if not re.search(r'alt="[^"]+"', tag)] == []


@pytest.mark.parametrize("path", BOOKS, ids=name)
def test_a_drawing_in_a_notebook_is_told_in_words(path: Path) -> None:
    code = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")
    assert code.count("Picture(") == len(re.findall(r"\balt=\s*\"", code))


def test_the_versions_that_instructors_read_are_those_that_are_tested() -> None:
    table = (ROOT / "notebooks" / "instructors.md").read_text().partition("| package | version |")[2]
    told = dict(re.findall(r"^\| ([a-z0-9-]+) \| (\d[^ ]*) \|$", table, re.M))
    pins = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "binder" / "pins.txt").read_text(), re.M))
    assert len(told) > 5 and told == {package: pins.get(package) for package in told}
