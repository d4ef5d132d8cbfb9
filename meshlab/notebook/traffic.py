"""The traffic switch: a steady stream of requests, and the sampler that turns it into a live picture."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from meshlab.notebook.controls import Control
from meshlab.phrases import tr

if TYPE_CHECKING:
    from meshlab.lab import Lab
    from meshlab.notebook.liveplot import LivePlot
    from meshlab.traffic import Load

__all__ = ["LoadSwitch", "by_version"]

#: A forgotten stream ends by itself, seconds: a workshop's machine is shared.
LONGEST = 600


class LoadSwitch(Control):
    """A toggle that starts or stops a steady stream of requests. `start()` and `stop()` do what a press does.

    The stream runs in the client pod, not in the kernel: it stays even while a cell computes. It is off when
    the switch is made and ends by itself after `seconds`.
    """

    def __init__(self, lab: Lab, *, url: str = "http://svca/pay", rps: int = 20, seconds: int = LONGEST) -> None:
        super().__init__(tr("Traffic: requests to {url}", url=url))
        self._lab, self._url, self._seconds = lab, url, seconds
        self.load: Load | None = None
        self._plots: tuple[LivePlot, ...] = ()
        self._button = widgets.ToggleButton(description=tr("start"), tooltip=tr("start or stop the stream"))
        self._button.observe(lambda change: self.pressed(self.start if change["new"] else self.stop), "value")
        self._rate = widgets.BoundedIntText(value=rps, min=1, max=200, description=tr("per second"))
        self.assemble(widgets.HBox([self._button, self._rate]))

    def watch(self, *plots: LivePlot) -> LoadSwitch:
        """Let live pictures run exactly while the stream does; returns the switch."""
        self._plots = plots
        return self

    def start(self) -> Load:
        """Start the stream (a running one goes on) and return it."""
        with self._lock:
            if self.load is None or not self.load.progress().get("running"):
                self.load = self._lab.load(self._url, rps=int(self._rate.value), seconds=self._seconds)
                self.say(
                    tr(
                        "{rate} requests a second, for at most {seconds} s",
                        rate=self._rate.value,
                        seconds=self._seconds,
                    ),
                    tone="good",
                )
            for plot in self._plots:
                plot.start()
            self.quietly(lambda: self._draw(True))
            return self.load

    def stop(self) -> Mapping[str, Any]:
        """Stop the stream; returns what it counted, empty if none ran."""
        with self._lock:
            counted: Mapping[str, Any] = {}
            for plot in self._plots:
                plot.stop()
            if self.load is not None:
                self.load.stop()
                counted = self.load.progress()
                self.load = None
                self.say(
                    tr(
                        "stopped: {sent} sent, {ok} answered with 2xx",
                        sent=counted.get("sent", 0),
                        ok=counted.get("ok", 0),
                    )
                )
            self.quietly(lambda: self._draw(False))
            return counted

    def _draw(self, running: bool) -> None:
        self._button.value = running
        self._button.description = tr("stop") if running else tr("start")
        self._button.button_style = "success" if running else ""


def by_version(source: Load | LoadSwitch) -> Callable[[], Mapping[str, float]]:
    """A sampler for `LivePlot`: requests per second by the version that served them, since the last sample.

    `source` is a load or a traffic switch (which may be off: then the rates are 0).
    """
    before: dict[str, int] = {}
    since = time.monotonic()
    run: object = None

    def sample() -> Mapping[str, float]:
        nonlocal before, since, run
        load = source.load if isinstance(source, LoadSwitch) else source
        counts: dict[str, int] = {}
        if load is not None:
            for name, count in dict(load.progress().get("by_upstream") or {}).items():
                version = str(name).rpartition(";")[2] or "nobody"
                counts[version] = counts.get(version, 0) + int(count)
        if load is not run:  # another stream counts from nought again
            before, run = {}, load
        now = time.monotonic()
        elapsed, since = max(now - since, 1e-6), now
        names = {*before, *counts}
        rates = {name: max(0, counts.get(name, 0) - before.get(name, 0)) / elapsed for name in sorted(names)}
        before = counts
        return rates

    return sample
