"""`python3 -m meshlab …` from a bare checkout: makes the environment first, then goes on inside it.

Only the standard library may be imported here. Debian's Python refuses to be installed into, may lack ensurepip
and may lack pip: the environment is a folder of the checkout, and pip comes, if need be, out of a Debian package
that is unpacked, not installed.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from .errors import LabError, MeshlabError, Missing

__all__ = ["environment", "main"]

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "binder" / "pins.txt"


def environment() -> Path:
    """The environment's folder: MESHLAB_VENV, else `.venv` in the checkout."""
    return Path(os.environ.get("MESHLAB_VENV") or ROOT / ".venv")


def say(line: str) -> None:
    print(f"meshlab: {line}", file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:  # noqa: RET503 - execv does not return
    """Runs the command line in the environment, which is made or renewed if its pins changed."""
    args = list(sys.argv[1:] if argv is None else argv)
    if sys.version_info < (3, 11):  # noqa: UP036 - this file is what an older Python gets to see
        say(f"needs Python 3.11 or newer, this is {sys.version.split()[0]}\n  next:    python3.11 -m meshlab")
        return 1
    folder = environment()
    try:
        if not PINS.exists() or (Path(sys.prefix).resolve() == folder.resolve() and _fresh(folder)):
            from .cli import main as run

            return run(args)
        if not _fresh(folder):
            make(folder)
    except MeshlabError as error:
        say(str(error))
        return 1
    python = str(folder / "bin" / "python")
    sys.stdout.flush()
    os.execv(python, [python, "-m", "meshlab", *args])  # never returns


def _stamp() -> str:
    """What the environment was made from, in one word."""
    parts = [PINS.read_bytes(), (ROOT / "pyproject.toml").read_bytes(), str(ROOT).encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _fresh(folder: Path) -> bool:
    stamp = folder / "meshlab-stamp"
    return stamp.exists() and stamp.read_text() == _stamp()


def make(folder: Path) -> None:
    """Makes the environment from the pins. Raises `Missing` or `LabError` with the command that helps."""
    if not (folder / "bin" / "python").exists():
        say(f"making the environment {folder} (once, about half a minute)")
        try:
            venv.EnvBuilder(symlinks=True, with_pip=False).create(folder)
        except OSError as error:
            raise LabError(
                f"cannot write {folder}",
                why=str(error),
                then="MESHLAB_VENV=/a/folder/of/yours python3 -m meshlab …",
            ) from error
    python = str(folder / "bin" / "python")
    pip = _pip(folder)
    wanted = re.search(r"^(uv==\S+)", PINS.read_text(), re.M)
    with_uv = wanted and _run([*pip, "install", "-q", "--only-binary", ":all:", wanted[1]]) == 0
    say("installing the packages")
    uv, target = [str(folder / "bin" / "uv"), "pip"], ["-q", "--python", python]
    ways = [
        [
            [*pip, "install", "-q", "--require-hashes", "-r", str(PINS)],
            [*pip, "install", "-q", "--no-deps", "-e", str(ROOT)],
        ]
    ]
    if with_uv:  # many times faster; but an index or a company's certificate of pip's settings it does not know
        fast = [
            [*uv, "sync", *target, "--require-hashes", str(PINS)],
            [*uv, "install", *target, "--no-deps", "-e", str(ROOT)],
        ]
        ways.insert(0, fast)
    for number, steps in enumerate(ways, 1):
        if not any(_run(step) for step in steps):  # the second one only after the first
            break
        if number < len(ways):
            say("uv could not; once more with pip, which takes a minute or two")
    else:
        raise LabError(
            "the packages could not be installed",
            why="pip failed, its words are above",
            then="python3 -m meshlab doctor",
        )
    (folder / "meshlab-stamp").write_text(_stamp())


def _run(command: Sequence[str]) -> int:
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    return subprocess.run(list(command), env=env, check=False).returncode


def _pip(folder: Path) -> list[str]:
    """A pip that installs into the environment: this Python's own, or one out of Debian's package."""
    python = str(folder / "bin" / "python")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if subprocess.run([sys.executable, "-m", "pip", "--version"], check=False, **quiet).returncode == 0:  # type: ignore[call-overload]
        return [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    if subprocess.run([python, "-m", "ensurepip"], check=False, **quiet).returncode == 0:  # type: ignore[call-overload]
        return [python, "-m", "pip", "--disable-pip-version-check"]
    from .debian import unpack

    say("this Python has no pip: taking it out of Debian's package python3-pip-whl")
    try:
        unpacked = unpack(["python3-pip-whl"], folder / "debian")
    except Missing as error:
        raise Missing(
            "this Python has neither pip nor ensurepip",
            why=error.why or error.seen,
            then="apt-get install python3-pip python3-venv",
        ) from error
    wheels = sorted((unpacked / "usr" / "share" / "python-wheels").glob("pip-*.whl"))
    if not wheels:
        raise Missing("Debian's package python3-pip-whl holds no pip", then="apt-get install python3-pip")
    return [sys.executable, str(wheels[-1] / "pip"), "--python", python, "--disable-pip-version-check"]
