"""Writes the table of the instructors' page: the minutes that are counted, the seconds that are measured.

    python tests/bench/timetable.py

Runs all lessons headless on a lab of their own, as `python tests/bench lessons` does. The last row says how busy the
machine was when they began: figures for readers come from one that does nothing else. Translations of the table's rows
get the same figures.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from figure import lab, say

from meshlab.notebook.execute import execute_all, lessons
from meshlab.notebook.languages import digest
from meshlab.notebook.minutes import count

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
PAGE = NOTEBOOKS / "instructors.md"


def measured() -> tuple[dict[str, float], float]:
    """Seconds by a lesson's two digits, and the machine's load before. Raises `SystemExit` if a lesson fails."""
    with (
        lab("control-plane", "demo", "prometheus", "grafana", "servicegraph", "zipkin"),
        tempfile.TemporaryDirectory() as out,
    ):
        load = os.getloadavg()[0]
        done = execute_all(lessons(NOTEBOOKS), Path(out), say=say)
    if failed := [lesson for lesson in done if not lesson.passed]:
        raise SystemExit("\n".join(map(str, failed)))
    return {lesson.notebook.stem[:2]: lesson.seconds for lesson in done}, load


def rows(page: str, seconds: Mapping[str, float], load: float) -> dict[str, tuple[str, str]]:
    """By each row of a lesson as it is: what becomes of its second and third column."""
    found = {}
    for row in re.findall(r"(?m)^\| (?:\d\d|all,) .*\|$", page):
        name = row.split()[1]
        if name == "all,":
            found[row] = ("", f"{sum(seconds.values()):.0f} s (load {load:.1f})")
        else:
            (notebook,) = NOTEBOOKS.glob(f"{name}-*.ipynb")
            found[row] = (str(count(notebook).rounded), f"{seconds[name]:.0f} s")
    return found


def filled(row: str, minutes: str, took: str) -> str:
    """The row with these two columns."""
    cells = row.split("|")
    cells[2:4] = [f" {minutes} " if minutes else " ", f" {took} "]
    return "|".join(cells)


def main() -> None:
    seconds, load = measured()
    page = PAGE.read_text(encoding="utf-8")
    changes = rows(page, seconds, load)
    for row, columns in changes.items():
        page = page.replace(row, filled(row, *columns))
    PAGE.write_text(page, encoding="utf-8")
    for path in sorted((NOTEBOOKS / "locale").glob("*.json")):
        entries = json.loads(path.read_text(encoding="utf-8"))
        mine = {}
        by_hash = {digest(row): row for row in changes}
        for key, entry in entries[PAGE.stem].items():
            if row := by_hash.get(key):
                key = digest(filled(row, *changes[row]))
                entry = {"of": key, "text": filled(entry["text"], *changes[row])}
            mine[key] = entry
        path.write_text(json.dumps({**entries, PAGE.stem: mine}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print("\n".join(filled(row, *columns) for row, columns in changes.items()))


if __name__ == "__main__":
    main()
