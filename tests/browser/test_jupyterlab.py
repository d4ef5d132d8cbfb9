"""The lessons as a learner meets them: in JupyterLab, in a browser, by mouse and keyboard."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from jupyter_page import Book, Server
from playwright.sync_api import Page, expect
from presses import AGAIN, PRESSES

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
#: Looked at with every commit, having most controls; all are with --all-lessons.
ALWAYS = ["04-traffic-shifting"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", NOTEBOOKS if metafunc.config.getoption("--all-lessons") else ALWAYS)


def test_a_lesson_runs_and_its_controls_do_what_they_say(
    name: str, page: Page, server: Server, artifacts: Path
) -> None:
    book = Book.open(page, server.url, f"notebooks/{name}.ipynb")
    number, end = name.partition("-")[0], len(book) - 1
    changes = number not in ("00", "board")  # the others put things back in their last cell
    book.run(0, end - 1 if changes else end)
    for press in PRESSES.get(number, ()):
        press.on(book.control(press.title))
    book.picture(artifacts / f"{name}.png")
    if changes:
        AGAIN.on(book.control(AGAIN.title))
        book.run(end, end)
    assert book.errors == []
    assert [text for text in book.printed if re.search(r"Traceback|\w+Warning:", text)] == []


def test_a_lesson_in_another_language_opens_beside_what_is_there(page: Page, server: Server) -> None:
    book = Book.open(page, server.url, "notebooks/00-start-here.ipynb")
    page.evaluate("window.kept = true")  # gone with a page that is loaded anew
    (cell,) = page.evaluate(
        "[...jupyterapp.shell.currentWidget.content.model.cells].flatMap((each, number) =>"
        " each.id === '00-language-switch' ? [number] : [])"
    )
    book.run(cell, cell)
    switch = book.control("Language")
    switch.get_by_role("button", name="简体中文").click()
    switch.get_by_role("link", name="01").click()
    expect(page.get_by_role("heading", name="01 · 安装控制平面")).to_be_visible()
    assert page.evaluate("window.kept")


def test_the_workbook_opens_with_lesson_00_beside_the_board_and_asks_nothing(
    page: Page, server: Server, artifacts: Path
) -> None:
    page.goto(f"{server.url}/lab")
    page.wait_for_function("window.jupyterapp !== undefined")
    page.evaluate("jupyterapp.restored.then(() => {})")  # what the workspace says is open by then
    tabs = page.locator(".lm-DockPanel-tabBar .lm-TabBar-tab")
    expect(tabs).to_have_text(["00-start-here.ipynb", "board.ipynb"])
    expect(page.get_by_role("heading", name="00 · Start here")).to_be_visible()
    expect(page.get_by_role("heading", name="The live board")).to_be_visible()
    page.screenshot(path=artifacts / "first-sight.png")
    expect(page.locator(".jp-Dialog, .Toastify__toast")).to_have_count(0)
