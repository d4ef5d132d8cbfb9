"""What the lessons are made of: controls, live pictures, claims that are measured, exercises, export to HTML.

The only room that imports ipywidgets or IPython. Names are looked up when they are first used, so that
`import meshlab.notebook` costs nothing to a program that only wants, say, `meshlab.notebook.execute`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshlab.notebook.chance import Band, Split, band, split
    from meshlab.notebook.claims import Claim, claim
    from meshlab.notebook.controls import Control
    from meshlab.notebook.dashboard import Dashboard
    from meshlab.notebook.egress import EgressSwitch
    from meshlab.notebook.exercise import Exercise, Problem, Verdict
    from meshlab.notebook.inside import Inside
    from meshlab.notebook.lesson import Lesson
    from meshlab.notebook.liveplot import LivePlot
    from meshlab.notebook.picture import Picture
    from meshlab.notebook.traffic import LoadSwitch, by_version
    from meshlab.notebook.waiting import until
    from meshlab.notebook.weights import WeightSlider

_HOME = {
    "Band": "chance",
    "Claim": "claims",
    "Control": "controls",
    "Dashboard": "dashboard",
    "EgressSwitch": "egress",
    "Exercise": "exercise",
    "Inside": "inside",
    "Lesson": "lesson",
    "LivePlot": "liveplot",
    "LoadSwitch": "traffic",
    "Picture": "picture",
    "Problem": "exercise",
    "Split": "chance",
    "Verdict": "exercise",
    "WeightSlider": "weights",
    "band": "chance",
    "by_version": "traffic",
    "claim": "claims",
    "split": "chance",
    "until": "waiting",
}

__all__ = [
    "Band",
    "Claim",
    "Control",
    "Dashboard",
    "EgressSwitch",
    "Exercise",
    "Inside",
    "Lesson",
    "LivePlot",
    "LoadSwitch",
    "Picture",
    "Problem",
    "Split",
    "Verdict",
    "WeightSlider",
    "band",
    "by_version",
    "claim",
    "split",
    "until",
]


def __getattr__(name: str) -> Any:
    try:
        home = _HOME[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
