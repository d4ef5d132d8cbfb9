"""What containers use of this machine, read from /proc.

CPU time is that of all processes of a container together: its first one, what descends from it, and what shares its
session. Memory is what they hold for themselves; pages of files, which containers of one image share, are nobody's
here, as they would be charged once in a cgroup.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from meshlab.cluster.api.streams import Sample

__all__ = ["Meter", "Reading", "Task", "machine", "measure", "tasks"]

K = TypeVar("K")
#: Seconds between readings that are kept to compare with: a kubelet's are 10 to 15 apart.
PERIOD = 15.0
#: Seconds over which a use is measured at least, where a reading of that age is there.
SHORTEST = 5.0
TICKS, PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Task:
    """One process: its parent, its session, and CPU seconds of it and of its children that have ended."""

    parent: int
    session: int
    cpu: float


@dataclass(frozen=True)
class Reading:
    """What a container had used at a moment: CPU seconds in all, bytes of memory now. `at` is seconds of a clock."""

    at: float
    cpu: float
    memory: int


def tasks() -> dict[int, Task]:
    """All processes of this machine that we may see; a few milliseconds."""
    found: dict[int, Task] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            try:
                line = Path(entry.path, "stat").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            found[int(entry.name)] = _task(line)
    return found


def _task(line: bytes) -> Task:
    # The command's name may hold spaces and parentheses: the fields start after the last one.
    fields = line[line.rindex(b")") + 2:].split()
    return Task(int(fields[1]), int(fields[3]), sum(int(ticks) for ticks in fields[11:15]) / TICKS)


def measure(leaders: Mapping[K, int], known: Mapping[int, Task], now: float) -> dict[K, Reading]:
    """A reading for each container, by the process that leads it. Those that have ended are left out."""
    owner = {pid: key for key, pid in leaders.items() if pid in known}
    sessions = {known[pid].session: key for pid, key in owner.items() if known[pid].session == pid}

    def whose(pid: int) -> K | None:
        chain: list[int] = []
        found: K | None = None
        while pid in known and pid not in owner:
            if (found := sessions.get(known[pid].session)) is not None:
                break
            chain.append(pid)
            pid = known[pid].parent
        return owner.get(pid) if found is None else found

    cpu: dict[K, float] = {}
    memory: dict[K, int] = {}
    for pid, task in known.items():
        key = whose(pid)
        if key is not None:
            cpu[key] = cpu.get(key, 0.0) + task.cpu
            memory[key] = memory.get(key, 0) + _private(pid)
    return {key: Reading(now, seconds, memory[key]) for key, seconds in cpu.items()}


def _private(pid: int) -> int:
    """Bytes of a process that no file holds; 0 once it has ended."""
    try:
        words = Path(f"/proc/{pid}/statm").read_bytes().split()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    return (int(words[1]) - int(words[2])) * PAGE if words else 0


def machine(now: float) -> Reading:
    """The machine's own: CPU seconds that were not idle since it started, bytes that are not available."""
    first = Path("/proc/stat").read_bytes().split(b"\n", 1)[0].split()
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(word) for word in first[1:9])
    memory = {line.split(b":")[0]: int(line.split()[1]) for line in
              Path("/proc/meminfo").read_bytes().splitlines()[:5]}
    return Reading(now, (user + nice + system + irq + softirq + steal) / TICKS,
                   (memory[b"MemTotal"] - memory[b"MemAvailable"]) * 1024)


class Meter:
    """Turns readings into uses: each is compared with an earlier one of the same container."""

    def __init__(self) -> None:
        self._kept: dict[object, list[Reading]] = {}

    def keep(self, readings: Mapping[K, Reading]) -> None:
        """Remember the readings of a moment; what is not among them has ended."""
        self._kept = {key: [*self._kept.get(key, [])[-1:], reading] for key, reading in readings.items()}

    def samples(self, readings: Mapping[K, Reading], started: Mapping[K, float]) -> dict[K, Sample]:
        """The use of each up to its reading. `started` is when each began, on the clock of the readings."""
        at = datetime.now(UTC)
        found: dict[K, Sample] = {}
        for key, reading in readings.items():
            born = Reading(started.get(key, reading.at - SHORTEST), 0.0, 0)
            earlier = [born, *(kept for kept in self._kept.get(key, []) if kept.at < reading.at)]
            base = next((kept for kept in reversed(earlier) if reading.at - kept.at >= SHORTEST), earlier[0])
            window = reading.at - base.at
            if window > 0:
                found[key] = Sample(at, window, max(0.0, reading.cpu - base.cpu) / window, reading.memory)
        return found

    def forget(self, keys: Iterable[object]) -> None:
        """Containers that were started anew under the same name."""
        for key in keys:
            self._kept.pop(key, None)
