"""The button that is in every lesson: back to where it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as widgets

from meshlab.notebook.controls import Control
from meshlab.phrases import tr

if TYPE_CHECKING:
    from meshlab.notebook.lesson import Lesson

__all__ = ["StartAgain"]


class StartAgain(Control):
    """Stuck? A press brings the lab back to where the lesson starts. `press()` does the same."""

    def __init__(self, lesson: Lesson) -> None:
        super().__init__(tr("Stuck? Back to where lesson {lesson} starts", lesson=lesson.name))
        self._lesson = lesson
        self._button = widgets.Button(
            description=tr("start again"),
            tooltip=tr("rules, versions, ports and numbers of pods as this lesson needs them"),
        )
        self._button.on_click(lambda _: self.pressed(self.press))
        self.assemble(self._button)
        self.say(tr("lesson.reset() in a cell does the same, at any time"))

    def press(self) -> float:
        """Reset the lesson; returns the seconds."""
        with self._lock:
            self.say(tr("one moment …"), tone="busy")
            seconds = self._lesson.reset()
            self.say(tr("as at the start of the lesson, after {seconds:.1f} s", seconds=seconds), tone="good")
            return seconds
