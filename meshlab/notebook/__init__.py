"""What the lessons are made of: controls, live pictures, claims that are measured, exercises, export to HTML.

The only room that imports ipywidgets or IPython. Names are looked up when they are first used, so that
`import meshlab.notebook` costs nothing to a program that only wants, say, `meshlab.notebook.execute`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from meshlab.uninterrupted import uninterrupted

if TYPE_CHECKING:
    from meshlab.notebook.again import StartAgain
    from meshlab.notebook.canary import Canary
    from meshlab.notebook.chance import Band, Split, band, split
    from meshlab.notebook.claims import Claim, claim
    from meshlab.notebook.controls import Control
    from meshlab.notebook.dashboard import Dashboard
    from meshlab.notebook.egress import EgressSwitch
    from meshlab.notebook.elsewhere import Capability, can, over
    from meshlab.notebook.exercise import Exercise, Problem, Verdict
    from meshlab.notebook.exercises import practice
    from meshlab.notebook.inside import Inside
    from meshlab.notebook.knobs import CircuitBreaker, RouteKnobs
    from meshlab.notebook.languageswitch import LanguageSwitch
    from meshlab.notebook.lesson import Lesson
    from meshlab.notebook.livegraph import LiveGraph
    from meshlab.notebook.liveplot import LivePlot
    from meshlab.notebook.mutual import MutualTLSSwitch
    from meshlab.notebook.picture import Picture
    from meshlab.notebook.progress import Progress
    from meshlab.notebook.samplers import quantiles, success
    from meshlab.notebook.scale import ScaleSlider
    from meshlab.notebook.traffic import LoadSwitch, by_version
    from meshlab.notebook.waiting import until
    from meshlab.notebook.weights import WeightSlider

_HOME = {
    "Band": "chance",
    "Canary": "canary",
    "Capability": "elsewhere",
    "CircuitBreaker": "knobs",
    "Claim": "claims",
    "Control": "controls",
    "Dashboard": "dashboard",
    "EgressSwitch": "egress",
    "Exercise": "exercise",
    "Inside": "inside",
    "LanguageSwitch": "languageswitch",
    "Lesson": "lesson",
    "LiveGraph": "livegraph",
    "LivePlot": "liveplot",
    "LoadSwitch": "traffic",
    "MutualTLSSwitch": "mutual",
    "Picture": "picture",
    "Problem": "exercise",
    "Progress": "progress",
    "RouteKnobs": "knobs",
    "ScaleSlider": "scale",
    "Split": "chance",
    "StartAgain": "again",
    "Verdict": "exercise",
    "WeightSlider": "weights",
    "band": "chance",
    "by_version": "traffic",
    "can": "elsewhere",
    "claim": "claims",
    "over": "elsewhere",
    "practice": "exercises",
    "quantiles": "samplers",
    "split": "chance",
    "success": "samplers",
    "until": "waiting",
}

__all__ = [
    "Band",
    "Canary",
    "Capability",
    "CircuitBreaker",
    "Claim",
    "Control",
    "Dashboard",
    "EgressSwitch",
    "Exercise",
    "Inside",
    "LanguageSwitch",
    "Lesson",
    "LiveGraph",
    "LivePlot",
    "LoadSwitch",
    "MutualTLSSwitch",
    "Picture",
    "Problem",
    "Progress",
    "RouteKnobs",
    "ScaleSlider",
    "Split",
    "StartAgain",
    "Verdict",
    "WeightSlider",
    "band",
    "by_version",
    "can",
    "claim",
    "over",
    "practice",
    "quantiles",
    "split",
    "success",
    "until",
]


def __getattr__(name: str) -> Any:
    try:
        home = _HOME[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    with uninterrupted():
        return getattr(importlib.import_module(f"{__name__}.{home}"), name)
