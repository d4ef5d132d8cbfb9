"""The lessons in another language: one source, catalogues beside it, and copies that are made, not kept.

The source is English. A catalogue (`notebooks/locale/<language>.json`) holds, for each text cell, its translation and
a short hash of the English that it translates: a translation of a text that has changed since is not used, and a test
finds it. Pages of text beside the lessons are translated by paragraph and by line of a table. Code is the same in
every language, but for the words in it that are for the reader (see `spoken`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meshlab.errors import ManifestError
from meshlab.notebook.spoken import in_language
from meshlab.phrases import current, phrases

__all__ = ["Catalogue", "digest", "sources", "switch", "texts", "workbook"]

#: The lessons and what stands beside them, in English.
NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
#: Where one passage of a page ends and the next begins: at an empty line, a line of a table, an item of a list.
_BREAK = re.compile(r"\n{2,}|\n(?=\||- |\d+\. )")

#: The same in every language: a line under the head of a table, a package and its version.
_SAME = re.compile(r"[|\s-]+|\| [a-z0-9-]+ \| [\d.]+ \|")


def digest(text: str) -> str:
    """A short hash of a text: enough to tell that it changed."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def sources(folder: Path) -> list[Path]:
    """All that is translated: the lessons, the board, the pages."""
    return sorted((*folder.glob("*.ipynb"), *folder.glob("*.md")))


def texts(source: Path) -> Iterator[tuple[str, str]]:
    """(id, English text) of each text cell of a notebook; of each passage of a page, its id being its hash."""
    text = source.read_text(encoding="utf-8")
    if source.suffix == ".md":
        for passage in _BREAK.split(text.strip()):
            if not _SAME.fullmatch(passage):
                yield digest(passage), passage
        return
    for cell in json.loads(text)["cells"]:
        if cell["cell_type"] == "markdown":
            yield cell["id"], "".join(cell["source"])


@dataclass(frozen=True)
class Catalogue:
    """Translations by lesson and cell, `{lesson: {cell: {"of": hash, "text": …}}}`, and of words in code cells."""

    language: str
    entries: Mapping[str, Mapping[str, Mapping[str, str]]]
    words: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path, language: str) -> Catalogue:
        """The catalogue of `folder`/locale. Raises `ManifestError` for a language that there is none for."""
        path = folder / "locale" / f"{language}.json"
        if not path.is_file():
            raise ManifestError(f"no catalogue for the language {language!r}", why=f"there is no {path.name}")
        return cls(language, json.loads(path.read_text(encoding="utf-8")), phrases(language, path.parent))

    def translate(self, source: Path) -> str:
        """The notebook, or the page, with its texts translated; links lead to where the copies' neighbours are."""
        mine, text = self.entries.get(source.stem, {}), source.read_text(encoding="utf-8")

        def other(key: str, english: str) -> str:
            entry = mine.get(key)
            return entry["text"] if entry and entry["of"] == digest(english) else english

        if source.suffix == ".md":
            ends = [*(found.group() for found in _BREAK.finditer(text.strip())), "\n"]
            passages = _BREAK.split(text.strip())
            return "".join(other(digest(each), each) + end for each, end in zip(passages, ends, strict=True))
        book: dict[str, Any] = json.loads(text)
        for cell in book["cells"]:
            english = "".join(cell["source"])
            if cell["cell_type"] == "markdown":
                cell["source"] = other(cell["id"], english)
            elif cell["cell_type"] == "code":
                cell["source"] = in_language(english, self.words)
        book["metadata"]["meshlab"] = {"of": digest(json.dumps(book))}
        return json.dumps(book, indent=1, ensure_ascii=False) + "\n"

    def lacks(self, source: Path) -> list[str]:
        """Texts of a lesson or page without a translation of what they say now; all of them where it is not begun."""
        mine = self.entries.get(source.stem, {})
        return [key for key, english in texts(source) if mine.get(key, {}).get("of") != digest(english)]

    def stale(self, source: Path) -> list[str]:
        """Translations of texts that the lesson or page no longer has."""
        return sorted(set(self.entries.get(source.stem, {})) - {key for key, _ in texts(source)})


def switch(language: str, folder: Path) -> list[Path]:
    """Writes the lessons in `language` to `folder`/`language` and returns them; English is `folder` itself.

    The board and the pages are written there, too. A copy in which somebody has worked stays, until its source or its
    translation changes. Raises `ManifestError` for a language that there is no catalogue for. What a lesson has no
    translation for stays English.
    """
    place = folder
    if language != "en":
        catalogue, place = Catalogue.load(folder, language), folder / language
        place.mkdir(exist_ok=True)
        for source in sources(folder):
            copy, text = place / source.name, catalogue.translate(source)
            if (
                source.suffix == ".md"
                or not copy.is_file()
                or _made_of(copy.read_text(encoding="utf-8")) != _made_of(text)
            ):
                copy.write_text(text, encoding="utf-8")
    return sorted(place.glob("[0-9][0-9]*.ipynb"))


def _made_of(notebook: str) -> object:
    """The hash of the translation that a copy was made from."""
    return json.loads(notebook)["metadata"].get("meshlab")


def workbook() -> Path:
    """The folder with the lessons in the language of this process (see `phrases.current`), made where need be."""
    return switch(current(), NOTEBOOKS)[0].parent
