"""A small HTTP/1.1 load generator on raw sockets: the same few microseconds of its own on every path."""

from __future__ import annotations

import selectors
import socket
import struct
import time
from dataclasses import dataclass

__all__ = ["Path", "proxy_header", "seconds_per_request", "throughput"]


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


def _whole(received: bytes) -> bool:
    """Is this one complete answer? They all have a Content-Length. Raises for anything but 200."""
    head, found, body = received.partition(b"\r\n\r\n")
    if not found:
        return False
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"the path answered {head[:200]!r}")
    length = next(int(h[15:]) for h in head.lower().split(b"\r\n") if h.startswith(b"content-length:"))
    return len(body) >= length


def seconds_per_request(path: Path, n: int) -> list[float]:
    """n requests, one after the other on one connection."""
    taken, request = [], path.request
    with path.connect() as connection:
        for _ in range(n):
            began = time.perf_counter()
            connection.sendall(request)
            received = connection.recv(65536)
            while not _whole(received):
                received += connection.recv(65536)
            taken.append(time.perf_counter() - began)
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
