"""The lessons in another language: one source, a catalogue beside it, and copies that are made, not kept.

The source is English. A catalogue (`notebooks/locale/<language>.json`) holds, for each text cell, its translation and
a short hash of the English that it translates: a translation of a text that has changed since is not used, and a test
finds it. Code is the same in every language.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshlab.errors import ManifestError

__all__ = ["LANGUAGES", "Catalogue", "digest", "switch", "texts"]

#: Language → what it calls itself. English is the source.
LANGUAGES: Mapping[str, str] = {"en": "English", "zh": "简体中文"}


def digest(text: str) -> str:
    """A short hash of a text: enough to tell that it changed."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def texts(notebook: Path) -> Iterator[tuple[str, str]]:
    """(cell id, English text) of each text cell."""
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "markdown":
            yield cell["id"], "".join(cell["source"])


@dataclass(frozen=True)
class Catalogue:
    """Translations by lesson and cell: `{lesson: {cell: {"of": hash, "text": …}}}`."""

    language: str
    entries: Mapping[str, Mapping[str, Mapping[str, str]]]

    @classmethod
    def load(cls, folder: Path, language: str) -> Catalogue:
        """The catalogue of `folder`/locale. Raises `ManifestError` for a language that there is none for."""
        path = folder / "locale" / f"{language}.json"
        if not path.is_file():
            raise ManifestError(f"no catalogue for the language {language!r}", why=f"there is no {path.name}")
        return cls(language, json.loads(path.read_text(encoding="utf-8")))

    def translate(self, notebook: Path) -> str:
        """The notebook with its texts translated, as JSON; links lead to where the copies' neighbours are."""
        book: dict[str, Any] = json.loads(notebook.read_text(encoding="utf-8"))
        mine = self.entries.get(notebook.stem, {})
        for cell in book["cells"]:
            english = "".join(cell["source"])
            entry = mine.get(cell["id"])
            if cell["cell_type"] == "markdown" and entry and entry["of"] == digest(english):
                cell["source"] = entry["text"]
        return json.dumps(book, indent=1, ensure_ascii=False) + "\n"

    def lacks(self, notebook: Path) -> list[str]:
        """Cells of a lesson without a translation of their present text; all of them where it is not begun."""
        mine = self.entries.get(notebook.stem, {})
        return [cell for cell, english in texts(notebook) if mine.get(cell, {}).get("of") != digest(english)]

    def stale(self, notebook: Path) -> list[str]:
        """Translations of cells that the lesson no longer has."""
        return sorted(set(self.entries.get(notebook.stem, {})) - {cell for cell, _ in texts(notebook)})


def switch(language: str, folder: Path) -> list[Path]:
    """Writes the lessons in `language` to `folder`/`language` and returns them; English is `folder` itself.

    Raises `ManifestError` for a language that there is no catalogue for. What a lesson has no translation for stays
    English.
    """
    books = sorted(folder.glob("[0-9][0-9]*.ipynb"))
    if language == "en":
        return books
    catalogue = Catalogue.load(folder, language)
    place = folder / language
    place.mkdir(exist_ok=True)
    made = []
    for notebook in books:
        copy = place / notebook.name
        copy.write_text(catalogue.translate(notebook), encoding="utf-8")
        made.append(copy)
    for page in (*folder.glob("*.md"), folder / "board.ipynb"):
        (place / page.name).write_text(page.read_text(encoding="utf-8"), encoding="utf-8")
    return made
