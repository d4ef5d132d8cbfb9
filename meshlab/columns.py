"""How wide a text is where every character has its column: one of Chinese, Japanese or Korean takes two."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["columns", "wrapped"]

#: What a line may end after: a space, or a character that is two columns wide.
_PIECE = re.compile(r"[^\s\u2e80-\u9fff\uff00-\uff60]+\s*|.\s*", re.S)
#: What must not begin a line.
_CLOSING = "，。；：、！？）”"


def columns(text: str) -> int:
    """The columns that a text takes in a terminal.

    >>> columns("svcb"), columns("路由")
    (4, 4)
    """
    return sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)


def wrapped(text: str, width: int) -> list[str]:
    """The text in lines of at most `width` columns; a word that is longer is cut.

    >>> wrapped("no route fits", 8), wrapped("没有路由符合。", 8)
    (['no route', 'fits'], ['没有路由', '符合。'])
    """
    lines = [""]
    for piece in _PIECE.findall(text):
        fits = columns((lines[-1] + piece).rstrip()) <= width
        if not fits and lines[-1] and piece[0] not in _CLOSING:
            lines.append("")
        lines[-1] += piece
        while columns(lines[-1].rstrip()) > width and len(lines[-1]) > width:
            lines[-1:] = [lines[-1][:width], lines[-1][width:]]
    return [line.rstrip() for line in lines if line.strip()]
