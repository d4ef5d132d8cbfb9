"""Statements that a lesson makes and measures.

A lesson says "no request reaches v0.1 any more" and the next line counts. `claim` prints the statement with
what was seen, and raises AssertionError when it is false, so a lesson that is wrong fails under papermill.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Any

from meshlab.notebook.tones import tone
from meshlab.phrases import tr

__all__ = ["Claim", "claim"]


@dataclass(frozen=True)
class Claim:
    """One statement that held; what `claim` returns, for its display."""

    text: str
    seen: str = ""

    def __str__(self) -> str:
        return f"✓ {self.text}" + (f"  [{self.seen}]" if self.seen else "")

    __repr__ = __str__

    def _repr_html_(self) -> str:
        seen = (
            f' <span style="color:{tone("plain")};font-family:monospace">{html.escape(self.seen)}</span>'
            if self.seen
            else ""
        )
        text = re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(self.text))
        return (
            f'<div style="border-left:4px solid {tone("good")};padding:2px 10px;margin:2px 0">'
            f'<b style="color:{tone("good")}">✓</b> {text}{seen}</div>'
        )


def claim(text: str, truth: object, seen: object = "") -> None:
    """Show `text` as measured if `truth` holds, else raise AssertionError with `text` and what was `seen`.

    Outside a notebook the statement is printed.
    """
    told = str(seen)
    if not truth:
        said = tr("{text} — not so; seen: {seen}", text=text, seen=told) if told else tr("{text} — not so", text=text)
        # Most often cells were left out, or one was run again after what a later one changed.
        raise AssertionError(said + "\n  " + tr("next: lesson.reset(), then the cells in their order"))
    _show(Claim(text, told))


def _show(thing: Any) -> None:
    from IPython import get_ipython
    from IPython.display import display

    if get_ipython() is None:
        print(thing)
    else:
        display(thing)
