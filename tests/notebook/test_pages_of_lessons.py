"""The pages of the executed lessons, in a browser without a network: all there, and to be read by everybody."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from meshlab.lab import Lab
from meshlab.notebook.execute import execute, lessons

ROOT = Path(__file__).resolve().parents[2]
BOOKS = lessons(ROOT / "notebooks")
#: What `meshlab start --headless` writes.
PAGES = {f"{path.stem}.html" for path in (ROOT / "notebooks").iterdir() if path.suffix in (".ipynb", ".md")}
#: Outputs that take no room, or hold neither words nor a picture; pictures that draw nothing.
_BLANK = """() => {
    const room = element => element.getBoundingClientRect().height > 2;
    const shown = element => element.innerText.trim() !== '' || element.querySelector('svg, img') !== null;
    const outputs = [...document.querySelectorAll('.jp-OutputArea-output')].filter(each => !room(each) || !shown(each));
    const pictures = [...document.querySelectorAll('svg')].filter(each => !room(each) || each.children.length === 0);
    return [...outputs, ...pictures].map(each => each.outerHTML.slice(0, 200));
}"""


@pytest.fixture(scope="module")
def every_page(pages: Path, lab: Lab) -> Path:
    """The folder with all pages; those that no test before has made are made now, before there is a browser."""
    for book in BOOKS:
        if not (pages / f"{book.stem}.html").exists():
            execute(book, pages, deadline=900.0)
    return pages


@pytest.mark.parametrize("name", [book.stem for book in BOOKS])
def test_a_page_shows_everything_without_a_network(
    name: str, every_page: Path, browser: Browser, artifacts: Path
) -> None:
    asked: list[str] = []
    with browser.new_context(offline=True, viewport={"width": 1200, "height": 900}) as context:
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.on("request", lambda request: asked.append(request.url))
        address = (every_page / f"{name}.html").as_uri()
        page.goto(address)
        page.screenshot(path=artifacts / f"page-{name}.png", full_page=True)
        assert page.evaluate(_BLANK) == []
        found = Axe().run(page, options={"resultTypes": ["violations"], "runOnly": ["wcag2a", "wcag2aa", "wcag21aa"]})
    broken = [(each["id"], node["html"][:200]) for each in found.response["violations"] for node in each["nodes"]]
    assert broken == []
    links = re.findall(r'<a\b[^>]*href="([^"#:]+)', Path(every_page / f"{name}.html").read_text())
    assert [link for link in links if link not in PAGES] == []
    assert [url for url in asked if url != address and not url.startswith("data:")] == []
