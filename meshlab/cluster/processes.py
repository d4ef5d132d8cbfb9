"""Processes that outlive whoever started them, and how to be sure which one a number means."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from meshlab.settings import Settings

__all__ = ["Process", "left_over", "start_time"]


def start_time(pid: int) -> int | None:
    """When a process began, in clock ticks since boot (field 22 of /proc/PID/stat); None if it is gone or dead.

    The pair (pid, start time) names a process for good; a pid alone is used again.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the program's name in brackets, which may hold anything.
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


@dataclass(frozen=True)
class Process:
    """One process, not just a number."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Process | None:
        began = start_time(pid)
        return None if began is None else cls(pid, began)

    def alive(self) -> bool:
        return start_time(self.pid) == self.started

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal; nothing if the process is gone."""
        if self.alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill_group(self) -> None:
        """SIGKILL to the process and all of its group, if it leads one."""
        if not self.alive():
            return
        with suppress(ProcessLookupError):
            if os.getpgid(self.pid) == self.pid:
                os.killpg(self.pid, signal.SIGKILL)
            else:
                os.kill(self.pid, signal.SIGKILL)

    def wait(self, seconds: float) -> bool:
        """Whether it is gone within that time. Sleeps in the kernel until then."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            # Looked at after opening: the number cannot be another process's from here on.
            if not self.alive():
                return True
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            return bool(poll.poll(seconds * 1000))
        finally:
            os.close(descriptor)


def left_over(settings: Settings) -> Iterator[tuple[Process, str]]:
    """Processes of pods and of the network that are recorded in the home and still live."""
    from meshlab.cluster.node.process import Record

    for file in sorted(settings.home.glob("**/process.json")):
        record = Record.read(file)
        if record is not None and record.alive():
            yield Process(record.pid, record.start_time), str(file.parent.relative_to(settings.home))
