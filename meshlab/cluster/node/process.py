"""Processes that outlive whoever started them.

A container is a process group in a session of its own. Its standard output goes straight to a file, so that it needs no
reader, and its identity — pid and start time — is written down, so that a later daemon finds it again. A pid
alone is never trusted: pids are used again, the pair of pid and start time is not.

Exits are learnt from a pidfd, which works for children and for processes that an earlier daemon started alike.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import struct
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from meshlab.cluster.node.interactive import Interactive

__all__ = [
    "CONTAINER_MARK",
    "UMASK",
    "Exit",
    "Process",
    "Record",
    "adopt",
    "boot_id",
    "environment_of",
    "kill_leftovers",
    "leftovers",
    "spawn",
    "start_time",
]

#: Environment variable that every process of a lab carries: `<home>|<pod uid>|<container>`. It finds the processes that
#: were started in the instant before their record was written.
CONTAINER_MARK = "MESHLAB_CONTAINER"


#: Of programs in pods, as container runtimes set it; the daemon's own is stricter.
UMASK = 0o022
#: From linux/pidfd.h: struct pidfd_info in its first size ends with exit_code; _IOWR(0xFF, 11, that struct).
PIDFD_INFO_SIZE, PIDFD_INFO_EXIT = 64, 1 << 3
PIDFD_GET_INFO = 3 << 30 | PIDFD_INFO_SIZE << 16 | 0xFF << 8 | 11
#: How often, and after how many seconds each, an exit code is asked for before it counts as unknown.
ASKED, ASK_AGAIN = 10, 0.02


T = TypeVar("T")


def _here(start: Callable[[], T]) -> T:
    return start()


def boot_id() -> str:
    """The kernel's identity of this boot: start times are counted from it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int | None:
    """Clock ticks since boot at which `pid` started (field 22 of /proc/pid/stat); None if it is no more."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name may hold spaces and parentheses: the fields start after the last one.
    fields = stat[stat.rindex(b")") + 2:].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


@dataclass(frozen=True)
class Record:
    """What process.json holds. `started` is RFC 3339 in UTC, `restart` the number of the run, from 0."""

    pid: int
    start_time: int
    started: str
    image: str
    restart: int
    boot: str

    def alive(self) -> bool:
        return self.boot == boot_id() and start_time(self.pid) == self.start_time

    def write(self, path: Path) -> None:
        """Atomically: a reader sees the old record or the new one."""
        draft = path.with_suffix(".tmp")
        draft.write_text(json.dumps(asdict(self)))
        draft.rename(path)

    @classmethod
    def read(cls, path: Path) -> Record | None:
        """None where there is no record, or one that a crash of the machine left unreadable."""
        try:
            return cls(**json.loads(path.read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            return None


@dataclass(frozen=True)
class Exit:
    """How a process ended; `code` is None when it was not our child and the kernel did not say."""

    code: int | None
    signal: int = 0

    @property
    def exit_code(self) -> int:
        """As a container runtime reports it: 128 + signal, and 137 when nobody knows."""
        if self.code is None:
            return 137
        return 128 + self.signal if self.signal else self.code


class Process:
    """A running process group of this lab, started here or adopted."""

    def __init__(self, record: Record, pidfd: int, popen: subprocess.Popen[bytes] | None) -> None:
        self.record = record
        self._pidfd = pidfd
        self._popen = popen
        self._timer: asyncio.TimerHandle | None = None
        loop = asyncio.get_running_loop()
        self._exit: asyncio.Future[Exit] = loop.create_future()
        loop.add_reader(pidfd, self._ended)

    @property
    def adopted(self) -> bool:
        """Whether an earlier daemon started it."""
        return self._popen is None

    @property
    def exit(self) -> Exit | None:
        """How it ended, or None while it runs."""
        return self._exit.result() if self._exit.done() and not self._exit.cancelled() else None

    async def wait(self) -> Exit:
        """Until the group's leader has ended; the rest of the group is killed with it, as a container's is."""
        return await asyncio.shield(self._exit)

    def signal(self, number: int) -> None:
        """To the whole group, if it still runs. The open pidfd keeps the leader's pid from being used again."""
        if self.exit is None and start_time(self.record.pid) == self.record.start_time:
            with suppress(ProcessLookupError):
                os.killpg(self.record.pid, number)

    async def terminate(self, grace: float) -> Exit:
        """SIGTERM, and SIGKILL after `grace` seconds."""
        self.signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(self.wait(), grace)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            return await self.wait()

    def forget(self) -> None:
        """Stop watching and leave the process running, for the next daemon to adopt."""
        self._unwatch()
        if self._popen is not None and self._popen.returncode is None:
            self._popen.returncode = 0  # else Popen complains that its child was left alone, which is the point here
        if not self._exit.done():
            self._exit.cancel()

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _ended(self) -> None:
        if self._popen is not None:
            self._settle(self._reap(self._popen))
            return
        # Somebody else's child: its parent reaps it in a moment, and then the kernel tells the exit code.
        asyncio.get_running_loop().remove_reader(self._pidfd)
        self._ask(ASKED)

    def _ask(self, left: int) -> None:
        try:
            ended = _told(self._pidfd)
        except OSError:  # a kernel before 6.15 tells nobody but the parent
            ended, left = Exit(None), 0
        if ended.code is None and left > 0:
            self._timer = asyncio.get_running_loop().call_later(ASK_AGAIN, self._ask, left - 1)
        else:
            self._settle(ended)

    def _settle(self, ended: Exit) -> None:
        self._unwatch()
        if not self._exit.done():
            self._exit.set_result(ended)

    def _reap(self, popen: subprocess.Popen[bytes]) -> Exit:
        # Whatever the leader left behind in its group goes while the pid cannot be used again: before it is reaped.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.record.pid, signal.SIGKILL)
        return _exit(popen.wait())


