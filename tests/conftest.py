"""One lab for the whole run: its own folder, a free set of addresses, gone afterwards.

Tests marked `both_captures` run twice, in a lab with the shim and in one with iptables; all others with the shim.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from meshlab.errors import LabError
from meshlab.lab import Lab, connect, environment
from meshlab.settings import Capture, Settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

#: As root there is no sandbox, and none of what Chromium asks of its maker's hosts is wanted.
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--engine-context", help="run tests/conformance on this context of your kubeconfig, too")
    parser.addoption(
        "--lessons", action="store_true",
        help="every lesson on the engine for clusters: the stand-in's (15 minutes), and --engine-context's",
    )  # fmt: skip
    group = parser.getgroup("the workbook in a browser")
    group.addoption("--all-lessons", action="store_true", help="every lesson in JupyterLab, not two (4 minutes)")
    group.addoption("--artifacts", type=Path, metavar="DIR", help="keep screenshots here, not in pytest's folder")


def pytest_configure(config: pytest.Config) -> None:
    os.environ.pop("MESHLAB_CONTEXT", None)  # tests mean the lab of this machine, whatever their shell works on
    config.addinivalue_line("markers", "both_captures: run with the shim and with iptables")
    # The same examples in every run, however busy the machine; --hypothesis-profile=new looks for others.
    patient = hypothesis.settings(deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
    hypothesis.settings.register_profile("new", patient)
    hypothesis.settings.register_profile("same", patient, derandomize=True)
    hypothesis.settings.load_profile("same")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from sharing import Together

    return Together(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """For workers: the lab with most of the tests keeps one of them busy to the end, so it comes first. The one with
    iptables comes last: a worker keeps its lab until it ends, and the lab's settings are in the environment."""
    if hasattr(config, "workerinput"):
        turns = {Capture.SHIM: 0, None: 1, Capture.IPTABLES: 2}
        captures = {item: item.callspec.params.get("capture") for item in items if hasattr(item, "callspec")}
        items.sort(key=lambda item: turns[captures.get(item)])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "capture" in metafunc.fixturenames:
        both = metafunc.definition.get_closest_marker("both_captures")
        captures = list(Capture) if both else [Capture.SHIM]
        metafunc.parametrize("capture", captures, indirect=True, scope="session", ids=lambda each: f"lab={each.value}")


@pytest.fixture(scope="session")
def capture(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Capture:
    """How the lab leads connections to its sidecars. Skips what this machine does not allow."""
    capture: Capture = request.param
    if capture is Capture.IPTABLES:
        from meshlab.cluster.network.namespaces.lab import check
        from meshlab.doctor import fetch_iptables

        settings = Settings(tmp_path_factory.mktemp("trial"))
        try:
            fetch_iptables(settings)
            check(settings)
        except LabError as error:
            pytest.skip(str(error))
    return capture


@pytest.fixture(scope="session")
def artifacts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots are kept."""
    chosen: Path | None = request.config.getoption("--artifacts")
    if chosen is None:
        return tmp_path_factory.mktemp("artifacts")
    chosen.mkdir(parents=True, exist_ok=True)
    return chosen


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The browser. Skips where there is none and none can be fetched."""
    from meshlab.browser import fetch_browser

    try:
        return fetch_browser(Settings(tmp_path_factory.mktemp("browser")))
    except LabError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def browser(chromium: Path) -> Iterator[Browser]:
    """Chromium. Per module: while it is there, an event loop runs in this thread, and papermill wants its own."""
    from playwright.sync_api import sync_playwright

    from meshlab.browser import driver_environment

    with pytest.MonkeyPatch.context() as patch:
        for name, value in driver_environment(Settings.load()).items():
            patch.setenv(name, value)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS, timeout=180_000)
            yield browser
            browser.close()


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the lessons' tests leave the pages that their lessons gave."""
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="session")
def lab_home(tmp_path_factory: pytest.TempPathFactory, capture: Capture) -> Path:
    return tmp_path_factory.mktemp(capture.value) / "home"


@pytest.fixture(scope="session")
def lab(lab_home: Path, capture: Capture) -> Iterator[Lab]:
    """The lab with the control plane and the demo services; `meshlab down` must leave nothing."""
    from meshlab.cluster.daemon import stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MESHLAB_HOME", str(lab_home))
        patch.setenv("MESHLAB_CAPTURE", capture.value)
        patch.delenv("KUBECONFIG", raising=False)
        patch.setenv("PATH", os.environ["PATH"])
        lab = connect()
        assert lab.network.capture is capture
        try:
            lab.require("control-plane", "demo")
            yield lab
        finally:
            left = stop(lab.settings)
        assert left == []


@pytest.fixture(scope="session")
def shell_environment(lab: Lab) -> dict[str, str]:
    """What a learner's shell has after `eval "$(meshlab env)"`."""
    return {**os.environ, **environment(lab.settings, os.environ)}
