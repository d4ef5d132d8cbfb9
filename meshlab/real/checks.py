"""One line of a preflight."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["Check", "Level"]


class Level(Enum):
    """How a finding matters."""

    OK = "ok"
    #: Lessons work, something in them will look different.
    NOTE = "note"
    #: The installation or lessons will fail.
    MISSING = "missing"


@dataclass(frozen=True)
class Check:
    """One line: what was looked at, what was seen, and what to do about it."""

    level: Level
    what: str
    seen: str
    then: str = ""

    def __str__(self) -> str:
        return f"{self.level.value:8} {self.what:12} {self.seen}" + (f"\n{'':22}next: {self.then}" if self.then else "")
