"""The lab's one long-lived process: `python -m meshlab.cluster.daemon`.

It is started detached, in a session of its own, and told what to serve by MESHLAB_HOME and MESHLAB_SLOT. Whoever
starts it waits on a pipe for the word that the API answers. A lock file makes it the only one of its home; its
listening socket makes it the only one of its slot.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import gc
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from meshlab.cluster.capture import choose
from meshlab.cluster.processes import Process, left_over, start_time
from meshlab.cluster.slots import bind, claim
from meshlab.errors import LabError, MeshlabError, Taken
from meshlab.settings import Capture, Settings

__all__ = ["Running", "Status", "main", "start", "status", "stop"]

log = logging.getLogger(__name__)

#: Seconds that a daemon gets until it answers: half a one is what it takes, ten on a machine with twenty busy programs.
#: One that dies is noticed at once.
STARTING = 30.0
#: Seconds that a daemon gets to stop its pods before it is killed; their own grace periods are within it.
STOPPING = 40.0
#: Seconds within which what was killed is gone, also on a busy machine.
KILLED = 20.0
LOCK = "daemon.lock"


@dataclass(frozen=True)
class Running:
    """A daemon that answers."""

    pid: int
    server: str
    settings: Settings
    #: Seconds that it took; 0.0 if it was there already.
    seconds: float = 0.0
    #: Whether this call started it.
    started: bool = False


@dataclass(frozen=True)
class Status:
    """What is known of a lab's daemon."""

    running: bool
    pid: int | None = None
    server: str = ""
    #: Why it is not running, where that is known: "never started", "killed", "stopped".
    why: str = ""


# For those who start, stop and ask


def status(settings: Settings) -> Status:
    """Whether the daemon lives; reads its file and /proc only."""
    try:
        known = json.loads(settings.daemon_file.read_text())
        process = Process(int(known["pid"]), int(known["start_time"]))
    except (FileNotFoundError, ValueError, KeyError):
        why = "stopped" if settings.database.exists() else "never started"
        return Status(False, why=why)
    if not process.alive():
        return Status(False, why="killed")
    return Status(True, process.pid, known["server"])


def start(settings: Settings, timeout: float = STARTING, *, slot: int | None = None,
          capture: Capture | None = None) -> Running:
    """Makes sure that the lab's daemon runs and its API answers. Idempotent: attaches where it does.

    `slot` forces a slot for a new lab, as MESHLAB_SLOT does; `capture` is that of a new lab, and None takes what
    it has (see `capture.choose`). Raises Taken or LabError.
    """
    began = time.monotonic()
    settings = choose(settings, capture)
    known = status(settings)
    if known.running and (there := _attach(settings, known, timeout)) is not None:
        return there
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    reader, writer = os.pipe()
    env = {**os.environ, "MESHLAB_HOME": str(settings.home)}
    if slot is not None:
        env["MESHLAB_SLOT"] = str(slot)
    with _private_log(settings) as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "meshlab.cluster.daemon", "--ready", str(writer)],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, pass_fds=[writer],
            env=env, cwd="/",
        )
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        word = _read(pipe.fileno(), began + timeout)
    if word is None:
        child.kill()
        child.wait()
        raise LabError(
            f"the lab's daemon did not answer within {timeout:g} s", why=_tail(settings.daemon_log),
            then=f"less {settings.daemon_log}",
        )
    if "locked" in word:
        child.wait()
        other = _attach(settings, _await_running(settings, began + timeout), timeout)
        if other is None:
            raise LabError("the lab's daemon ended before it answered", why=_tail(settings.daemon_log),
                           then="meshlab up")
        return other
    if "error" in word:
        child.wait()
        kind = Taken if word.get("kind") == "Taken" else LabError
        raise kind(word["error"], why=word.get("why", ""), then=word.get("then", ""))
    if not word:
        child.wait()
        raise LabError(
            "the lab's daemon ended before it answered", why=_tail(settings.daemon_log),
            then=f"less {settings.daemon_log}",
        )
    # The child outlives us on purpose; without this, Popen would complain that it still runs.
    child.returncode = 0
    return Running(
        child.pid, word["server"], Settings.load({"MESHLAB_HOME": str(settings.home)}),
        time.monotonic() - began, True,
    )


def stop(settings: Settings, timeout: float = STOPPING) -> list[str]:
    """Stops the daemon and every process of its pods, also those that a killed daemon left behind.

    The answer names what could not be ended: it is empty when all is well. The home stays as it is.
    """
    known = status(settings)
    if known.running and known.pid is not None:
        process = Process.of(known.pid)
        if process is not None:
            process.signal(signal.SIGTERM)
            if not process.wait(timeout):
                process.signal(signal.SIGKILL)
                process.wait(KILLED)
    left = []
    for process, what in left_over(settings):
        process.kill_group()
        if not process.wait(KILLED):
            left.append(f"process {process.pid} ({what})")
    left += _end_unrecorded(settings)
    if not known.running:
        from meshlab.cluster.network import stop_leftover

        stop_leftover(settings)  # what a kube-proxy leaves in files
    settings.daemon_file.unlink(missing_ok=True)
    return left


def _end_unrecorded(settings: Settings) -> list[str]:
    """Kills what was started in the instant before its record was written, or has left its group; what is left."""
    from meshlab.cluster.node.process import leftovers

    left = []
    for mark, pidfd in leftovers(f"{settings.home}|"):
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            if not select.select([pidfd], [], [], KILLED)[0]:
                left.append(f"a process of {mark}")
        except ProcessLookupError:
            continue
        finally:
            os.close(pidfd)
    return left


