"""Waiting for a condition: with a timeout, a bounded pause between looks, and the elapsed time as answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from meshlab.errors import WaitTimeout
from meshlab.phrases import tr

__all__ = ["Waited", "until"]

T = TypeVar("T")

#: Pauses between looks grow from the first to the second, seconds. Below 20 ms the look itself costs more.
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.25


@dataclass(frozen=True)
class Waited(Generic[T]):
    """What the condition gave in the end, and after how many seconds and looks."""

    value: T
    seconds: float
    looks: int

    def __str__(self) -> str:
        if self.looks == 1:
            return tr("after {seconds:.1f} s (1 look)", seconds=self.seconds)
        return tr("after {seconds:.1f} s ({looks} looks)", seconds=self.seconds, looks=self.looks)


def until(condition: Callable[[], T], *, timeout: float = 60.0, what: str = "", then: str = "") -> Waited[T]:
    """Look until `condition()` is true and return its value with the time that took.

    `what` names the condition for the WaitTimeout raised after `timeout` seconds; `then` is the next command
    to type. At least one look is taken.
    """
    began = time.monotonic()
    pause, looks = FIRST_PAUSE, 0
    still = threading.Event()
    while True:
        value = condition()
        looks += 1
        elapsed = time.monotonic() - began
        if value:
            return Waited(value, elapsed, looks)
        if elapsed + pause > timeout:
            raise WaitTimeout(
                f"{what or 'the condition'} did not come true within {timeout:g} s",
                why=f"the last of {looks} looks gave {value!r}",
                then=then,
            )
        still.wait(pause)
        pause = min(LONGEST_PAUSE, pause * 1.5)
