"""Killed at any moment, under load: nothing acknowledged is lost, no watch misses an event.

A handful of kills shows that it is still so; `python tests/bench crash` kills a daemon 100 times.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from crash_lab import kill_under_load

from meshlab.settings import Settings

KILLS = int(os.environ.get("MESHLAB_CRASHES", "5"))


def test_kills_under_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHLAB_PARTS", "api")
    monkeypatch.delenv("MESHLAB_SLOT", raising=False)
    outcome = kill_under_load(Settings(tmp_path / "home"), KILLS)
    assert outcome.acknowledged > KILLS
    assert (outcome.lost, outcome.missed, outcome.mistold) == ([], [], [])
