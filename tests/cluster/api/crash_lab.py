"""Kills a daemon at random moments under load, and finds out what that cost."""

from __future__ import annotations

import random
import signal
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meshlab.cluster import daemon
from meshlab.cluster.processes import Process
from meshlab.errors import LabError, Rejected
from meshlab.kube import Informer, Kube
from meshlab.settings import LOW_PORT_OFFSET, Network, Settings

__all__ = ["Outcome", "keep", "kill_under_load"]

MAPS = ("v1", "configmaps", "default")
#: Writers at the same time.
WRITERS = 2
#: Seconds of load before each kill: any moment will do.
LOAD = 0.1


@dataclass
class Outcome:
    """What was written, and what of it was missing in the end."""

    kills: int = 0
    #: Writes that the server acknowledged.
    acknowledged: int = 0
    #: Names of objects that are not as they were acknowledged.
    lost: list[str] = field(default_factory=list)
    #: Revisions of acknowledged writes that a watch, taken up again after each kill, was not told of.
    missed: list[int] = field(default_factory=list)
    #: Names of objects that an informer was told of twice, or never.
    mistold: list[str] = field(default_factory=list)
    #: Seconds from each kill until the API answered again.
    down: list[float] = field(default_factory=list)


class _Writer(threading.Thread):
    """Creates, changes and deletes objects without pause, and remembers what was acknowledged."""

    def __init__(self, kubeconfig: Path, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.kube = Kube.from_kubeconfig(kubeconfig)
        #: Name → value, None for what was deleted. What was in flight when the server died is not among them.
        self.known: dict[str, str | None] = {}
        self.revisions: list[int] = []
        self.stopping, self.progress = threading.Event(), threading.Event()

    def run(self) -> None:
        n = 0
        while not self.stopping.is_set():
            name = f"{self.name}-{n}"
            try:
                self._write(n, name)
            except LabError:
                self.known.pop(name, None)  # down in the middle of it: that write may be there or not
                self.stopping.wait(0.02)
            except Rejected as error:
                assert error.code in (404, 409), error
                self.known.pop(name, None)
            n += 1
            self.progress.set()
        self.kube.close()

    def _write(self, n: int, name: str) -> None:
        obj: dict[str, Any] = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": {"v": "1"}}
        self._note(name, "1", self.kube.create(MAPS, obj))
        if n % 3 == 0:
            self._note(name, "2", self.kube.patch((*MAPS, name), {"data": {"v": "2"}}))
        if n % 5 == 0:
            self.kube.delete((*MAPS, name))
            self.known[name] = None

    def _note(self, name: str, value: str, obj: dict[str, Any]) -> None:
        self.known[name] = value
        self.revisions.append(int(obj["metadata"]["resourceVersion"]))


class _Watcher(threading.Thread):
    """A watch that is taken up again where it broke off, as clients do it."""

    def __init__(self, kubeconfig: Path, since: int) -> None:
        super().__init__(name="watcher", daemon=True)
        self.kube, self.revision = Kube.from_kubeconfig(kubeconfig), since
        self.seen: set[int] = set()
        self.reached, self.last = threading.Event(), -1

    def run(self) -> None:
        while not self.reached.is_set():
            try:
                for _, obj in self.kube.watch(MAPS, self.revision):
                    self.revision = int(obj["metadata"]["resourceVersion"])
                    self.seen.add(self.revision)
                    if self.revision == self.last:
                        self.reached.set()
                        return
            except LabError:
                self.reached.wait(0.02)


def keep(network: Network) -> socket.socket:
    """Keeps a lab's addresses for it while its daemon is dead, as its kube-proxy does where there are pods."""
    return socket.create_server((f"{network.services}.0.1", 443 + LOW_PORT_OFFSET))


def kill_under_load(settings: Settings, kills: int) -> Outcome:
    """Starts a daemon, kills it so many times while two clients write, and stops it."""
    outcome = Outcome(kills)
    running = daemon.start(settings)
    kube = Kube.from_kubeconfig(settings.kubeconfig)
    watcher = _Watcher(settings.kubeconfig, int(kube.list(MAPS)["metadata"]["resourceVersion"]))
    watcher.start()
    told: Counter[str] = Counter()
    informer = Informer(kube, MAPS).start(
        lambda kind, obj: told.update([obj["metadata"]["name"]] if kind == "ADDED" else [])
    )
    writers = [_Writer(settings.kubeconfig, f"w{n}") for n in range(WRITERS)]
    for writer in writers:
        writer.start()
    kept = keep(running.settings.network)
    try:
        for _ in range(kills):
            for writer in writers:
                writer.progress.clear()
                assert writer.progress.wait(60)
            threading.Event().wait(random.random() * LOAD)  # noqa: S311
            process = Process.of(running.pid)
            assert process is not None
            process.signal(signal.SIGKILL)
            assert process.wait(60)
            began = time.monotonic()
            running = daemon.start(settings)
            assert running.started
            outcome.down.append(time.monotonic() - began)
    finally:
        kept.close()
        for writer in writers:
            writer.stopping.set()
            writer.join(60)
    stored = {o["metadata"]["name"]: o["data"]["v"] for o in kube.list(MAPS)["items"]}
    for writer in writers:
        outcome.acknowledged += len(writer.revisions)
        outcome.lost += [name for name, value in writer.known.items() if stored.get(name) != value]
    last = kube.create(MAPS, {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "last"}})
    watcher.last = int(last["metadata"]["resourceVersion"])
    assert watcher.reached.wait(60) or watcher.last in watcher.seen
    outcome.missed = [r for writer in writers for r in writer.revisions if r not in watcher.seen]
    end = time.monotonic() + 60
    while informer.revision < watcher.last and time.monotonic() < end:
        threading.Event().wait(0.01)
    outcome.mistold = [n for n, times in told.items() if times != 1] + sorted(set(stored) - set(told))
    informer.stop()
    kube.close()
    assert daemon.stop(settings) == []
    return outcome
