"""What the tests of the demo services share: running programs, a scripted server, waiting."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

SERVICES = Path(__file__).parents[2] / "meshlab" / "services"


@dataclass
class Program:
    """A running program: `address` is host:port, `log()` what it wrote so far."""

    address: str
    process: subprocess.Popen[bytes]
    file: Path

    def log(self) -> str:
        return self.file.read_text()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)


Start = Callable[..., Program]


def wait_until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until a condition holds; it is looked at every 5 ms."""
    end, pause = time.monotonic() + seconds, threading.Event()
    while not true():
        assert time.monotonic() < end, "the condition did not come true in time"
        pause.wait(0.005)


def answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 1).close()
    except ConnectionRefusedError:
        return False
    return True


@dataclass
class Script:
    """A server that answers each request with the next of `replies` (b"" closes); counts its connections."""

    listener: socket.socket
    replies: list[bytes]
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    open: list[socket.socket] = field(default_factory=list)

    @property
    def address(self) -> str:
        host, port = self.listener.getsockname()
        return f"{host}:{port}"

    def serve(self) -> None:
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return  # the test is over and has closed the listener
            self.connections += 1
            self.open.append(conn)
            threading.Thread(target=self.converse, args=(conn,), daemon=True).start()

    def converse(self, conn: socket.socket) -> None:
        with conn, suppress(OSError):  # a client that has read enough, or the end of the test
            while data := conn.recv(65_536):
                self.requests.append(data)
                reply = self.replies.pop(0)
                if not reply:
                    return
                conn.sendall(reply)