def _exit(code: int) -> Exit:
    """From a code as `subprocess` has it, negative for signals."""
    return Exit(code) if code >= 0 else Exit(-code, -code)


def _told(pidfd: int) -> Exit:
    """What the kernel says of a process that was reaped; code None before that. OSError if it does not say."""
    info = bytearray(PIDFD_INFO_SIZE)
    struct.pack_into("=Q", info, 0, PIDFD_INFO_EXIT)
    fcntl.ioctl(pidfd, PIDFD_GET_INFO, info)
    mask, = struct.unpack_from("=Q", info, 0)
    if not mask & PIDFD_INFO_EXIT:
        return Exit(None)
    status, = struct.unpack_from("=i", info, PIDFD_INFO_SIZE - 4)
    return _exit(os.waitstatus_to_exitcode(status))


def spawn(argv: Sequence[str], *, environ: Mapping[str, str], cwd: Path, log: Path, record: Path, image: str,
          started: str, restart: int, interactive: Interactive | None = None,
          place: Callable[[Callable[[], subprocess.Popen[bytes]]], subprocess.Popen[bytes]] = _here) -> Process:
    """Start a container's process and write its record. OSError if the program cannot be run.

    `interactive` is where its input comes from, and its terminal.
    `place` calls what it is given where the program shall run: in the namespaces of its pod.
    """
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    source, sink = subprocess.DEVNULL, fd
    if interactive is not None:
        argv, source = interactive.command_line(list(argv)), interactive.theirs
        sink = source if interactive.tty else fd
    try:
        popen = place(lambda: subprocess.Popen(argv, env=dict(environ), cwd=cwd, stdin=source, stdout=sink,
                                               stderr=sink, start_new_session=True, umask=UMASK))
    finally:
        os.close(fd)
    pidfd = os.pidfd_open(popen.pid)
    # A child that has already ended is a zombie until it is reaped below: its start time does not matter any more.
    described = Record(popen.pid, start_time(popen.pid) or 0, started, image, restart, boot_id())
    try:
        described.write(record)
    except OSError:
        # A process without a record could not be found again: better none (a full disk, most likely).
        os.killpg(popen.pid, signal.SIGKILL)
        popen.wait()
        os.close(pidfd)
        raise
    return Process(described, pidfd, popen)


def adopt(record: Record) -> Process | None:
    """The process of a record that an earlier daemon wrote, or None if it has ended."""
    if not record.alive():
        return None
    try:
        pidfd = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return None
    if not record.alive():  # it ended, and its pid was taken, between the two looks
        os.close(pidfd)
        return None
    return Process(record, pidfd, None)


def leftovers(mark: str) -> Iterator[tuple[str, int]]:
    """(mark, pidfd) of all processes of this user whose mark starts with `mark`; the caller closes the pidfds.

    The environment is read again once the pidfd is open, which makes sure that the pid still means the same process.
    """
    own = os.getpid()
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal() or int(entry.name) == own:
            continue
        path = Path(entry.path, "environ")
        try:
            if not _mark(path).startswith(mark):
                continue
            pidfd = os.pidfd_open(int(entry.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        try:
            found = _mark(path)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            found = ""
        if found.startswith(mark):
            yield found, pidfd
        else:
            os.close(pidfd)


def kill_leftovers(mark: str, *, keep: Collection[str] = ()) -> int:
    """SIGKILL every process that `leftovers(mark)` finds, but those of the marks in `keep`; how many there were."""
    killed = 0
    for found, pidfd in leftovers(mark):
        try:
            if found not in keep:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                killed += 1
        except ProcessLookupError:
            continue
        finally:
            os.close(pidfd)
    return killed


def environment_of(pid: int) -> dict[str, str]:
    """The environment with which a process was started; empty once it has ended."""
    try:
        return _environ(Path(f"/proc/{pid}/environ"))
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return {}


def _environ(path: Path) -> dict[str, str]:
    entries = path.read_bytes().decode(errors="surrogateescape").split("\0")
    return {name: value for name, found, value in (entry.partition("=") for entry in entries) if found}


def _mark(path: Path) -> str:
    # An empty mark starts with nothing that anybody asks for.
    return _environ(path).get(CONTAINER_MARK, "")
