"""The rules of the house, as tests: layers, types, lint, notebooks without outputs."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.prefix) / "bin"


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "--quiet", "."], ["mypy"], ["lint-imports", "--no-cache"]],
    ids=lambda c: " ".join(c),
)
def test_the_tree_passes(command: list[str]) -> None:
    done = subprocess.run([BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_a_notebook_holds_no_outputs_in_git(path: Path) -> None:
    book = json.loads(path.read_text())
    kept = [n for n, c in enumerate(book["cells"]) if c.get("outputs") or c.get("execution_count")]
    assert not kept, f"cells {kept} hold outputs"
    assert "papermill" not in book["metadata"]
    assert "widgets" not in book["metadata"]


def test_the_top_level_holds_what_was_agreed() -> None:
    names = subprocess.run(
        ["git", "ls-tree", "--name-only", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    agreed = {"README.md", "LICENSE", "pyproject.toml", "notebooks", "meshlab", "manifests", "tests", "binder"}
    assert {n for n in names.stdout.split() if not n.startswith(".")} <= agreed


def test_test_modules_have_names_of_their_own() -> None:
    """pytest imports them by name alone."""
    names = sorted(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [a for a, b in pairwise(names) if a == b] == []


def test_a_file_is_read_in_one_sitting() -> None:
    """400 lines at most; what grows longer holds more than one thing."""
    files = [path for folder in ("meshlab", "tests") for path in (ROOT / folder).rglob("*.py")]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files}
    assert {name: lines for name, lines in lengths.items() if lines > 400} == {}
