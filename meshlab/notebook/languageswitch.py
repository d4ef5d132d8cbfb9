"""The switch of lesson 00: in which language the lessons are."""

from __future__ import annotations

import html
import os
from pathlib import Path

import ipywidgets as widgets

from meshlab.notebook.controls import Control
from meshlab.notebook.languages import NOTEBOOKS, switch
from meshlab.phrases import LANGUAGES

__all__ = ["LanguageSwitch"]


def _lessons() -> Path:
    """The folder of the English lessons among which this notebook is, in whichever language: maybe somebody's copy."""
    for folder in (Path.cwd(), Path.cwd().parent):
        if (folder / "locale").is_dir() and (folder / "00-start-here.ipynb").is_file():
            return folder
    return NOTEBOOKS


class LanguageSwitch(Control):
    """Buttons, one per language. `choose("zh")` does what a press does: it makes the lessons and links to them."""

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__("Language · 语言")
        self._folder = folder or _lessons()
        names = [(name, code) for code, name in LANGUAGES.items()]
        self._buttons = widgets.ToggleButtons(options=names, value=None)
        self._buttons.observe(
            lambda change: self.pressed(lambda: self.choose(str(change["new"]))) if change["new"] else None, "value"
        )
        self._links = widgets.HTML("")
        self.assemble(self._buttons, self._links)

    def choose(self, language: str) -> list[Path]:
        """Make the lessons in this language and show links to them; returns their files."""
        with self._lock:
            made = switch(language, self._folder)
            self.quietly(lambda: setattr(self._buttons, "value", language))
            # From where this notebook is, in whichever language.
            links = [(os.path.relpath(path, Path.cwd()), path.stem[:2]) for path in made]
            self._links.value = " ".join(
                f'<a href="{html.escape(link, quote=True)}" data-lesson>{html.escape(text)}</a>' for link, text in links
            )
            self.say(LANGUAGES[language], tone="good")
            return made
