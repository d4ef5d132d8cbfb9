"""What repo2docker makes an image of: its steps, run in a clean copy of the checkout."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BINDER = ROOT / "binder"


def run(*words: str, **environ: str) -> str:
    done = subprocess.run(
        words, env={**os.environ, **environ}, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_file_that_repo2docker_reads_is_there_and_scripts_may_be_run() -> None:
    assert (BINDER / "runtime.txt").read_text().strip() == "python-3.11"
    for script in ("postBuild", "start"):
        path = BINDER / script
        assert os.access(path, os.X_OK), path
        assert path.read_text().startswith("#!/usr/bin/env bash")
        run("bash", "-n", str(path))
    assert (BINDER / "start").read_text().rstrip().endswith('exec "$@"')
    names = re.findall(r"^[a-z0-9.+-]+$", (BINDER / "apt.txt").read_text(), re.M)
    assert names


def test_the_packages_are_those_of_the_project() -> None:
    lines = (BINDER / "requirements.txt").read_text().splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    assert "-e ." in wanted and any(line.startswith("jupyter-server-proxy") for line in wanted)


def test_the_workspace_opens_lesson_00_beside_the_board() -> None:
    workspace = json.loads((BINDER / "workspace.json").read_text())
    layout = json.dumps(workspace["data"]["layout-restorer:data"])
    opened = re.findall(r"notebook:([\w./-]+)", layout)
    assert {"notebooks/00-start-here.ipynb", "notebooks/board.ipynb"} <= set(opened)
    assert [path for path in opened if not (ROOT / path).is_file()] == []


def test_jupyterlab_takes_the_workspace(tmp_path: Path) -> None:
    run(
        str(Path(sys.prefix) / "bin" / "jupyter"),
        "lab",
        "workspaces",
        "import",
        str(BINDER / "workspace.json"),
        HOME=str(tmp_path),
        JUPYTERLAB_WORKSPACES_DIR=str(tmp_path / "workspaces"),
    )
    (stored,) = (tmp_path / "workspaces").iterdir()
    assert json.loads(stored.read_text())["data"]["layout-restorer:data"]["main"]["dock"]
