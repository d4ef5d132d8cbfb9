"""Debian packages without root: fetched and unpacked into a folder, nothing installed, nothing started."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .errors import Missing

__all__ = ["dependencies", "unpack"]


def _apt(program: str, words: Sequence[str], state: Path | None, cwd: Path | None = None) -> tuple[int, str]:
    """Runs an apt program, with lists of its own below `state` where the machine's are missing or unreadable."""
    command = [program]
    if state is not None:
        (state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        (state / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
        own = {
            "Dir::State::Lists": state / "lists",
            "Dir::Cache": state / "cache",
            "Dir::State::status": "/var/lib/dpkg/status",
            "APT::Sandbox::User": "root",
        }
        for key, value in own.items():
            command += ["-o", f"{key}={value}"]
    plain = {**os.environ, "LC_ALL": "C"}  # its words are read here
    done = subprocess.run([*command, *words], cwd=cwd, env=plain, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def dependencies(package: str, pattern: str, state: Path | None = None) -> list[str]:
    """Packages whose names match `pattern` among what `package` depends on, itself first."""
    _, text = _apt("apt-cache", ["depends", package], state)
    names = re.findall(r"^\s*\|?(?:Depends|Recommends): ([a-z0-9.+-]+)$", text, re.M)
    return [package, *dict.fromkeys(n for n in names if re.match(pattern, n))]


def _lacking(packages: Sequence[str], state: Path | None = None) -> list[str]:
    """What apt would install for `packages` on this machine: those of them, and of all below them, that it lacks."""
    _, text = _apt("apt-get", ["install", "--simulate", "--no-install-recommends", *packages], state)
    return re.findall(r"^Inst ([a-z0-9.+-]+)", text, re.M)


def unpack(packages: Sequence[str], folder: Path, pattern: str | None = None, *, lacking: bool = False) -> Path:
    """Fetches `packages` (and what they depend on, where a name matches `pattern`) and unpacks them into `folder`.

    With `lacking` come, of these dependencies, only those that the machine has not, and whatever these need in turn.
    Who finds somebody else at it waits, and takes what that one has unpacked. Returns the folder. Raises `Missing` with
    apt's own words.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    before = folder.exists()
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if before or not folder.exists():
            _fetch(packages, folder, pattern, lacking)
    return folder


def _fetch(packages: Sequence[str], folder: Path, pattern: str | None, lacking: bool) -> None:
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise Missing(
            f"cannot fetch {', '.join(packages)}",
            why="apt-get and dpkg are not here: this is no Debian or Ubuntu",
            then=f"install {packages[0]} by your system's own means",
        )
    with tempfile.TemporaryDirectory(prefix="meshlab-apt-") as scratch:
        place = Path(scratch)
        place.chmod(0o755)  # apt drops its rights while it downloads
        words = ""
        for state in (None, place / "apt"):
            if state is not None:
                code, words = _apt("apt-get", ["update"], state)
                if code:
                    break
            names = list(packages)
            if pattern:
                names = [n for package in packages for n in dependencies(package, pattern, state)]
            if lacking:
                below = [name for name in names if name not in packages]
                names = [*packages, *(_lacking(below, state) if below else [])]
            code, words = _apt("apt-get", ["download", *names], state, cwd=place)
            if code == 0:
                break
        debs = sorted(place.glob("*.deb"))
        if not debs or len(debs) < len(packages):
            last = [line for line in words.splitlines() if line.startswith(("E:", "W:"))] or words.splitlines()
            raise Missing(
                f"Debian's package {packages[0]} could not be fetched",
                why=" ".join(last[-2:]),
                then=f"apt-get update && apt-get install --no-install-recommends {' '.join(packages)}",
            )
        fresh = folder.with_name(folder.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        for deb in debs:
            subprocess.run(["dpkg", "-x", str(deb), str(fresh)], check=True, env={**os.environ, "LC_ALL": "C"})
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
