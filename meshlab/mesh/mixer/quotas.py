"""Rate limits: how much is left of an amount per time, over a window that rolls.

As in 0.4.0's memquota the window consists of tenths of a second; what a tenth took comes back when it leaves
the window. A limit without a time never comes back.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

__all__ = ["Limit", "Quotas"]

TICKS_PER_SECOND = 10
#: Windows kept at most; the longest unused goes first. A window of a minute takes 5 KB.
MOST_WINDOWS = 10_000


@dataclass(frozen=True, slots=True)
class Limit:
    """`amount` in every `seconds`, rounded up to whole ones; 0 seconds: ever."""

    amount: int
    seconds: float = 0.0


class _Window:
    __slots__ = ("at", "left", "limit", "taken")

    def __init__(self, limit: Limit) -> None:
        self.limit, self.left, self.at = limit, limit.amount, 0
        #: Tick → taken in it; only ticks of the window.
        self.taken: dict[int, int] = {}

    def take(self, amount: int, tick: int) -> bool:
        if self.limit.seconds > 0:
            self._roll(tick)
        if amount > self.left:
            return False
        self.left -= amount
        if self.limit.seconds > 0:
            self.taken[tick] = self.taken.get(tick, 0) + amount
        return True

    def _roll(self, tick: int) -> None:
        oldest = tick - math.ceil(self.limit.seconds) * TICKS_PER_SECOND
        for past in [each for each in self.taken if each <= oldest]:
            self.left += self.taken.pop(past)


class Quotas:
    """Thread-safe. `now` gives seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._windows: dict[Hashable, _Window] = {}

    def take(self, key: Hashable, limit: Limit, amount: int = 1) -> bool:
        """Whether `amount` was left for `key`, which has it now."""
        tick = int(self._now() * TICKS_PER_SECOND)
        with self._lock:
            window = self._windows.pop(key, None)
            if window is None or window.limit != limit:
                window = _Window(limit)
                if len(self._windows) >= MOST_WINDOWS:
                    del self._windows[next(iter(self._windows))]
            self._windows[key] = window  # at the end: the most recently used
            return window.take(amount, tick)
