"""Fixtures of the network's tests."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from network_pods import NETWORK, MakeServer, Pod, Server, pod_ip, write_network


@pytest.fixture
def server() -> Iterator[MakeServer]:
    """server(host, port, name) runs until the test ends."""
    made: list[Server] = []

    def make(host: str, port: int, name: str = "server", kind: int = socket.SOCK_STREAM) -> Server:
        made.append(Server(host, port, name, kind))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
    """A pod `default/web-1` without a sidecar in a network without services."""
    folder = tmp_path / "default_web-1_uid"
    folder.mkdir()
    write_network(tmp_path / "network.json", {})
    ip = pod_ip()
    made = Pod(folder, tmp_path / "network.json", ip, NETWORK.local_of(ip))
    yield made
    for process in made.running:
        process.terminate()
        process.communicate(timeout=60)
