"""The begin and the end of a lesson: make sure of what it needs, and leave the lab as it was found.

What a lesson *needs* (the control plane, demo services, an addon) is brought up and stays: the next lesson needs
it too. What a lesson *changes* (rules, names of ports, versions, numbers of pods) is put back at its end.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from meshlab.checkpoint import Checkpoint, difference
from meshlab.notebook.inside import Inside
from meshlab.phrases import tr
from meshlab.starts import STARTS, arrange, come_to_rest, stop_streams
from meshlab.today import today
from meshlab.underway import Underway

if TYPE_CHECKING:
    from meshlab.lab import Lab
    from meshlab.notebook.again import StartAgain

__all__ = ["Lesson"]


class Lesson:
    """One lesson under way. `begin` it in the first cell, `end` it in the last; `reset` is harmless at any time."""

    def __init__(self, lab: Lab, name: str, found: Checkpoint) -> None:
        self.lab, self.name, self.found = lab, name, found

    @classmethod
    def begin(cls, lab: Lab, name: str) -> Lesson:
        """Remember the state, and make it the one that lesson `name` ("04") starts from (`meshlab.starts.STARTS`).

        A lesson that was begun and not ended is ended first; this one, begun again, remembers what it found at first.
        Each repair is said in a line.
        """
        start, under = STARTS[name], Underway.load(lab.settings)
        if under is not None and under.name != name:
            lab.report(tr("lesson {name} was not ended: what it changed is put back first", name=under.name))
            if left := cls(lab, under.name, under.found)._put_back():
                lab.report(
                    tr("not as it was found, and left so: {what}", what=", ".join(left))
                )  # no reason to be stuck here
            under = None
        lab.require(*start.needs)
        if start.today:
            today(lab)  # before the state is remembered: of kinds that nobody serves yet nothing could be put back
        if under is None:
            under = Underway(name, lab.checkpoint())
            under.save(lab.settings)
        else:
            lab.report(tr("lesson {name} was begun before: its end will put back what it found then", name=name))
        lesson = cls(lab, name, under.found)
        arrange(lab, start)
        if start.inside:
            lesson.inside.start()  # it boots while sidecars let go of what they had before
        come_to_rest(lab)
        Underway(name, under.found, lab.checkpoint()).save(lab.settings)
        lab.report(tr("lesson {name}: the lab is as this lesson needs it", name=name))
        return lesson

    @cached_property
    def inside(self) -> Inside:
        """A pod in the mesh that sends requests; there from the begin in lessons that need it."""
        return Inside(self.lab)

    def reset(self) -> float:
        """Back to where the lesson started; returns the seconds. What it found stays remembered."""
        return self.lab.reset(self.name)

    def button(self) -> StartAgain:
        """`reset` as a button."""
        from meshlab.notebook.again import StartAgain

        return StartAgain(self)

    def end(self) -> None:
        """Put back what the lesson changed, say what that was, and check that nothing is left of it.

        What the lesson brought up on purpose (`keep`) stays, even if it was not found: the next ones use it. Pods and
        sidecars follow what is stored within a second or two; the next lesson's begin waits for them.
        """
        if left := self._put_back():
            raise AssertionError(f"the lab is not as lesson {self.name} found it: {', '.join(left)}")

    def _put_back(self) -> list[str]:
        """What differs all the same from what was found, like `RouteRule/default/x`; nothing, if all went well."""
        stop_streams(self.lab)
        if kept := STARTS[self.name].keep:
            brought = {
                key: made
                for key, made in self.lab.checkpoint().objects.items()
                if key not in self.found.objects and key[2] in kept and key[0] in ("Deployment", "Service")
            }
            self.found = Checkpoint({**self.found.objects, **brought}, self.found.unserved)
        changes = self.lab.put_back(self.found)
        for change in changes:
            self.lab.report(change)
        left = difference(self.found, self.lab.checkpoint())
        if not left:
            Underway.forget(self.lab.settings)
            self.lab.report(tr("lesson {name} is over; things put back: {count}", name=self.name, count=len(changes)))
        return left
