"""One line of a preflight."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ..columns import columns
from ..phrases import later, tr

__all__ = ["Check", "Level"]


class Level(Enum):
    """How a finding matters."""

    OK = later("ok")
    #: Lessons work, something in them will look different.
    NOTE = later("note")
    #: The installation or lessons will fail.
    MISSING = later("missing")


@dataclass(frozen=True)
class Check:
    """One line: what was looked at, what was seen, and what to do about it."""

    level: Level
    what: str
    seen: str
    then: str = ""

    def __str__(self) -> str:
        level, what = tr(self.level.value), tr(self.what)
        line = f"{level}{' ' * (8 - columns(level))} {what}{' ' * (12 - columns(what))} {self.seen}"
        return line + (f"\n{'':22}{tr('next: {command}', command=self.then)}" if self.then else "")
