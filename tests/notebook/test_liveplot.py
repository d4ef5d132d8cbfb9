from __future__ import annotations

import math
import threading

from meshlab.errors import LabError
from meshlab.notebook.liveplot import LivePlot
from meshlab.notebook.waiting import until


def test_a_sample_becomes_a_point_and_a_picture() -> None:
    plot = LivePlot(lambda: {"v0.1": 3.0}, title="requests by version", unit="ops")
    plot.take()
    plot.take()
    assert [value for _, value in plot.series["v0.1"]] == [3.0, 3.0]
    assert plot._picture.value.startswith("<svg") and "requests by version" in plot._picture.value


def test_the_plot_draws_while_another_thread_works_and_stops_when_told() -> None:
    seen = threading.Event()

    def sample() -> dict[str, float]:
        seen.set()
        return {"a": 1.0}

    with LivePlot(sample, title="t", every=0.01) as plot:
        assert seen.wait(60)
        until(lambda: len(plot.series.get("a", [])) >= 3, timeout=60)
    assert not plot.running
    count = len(plot.series["a"])
    assert len(plot.series["a"]) == count


def test_starting_twice_runs_one_thread() -> None:
    plot = LivePlot(lambda: {"a": 1.0}, title="t", every=0.01)
    plot.start()
    first = plot._thread
    assert plot.start()._thread is first
    plot.stop()


def test_a_failing_sample_is_told_and_the_plot_goes_on() -> None:
    broken = True

    def sample() -> dict[str, float]:
        if broken:
            raise LabError("the client pod is <gone>")
        return {"a": 1.0}

    with LivePlot(sample, title="t", every=0.01) as plot:
        until(lambda: "the client pod is &lt;gone&gt;" in plot._words.value, timeout=60)
        broken = False
        until(lambda: "a" in plot.series and not plot._words.value, timeout=60)


def test_a_forgotten_plot_ends_by_itself() -> None:
    plot = LivePlot(lambda: {"a": 1.0}, title="t", every=0.01, longest=0.05).start()
    until(lambda: not plot.running, timeout=60)


def test_old_points_leave_the_window() -> None:
    plot = LivePlot(lambda: {"a": 1.0}, title="t", every=1.0, window=3.0)
    for _ in range(20):
        plot.take()
    assert len(plot.series["a"]) <= 5


def test_the_time_between_two_streams_is_a_gap_in_the_lines() -> None:
    plot = LivePlot(lambda: {"a": 1.0}, title="t", every=60.0)
    plot.take()
    with plot.start():
        plot.take()
    assert [math.isfinite(y) for _, y in plot.series["a"]] == [True, False, True]
    assert "a 1" in repr(plot) and "nan" not in plot._picture.value
