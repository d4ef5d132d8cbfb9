"""SVG and DOT: what is drawn, and that nothing given to them breaks the page around."""

from __future__ import annotations

import math
import stat as file_modes
from pathlib import Path
from xml.etree import ElementTree

import pytest

from meshlab.addons.dot import draw, drawing_program, quote
from meshlab.addons.scale import clock, human, nice_ticks, time_ticks
from meshlab.addons.svg import Bar, bar_chart, colour_of, line_chart, stat, waterfall

NASTY = '"><script>&\''


def parsed(markup: str) -> ElementTree.Element:
    """The picture as XML, which also shows that it is well-formed."""
    return ElementTree.fromstring(markup)  # noqa: S314 - our own output


def texts(markup: str) -> list[str]:
    return [element.text or "" for element in parsed(markup).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("markup", [
    line_chart({NASTY: [(1, 2), (2, 3)]}, title=NASTY, unit="ops", marks=[(1.5, NASTY)], band={NASTY: (1, 2)}),
    bar_chart({NASTY: 3.0}, title=NASTY, expected={NASTY: (1, 2)}),
    waterfall([Bar(NASTY, 0, 3, group=NASTY, details={NASTY: NASTY})], title=NASTY),
    stat(1, title=NASTY),
    line_chart({}), bar_chart({}), waterfall([]), stat(math.nan),
    line_chart({"a": [(1, 5)]}), line_chart({"a": [(1, math.nan)]}), bar_chart({"a": 0.0, "b": math.nan}),
    line_chart({"a": [(5, 0), (5, 0)]}), line_chart({"a": [(0, -3), (1, 1e12)]}, band=(-5, 9)),
    waterfall([Bar("x", 0, 0)]),
])
def test_a_picture_is_well_formed_whatever_it_shows(markup: str) -> None:
    root = parsed(markup)
    assert root.get("role") == "img" and root.get("aria-label")
    assert "<script" not in markup and "NaN" not in markup and "nan" not in markup.replace("n/a", "")


def test_a_gap_in_the_data_is_a_gap_in_the_line() -> None:
    markup = line_chart({"a": [(0, 1), (1, 1), (2, math.nan), (3, 1), (4, 1)]})
    assert markup.count('stroke-linejoin="round"') == 2


def test_the_legend_and_the_description_tell_the_last_values() -> None:
    markup = line_chart({"v0.1": [(0, 1), (1, 10)], "v0.2": [(0, 1), (1, 2.5)]}, unit="ops", title="Requests")
    assert "v0.1  10 req/s" in texts(markup)
    assert 'aria-label="Requests: v0.1: 10 req/s; v0.2: 2.5 req/s"' in markup


def test_a_series_keeps_its_colour_by_its_place() -> None:
    assert colour_of("b", ["a", "b"]) != colour_of("a", ["a", "b"]) == colour_of("a", ["a"])


def test_the_time_axis_can_be_given() -> None:
    short = line_chart({"a": [(1000, 1), (1010, 2)]})
    assert texts(short) != texts(line_chart({"a": [(1000, 1), (1010, 2)]}, period=(700, 1010)))


def test_a_waterfall_takes_zipkins_spans_and_orders_them_as_a_tree() -> None:
    def span(id_: str, parent: str | None, start: int, name: str, code: str = "200") -> dict[str, object]:
        return {"traceId": "1" * 16, "id": id_ * 16, "parentId": parent and parent * 16, "name": name,
                "timestamp": start, "duration": 500, "localEndpoint": {"serviceName": "svcb"},
                "tags": {"http.status_code": code}}

    markup = waterfall([span("c", "b", 30, "third", "503"), span("b", "a", 20, "second"),
                        span("a", None, 10, "first")])
    labels = [text for text in texts(markup) if text.startswith("svcb: ")]
    assert labels == ["svcb: first", "svcb: second", "svcb: third"]
    assert "500 µs · 503" in texts(markup) and "#c0262d" in markup


@pytest.mark.parametrize(("low", "high", "ticks"), [
    (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0, 0, [0, 0.2, 0.4, 0.6, 0.8, 1]), (-3, 7, [-4, -2, 0, 2, 4, 6, 8]),
    (0, 3e6, [0, 1e6, 2e6, 3e6]),
])
def test_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    assert nice_ticks(low, high) == pytest.approx(ticks)


def test_moments_are_round() -> None:
    assert time_ticks(3, 62) == [10, 20, 30, 40, 50, 60]
    assert [clock(5), clock(75)] == ["5 s", "1:15"]


@pytest.mark.parametrize(("value", "unit", "text"), [
    (0, "s", "0 s"), (0.00042, "s", "420 µs"), (90, "s", "1.5 min"), (12.345, "ms", "12.3 ms"),
    (0.123456, "short", "0.123"), (1234567, "short", "1.23M"), (2048, "Bps", "2.05 kB/s"),
    (0.9987, "percentunit", "99.9 %"), (math.nan, "ops", "n/a"), (math.inf, "s", "n/a"), (7, "°C", "7 °C"),
])
def test_numbers_read_as_a_person_writes_them(value: float, unit: str, text: str) -> None:
    assert human(value, unit) == text


def test_dot_is_drawn_by_whatever_is_there() -> None:
    assert drawing_program() is not None
    markup = draw('digraph { "a" -> "b" [label="reqs/sec: 1"]; }')
    assert markup.startswith("<svg") and "reqs/sec: 1" in markup and "currentColor" in markup


def test_what_cannot_be_drawn_is_shown_as_text_with_the_reason(tmp_path: Path) -> None:
    assert "&lt;b&gt;" in draw("digraph { <b> ->") and "not drawn" in draw("digraph { <b> ->")
    assert "not drawn" in draw("digraph {}", program=str(tmp_path / "missing"))
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 30\n")
    slow.chmod(slow.stat().st_mode | file_modes.S_IXUSR)
    assert "took longer than 0.2 s" in draw("digraph {}", program=str(slow), timeout=0.2)


def test_dot_strings_are_quoted() -> None:
    assert quote('a "b" \\') == '"a \\"b\\" \\\\"'
