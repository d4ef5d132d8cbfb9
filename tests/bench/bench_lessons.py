"""The whole notebook run under papermill, on a lab that has the tutorial in it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from figure import Figure, lab, say

from meshlab.notebook.execute import execute_all, lessons


def run() -> Iterator[Figure]:
    books = lessons(Path(__file__).resolve().parents[2] / "notebooks")
    with (
        lab("control-plane", "demo", "prometheus", "grafana", "servicegraph", "zipkin"),
        tempfile.TemporaryDirectory() as out,
    ):
        began = time.perf_counter()
        done = execute_all(books, Path(out), say=say)
        took = time.perf_counter() - began
    if failed := [lesson for lesson in done if not lesson.passed]:
        raise SystemExit("\n".join(map(str, failed)))
    yield Figure(f"{len(books)} notebooks under papermill", [took], "s", "120 s")
