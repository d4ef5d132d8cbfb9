"""What live pictures share: a thread that draws them anew until it is told to stop.

A thread, because an asyncio task gets no turn while a cell blocks; with an end, because learners forget pictures.
"""

from __future__ import annotations

import html
import threading
import time
from types import TracebackType
from typing import Any, Self

import ipywidgets as widgets

from meshlab.errors import MeshlabError
from meshlab.notebook.tones import tone

__all__ = ["Live"]


class Live(widgets.VBox):  # type: ignore[misc]
    """A picture above a line of words. Subclasses give `take()`, which measures once and draws.

    Use as a context manager, or `start()` and `stop()`. `take()` is called every `every` seconds; the thread ends by
    itself after `longest` seconds. When `take` fails with an error of ours it says so under the picture and goes on.
    """

    def __init__(self, *, every: float, longest: float = 1800.0) -> None:
        self._every, self._longest = every, longest
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._picture = widgets.HTML("")
        self._words = widgets.HTML("")
        super().__init__([self._picture, self._words])

    def take(self) -> Any:
        """Measure once and draw."""
        raise NotImplementedError

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> Self:
        """Draw in the background until `stop()`. A second call changes nothing."""
        with self._lock:
            if not self.running:
                self._stop.clear()
                self._thread = threading.Thread(target=self._run, name="meshlab-live", daemon=True)
                self._thread.start()
        return self

    def stop(self) -> None:
        """Stop and wait for the thread; the picture stays."""
        self._stop.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=5)
        self._thread = None

    def __enter__(self) -> Self:
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
                self._words.value = f'<div role="status" style="color:{tone("bad")}">{told}</div>'
            else:
                if self._words.value:
                    self._words.value = ""
