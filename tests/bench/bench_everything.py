"""Nothing → control plane, svca, 2 × svcb, msgd, client, Prometheus, ServiceGraph, Zipkin all Ready; their memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from figure import Figure, own_home, say

from meshlab.lab import connect
from meshlab.settings import Settings

NEEDS = (
    "control-plane",
    "svca-v0.1",
    "svcb-v0.1",
    "svcb-v0.2",
    "msgd",
    "client",
    "prometheus",
    "servicegraph",
    "zipkin",
)


def processes(settings: Settings) -> list[int]:
    """Pids of everything whose environment names this lab's home: the daemon, its proxies, the pods."""
    mark, found = str(settings.home).encode(), []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environ, command = (entry / "environ").read_bytes(), (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if int(entry.name) != os.getpid() and (mark in environ or mark in command):
            found.append(int(entry.name))
    return found


def pss(pid: int) -> float:
    """Proportional set size, MB; 0 for a process that ended meanwhile."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1024


def once() -> tuple[float, float]:
    with own_home():
        began = time.perf_counter()
        lab = connect(report=say)
        lab.require(*NEEDS)
        took = time.perf_counter() - began
        sizes = {pid: pss(pid) for pid in processes(lab.settings)}
        for pid, size in sorted(sizes.items(), key=lambda item: -item[1]):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            say(f"{size:6.1f} MB  {words[-90:]}")
        return took, sum(sizes.values())


def run() -> Iterator[Figure]:
    both = [once() for _ in range(3)]
    yield Figure("nothing → the whole tutorial Ready, 2 cores", [t for t, _ in both], "s", "8 s")
    yield Figure("memory of all that (PSS)", [m for _, m in both], "MB", "500 MB")
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    try:
        pinned = [once()[0] for _ in range(2)]
    finally:
        os.sched_setaffinity(0, cpus)
    yield Figure("nothing → the whole tutorial Ready, pinned to one CPU", pinned, "s", "15 s")
