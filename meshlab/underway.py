"""The lesson under way: what it found, to be put back at its end, and what it started from, to be had again.

Kept in a file beside the lab's, so that a first cell run twice, or a kernel that was culled in the middle, does not
take the lesson's own changes for what it found.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .checkpoint import Checkpoint
from .settings import Settings

__all__ = ["Underway"]


@dataclass(frozen=True)
class Underway:
    """A lesson that was begun and not ended. `start` is None while its first cell has not come to its end."""

    name: str
    found: Checkpoint
    start: Checkpoint | None = None

    @classmethod
    def load(cls, settings: Settings) -> Underway | None:
        """The lesson that was begun last; None when it was ended, and for a broken file."""
        try:
            kept = json.loads(_file(settings).read_text())
            start = kept.get("start")
            return cls(str(kept["lesson"]), _checkpoint(kept["found"]), _checkpoint(start) if start else None)
        except (FileNotFoundError, ValueError, KeyError, IndexError, TypeError, AttributeError):
            return None

    def save(self, settings: Settings) -> None:
        kept = {"lesson": self.name, "found": _plain(self.found), "start": self.start and _plain(self.start)}
        part = _file(settings).with_suffix(".part")
        part.write_text(json.dumps(kept))
        part.replace(_file(settings))

    @staticmethod
    def forget(settings: Settings) -> None:
        _file(settings).unlink(missing_ok=True)


def _file(settings: Settings) -> Path:
    return settings.home / "lesson.json"


def _plain(checkpoint: Checkpoint) -> dict[str, Any]:
    objects = [[list(key), value] for key, value in checkpoint.objects.items()]
    return {"objects": objects, "unserved": sorted(checkpoint.unserved)}


def _checkpoint(kept: dict[str, Any]) -> Checkpoint:
    objects = {(key[0], key[1], key[2]): value for key, value in kept["objects"]}
    return Checkpoint(objects, frozenset(kept["unserved"]))