def _private_log(settings: Settings) -> IO[bytes]:
    """The daemon's log, for its owner alone: it names what everybody does in the lab."""
    descriptor = os.open(settings.daemon_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.fchmod(descriptor, 0o600)  # one that was there before
    return os.fdopen(descriptor, "ab")


def _attach(settings: Settings, known: Status, timeout: float) -> Running | None:
    """Waits until the API of a daemon that runs answers; None if it ends meanwhile, having been killed a moment ago."""
    from meshlab.kube import Kube

    assert known.pid is not None  # noqa: S101 (it runs)
    kube = Kube.from_kubeconfig(settings.kubeconfig)
    end, wait = time.monotonic() + timeout, 0.02
    while True:
        with suppress(LabError):
            if kube.raw("GET", "/readyz", timeout=2.0).status == 200:
                return Running(known.pid, known.server, Settings.load({"MESHLAB_HOME": str(settings.home)}))
        if status(settings).pid != known.pid:
            return None
        if time.monotonic() > end:
            raise LabError(
                f"the lab's daemon (process {known.pid}) runs but does not answer at {known.server}",
                then="meshlab down && meshlab up",
            )
        wait = min(2 * wait, 0.5)
        select.select([], [], [], wait)


def _await_running(settings: Settings, end: float) -> Status:
    """Somebody else is starting the daemon at this moment: until its file is there."""
    wait = 0.02
    while not (known := status(settings)).running:
        if time.monotonic() > end:
            raise LabError(
                f"another process holds {settings.home / LOCK} but serves nothing", then="meshlab status"
            )
        select.select([], [], [], wait)
        wait = min(2 * wait, 0.5)
    return known


def _read(descriptor: int, end: float) -> dict[str, str] | None:
    """The daemon's word: {} if it closed the pipe without one, None after the time limit."""
    data = b""
    while not data.endswith(b"\n"):
        ready, _, _ = select.select([descriptor], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            return None
        piece = os.read(descriptor, 65536)
        if not piece:
            return {}
        data += piece
    word: dict[str, str] = json.loads(data)
    return word


def _tail(file: Path, lines: int = 5) -> str:
    with suppress(OSError):
        return "\n".join(file.read_text(errors="replace").splitlines()[-lines:])
    return ""


# The daemon itself


def main(argv: list[str] | None = None) -> int:
    """Runs until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m meshlab.cluster.daemon", description=__doc__)
    parser.add_argument("--ready", type=int, metavar="FD", help="where to write that the API answers")
    options = parser.parse_args(argv)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    say = _Ready(options.ready)
    os.umask(0o077)  # whatever is written in the lab's home may hold a secret
    try:
        settings = Settings.load()
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _lock(settings) as free:
            if not free:
                say({"locked": "yes"})
                print(f"a daemon of {settings.home} runs already", file=sys.stderr)
                return 3
            settings, listener = claim(settings)
            if settings.network.capture is Capture.SHIM:
                asyncio.run(_serve(settings, listener, None, say))
            else:
                _inside(settings, listener, say)
    except MeshlabError as error:
        say({"kind": type(error).__name__, "error": error.seen, "why": error.why, "then": error.then})
        print(error, file=sys.stderr)
        return 1
    except Exception as error:
        say({"kind": "LabError", "error": f"the lab's daemon failed: {error!r}",
             "then": "look into daemon.log in the lab's home"})
        raise
    return 0


def _inside(settings: Settings, listener: socket.socket, say: _Ready) -> None:
    """Serves from within the lab's namespaces; `listener` stays outside, where this machine's programs are."""
    from meshlab.cluster.network.namespaces.lab import enter, leave

    enter(settings)
    try:
        inner = bind(settings.network.node, settings.api_port)
        asyncio.run(_serve(settings, listener, inner, say))
    finally:
        leave(settings)


class _Ready:
    """Tells the starter how it went, once."""

    def __init__(self, descriptor: int | None) -> None:
        self.descriptor = descriptor

    def __call__(self, word: dict[str, str]) -> None:
        if self.descriptor is not None:
            with suppress(BrokenPipeError):  # the starter lost patience
                os.write(self.descriptor, json.dumps(word).encode() + b"\n")
            os.close(self.descriptor)
            self.descriptor = None


@contextmanager
def _lock(settings: Settings) -> Iterator[bool]:
    """Holds the home's lock; False where another daemon does. The kernel frees it when we die."""
    with (settings.home / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


async def _serve(settings: Settings, listener: socket.socket, inner: socket.socket | None, say: _Ready) -> None:
    from meshlab.cluster.api import pki

    maker = pki.begin(settings)
    # Imported here: a daemon that finds its home locked needs none of it, and certificates are made meanwhile.
    from meshlab.cluster.assembly import Assembly, write_kubeconfig
    from meshlab.cluster.parts import Parts

    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    keys = pki.keys(settings, maker)
    parts = Parts(os.environ.get("MESHLAB_PARTS", Parts.ALL.value))
    assembly = Assembly(settings, keys, listener, parts, inner=inner)
    try:
        await assembly.start_api()
        server = f"https://{assembly.server.host}:{assembly.server.port}"
        write_kubeconfig(settings, keys, server)
        _write_daemon_file(settings, server)
        log.info("the API answers at %s", server)
        await assembly.start_rest()
        say({"server": server})
        # What is alive now stays: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        await stopping.wait()
        log.info("stopping")
    finally:
        await assembly.stop(kill_pods=True)
        settings.daemon_file.unlink(missing_ok=True)


def _write_daemon_file(settings: Settings, server: str) -> None:
    from importlib.metadata import version

    facts = {
        "pid": os.getpid(), "start_time": start_time(os.getpid()), "server": server, "version": version("meshlab"),
    }
    draft = settings.daemon_file.with_suffix(".draft")
    draft.write_text(json.dumps(facts) + "\n")
    draft.replace(settings.daemon_file)


if __name__ == "__main__":
    sys.exit(main())
