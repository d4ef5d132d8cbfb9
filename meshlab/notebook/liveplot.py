"""A live line chart that is nothing but SVG in an HTML widget.

Why not a plotting library: the same picture stays in the notebook file, in the exported HTML and without any
network or JavaScript, costs 1 to 4 ms an update, and adds nothing to install. Updates come from a thread,
because an asyncio task gets no turn while a cell blocks.
"""

from __future__ import annotations

import html
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType

import ipywidgets as widgets

from meshlab.addons.svg import line_chart
from meshlab.errors import MeshlabError

__all__ = ["LivePlot"]


class LivePlot(widgets.VBox):  # type: ignore[misc]
    """Calls `sample()` every `every` seconds and draws the last `window` seconds of what it gives.

    `sample` returns one number per line, keyed by the line's name. Use as a context manager, or `start()` and
    `stop()`; `take()` samples once (for code that has a rhythm of its own). The thread ends by itself after
    `longest` seconds, and when `sample` fails with an error of ours it says so under the picture and goes on.
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
    ) -> None:
        self._sample, self._every, self._window, self._longest = sample, every, window, longest
        self._heading, self._unit, self._width, self._height = title, unit, width, height
        self._points: dict[str, deque[tuple[float, float]]] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._began = time.monotonic()
        self._picture = widgets.HTML("")
        self._words = widgets.HTML("")
        super().__init__([self._picture, self._words])
        self._draw()

    def take(self) -> Mapping[str, float]:
        """Sample once, add the point and draw."""
        values = self._sample()
        now = time.monotonic() - self._began
        keep = int(self._window / max(self._every, 0.05)) + 2
        with self._lock:
            for name, value in values.items():
                self._points.setdefault(name, deque(maxlen=keep)).append((now, float(value)))
            for line in self._points.values():
                while line and line[0][0] < now - self._window:
                    line.popleft()
        self._draw()
        return values

    @property
    def series(self) -> dict[str, list[tuple[float, float]]]:
        """What is drawn: per line, (seconds since the plot was made, value)."""
        with self._lock:
            return {name: list(line) for name, line in self._points.items()}

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> LivePlot:
        """Sample in the background until `stop()`. A second call changes nothing."""
        with self._lock:
            if not self.running:
                self._stop.clear()
                self._thread = threading.Thread(target=self._run, name="meshlab-liveplot", daemon=True)
                self._thread.start()
        return self

    def stop(self) -> None:
        """Stop sampling and wait for the thread; the picture stays."""
        self._stop.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=5)
        self._thread = None

    def __enter__(self) -> LivePlot:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        ends = time.monotonic() + self._longest
        while not self._stop.wait(self._every) and time.monotonic() < ends:
            try:
                self.take()
            except MeshlabError as error:
                told = html.escape(str(error))
                self._words.value = f'<div role="status" style="color:#b3261e">{told}</div>'
            else:
                if self._words.value:
                    self._words.value = ""

    def _draw(self) -> None:
        self._picture.value = line_chart(
            self.series, title=self._heading, unit=self._unit, width=self._width, height=self._height
        )
