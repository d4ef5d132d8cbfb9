"""A small HTTP/1.1 load generator on raw sockets: the same few microseconds of its own on every path."""

from __future__ import annotations

import selectors
import socket
import struct
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path as File

__all__ = ["Path", "cpu_seconds", "proxy_header", "seconds_in_turns", "throughput"]


def proxy_header(source: str, target: tuple[str, int]) -> bytes:
    """PROXY protocol version 2, TCP over IPv4: what the pods' shim sends in front of a captured connection."""
    addresses = socket.inet_aton(source) + socket.inet_aton(target[0]) + struct.pack("!HH", 40000, target[1])
    return b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + struct.pack("!H", len(addresses)) + addresses


@dataclass(frozen=True)
class Path:
    """Where a connection goes, what is sent first, and the request."""

    address: tuple[str, int]
    first: bytes
    host: str

    @property
    def request(self) -> bytes:
        return f"GET /notify?msg=bench HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode()

    def connect(self) -> socket.socket:
        connection = socket.create_connection(self.address, timeout=10)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(self.first)
        return connection


def cpu_seconds(pids: Iterable[int]) -> float:
    """The CPU time of all threads of some processes until now."""
    threads = [
        File(f"/proc/{pid}/task/{each.name}/schedstat") for pid in pids for each in File(f"/proc/{pid}/task").iterdir()
    ]
    return sum(int(each.read_text().split()[0]) for each in threads) / 1e9


def _whole(received: bytes) -> bool:
    """Is this one complete answer? They all have a Content-Length. Raises for anything but 200."""
    head, found, body = received.partition(b"\r\n\r\n")
    if not found:
        return False
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"the path answered {head[:200]!r}")
    length = next(int(h[15:]) for h in head.lower().split(b"\r\n") if h.startswith(b"content-length:"))
    return len(body) >= length


def seconds_in_turns(paths: Sequence[Path], turns: int, n: int) -> list[list[float]]:
    """For each path the seconds of turns × n requests, one after the other on one connection; n on each path in turn.

    Whatever else the machine does in a few milliseconds it does to all of them.
    """
    taken: list[list[float]] = [[] for _ in paths]
    with ExitStack() as stack:
        opened = [stack.enter_context(path.connect()) for path in paths]
        for turn in range(turns):
            for place in range(len(paths)) if turn % 2 else reversed(range(len(paths))):
                connection, request = opened[place], paths[place].request
                for _ in range(n):
                    began = time.perf_counter()
                    connection.sendall(request)
                    received = connection.recv(65536)
                    while not _whole(received):
                        received += connection.recv(65536)
                    taken[place].append(time.perf_counter() - began)
    return taken


def throughput(path: Path, connections: int, seconds: float) -> float:
    """Requests per second with one request under way on each of these connections."""
    request, done = path.request, 0
    with selectors.DefaultSelector() as selector:
        opened = [path.connect() for _ in range(connections)]
        pending = dict.fromkeys(opened, b"")
        try:
            for connection in opened:
                selector.register(connection, selectors.EVENT_READ)
                connection.sendall(request)
            began = time.perf_counter()
            while (now := time.perf_counter()) - began < seconds:
                for key, _ in selector.select(1.0):
                    connection = key.fileobj  # type: ignore[assignment]
                    pending[connection] += connection.recv(65536)
                    if _whole(pending[connection]):
                        done += 1
                        pending[connection] = b""
                        connection.sendall(request)
            return done / (now - began)
        finally:
            for connection in opened:
                connection.close()
