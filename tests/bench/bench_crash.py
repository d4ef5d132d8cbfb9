"""The daemon killed 100 times under load: what was lost, what a watch missed, how long it was away."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from figure import Figure, own_home

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "cluster" / "api"))

KILLS = 100


def run() -> Iterator[Figure]:
    from crash_lab import kill_under_load

    before = os.environ.get("MESHLAB_PARTS")
    os.environ["MESHLAB_PARTS"] = "api"
    try:
        with own_home() as settings:
            outcome = kill_under_load(settings, KILLS)
    finally:
        if before is None:
            del os.environ["MESHLAB_PARTS"]
        else:
            os.environ["MESHLAB_PARTS"] = before
    yield Figure(f"writes acknowledged around {KILLS} kills", [outcome.acknowledged], "", "-")
    yield Figure("of these, lost", [len(outcome.lost)], "", "0")
    yield Figure("of these, not told by a watch that was taken up again", [len(outcome.missed)], "", "0")
    yield Figure("objects that an informer was told of twice, or never", [len(outcome.mistold)], "", "0")
    yield Figure("killed → the API answers again", outcome.down, "s", "1.0 s")
