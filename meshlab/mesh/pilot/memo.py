"""Remembers what was translated, so that a change recomputes only what it touches.

Keys are made of the frozen inputs themselves, by identity: an unchanged Service or rule is the same object
from one world to the next (the registry sees to that), and comparing identities costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

__all__ = ["Memo"]

T = TypeVar("T")


class Memo:
    """Results by name and inputs. `sweep` drops what two rounds in a row did not use."""

    def __init__(self) -> None:
        self._round = 0
        #: key → (round of last use, the inputs (kept alive, so that no id is reused), result)
        self._kept: dict[Hashable, list[Any]] = {}
        self.made = 0

    def get(self, name: str, inputs: tuple[object, ...], more: Hashable, make: Callable[[], T]) -> T:
        """`make()`, unless it was made for the same objects `inputs` and equal `more` before."""
        key = (name, more, *map(id, inputs))
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = [self._round, inputs, make()]
            self.made += 1
        found[0] = self._round
        result: T = found[2]
        return result

    def sweep(self) -> None:
        """Ends a round."""
        old = self._round - 1
        stale = [key for key, kept in self._kept.items() if kept[0] <= old]
        for key in stale:
            del self._kept[key]
        self._round += 1

    def __len__(self) -> int:
        return len(self._kept)
