"""A small HTTP server, and a smaller client, for the mesh's programs and the add-ons.

`http.server` brings `email` and `ssl` along: 17 MB and 35 ms where this takes 10 MB and 12 ms, and a lab runs
half a dozen of these programs. It knows what they need: keep-alive, bodies with a length or in chunks,
bounded sizes, a bounded number of connections. One thread per connection.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

if TYPE_CHECKING:
    import ssl

__all__ = ["Answer", "Request", "Server", "fetch", "html", "plain", "to_json"]

#: Bytes. Zipkin's own collector takes 5 MB bodies.
MAX_BODY = 5 << 20
MAX_HEAD = 64 << 10
#: Seconds that a kept-alive connection may be silent.
IDLE = 60.0
#: Connections at one time; further ones wait in the listen queue.
CONNECTIONS = 128
_REASONS = {200: "OK", 202: "Accepted", 204: "No Content", 302: "Found", 400: "Bad Request", 404: "Not Found",
            405: "Method Not Allowed", 411: "Length Required", 413: "Payload Too Large",
            500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway",
            503: "Service Unavailable"}


@dataclass(frozen=True)
class Request:
    """`query` holds the last value of each parameter; header names are in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


def plain(text: str, status: int = 200) -> Answer:
    return Answer(status, text.encode())


def html(text: str, status: int = 200) -> Answer:
    return Answer(status, text.encode(), "text/html; charset=utf-8")


def to_json(value: Any, status: int = 200, *, indent: int | None = None) -> Answer:
    return Answer(status, json.dumps(value, indent=indent).encode(), "application/json")


