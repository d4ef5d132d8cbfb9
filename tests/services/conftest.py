"""Programs of the demo, run as they are run in a pod: one process each, on a loopback address of its own."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from demo_programs import SERVICES, Program, Script, Start, answers, wait_until


@pytest.fixture(scope="session")
def addresses() -> Iterator[str]:
    """Loopback hosts that no other test uses."""
    block = os.getpid()
    return (f"127.{91 + (block >> 8) % 8}.{block % 256}.{number}" for number in itertools.count(1))


@pytest.fixture
def start(addresses: Iterator[str], tmp_path: Path) -> Iterator[Start]:
    """start("svcb.py", "-msgsvc", …, port=8080, version="v0.2") runs a program until the test ends."""
    running: list[Program] = []

    def run(name: str, *args: str, port: int = 8080, **env: str) -> Program:
        host = next(addresses)
        file = tmp_path / f"{name}-{host}.log"
        with file.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, str(SERVICES / name), *args, "-listen", f"{host}:{port}"],
                stdout=log, stderr=subprocess.STDOUT, env=os.environ | {"HOSTNAME": f"pod-{host}"} | env,
            )
        program = Program(f"{host}:{port}", process, file)
        running.append(program)
        wait_until(lambda: answers(program.address))
        return program

    yield run
    for program in running:
        program.stop()


@pytest.fixture
def script(addresses: Iterator[str]) -> Iterator[Callable[..., Script]]:
    """script(b"HTTP/1.1 200 OK…", …) is a server that gives these answers in turn."""
    made: list[Script] = []

    def make(*replies: bytes) -> Script:
        server = Script(socket.create_server((next(addresses), 0)), list(replies))
        threading.Thread(target=server.serve, daemon=True).start()
        made.append(server)
        return server

    yield make
    for server in made:
        server.listener.shutdown(socket.SHUT_RDWR)
        server.listener.close()
        for conn in server.open:
            conn.close()
