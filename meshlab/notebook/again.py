"""The button that is in every lesson: back to where it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as widgets

from meshlab.notebook.controls import Control

if TYPE_CHECKING:
    from meshlab.notebook.lesson import Lesson

__all__ = ["StartAgain"]


class StartAgain(Control):
    """Stuck? A press brings the lab back to where the lesson starts. `press()` does the same."""

    def __init__(self, lesson: Lesson) -> None:
        super().__init__(f"Stuck? Back to where lesson {lesson.name} starts")
        self._lesson = lesson
        self._button = widgets.Button(
            description="start again", tooltip="rules, versions, ports and numbers of pods as this lesson needs them"
        )
        self._button.on_click(lambda _: self.pressed(self.press))
        self.assemble(self._button)
        self.say("lesson.reset() in a cell does the same, at any time")

    def press(self) -> float:
        """Reset the lesson; returns the seconds."""
        with self._lock:
            self.say("one moment …", tone="busy")
            seconds = self._lesson.reset()
            self.say(f"as at the start of the lesson, after {seconds:.1f} s", tone="good")
            return seconds
