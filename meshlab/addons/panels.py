"""Dashboards drawn here: Grafana's JSON in, SVG out.

A real cluster gives the same file to Grafana. What of its language the dashboards use is understood: rows
(also repeated over a variable), text, stat and time series panels, variables of label values, legends.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Protocol

from meshlab.addons.svg import line_chart, stat
from meshlab.phrases import tr

__all__ = ["Drawn", "Source", "dashboard", "dashboards", "draw", "variables"]

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_LEGEND = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_LABEL_VALUES = re.compile(r"label_values\(\s*([^,]+?)\s*,\s*(\w+)\s*\)")
ALL = ".*"


class Source(Protocol):
    """Where numbers come from: `meshlab.addons.prom.Prometheus`, or a stand-in with its three questions."""

    def query(self, promql: str) -> list[dict[str, Any]]: ...
    def query_range(self, promql: str, start: float, end: float, step: float) -> list[dict[str, Any]]: ...
    def label_values(self, metric: str, label: str) -> list[str]: ...


@dataclass(frozen=True)
class Drawn:
    """One panel: `kind` is row, text, stat or timeseries; `width` in 24ths of the page; `markup` SVG or HTML.

    `title` is the file's own, `markup` is in the reader's language.
    """

    kind: str
    title: str
    width: int
    markup: str


def dashboards() -> list[str]:
    """Names of the dashboards that come with meshlab."""
    folder = files("meshlab.addons") / "dashboards"
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".json"))


def dashboard(name: str) -> dict[str, Any]:
    """A dashboard's Grafana JSON. Raises KeyError for an unknown name."""
    import json

    if name not in dashboards():
        raise KeyError(name)
    found: dict[str, Any] = json.loads((files("meshlab.addons") / "dashboards" / f"{name}.json").read_text())
    return found


def variables(board: Mapping[str, Any], source: Source) -> dict[str, list[str]]:
    """Values that each query variable of a dashboard can take now."""
    found = {}
    for variable in board["templating"]["list"]:
        if variable["type"] == "query" and (asked := _LABEL_VALUES.match(variable["definition"])):
            found[variable["name"]] = source.label_values(asked[1], asked[2])
    return found


def draw(board: Mapping[str, Any], source: Source, *, minutes: float = 5.0, end: float | None = None,
         chosen: Mapping[str, Sequence[str]] | None = None, page: int = 1120) -> Iterator[Drawn]:
    """The dashboard's panels in order. `chosen` restricts variables (none or empty = all).

    `minutes` back from `end` (seconds since 1970, default now); `page` is the page's width in pixels.
    """
    until = time.time() if end is None else end
    span = minutes * 60
    values = variables(board, source)
    chosen = {name: list(picked) for name, picked in (chosen or {}).items() if picked}
    now = {name: "|".join(_literal(p) for p in chosen[name]) if name in chosen else ALL for name in values}
    for section in _sections(board["panels"]):
        repeat = section[0].get("repeat") if section[0]["type"] == "row" else None
        rounds: list[Mapping[str, str]] = [now] if repeat is None else [
            {**now, repeat: _literal(value)} for value in chosen.get(repeat) or values.get(repeat, [])]
        for bound in rounds:
            for panel in section:
                yield _panel(panel, source, bound, (until - span, until), page)


def _sections(panels: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Panels cut at every row."""
    sections: list[list[Mapping[str, Any]]] = []
    for panel in panels:
        if panel["type"] == "row" or not sections:
            sections.append([])
        sections[-1].append(panel)
    return sections


def _panel(panel: Mapping[str, Any], source: Source, bound: Mapping[str, str], period: tuple[float, float],
           page: int) -> Drawn:
    title = _fill(panel.get("title", ""), bound).replace("\\", "").replace(".svc.cluster.local", "")
    width, kind = panel["gridPos"]["w"], panel["type"]
    if kind == "row":
        return Drawn(kind, title, 24, "")
    if kind == "text":
        content = panel["options"]["content"]
        return Drawn(kind, title, width, tr(content))
    shown = tr(title)
    defaults = panel["fieldConfig"]["defaults"]
    unit, pixels = defaults.get("unit", "short"), page * width // 24 - 16
    if kind == "stat":
        result = source.query(_fill(panel["targets"][0]["expr"], bound))
        value = float(result[0]["value"][1]) if result else math.nan
        return Drawn(kind, title, width, stat(value, title=shown, unit=unit, width=pixels))
    step = max(1.0, round((period[1] - period[0]) / 150))
    series: dict[str, list[tuple[float, float]]] = {}
    for target in panel["targets"]:
        for line in source.query_range(_fill(target["expr"], bound), *period, step):
            name = _legend(target.get("legendFormat", ""), line["metric"])
            series[name] = [(float(at), float(value)) for at, value in line["values"]]
    chart = line_chart(dict(sorted(series.items())), title=shown, unit=unit, width=pixels,
                       maximum=defaults.get("max"), period=period)
    return Drawn(kind, title, width, chart)


def _literal(value: str) -> str:
    """A value as a regular expression inside a PromQL string, where a backslash is written twice."""
    return re.escape(value).replace("\\", "\\\\")


def _fill(text: str, bound: Mapping[str, str]) -> str:
    """Variables put in; `$1` of a label_replace and what is unknown stay."""
    return _VARIABLE.sub(lambda m: bound.get(m[1] or m[2], m[0]), text)


def _legend(form: str, metric: Mapping[str, str]) -> str:
    if not form:
        return ", ".join(f"{key}={value}" for key, value in sorted(metric.items()) if key != "__name__")
    return _LEGEND.sub(lambda m: metric.get(m[1], ""), form)
