"""The daemon: one per home, found again, replaced after a kill."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from crash_lab import keep

from meshlab.cluster import daemon
from meshlab.cluster.processes import Process
from meshlab.errors import LabError, Taken
from meshlab.kube import Kube
from meshlab.settings import Settings


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setenv("MESHLAB_PARTS", "api")
    monkeypatch.delenv("MESHLAB_SLOT", raising=False)
    made = Settings(tmp_path / "home")
    yield made
    assert daemon.stop(made) == []


def names(settings: Settings) -> list[str]:
    kube = Kube.from_kubeconfig(settings.kubeconfig)
    listed = [c["metadata"]["name"] for c in kube.list(("v1", "configmaps", "default"))["items"]]
    kube.close()
    return listed


def test_start_is_idempotent_and_stop_ends_it(settings: Settings) -> None:
    assert daemon.status(settings) == daemon.Status(False, why="never started")
    first = daemon.start(settings)
    assert first.started and first.server == f"https://{first.settings.network.node}:6443"
    assert (settings.home / "slot").read_text() == f"{first.settings.network.slot}\n"
    second = daemon.start(settings)
    assert (second.started, second.pid) == (False, first.pid)
    assert settings.kubeconfig.stat().st_mode & 0o777 == 0o600
    assert settings.home.stat().st_mode & 0o777 == 0o700
    # Secrets are in the database, and nothing else is for others to read either.
    assert [path.name for path in settings.home.rglob("*") if path.stat().st_mode & 0o077] == []
    assert daemon.stop(settings) == []
    assert daemon.status(settings) == daemon.Status(False, why="stopped")
    with pytest.raises(LabError, match="cannot reach"):
        names(settings)


def test_what_was_acknowledged_survives_a_kill(settings: Settings) -> None:
    running = daemon.start(settings)
    kube = Kube.from_kubeconfig(settings.kubeconfig)
    for n in range(20):
        kube.create(("v1", "configmaps", "default"), {
            "kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": f"m{n:02}"},
        })
    process = Process.of(running.pid)
    assert process is not None
    with keep(running.settings.network):
        os.kill(running.pid, signal.SIGKILL)
        assert process.wait(60)
        kube.close()
        assert daemon.status(settings).why == "killed"
        again = daemon.start(settings)
    assert again.started and again.pid != running.pid
    assert names(settings) == [f"m{n:02}" for n in range(20)]


def test_two_starts_at_the_same_time_make_one_daemon(settings: Settings) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: daemon.start(settings), range(2))
    assert first.pid == second.pid
    assert sorted([first.started, second.started]) == [False, True]


def test_an_address_that_is_taken_is_said(settings: Settings) -> None:
    had = daemon.start(settings).settings
    with keep(had.network):
        daemon.stop(settings)
        taken = pytest.raises(Taken, match=f"cannot listen on {had.network.node}:6443")
        with socket.create_server((had.network.node, had.api_port)), taken:
            daemon.start(settings)


def test_a_damaged_database_is_said_and_kept(settings: Settings) -> None:
    settings.home.mkdir(mode=0o700)
    settings.database.write_bytes(b"this is no database" * 500)
    with pytest.raises(LabError, match="cannot be read") as caught:
        daemon.start(settings)
    assert "mv" in caught.value.then
    assert settings.database.read_bytes().startswith(b"this is no database")


def test_run_by_hand_it_serves_until_told_to_stop(settings: Settings) -> None:
    env = {**os.environ, "MESHLAB_HOME": str(settings.home)}
    reader, writer = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-m", "meshlab.cluster.daemon", "--ready", str(writer)], env=env, pass_fds=[writer],
        stderr=subprocess.DEVNULL,
    )
    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert "server" in pipe.readline()
    assert names(settings) == []
    child.send_signal(signal.SIGINT)
    assert child.wait(60) == 0
    assert not settings.daemon_file.exists()
