"""Pictures as SVG text: lines, bars, waterfalls.

Drawn by hand because a notebook's output must stay small (some 10 KB), work without a network and without
JavaScript, and be there in exported HTML. Every function is pure: numbers in, one `<svg>` element out.
Text takes the colour of its surroundings (`currentColor`), so that light and dark themes both read well;
each picture has a role, a title and a description for those who do not see it.
"""

from __future__ import annotations

import math
import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from meshlab.addons.scale import clock, human, nice_ticks, span_of, time_ticks
from meshlab.phrases import tr

__all__ = ["PALETTE", "Bar", "bar_chart", "colour_of", "escape", "line_chart", "stat", "waterfall"]

#: Okabe and Ito's colours: told apart by people with any kind of colour blindness.
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#b8a000", "#7f7f7f")
_FONT = 'font-family="system-ui,sans-serif" font-size="11" fill="currentColor"'
#: Average width of a character at 11 px, to lay out legends.
_CHARACTER = 6.2


@dataclass(frozen=True)
class Bar:
    """One row of a waterfall.

    `start` and `duration` in milliseconds; `depth` indents, `failed` paints it red, `details` show on hover.
    """

    label: str
    start: float
    duration: float
    depth: int = 0
    group: str = ""
    note: str = ""
    failed: bool = False
    details: Mapping[str, str] = field(default_factory=dict)


