"""The lab's own namespaces: a network that only the lab sees, and the right to change it.

The daemon lives in them, and so does everything that it starts. They are made once, by a process that does nothing
else than to hold them (a cluster has such a process in every pod: `pause`), so that pods outlive a daemon that was
killed and the next one finds the way back in. When the holder and the last pod are gone the kernel removes
everything: interfaces, routes, rules, mounts.

An ordinary user gets the right by a user namespace, in which he is root over what was made in it and nothing else; root
does without one, where he may. Nothing of the machine's own network is seen or changed from inside; what crosses the
border are sockets, which stay in the network in which they were made: the API server's, made before `enter`.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from meshlab.cluster.network.namespaces import linux
from meshlab.cluster.network.namespaces.firewall import find_iptables
from meshlab.cluster.network.namespaces.netlink import Netlink
from meshlab.cluster.node.process import CONTAINER_MARK, Record, boot_id, kill_leftovers, start_time
from meshlab.cluster.processes import Process, left_over
from meshlab.errors import LabError, Missing
from meshlab.settings import Settings

__all__ = ["LOOPBACK", "check", "enter", "leave", "pins", "run_apart"]

#: The index of `lo` in every network namespace.
LOOPBACK = 1
#: Seconds that a new namespace may take: it takes milliseconds.
PATIENCE = 10.0
HINT = "(containers and hardened kernels often forbid them: seccomp, AppArmor, sysctl)"
HOLDER = "the holder of the lab's namespaces"


def pins(settings: Settings) -> Path:
    """Where the namespaces of pods are mounted; a file system of its own, seen inside only."""
    return settings.namespaces / "pods"


def check(settings: Settings) -> None:
    """Whether this machine lets us make namespaces and write rules. Raises LabError or Missing with the reason.

    Tried in a child, which leaves nothing behind.
    """
    find_iptables(settings)
    trial = subprocess.run(
        [sys.executable, "-m", "meshlab.cluster.network.namespaces.trial"],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        env={**os.environ, "MESHLAB_HOME": str(settings.home)},
    )
    if trial.returncode != 0:
        why = trial.stderr.strip().splitlines()
        raise _refused(why[-1] if why else f"the trial ended with status {trial.returncode}")


def _mark(settings: Settings) -> str:
    """What the holder carries in its environment."""
    return f"namespaces|{settings.home}|"


def _refused(why: str, then: str = "meshlab up --capture shim") -> LabError:
    return LabError(
        "this machine does not let the lab have network namespaces of its own",
        why=why if HINT in why else f"{why} {HINT}",
        then=then,
    )


def enter(settings: Settings) -> None:
    """Go into the lab's namespaces; make them if nobody holds them. Before there is any thread. Raises LabError."""
    holder = Record.read(settings.namespaces / "process.json")
    if holder is None or not holder.alive():
        # What an earlier daemon left lives in a network that nobody can reach any more.
        for process, _ in left_over(settings):
            process.kill_group()
        kill_leftovers(f"{settings.home}|")
        kill_leftovers(_mark(settings))  # a holder that was not written down yet
        _make(settings)
        return
    try:
        _go_into(holder.pid)
    except OSError as error:
        again = "meshlab down && meshlab up"
        raise LabError(f"cannot go back into the lab's namespaces: {error}", then=again) from error


def leave(settings: Settings) -> None:
    """End the holder: with the last process of the lab its namespaces are gone."""
    record = settings.namespaces / "process.json"
    holder = Record.read(record)
    if holder is not None and holder.alive():
        process = Process(holder.pid, holder.start_time)
        process.kill_group()
        with suppress(ChildProcessError):
            os.waitpid(holder.pid, 0)
        process.wait(PATIENCE)
    record.unlink(missing_ok=True)


def _go_into(pid: int) -> None:
    """All namespaces of that process in which we are not yet."""
    wanted = []
    try:
        for name in ("user", "net", "mnt"):
            descriptor = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
            own = Path(f"/proc/self/ns/{name}").stat()
            if os.fstat(descriptor).st_ino == own.st_ino:
                os.close(descriptor)
            else:
                wanted.append(descriptor)
        for descriptor in wanted:  # the user namespace first: it gives the right to enter the others
            linux.enter(descriptor)
    finally:
        for descriptor in wanted:
            os.close(descriptor)


def _make(settings: Settings) -> None:
    program = shutil.which("sleep")
    if program is None:
        raise Missing("there is no program `sleep` to hold the lab's namespaces", then="meshlab up --capture shim")
    place = pins(settings)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)

    def setup() -> None:
        os.setsid()
        linux.private_mounts()
        linux.tmpfs(place)
        network = settings.network
        forward = Path("/proc/sys/net/ipv4/ip_forward")
        forward.write_text("1")
        with Netlink() as link:
            link.up(LOOPBACK)
            link.address(LOOPBACK, network.node)
            # All service addresses are the node's own: what no rule sends to a pod is refused, not lost.
            link.route(f"{network.services}.0.0/16", LOOPBACK, source=network.node, local=True)

    environ = {"PATH": os.environ.get("PATH", os.defpath), CONTAINER_MARK: _mark(settings)}
    try:
        pid = run_apart(setup, lambda: os.execve(program, ["sleep", "infinity"], environ))
    except LabError as error:
        if not settings.database.exists():
            raise
        # A lab that was up before, on a machine that now refuses: it cannot change its capture.
        raise _refused(error.why, then="meshlab reset && meshlab up --capture shim") from error
    started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    Record(pid, start_time(pid) or 0, started, HOLDER, 0, boot_id()).write(settings.namespaces / "process.json")
    try:
        _go_into(pid)
    except OSError as error:
        leave(settings)
        raise _refused(str(error)) from error


def run_apart(setup: Callable[[], None], then: Callable[[], object]) -> int:
    """A child in new namespaces that does `setup` and then `then`; its pid once `setup` has succeeded.

    Raises LabError with the reason where the machine refuses. For processes with one thread.
    """
    mine, its = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            mine.close()
            _apart()
            setup()
            with Path(os.devnull).open("r+b") as nothing:
                for stream in (0, 1, 2):
                    os.dup2(nothing.fileno(), stream)
            its.send(b"+")
            its.close()
            then()
            status = 0
        except BaseException as error:  # told to the parent: there is nobody else here to handle it
            with suppress(OSError):
                its.send(f"-{error}".encode()[:1000])
        finally:
            os._exit(status)
    its.close()
    with mine:
        mine.settimeout(PATIENCE)
        try:
            word = mine.recv(1000)
        except TimeoutError:
            word = b"-no answer"
    if word[:1] != b"+":
        os.waitpid(pid, 0)
        raise _refused(word[1:].decode(errors="replace") or "the child ended without a word")
    return pid


def _apart() -> None:
    """New namespaces of network and mounts, and of users where that is what it takes."""
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        try:
            linux.unshare(linux.NEW_NETWORK | linux.NEW_MOUNTS)
            return
        except PermissionError:
            pass  # root of a container: it may still have user namespaces
    linux.unshare(linux.NEW_USER | linux.NEW_NETWORK | linux.NEW_MOUNTS)
    # An ordinary user may give his own number away, once he has renounced to change groups.
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