class Server:
    """`with Server(("127.0.0.1", 0), handler) as server:` — a handler returns an Answer for each Request.

    An exception of the handler becomes a 500 with its text, and is written to standard error. With `tls` it serves
    https; another context put in its place holds for the connections that come then.
    """

    def __init__(
        self, address: tuple[str, int], handler: Callable[[Request], Answer],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._handler, self.tls = handler, tls
        self._socket = socket.create_server(address, backlog=128)
        self.address: tuple[str, int] = self._socket.getsockname()[:2]
        self._room = threading.Semaphore(CONNECTIONS)
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://{self.address[0]}:{self.address[1]}"

    def start(self) -> Server:
        """Serves in a thread."""
        self._thread = threading.Thread(target=self.serve, name=f"http {self.address[1]}", daemon=True)
        self._thread.start()
        return self

    def serve(self) -> None:
        """Serves until close()."""
        while True:
            with self._lock:
                if self._closed:
                    return
            # A waiting accept would keep the room of a connection: take it only when somebody came.
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._room.acquire()
            with self._lock:
                self._open.add(connection)
            threading.Thread(target=self._serve_one, args=(connection,), daemon=True).start()

    def close(self) -> None:
        """Stops listening and cuts what is open. May be called twice."""
        with self._lock:
            self._closed = True
            open_now = list(self._open)
        for each in (self._socket, *open_now):
            try:
                each.shutdown(socket.SHUT_RDWR)  # wakes a blocked accept or read, which close alone does not
            except OSError:
                continue
        self._socket.close()
        if self._thread is not None:
            self._thread.join(2)

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def _serve_one(self, connection: socket.socket) -> None:
        spoken = connection
        try:
            connection.settimeout(IDLE)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls is not None:
                spoken = self.tls.wrap_socket(connection, server_side=True)
                with self._lock:
                    self._open.add(spoken)
            with spoken.makefile("rb") as reader:
                while self._exchange(spoken, reader):
                    pass
        except OSError:
            pass  # the peer went away or fell silent: nobody is left to tell
        finally:
            spoken.close()
            connection.close()
            with self._lock:
                self._open -= {spoken, connection}
            self._room.release()

    def _exchange(self, connection: socket.socket, reader: Any) -> bool:
        """One request and its answer; whether the connection stays open."""
        line = reader.readline(MAX_HEAD)
        if not line.strip():
            return False
        try:
            request, keep = _read(connection, reader, line.decode("latin-1"))
        except _Bad as bad:
            _send(connection, plain(f"{bad}\n", bad.status), keep=False, head=False)
            return False
        try:
            answer = self._handler(request)
        except Exception as error:
            print(f"error: {request.method} {request.path}: {type(error).__name__}: {error}",
                  file=sys.stderr, flush=True)
            answer = plain(f"{type(error).__name__}: {error}\n", 500)
        _send(connection, answer, keep=keep, head=request.method == "HEAD")
        return keep


class _Bad(Exception):
    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


def _read(connection: socket.socket, reader: Any, line: str) -> tuple[Request, bool]:
    words = line.split()
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise _Bad(400, "not an HTTP/1 request")
    headers: dict[str, str] = {}
    size = 0
    while (raw := reader.readline(MAX_HEAD)) not in (b"\r\n", b"\n", b""):
        size += len(raw)
        if size > MAX_HEAD:
            raise _Bad(400, "headers too large")
        name, _, value = raw.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    if headers.get("expect", "").lower() == "100-continue":
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = _body(reader, headers)
    try:
        target = urlsplit(words[1])
    except ValueError:
        raise _Bad(400, "no address") from None
    query = dict(parse_qsl(target.query, keep_blank_values=True))
    wish = headers.get("connection", "").lower()
    keep = wish != "close" and (words[2] != "HTTP/1.0" or wish == "keep-alive")
    return Request(words[0], unquote(target.path), query, headers, body), keep


def _body(reader: Any, headers: Mapping[str, str]) -> bytes:
    if "chunked" in headers.get("transfer-encoding", "").lower():
        parts, total = [], 0
        while True:
            try:
                size = int(reader.readline(MAX_HEAD).split(b";")[0], 16)
                if size < 0:
                    raise ValueError
            except ValueError:
                raise _Bad(400, "broken chunk") from None
            total += size
            if total > MAX_BODY:
                raise _Bad(413, f"more than {MAX_BODY} bytes")
            parts.append(reader.read(size))
            reader.readline(MAX_HEAD)
            if size == 0:
                return b"".join(parts)
    try:
        length = int(headers.get("content-length") or 0)
        if length < 0:
            raise ValueError
    except ValueError:
        raise _Bad(400, "content-length is no number") from None
    if length > MAX_BODY:
        raise _Bad(413, f"more than {MAX_BODY} bytes")
    data: bytes = reader.read(length) if length > 0 else b""
    return data


def _send(connection: socket.socket, answer: Answer, *, keep: bool, head: bool) -> None:
    lines = [f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, 'Status')}"]
    if answer.status != 204:
        lines.append(f"Content-Type: {answer.content_type}")
        lines.append(f"Content-Length: {len(answer.body)}")
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    if not keep:
        lines.append("Connection: close")
    connection.sendall("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (b"" if head else answer.body))


def fetch(url: str, *, timeout: float = 10.0) -> tuple[int, bytes]:
    """GET of an http:// URL: (status, body). Raises OSError where nobody answers in `timeout` seconds."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"not an http:// address: {url!r}")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    with socket.create_connection((parts.hostname, parts.port or 80), timeout=timeout) as connection:
        connection.sendall(
            f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode())
        received = bytearray()
        while chunk := connection.recv(65536):
            received += chunk
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    try:
        status = int(head.split(None, 2)[1])
        return status, _unchunk(body) if b"transfer-encoding: chunked" in head.lower() else body
    except (IndexError, ValueError):
        raise OSError(f"no HTTP answer from {parts.netloc}") from None


def _unchunk(body: bytes) -> bytes:
    parts: list[bytes] = []
    at = 0
    while True:
        end = body.index(b"\r\n", at)
        size = int(body[at:end].split(b";")[0], 16)
        if size == 0:
            return b"".join(parts)
        parts.append(body[end + 2:end + 2 + size])
        at = end + size + 4
