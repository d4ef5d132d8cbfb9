"""Back to the start of a lesson from the state that the lesson leads to: `lab.reset()`."""

from __future__ import annotations

from collections.abc import Iterator

from figure import Figure, lab

from meshlab.notebook.lesson import Lesson

TIMES = 5


def run() -> Iterator[Figure]:
    with lab("control-plane", "demo") as found:
        lesson = Lesson.begin(found, "04")
        seconds = []
        for _ in range(TIMES):
            found.deploy("svcb-v0.2")
            found.scale("svcb", 2)
            found.scale("svcb-v0.2", 2)
            found.apply("svca-http.yaml", "svcb-http.yaml", "rules/route-rules-svcb-v0.2-50.yaml")
            found.load("http://svca/pay", rps=20, seconds=60)
            seconds.append(lesson.reset())
        lesson.end()
    yield Figure("lab.reset() from the end of lesson 04", seconds, "s", "5 s")
