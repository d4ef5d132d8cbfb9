"""A live line chart that is nothing but SVG in an HTML widget.

Why not a plotting library: the same picture stays in the notebook file, in the exported HTML and without any
network or JavaScript, costs 1 to 4 ms an update, and adds nothing to install.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Self

from meshlab.addons.svg import line_chart
from meshlab.notebook.live import Live

__all__ = ["LivePlot"]


class LivePlot(Live):
    """Calls `sample()` every `every` seconds and draws the last `window` seconds of what it gives.

    `sample` returns one number per line, keyed by the line's name; one that is not a number is left out. `take()`
    samples once (for code that has a rhythm of its own). `maximum` fixes the top of the axis.
    """

    def __init__(
        self,
        sample: Callable[[], Mapping[str, float]],
        *,
        title: str,
        unit: str = "",
        every: float = 0.5,
        window: float = 60.0,
        longest: float = 1800.0,
        width: int = 640,
        height: int = 240,
        maximum: float | None = None,
    ) -> None:
        super().__init__(every=every, longest=longest)
        self._sample, self._window = sample, window
        self._heading, self._unit, self._width, self._height, self._maximum = title, unit, width, height, maximum
        self._points: dict[str, deque[tuple[float, float]]] = {}
        self._began = time.monotonic()
        self._draw()

    def start(self) -> Self:
        """Draw in the background until `stop()`; lines do not bridge the time since they were last drawn."""
        if not self.running:
            now = time.monotonic() - self._began
            with self._lock:
                for line in self._points.values():
                    line.append((now, math.nan))
        return super().start()

    def take(self) -> Mapping[str, float]:
        """Sample once, add the point and draw."""
        values = self._sample()
        now = time.monotonic() - self._began
        keep = int(self._window / max(self._every, 0.05)) + 2
        with self._lock:
            for name, value in values.items():
                if math.isfinite(value):
                    self._points.setdefault(name, deque(maxlen=keep)).append((now, float(value)))
            for line in self._points.values():
                while line and line[0][0] < now - self._window:
                    line.popleft()
        self._draw()
        return values

    def __repr__(self) -> str:
        seen = {name: [y for _, y in line if math.isfinite(y)] for name, line in self.series.items()}
        last = [f"{name} {values[-1]:.4g}" for name, values in seen.items() if values]
        return f"[{self._heading}] {', '.join(last) or 'no data yet'}"

    @property
    def series(self) -> dict[str, list[tuple[float, float]]]:
        """What is drawn: per line, (seconds since the plot was made, value); NaN where it was not watched."""
        with self._lock:
            return {name: list(line) for name, line in self._points.items()}

    def _draw(self) -> None:
        self._picture.value = line_chart(
            self.series,
            title=self._heading,
            unit=self._unit,
            width=self._width,
            height=self._height,
            maximum=self._maximum,
        )
