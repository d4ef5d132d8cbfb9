"""Remembers what was translated, so that a change recomputes only what it touches.

Keys are made of the frozen inputs themselves, by identity: an unchanged Service or rule is the same object
from one world to the next (the registry sees to that), and comparing identities costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

__all__ = ["Memo"]

T = TypeVar("T")


class Entry:
    """A result, and what it was made of: its inputs are kept alive so that no identity is used twice."""

    __slots__ = ("inputs", "result", "used")

    def __init__(self, used: int, inputs: tuple[object, ...], result: Any) -> None:
        self.used, self.inputs, self.result = used, inputs, result


class Memo:
    """Results by name and inputs. `sweep` drops what the last two rounds did not ask for."""

    def __init__(self) -> None:
        self._round = 0
        self._kept: dict[Hashable, Entry] = {}
        #: How many results were made, ever.
        self.made = 0

    def get(self, name: str, inputs: tuple[object, ...], more: Hashable, make: Callable[[], T]) -> T:
        """`make()`, unless it was made for the same objects `inputs` and equal `more` before."""
        key = (name, more, *map(id, inputs))
        entry = self._kept.get(key)
        if entry is None:
            entry = self._kept[key] = Entry(self._round, inputs, make())
            self.made += 1
        entry.used = self._round
        result: T = entry.result
        return result

    def sweep(self) -> None:
        """Ends a round."""
        self._kept = {key: each for key, each in self._kept.items() if each.used >= self._round - 1}
        self._round += 1

    def __len__(self) -> int:
        return len(self._kept)
