"""Which controls each lesson shows, how a learner presses them, and what they say then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from playwright.sync_api import Locator, expect

__all__ = ["AGAIN", "PRESSES", "Press"]


@dataclass(frozen=True)
class Press:
    """In the control whose title begins with `title`: do `act`, then its box contains `says`."""

    title: str
    act: Callable[[Locator], None]
    says: str

    def on(self, box: Locator) -> None:
        box.scroll_into_view_if_needed()
        self.act(box)
        expect(box).to_contain_text(self.says)


def button(name: str) -> Callable[[Locator], None]:
    """Click the button with exactly this name."""
    return lambda box: box.get_by_role("button", name=name, exact=True).click()


def keys(*pressed: str) -> Callable[[Locator], None]:
    """Press keys on the first slider of the control."""

    def act(box: Locator) -> None:
        slider = box.get_by_role("slider").first
        slider.focus()
        for key in pressed:
            slider.press(key)

    return act


_EGRESS = (
    Press("Egress", button("allowed"), "blocked: acknowledged by"),
    Press("Egress", button("blocked"), "allowed: acknowledged by"),
)
_LOAD = (
    Press("Traffic: requests to", button("start"), "requests a second"),
    Press("requests per second", lambda box: None, "v0.1"),
    Press("Traffic: requests to", button("stop"), "answered with 2xx"),
)
#: In every lesson from 01 on.
AGAIN = Press("Stuck?", button("start again"), "as at the start of the lesson, after")
PRESSES: Mapping[str, tuple[Press, ...]] = {
    "00": (Press("Language", button("English"), "00 01 02 03"),),
    "03": _EGRESS,
    "04": (
        _LOAD[0],
        Press("Traffic: how much", keys("Home"), "100/0: acknowledged by"),
        Press("Traffic: how much", keys("ArrowRight"), "95/5: acknowledged by"),
        Press("Traffic: how much", button("send 400 requests and count"), "of 400"),
        *_LOAD[1:],
    ),
    "05": _EGRESS,
    "09": (
        Press("Circuit breaker of svcb", button("off"), "on: acknowledged by"),
        Press("Circuit breaker of svcb", button("on"), "off: acknowledged by"),
        Press("Requests to svcb", keys("End"), "acknowledged by"),
        Press("Requests to svcb", keys("Home"), "acknowledged by"),
    ),
    "10": (
        Press("Mutual TLS at svcb", button("STRICT"), "STRICT: acknowledged by"),
        Press("Mutual TLS at svcb", button("PERMISSIVE"), "PERMISSIVE: acknowledged by"),
    ),
    "12": (
        Press("Pods of svcb", keys("ArrowRight"), "2 pods, ready after"),
        Press("Pods of svcb", keys("ArrowLeft"), "1 pod, ready after"),
        Press("Canary: svcb from v0.2", button("start the canary"), "rolled back: acknowledged by"),
    ),
    "board": _LOAD,
}
