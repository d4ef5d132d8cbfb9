"""The main job: the lab with the whole tutorial in it, and the workbook open in a browser or executed to HTML."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from .doctor import fetch_prometheus
from .errors import ManifestError
from .lab import Lab, connect
from .phrases import current, tr
from .settings import Settings

__all__ = ["configure", "headless", "jupyter", "prepare"]

ROOT = Path(__file__).resolve().parent.parent
Report = Callable[[str], None]


def prepare(report: Report) -> Lab:
    """Nothing → the control plane, the demo services and the addons, all ready. What is there stays."""
    settings = Settings.load()
    began = time.monotonic()
    fetch_prometheus(settings)
    # Somebody at a terminal can be asked whether he means a cluster that looks like production.
    lab = connect(ask=input if sys.stdin.isatty() else None, report=report)
    lab.require("control-plane", "demo", "prometheus", "grafana", "servicegraph", "zipkin")
    report(tr("the lab is ready after {seconds:.1f} s", seconds=time.monotonic() - began))
    return lab


def jupyter(lab: Lab, words: Sequence[str], *, browser: bool, report: Report) -> int:
    """JupyterLab in the foreground, on loopback, with the lab's commands on its PATH. Ctrl-C ends it, not the lab.

    `words` go to `jupyter lab` and have the last word. Lesson 00 opens beside the live board; later starts open what
    was left open.
    """
    os.environ.update(lab.engine.environment(os.environ))
    configure(lab.settings)
    command = [sys.executable, "-m", "jupyter", "lab"]
    if os.geteuid() == 0:
        command.append("--allow-root")
    if not browser:
        command.append("--no-browser")
    report(tr("opening the workbook; Ctrl-C ends JupyterLab, `meshlab down` ends the lab"))
    sys.stdout.flush()
    os.execv(sys.executable, [*command, *words])


def configure(settings: Settings) -> None:
    """Our settings of JupyterLab, in the lab's folder: as files, because words of the command line win over these.

    JupyterLab offers to fetch news from another host, and asks about it first: neither belongs in a lesson.
    """
    from .notebook.languages import workbook

    folder = settings.home / "jupyter"
    config = {
        # Of what it says, the address to open is enough; and Ctrl-C is meant.
        "ServerApp": {"ip": "127.0.0.1", "root_dir": str(ROOT), "log_level": "WARN", "answer_yes": True},
        "LabApp": {"log_level": "WARN", "check_for_updates_class": "jupyterlab.NeverCheckForUpdate"},
    }
    news = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    (folder / "labconfig").mkdir(parents=True, exist_ok=True)
    (folder / "jupyter_server_config.json").write_text(json.dumps(config))
    (folder / "labconfig" / "page_config.json").write_text(json.dumps(news))
    paths = [str(folder), *filter(None, [os.environ.get("JUPYTER_CONFIG_PATH")])]
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(paths)
    workspaces = folder / "workspaces"
    os.environ["JUPYTERLAB_WORKSPACES_DIR"] = str(workspaces)
    if not workspaces.exists():
        workspaces.mkdir()
        # "default", by the name that JupyterLab gives to its file.
        opened = (ROOT / "binder" / "workspace.json").read_text()
        if current() != "en":
            opened = opened.replace("notebooks/", f"{workbook().relative_to(ROOT)}/")
        (workspaces / "default-37a8.jupyterlab-workspace").write_text(opened)


def headless(lab: Lab, out: Path, *, report: Report, only: Sequence[str] = ()) -> int:
    """Executes every lesson in order, then the board, and writes HTML with an index; 1 if one failed.

    `only` are numbers of lessons ("04"): these alone, without the board. Raises `ManifestError` for one that there
    is not.
    The texts beside the lessons become pages, too, so that every link leads somewhere.
    """
    from .notebook.execute import execute_all, lessons
    from .notebook.export import export_text
    from .notebook.languages import workbook

    env = lab.engine.environment(os.environ)
    notebooks = workbook()
    books = [*lessons(notebooks), notebooks / "board.ipynb"]
    if only:
        if strange := sorted(set(only) - {book.stem[:2] for book in books}):
            raise ManifestError(
                f"no lesson {strange[0]!r}", why="lessons have two digits, 00 to 13", then="meshlab tour --html DIR 00"
            )
        books = [book for book in books if book.stem[:2] in only]
    done = execute_all(books, out, say=report, environ=env)
    for text in notebooks.glob("*.md"):
        export_text(text, out / f"{text.stem}.html")
    print(tr("the workbook as it ran: {page}", page=out / "index.html"))
    return 0 if all(lesson.passed for lesson in done) else 1
