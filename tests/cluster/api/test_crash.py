"""Killed at any moment, under load: nothing acknowledged is lost, no watch misses an event."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections import Counter
from pathlib import Path

import pytest

from meshlab.cluster import daemon
from meshlab.cluster.processes import Process
from meshlab.errors import LabError, Rejected
from meshlab.kube import Informer, Kube
from meshlab.settings import Settings

#: A handful shows that it is still so. `MESHLAB_CRASHES=100 pytest tests/cluster/api/test_crash.py` takes 100 s on two
#: cores, and passes.
ROUNDS = int(os.environ.get("MESHLAB_CRASHES", "5"))
MAPS = ("v1", "configmaps", "default")


class Writer(threading.Thread):
    """Creates and changes objects without pause, and remembers what was acknowledged."""

    def __init__(self, kubeconfig: Path, name: str) -> None:
        super().__init__(name=name)
        self.kube = Kube.from_kubeconfig(kubeconfig)
        self.acknowledged: dict[str, str] = {}
        self.stopping, self.progress = threading.Event(), threading.Event()

    def run(self) -> None:
        n = 0
        while not self.stopping.is_set():
            name, value = f"{self.name}-{n}", str(random.random())  # noqa: S311
            obj = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": {"v": value}}
            try:
                self.kube.create(MAPS, obj)
                self.acknowledged[name] = value
                if n % 3 == 0:
                    self.kube.patch((*MAPS, name), {"data": {"v": value + "!"}})
                    self.acknowledged[name] = value + "!"
            except LabError:
                # Down: not acknowledged, so it may be there or not. Wait a moment and go on with another name.
                self.stopping.wait(0.02)
            except Rejected as error:
                assert error.code == 409, error
            n += 1
            self.progress.set()
        self.kube.close()


def test_kills_under_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHLAB_PARTS", "api")
    monkeypatch.delenv("MESHLAB_SLOT", raising=False)
    settings = Settings(tmp_path / "home")
    running = daemon.start(settings)
    kube = Kube.from_kubeconfig(settings.kubeconfig)
    added: Counter[str] = Counter()

    def note(type_: str, obj: dict[str, dict[str, str]]) -> None:
        if type_ == "ADDED":
            added[obj["metadata"]["name"]] += 1

    informer = Informer(kube, MAPS).start(note)
    writers = [Writer(settings.kubeconfig, f"w{n}") for n in range(2)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(ROUNDS):
            for writer in writers:
                writer.progress.clear()
                assert writer.progress.wait(10)
            threading.Event().wait(random.random() * 0.1)  # any moment will do  # noqa: S311
            process = Process.of(running.pid)
            assert process is not None
            process.signal(signal.SIGKILL)
            assert process.wait(5)
            running = daemon.start(settings)
            assert running.started
    finally:
        for writer in writers:
            writer.stopping.set()
            writer.join(10)
    stored = {o["metadata"]["name"]: o["data"]["v"] for o in kube.list(MAPS)["items"]}
    for writer in writers:
        for name, value in writer.acknowledged.items():
            # The last write of all may have been stored without being acknowledged.
            assert stored[name].rstrip("!") == value.rstrip("!"), name
            assert len(stored[name]) >= len(value), name
    last = kube.create(MAPS, {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "last"}})
    deadline = threading.Event()
    for _ in range(500):
        if informer.revision >= int(last["metadata"]["resourceVersion"]):
            break
        deadline.wait(0.01)
    assert set(stored) <= set(added)
    assert max(added.values()) == 1
    informer.stop()
    kube.close()
    assert daemon.stop(settings) == []
