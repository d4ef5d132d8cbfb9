"""JupyterLab as `meshlab start` starts it, on a copy of the lessons, and a browser that looks at it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_page import Listener, Server
from playwright.sync_api import Browser, Page, expect
from ports import free_port

from meshlab.lab import Lab

ROOT = Path(__file__).resolve().parents[2]
#: From the command to a server that answers, seconds: the add-ons come up first.
START = 300
#: For what a browser waits for on a busy machine, milliseconds.
PATIENCE = 120_000


@pytest.fixture(scope="session")
def server(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`meshlab start`, its notebooks being a copy, its user one who has never been here."""
    folder, user = tmp_path_factory.mktemp("workbook"), tmp_path_factory.mktemp("user")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    port = free_port()
    token = secrets.token_hex(16)
    words = [
        *(Path(sys.prefix) / "bin" / "meshlab", "start", "--no-browser", "--"),
        *(f"--ServerApp.root_dir={folder}", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"),
        *(f"--IdentityProvider.token={token}", "--expose-app-in-browser", "--LabApp.extension_manager=readonly"),
    ]
    log = user / "start.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            words, env={**os.environ, "HOME": str(user)}, stdout=out, stderr=out, start_new_session=True
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _await(f"{url}/api/status?token={token}", process, log)
        yield Server(url, token, folder)
    finally:
        process.terminate()
        process.wait(timeout=120)


def _await(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    ends = time.monotonic() + START
    while process.poll() is None and time.monotonic() < ends:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - our own server
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)  # until the next look, or the server's end
    pytest.fail(f"meshlab start does not answer; it said:\n{log.read_text()}")


@pytest.fixture
def listener(server: Server) -> Listener:
    return Listener(server.url.removeprefix("http://"))


@pytest.fixture
def page(browser: Browser, server: Server, listener: Listener) -> Iterator[Page]:
    """A page that may see the server; at its end nobody may have complained or asked elsewhere."""
    expect.set_options(timeout=PATIENCE)
    with browser.new_context(viewport={"width": 1300, "height": 1000}, reduced_motion="reduce") as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(f"{server.url}/api/status?token={server.token}")  # a cookie from here on
        listener.listen(page)
        yield page
    assert listener.complaints == []