def escape(text: object) -> str:
    """Text made safe for element content and for attribute values."""
    return (str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;"))


def colour_of(name: str, names: Sequence[str]) -> str:
    """The colour of a series: by its place among all names, so that it stays the same while data come in."""
    return PALETTE[(list(names).index(name) if name in names else 0) % len(PALETTE)]


def line_chart(
    series: Mapping[str, Sequence[tuple[float, float]]], *, title: str = "", unit: str = "short",
    width: int = 640, height: int = 220,
    band: tuple[float, float] | Mapping[str, tuple[float, float]] | None = None,
    marks: Sequence[tuple[float, str]] = (), zero: bool = True, maximum: float | None = None,
    period: tuple[float, float] | None = None,
) -> str:
    """Lines over time.

    `series` maps a name to (x, y) points; x are epochs or seconds from a start, y is in `unit` (see
    `scale.human`). NaN breaks a line. `band` shades an interval of y: one for all, or one per series in its
    colour. `marks` are moments with a word, drawn as dashed uprights. `zero` keeps 0 on the axis,
    `maximum` fixes its top, `period` the two ends of the time axis.
    """
    names = list(series)
    xs = span_of(x for points in series.values() for x, y in points if math.isfinite(y))
    ys = span_of(y for points in series.values() for _, y in points)
    bands: dict[str, tuple[float, float]] = (
        {} if band is None else dict(band) if isinstance(band, Mapping) else {"": band})
    if xs is None or ys is None:
        return _frame(width, height, title, tr("no data yet"), _empty(width, height, title))
    legend, top = _legend([(name, colour_of(name, names), _last(series[name], unit)) for name in names],
                          width, 18 if title else 4)
    low, high = ys
    for interval in bands.values():
        low, high = min(low, interval[0]), max(high, interval[1])
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if maximum is not None:
        high = max(low + 1e-9, maximum)
    ticks = nice_ticks(low, high, max(2, height // 50))
    labels = [human(tick, unit) for tick in ticks]
    left, right, bottom = 10 + _CHARACTER * max(map(len, labels)), 12.0, 20.0
    if period is not None:
        xs = period
    x0, x1 = xs if xs[1] > xs[0] else (xs[0] - 1, xs[0] + 1)
    y0, y1 = ticks[0], ticks[-1]

    def px(x: float) -> float:
        return left + (x - x0) / (x1 - x0) * (width - left - right)

    def py(y: float) -> float:
        return height - bottom - (y - y0) / (y1 - y0) * (height - top - bottom)

    parts = [_title(title), legend]
    for tick, label in zip(ticks, labels, strict=True):
        parts.append(f'<path d="M{left:.1f} {py(tick):.1f}H{width - right:.1f}" stroke="currentColor" '
                     f'stroke-opacity=".15"/><text x="{left - 5:.1f}" y="{py(tick) + 4:.1f}" '
                     f'text-anchor="end" {_FONT}>{escape(label)}</text>')
    for moment in time_ticks(x0, x1, max(2, width // 110)):
        half = _CHARACTER * len(clock(moment)) / 2
        parts.append(_text(min(px(moment), width - half - 2), height - 5, clock(moment), "middle"))
    for name, (bottom_y, top_y) in bands.items():
        colour = colour_of(name, names) if name else PALETTE[-1]
        parts.append(f'<rect x="{left:.1f}" width="{width - left - right:.1f}" y="{py(top_y):.1f}" '
                     f'height="{max(py(bottom_y) - py(top_y), 0):.1f}" fill="{colour}" fill-opacity=".16"/>')
    for moment, word in marks:
        if x0 <= moment <= x1:
            at = px(moment)
            late = at > width * 0.75
            parts.append(f'<path d="M{at:.1f} {top}V{height - bottom}" stroke="currentColor" '
                         'stroke-opacity=".55" stroke-dasharray="4 3"/>'
                         + _text(at - 4 if late else at + 4, top + 11, word, "end" if late else "start"))
    for name in names:
        colour = colour_of(name, names)
        for run in _runs(series[name]):
            if len(run) == 1:
                (x, y), = run
                parts.append(f'<circle cx="{px(x):.1f}" cy="{py(y):.1f}" r="2.5" fill="{colour}"/>')
                continue
            path = "L".join(f"{px(x):.1f} {py(min(max(y, y0), y1)):.1f}" for x, y in run)
            parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.8" '
                         f'stroke-linejoin="round"><title>{escape(name)}</title></path>')
    words = "; ".join(f"{name}: {_last(series[name], unit)}" for name in names)
    return _frame(width, height, title, words, "".join(parts))


def bar_chart(
    values: Mapping[str, float], *, title: str = "", unit: str = "short", width: int = 640,
    expected: Mapping[str, tuple[float, float]] | None = None, maximum: float | None = None,
) -> str:
    """Horizontal bars, one per name, each with its number; `expected` marks an interval on a bar."""
    names = list(values)
    expected = expected or {}
    rows, top = 24, 24 if title else 6
    height = top + rows * max(len(names), 1) + 6
    if not names:
        return _frame(width, 60, title, tr("no data yet"), _empty(width, 60, title))
    left = 14 + max(map(_length, names))
    numbers = [human(values[name], unit) for name in names]
    right = 14 + _CHARACTER * max(map(len, numbers))
    top_value = maximum or max([*(v for v in values.values() if math.isfinite(v)),
                                *(high for _, high in expected.values()), 1e-12])
    room = max(width - left - right, 10)
    parts = [_title(title)]
    for row, name in enumerate(names):
        y = top + rows * row
        length = max(0.0, min(values[name] / top_value, 1.0)) * room if math.isfinite(values[name]) else 0.0
        parts.append(f'<text x="{left - 6:.1f}" y="{y + 16}" text-anchor="end" {_FONT}>{escape(name)}</text>'
                     f'<rect x="{left:.1f}" y="{y + 4}" width="{length:.1f}" height="{rows - 8}" rx="2" '
                     f'fill="{colour_of(name, names)}"/>')
        if name in expected:
            low, high = (min(max(edge / top_value, 0.0), 1.0) * room for edge in expected[name])
            parts.append(f'<rect x="{left + low:.1f}" y="{y + 2}" width="{max(high - low, 2):.1f}" '
                         f'height="{rows - 4}" fill="currentColor" fill-opacity=".12" stroke="currentColor" '
                         'stroke-opacity=".45" stroke-dasharray="3 2"><title>' + tr('expected') + '</title></rect>')
        parts.append(f'<text x="{left + length + 6:.1f}" y="{y + 16}" {_FONT}>{escape(numbers[row])}</text>')
    words = "; ".join(f"{name}: {number}" for name, number in zip(names, numbers, strict=True))
    return _frame(width, height, title, words, "".join(parts))


def waterfall(trace: Sequence[Bar | Mapping[str, Any]], *, title: str = "", width: int = 720) -> str:
    """Spans of a trace, one row each, on one time axis (milliseconds).

    Bars are drawn in the order given; Zipkin's own spans (version 2, as its API gives them) as a tree.
    """
    spans = [span for span in trace if isinstance(span, Bar)]
    if len(spans) < len(trace):
        from meshlab.addons.spans import bars  # which builds on this module

        spans = bars([dict(span) for span in trace if not isinstance(span, Bar)])
    rows, top = 22, 40 if title else 22
    height = top + rows * max(len(spans), 1) + 6
    if not spans:
        return _frame(width, 60, title, tr("no data yet"), _empty(width, 60, title))
    begin = min(span.start for span in spans)
    end = max(span.start + span.duration for span in spans)
    groups = list(dict.fromkeys(span.group for span in spans))
    left = min(16 + max(_length(_row_label(span)) + 2 * _CHARACTER * span.depth for span in spans), width * 0.45)
    ticks = nice_ticks(0, max(end - begin, 1e-3), 5)
    numbers = [human(span.duration, "ms") + (f" · {span.note}" if span.note else "") for span in spans]
    right = 14 + _CHARACTER * max(map(len, numbers))
    scale = (width - left - right) / max(end - begin, 1e-3)
    parts = [_title(title)]
    for tick in ticks:
        x = left + tick * scale
        if x <= width - 20:
            parts.append(f'<path d="M{x:.1f} {top - 4}V{height - 4}" stroke="currentColor" '
                         f'stroke-opacity=".15"/>' + _text(x, top - 8, human(tick, "ms"), "middle"))
    for row, span in enumerate(spans):
        y = top + rows * row
        x, length = left + (span.start - begin) * scale, max(span.duration * scale, 2.0)
        colour = "#c0262d" if span.failed else colour_of(span.group, groups)
        hover = "\n".join([_row_label(span), *(f"{key}: {value}" for key, value in span.details.items())])
        parts.append(
            f'<g><title>{escape(hover)}</title><text x="{8 + 12 * span.depth}" y="{y + 15}" {_FONT}>'
            f'{escape(_row_label(span))}</text><rect x="{x:.1f}" y="{y + 4}" width="{length:.1f}" '
            f'height="{rows - 8}" rx="2" fill="{colour}"/>'
            + _text(x + length + 6, y + 15, numbers[row]) + "</g>")
    words = "; ".join(f"{_row_label(span)}: {human(span.duration, 'ms')}" for span in spans)
    return _frame(width, height, title, words, "".join(parts))


def stat(value: float, *, title: str = "", unit: str = "short", width: int = 200, height: int = 90) -> str:
    """One large number under its title, which takes two lines where one is too short."""
    number = human(value, unit)
    lines = textwrap.wrap(title, int((width - 16) / (_CHARACTER * 1.15)))  # it is bold
    heading = "".join(f'<text x="8" y="{14 + 14 * row}" {_FONT} font-weight="600">{escape(line)}</text>'
                      for row, line in enumerate(lines))
    body = (f'{heading}<text x="{width / 2}" y="{height / 2 + 20}" text-anchor="middle" '
            f'font-family="system-ui,sans-serif" font-size="26" fill="currentColor">{escape(number)}</text>')
    return _frame(width, height, title, number, body)


def _frame(width: float, height: float, title: str, words: str, body: str) -> str:
    return (f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(f"{title}: {words}")}" '
            f'width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}" '
            f'style="max-width:100%;height:auto">'
            f"<title>{escape(title)}</title><desc>{escape(words)}</desc>{body}</svg>")


def _title(title: str) -> str:
    return f'<text x="8" y="14" {_FONT} font-weight="600">{escape(title)}</text>' if title else ""


def _length(text: str) -> float:
    """About how long a text is, pixels: a Chinese character is as wide as it is high."""
    return sum(11.0 if unicodedata.east_asian_width(character) in "WF" else _CHARACTER for character in text)


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {_FONT}>{escape(text)}</text>'


def _empty(width: float, height: float, title: str) -> str:
    return (f'{_title(title)}<text x="{width / 2:g}" y="{height / 2 + 4:g}" text-anchor="middle" {_FONT} '
            f'fill-opacity=".6">{escape(tr("no data yet"))}</text>')


def _legend(entries: Sequence[tuple[str, str, str]], width: float, top: int) -> tuple[str, int]:
    """Legend of (name, colour, last value), wrapped to the width; and the y below it."""
    if len(entries) == 1 and not entries[0][0]:
        return "", top + 6
    parts, x, y = [], 8.0, top
    for name, colour, last in entries:
        text = f"{name}  {last}"
        length = 22 + _length(text)
        if x > 8 and x + length > width:
            x, y = 8.0, y + 15
        parts.append(f'<rect x="{x:.1f}" y="{y + 3}" width="10" height="10" rx="2" fill="{colour}"/>'
                     f'<text x="{x + 14:.1f}" y="{y + 12}" {_FONT}>{escape(text)}</text>')
        x += length
    return "".join(parts), y + 22


def _last(points: Sequence[tuple[float, float]], unit: str) -> str:
    return next((human(y, unit) for _, y in reversed(points) if math.isfinite(y)), "n/a")


def _runs(points: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """Points cut into unbroken runs at every NaN."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if math.isfinite(y):
            runs[-1].append((x, y))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _row_label(span: Bar) -> str:
    return f"{span.group}: {span.label}" if span.group else span.label
