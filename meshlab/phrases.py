"""What learners read, in the language of their lesson: controls, exercises, reports, pictures, code cells.

Texts are English in the source. What the package says goes through `tr`; what a code cell says is replaced when the
lessons are made (`spoken`). The translations are gettext catalogues (`notebooks/locale/<language>.po`), the format that
translators' tools know. The lessons' own text cells are translated apart from this, whole (see `languages`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

__all__ = ["LANGUAGES", "current", "later", "phrases", "tr"]

#: Language → what it calls itself. English is the source.
LANGUAGES: Mapping[str, str] = {"en": "English", "zh": "简体中文"}
LOCALE = Path(__file__).resolve().parents[1] / "notebooks" / "locale"


def current() -> str:
    """The language of this process: `MESHLAB_LANGUAGE`, else that of the folder of lessons it works in, else English.

    A kernel starts in its notebook's folder, and `languages.switch` writes the lessons to a folder named by language.
    """
    for name in (os.environ.get("MESHLAB_LANGUAGE", ""), Path.cwd().name):
        if name in LANGUAGES:
            return name
    return "en"


@lru_cache
def phrases(language: str, folder: Path = LOCALE) -> Mapping[str, str]:
    """English → this language; empty for English, and where there is no catalogue in `folder`."""
    file = folder / f"{language}.po"
    if not file.is_file():
        return {}
    from babel.messages.pofile import read_po  # 50 ms, which English does not pay

    with file.open("rb") as stream:
        return {str(entry.id): str(entry.string) for entry in read_po(stream) if entry.id and entry.string}


def later(text: str) -> str:
    """The text itself: marks one of a table, which `tr` says later, for the test that holds the catalogues complete."""
    return text


def tr(text: str, /, **values: object) -> str:
    """This text in the current language, with `{name}` replaced by the value of that name.

    >>> tr("{count} of {n} pods", count=2, n=3)
    '2 of 3 pods'
    """
    found = phrases(current()).get(text, text)
    return found.format(**values) if values else found
