"""Every kind of control and of output in one notebook: by the keyboard alone, and to be read in both themes."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe
from jupyter_page import Book, Server
from playwright.sync_api import Page, expect

from meshlab.lab import Lab

CELL = """
import meshlab
from IPython.display import display
from meshlab.notebook import *
from meshlab.notebook.exercise import Verdict
lab = meshlab.connect()
traffic = LoadSwitch(lab)
plot = LivePlot(lambda: {"v0.1": 3.0, "v0.2": 1.0, "v0.3": 2.0}, title="requests")
plot.take(); plot.take()
knobs, weights = RouteKnobs(lab, "svcb"), WeightSlider(lab)
display(traffic, weights, knobs, CircuitBreaker(lab), EgressSwitch(lab), MutualTLSSwitch(lab), ScaleSlider(lab))
display(Canary(lab, lambda n: lab.curl("http://svca/pay", n=n)), LanguageSwitch(), plot)
"""
OUTPUTS = """
display(split({"v0.1": 180, "v0.2": 220}, {"v0.1": 50, "v0.2": 50}), Progress.of(lab), practice(lab, "04", 1))
display(Verdict.right("so it is"), Verdict.not_yet("measured otherwise"), Verdict.not_attempted("write a number"))
claim("this is so", True, {"svcb": 40})
display(Picture("digraph { node [style=filled fillcolor=\\"#bfe3cf\\"]; a -> b [label=x]; }", alt="a calls b"))
for tone in ("good", "bad", "busy", "plain"):
    widget = EgressSwitch(lab); widget.say(f"in tone {tone}", tone=tone); display(widget)
lab.curl("http://svca/pay", n=20)
display(lab, lab.servicegraph("1m"), lab.curl("http://svca/pay", n=2), Dashboard(lab))
"""
#: What the browser draws around an element that has the focus, against without it.
_FOCUS = """() => {
    const element = document.activeElement, drawn = () => {
        const style = getComputedStyle(element), below = element.firstElementChild
            ? getComputedStyle(element.firstElementChild) : style;
        return [style.outlineStyle, style.outlineColor, style.outlineWidth, style.boxShadow, style.borderColor,
                style.backgroundColor, below.boxShadow].join();
    };
    const focused = drawn(), text = element.textContent.trim() || element.className;
    const inside = element.closest('.jp-OutputArea') !== null;
    element.blur();
    const otherwise = drawn();
    element.focus();
    return {text, inside, role: element.getAttribute('role') || element.tagName.toLowerCase(),
            visible: focused !== otherwise};
}"""


@pytest.fixture(scope="module")
def notebook(server: Server) -> str:
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in (CELL, OUTPUTS)])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, server.folder / "controls.ipynb")
    return "controls.ipynb"


def complaints(page: Page, *within: str) -> list[str]:
    """What axe finds wrong in these parts of the page: rule, what to do, and the element."""
    options = {"resultTypes": ["violations"], "runOnly": ["wcag2a", "wcag2aa", "wcag21aa"]}
    found = Axe().run(page, context={"include": [[each] for each in within]}, options=options)
    return sorted(
        f"{broken['id']}: {node['failureSummary'].splitlines()[-1].strip()} {node['html'][:160]}"
        for broken in found.response["violations"]
        for node in broken["nodes"]
    )


def test_controls_and_outputs_can_be_read_in_the_light_and_in_the_dark(
    page: Page, server: Server, notebook: str, artifacts: Path
) -> None:
    book = Book.open(page, server.url, notebook)
    book.run(0, 1)
    assert book.errors == []
    found = {}
    for theme in ("Dark", "Light"):  # the light one last: the server remembers it
        page.evaluate("theme => jupyterapp.commands.execute('apputils:change-theme', {theme})", f"JupyterLab {theme}")
        expect(page.locator("body")).to_have_attribute("data-jp-theme-light", str(theme == "Light").lower())
        book.picture(artifacts / f"controls-{theme.lower()}.png")
        found[theme] = complaints(page, ".jp-OutputArea-output")
    assert "\n".join(f"{theme}: {each}" for theme, broken in found.items() for each in broken) == ""


def test_the_keyboard_reaches_each_control_in_its_turn_and_one_sees_where_it_is(
    page: Page, server: Server, notebook: str, lab: Lab
) -> None:
    found = lab.checkpoint()
    book = Book.open(page, server.url, notebook)
    book.run(0, 0)
    first = book.control("Traffic: requests to").get_by_role("button", name="start", exact=True)
    expect(page.locator(".jp-OutputArea").get_by_role("slider")).to_have_count(6)  # all controls are drawn by now
    first.focus()
    walked = []
    for _ in range(60):
        at = page.evaluate(_FOCUS)
        if not at["inside"]:
            break
        walked.append(at)
        page.keyboard.press("Tab")
    roles = [each["role"] for each in walked]
    assert roles.count("slider") == 6, walked  # one of weights, four knobs, one of pods
    assert [each for each in walked if not each["visible"]] == []
    weights = book.control("Traffic: how much")
    slider = weights.get_by_role("slider", name="v0.2")
    slider.focus()
    for key, says in (("Home", "100/0:"), ("ArrowUp", "95/5:"), ("ArrowRight", "90/10:"), ("ArrowDown", "95/5:")):
        page.keyboard.press(key)
        expect(weights).to_contain_text(says)
        expect(slider).to_be_focused()  # and JupyterLab's selection of cells has not moved
    egress = book.control("Egress").get_by_role("button")
    egress.focus()
    for key, says in (("Space", "allowed:"), ("Enter", "blocked:")):
        page.keyboard.press(key)
        expect(book.control("Egress")).to_contain_text(says)
        expect(egress).to_be_focused()
    lab.restore(found)
