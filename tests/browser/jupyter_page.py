"""JupyterLab in a browser, as far as the tests use it: a notebook is opened, its cells run, its outputs looked at.

JupyterLab is asked through its own commands (`--expose-app-in-browser`), learners' controls are pressed by the mouse
and the keyboard.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import ConsoleMessage, Locator, Page, Request

__all__ = ["Book", "Listener", "Server"]

#: Seconds for a whole lesson: 04 takes 12 s on two quiet cores.
LESSON = 600
#: A kernel's start on a busy machine, seconds.
KERNEL = 300
#: Height of one screenshot, pixels: Chromium draws no more than 16,384 in one go.
TALLEST = 16_000

_PANEL = "[...jupyterapp.shell.widgets('main')].find(each => each.context?.path === path)"
_READY = f"""path => {{
    const panel = {_PANEL}, kernel = panel?.sessionContext.session?.kernel;
    return panel?.context.isReady && panel.sessionContext.isReady && kernel?.connectionStatus === 'connected'
        && kernel.status === 'idle';
}}"""
_RUN = f"""([path, first, last]) => {{
    const panel = {_PANEL}, notebook = panel.content;
    jupyterapp.shell.activateById(panel.id);
    notebook.deselectAll();
    notebook.activeCellIndex = first;
    if (last > first) notebook.extendContiguousSelectionTo(last);
    window.ran = undefined;
    jupyterapp.commands.execute('notebook:run-cell').finally(() => {{ window.ran = true; notebook.deselectAll(); }});
}}"""
_OUTPUTS = f"""path => [...{_PANEL}.content.model.cells].flatMap((cell, number) =>
    cell.type === 'code' ? cell.outputs.toJSON().map(output => [number, output]) : [])"""
_COUNT = f"path => {_PANEL}.content.model.cells.length"
#: JupyterLab draws the cells in view only; for a picture it draws all, from the top.
_WHOLE = f"""path => {{
    const notebook = {_PANEL}.content, outer = notebook.node.querySelector('.jp-WindowedPanel-outer');
    notebook.notebookConfig = {{...notebook.notebookConfig, windowingMode: 'none'}};
    outer.scrollTop = 0;
    return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(
        [...notebook.node.querySelectorAll('.jp-Cell')].reduce((sum, cell) => sum + cell.offsetHeight + 8, 120)))));
}}"""


@dataclass(frozen=True)
class Server:
    """`url` of JupyterLab without a slash at its end, the token it asks for, and its folder."""

    url: str
    token: str
    folder: Path


@dataclass
class Listener:
    """What a page says and asks for: errors on its console, requests to other hosts than its own."""

    host: str
    complaints: list[str] = field(default_factory=list)

    def listen(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        page.on("request", self._request)
        page.on("websocket", lambda socket: self._address(socket.url))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(f"console: {message.text} ({message.location.get('url', '')})")

    def _request(self, request: Request) -> None:
        self._address(request.url)

    def _address(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob", "file", "about") and parts.netloc != self.host:
            self.complaints.append(f"asked another host: {url}")


@dataclass
class Book:
    """One notebook in JupyterLab; `path` is relative to the server's folder."""

    page: Page
    path: str

    @classmethod
    def open(cls, page: Page, url: str, path: str) -> Book:
        """Open the notebook alone, in a workspace of its own, and wait for its kernel."""
        page.goto(f"{url}/lab/workspaces/tests/tree/{path}?reset")
        page.wait_for_function("window.jupyterapp !== undefined")
        page.wait_for_function(_READY, arg=path, timeout=1000 * KERNEL)
        page.evaluate("jupyterapp.shell.collapseLeft()")
        return cls(page, path)

    def __len__(self) -> int:
        return int(self.page.evaluate(_COUNT, self.path))

    def run(self, first: int, last: int) -> None:
        """Run the cells from number `first` to `last`, both included, and wait until they have run."""
        self.page.evaluate(_RUN, [self.path, first, last])
        self.page.wait_for_function("window.ran === true", timeout=1000 * LESSON)

    @property
    def outputs(self) -> list[tuple[int, dict[str, Any]]]:
        """The number of a cell, and one of its outputs as nbformat has them."""
        return [(int(number), output) for number, output in self.page.evaluate(_OUTPUTS, self.path)]

    @property
    def errors(self) -> list[str]:
        return [
            f"cell {number}: {output['ename']}: {output['evalue']}"
            for number, output in self.outputs
            if output["output_type"] == "error"
        ]

    @property
    def printed(self) -> list[str]:
        return ["".join(output["text"]) for _, output in self.outputs if output["output_type"] == "stream"]

    def control(self, title: str) -> Locator:
        """The control, or the live picture, whose title begins so: its whole box. Of several the last one."""
        return self.page.locator(f'.jp-OutputArea .widget-vbox:has(> .widget-html :text("{title}"))').last

    def picture(self, file: Path) -> None:
        """A screenshot of the whole notebook, with every cell drawn."""
        size = self.page.viewport_size
        assert size is not None
        for _ in range(2):  # the first time it is laid out in a window too small
            tall = int(self.page.evaluate(_WHOLE, self.path))
            self.page.set_viewport_size({"width": size["width"], "height": max(size["height"], min(TALLEST, tall))})
        self.page.screenshot(path=file)
        self.page.set_viewport_size(size)
