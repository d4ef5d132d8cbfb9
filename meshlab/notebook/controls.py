"""What the live controls share: a box with a title, the YAML that it applies, a line on what it did.

State in, events out: a control holds no truth of its own. Everything that a button does is a method, so that
papermill, a test or a learner's own cell can do it too; pressing the button only calls that method and shows
an error of ours in the box instead of raising it into the browser.

JupyterLab delivers presses on threads of their own, at the same time as cells run, hence the lock.
"""

from __future__ import annotations

import html
import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from meshlab.errors import MeshlabError
from meshlab.notebook import tones
from meshlab.phrases import tr

if TYPE_CHECKING:
    from meshlab.inforce import InForce

__all__ = ["Control", "acknowledged", "note"]


def note(text: str, *, tone: str = "plain") -> str:
    """One line of HTML for a control: `tone` is plain, good, bad or busy."""
    colour = tones.tone(tone)
    body = html.escape(text).replace("\n", "<br>")
    return f'<div role="status" style="color:{colour};line-height:1.45">{body}</div>'


def acknowledged(done: InForce) -> str:
    """How a change took effect, in words: by how many sidecars it was acknowledged, and after how long."""
    count = len(done.proxies)
    if done.ms is None or not count:
        return tr("stored, and no sidecar's configuration changed by it")
    if count == 1:
        return tr("acknowledged by 1 sidecar after {ms:.0f} ms", ms=done.ms)
    return tr("acknowledged by {count} sidecars after {ms:.0f} ms", count=count, ms=done.ms)


class Control(widgets.VBox):  # type: ignore[misc]
    """A titled box: the control's own parts, then its YAML, then its last words.

    Subclasses put their parts in by `assemble(…)`, show YAML by `show_yaml`, speak by `say`, and wrap what
    the browser triggers in `pressed`.
    """

    def __init__(self, title: str) -> None:
        self._lock = threading.RLock()
        self._from_code = False
        self._title = widgets.HTML(f"<b>{html.escape(title)}</b>")
        self._yaml = widgets.HTML("")
        self._said = widgets.HTML(note(tr("not used yet")))
        super().__init__([self._title, self._yaml, self._said])
        self.layout.border = f"1px solid {tones.FAINT}"
        self.layout.padding = "8px 12px"
        self.layout.max_width = "640px"

    def __repr__(self) -> str:
        return f"[{_words(self._title.value)}] {_words(self._said.value)}"

    def assemble(self, *parts: widgets.Widget) -> None:
        """Put `parts` between the title and the YAML."""
        self.children = (self._title, *parts, self._yaml, self._said)

    def show_yaml(self, text: str, *, command: str = "", then: str = "") -> None:
        """Show the YAML that this control applies, folded, with the tutorial's command that does the same.

        Rules of 2018 are shown in today's words, too; `then` is what stood for a kind of today in 2018.
        """
        if not text:
            self._yaml.value = ""
            return
        summary = html.escape(command or "YAML")
        self._yaml.value = _folded(summary, text)
        if today := _today(text):
            self._yaml.value += _folded(tr("today: {api}", api="networking.istio.io/v1"), today)
        if then:
            self._yaml.value += _folded("2018", then)

    def say(self, text: str, *, tone: str = "plain") -> None:
        """Replace the control's last words."""
        self._said.value = note(text, tone=tone)

    @property
    def said(self) -> str:
        """The last words as HTML, for tests and for the curious."""
        return str(self._said.value)

    def quietly(self, change: Callable[[], None]) -> None:
        """Change a part from code without the press handler running."""
        with self._lock:
            self._from_code = True
            try:
                change()
            finally:
                self._from_code = False

    def pressed(self, action: Callable[[], Any]) -> None:
        """Run what a press asks for. Errors of ours are told in the box, where the learner looks."""
        if self._from_code:
            return
        with self._lock:
            try:
                action()
            except MeshlabError as error:
                self.say(str(error), tone="bad")


def _words(markup: str) -> str:
    """What a line of our HTML says, for a terminal."""
    return html.unescape(re.sub(r"<[^>]*>", "", markup.replace("<br>", "; ")))


def _folded(summary: str, text: str) -> str:
    return (
        f"<details><summary><code>{summary}</code></summary>"
        f'<pre style="line-height:1.3;margin:4px 0 4px 14px">{html.escape(text)}</pre></details>'
    )


def _today(text: str) -> str:
    """The same in today's API, empty where there is nothing to convert."""
    if "config.istio.io/v1alpha2" not in text:
        return ""
    from meshlab.mesh.config.convert.stream import convert

    return convert(text).text
