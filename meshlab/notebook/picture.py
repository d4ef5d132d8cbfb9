"""A drawing with words for those who do not see it."""

from __future__ import annotations

import html

from meshlab.addons.dot import draw
from meshlab.notebook.tones import tone

__all__ = ["Picture"]


class Picture:
    """A graph in DOT, drawn; `alt` says in a sentence what is to be seen."""

    def __init__(self, dot: str, *, alt: str) -> None:
        self.dot, self.alt = dot, alt

    def __repr__(self) -> str:
        return self.alt

    def _repr_html_(self) -> str:
        alt = html.escape(self.alt, quote=True)
        return (
            f'<figure role="img" aria-label="{alt}" style="margin:0.5em 0">{draw(self.dot)}'
            f'<figcaption style="color:{tone("plain")};font-size:90%">{alt}</figcaption></figure>'
        )
