"""A server between a client and the API server that does what servers on bad days do.

    with FaultyServer(upstream, kubeconfig_folder) as server:
        server.faults.append(Fault(r"GET /api/v1/nodes", answer(429, {"Retry-After": "1"}), times=2))
        Access(server.kubeconfig)

A request that no fault is for goes through as it is. `server.seen` are the requests in their order, with the moment
at which each came.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import trustme

__all__ = ["Fault", "FaultyServer", "answer", "answer_with", "cut", "dropped", "events", "silent", "slow"]

#: Does something with a request; False lets it go through.
Deed = Callable[["_Handler"], bool]


@dataclass
class Fault:
    """What is done with the first `times` requests whose `METHOD /path?query` the pattern finds; -1: with all."""

    pattern: str
    deed: Deed
    times: int = 1
    #: How often it was done.
    done: int = field(default=0, init=False)


def answer(status: int, headers: dict[str, str] | None = None, *, reason: str = "", message: str = "") -> Deed:
    """A refusal, as a Status."""

    def deed(handler: _Handler) -> bool:
        said = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status}
        handler.reply(status, {**said, "reason": reason, "message": message or f"said {status}"}, headers)
        return True

    return deed


def answer_with(document: dict[str, Any]) -> Deed:
    """This, in the place of what the server would have said."""

    def deed(handler: _Handler) -> bool:
        handler.reply(200, document)
        return True

    return deed


def dropped(handler: _Handler) -> bool:
    """The connection is closed without a word."""
    handler.hang_up()
    return True


def events(*documents: dict[str, Any]) -> Deed:
    """A watch that says this and ends."""

    def deed(handler: _Handler) -> bool:
        handler.stream([json.dumps(each).encode() + b"\n" for each in documents])
        return True

    return deed


def silent(handler: _Handler) -> bool:
    """Nothing is said until whoever asks has gone."""
    handler.close_connection = True
    while handler.connection.recv(65536):
        pass
    return True


def cut(size: int) -> Deed:
    """The answer goes through for this many bytes; then the connection breaks."""

    def deed(handler: _Handler) -> bool:
        handler.forward(stop_after=size)
        return True

    return deed


def slow(seconds: float) -> Deed:
    """Each piece of the answer is held back."""

    def deed(handler: _Handler) -> bool:
        handler.forward(hold=seconds)
        return True

    return deed


class FaultyServer:
    """Listens on 127.0.0.1 with a certificate of its own; `kubeconfig` leads to it."""

    def __init__(self, upstream: str, token: str, folder: Path) -> None:
        self.upstream, self.token = urlsplit(upstream), token
        self.faults: list[Fault] = []
        self.seen: list[tuple[float, str]] = []
        self.lock = threading.Lock()
        authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        certificate = authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.ECDSA)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(self._tls)
        self._folder = folder
        (folder / "ca.pem").write_bytes(authority.cert_pem.bytes())
        self.port = 0
        self._start()
        self.kubeconfig = folder / "faulty.kubeconfig"
        self.kubeconfig.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "faulty",
            "clusters": [{"name": "faulty", "cluster": {
                "server": f"https://127.0.0.1:{self.port}", "certificate-authority": str(folder / "ca.pem"),
            }}],
            "users": [{"name": "somebody", "user": {"token": token}}],
            "contexts": [{"name": "faulty", "context": {"cluster": "faulty", "user": "somebody"}}],
        }))  # fmt: skip

    def _start(self) -> None:
        handler = type("Handler", (_Handler,), {"faulty": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self._server.daemon_threads = True
        self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def __enter__(self) -> FaultyServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def start_again(self) -> None:
        """On the same port, after `stop`."""
        self._start()

    def requests(self, pattern: str) -> list[str]:
        """Those seen that the pattern finds."""
        return [line for _, line in self.seen if re.search(pattern, line)]


def _trusting() -> ssl.SSLContext:
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    return trust


class _Handler(BaseHTTPRequestHandler):
    faulty: FaultyServer
    upstream: http.client.HTTPSConnection | None = None
    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, ssl.SSLError, TimeoutError):
            self.close_connection = True

    def _any(self) -> None:
        line = f"{self.command} {self.path}"
        with self.faulty.lock:
            self.faulty.seen.append((time.monotonic(), line))
            fault = next((f for f in self.faulty.faults if f.times != f.done and re.search(f.pattern, line)), None)
            if fault is not None:
                fault.done += 1
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if fault is None or not fault.deed(self):
            self.forward()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any

    def reply(self, status: int, document: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stream(self, pieces: list[bytes]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        for piece in pieces:
            self.wfile.write(piece)
        self.close_connection = True

    def hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):  # the other end may be gone already
            self.connection.shutdown(socket.SHUT_RDWR)

    def forward(self, *, stop_after: int | None = None, hold: float = 0.0) -> None:
        if self.headers.get("Upgrade"):
            self._hand_through(stop_after)
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
        upstream = self._upstream()
        upstream.request(self.command, self.path, self.body or None, headers)
        found = upstream.getresponse()
        self.send_response(found.status)
        self.send_header("Content-Type", found.headers.get("Content-Type") or "application/json")
        if "watch=true" not in self.path and stop_after is None:
            data = found.read()
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            return
        self.send_header("Connection", "close")
        self.close_connection = True
        self.end_headers()
        left = stop_after
        while piece := found.read1(65536):
            if hold:
                threading.Event().wait(hold)
            if left is not None and len(piece) >= left:
                self.wfile.write(piece[:left])
                self.hang_up()
                return
            left = None if left is None else left - len(piece)
            self.wfile.write(piece)
            self.wfile.flush()

    def _hand_through(self, stop_after: int | None) -> None:
        """A connection that stops being HTTP, to its end: exec, port-forward."""
        self.close_connection = True
        where = self.faulty.upstream
        plain = socket.create_connection((where.hostname or "", where.port or 443), timeout=60)
        with _trusting().wrap_socket(plain) as upstream:
            lines = [f"{self.command} {self.path} HTTP/1.1", *(f"{n}: {v}" for n, v in self.headers.items())]
            upstream.sendall("\r\n".join([*lines, "", ""]).encode())

            def inward() -> None:
                with suppress(OSError):
                    while piece := self.connection.recv(65536):
                        upstream.sendall(piece)
                    upstream.shutdown(socket.SHUT_RDWR)

            thread = threading.Thread(target=inward, daemon=True)
            thread.start()
            with suppress(OSError):
                seen = b""
                while b"\r\n\r\n" not in seen and (piece := upstream.recv(65536)):
                    seen += piece
                # What is counted comes after the head.
                left = None if stop_after is None else seen.index(b"\r\n\r\n") + 4 + stop_after
                while seen and left != 0:
                    self.wfile.write(seen[:left])
                    left = None if left is None else max(0, left - len(seen))
                    seen = b"" if left == 0 else upstream.recv(65536)
            with suppress(OSError):
                self.hang_up()
            thread.join(60)

    def _upstream(self) -> http.client.HTTPSConnection:
        if self.upstream is None:
            where = self.faulty.upstream
            self.upstream = http.client.HTTPSConnection(
                where.hostname or "", where.port, context=_trusting(), timeout=60
            )
        return self.upstream

    def finish(self) -> None:
        super().finish()
        if self.upstream is not None:
            self.upstream.close()

    def log_message(self, format: str, *args: Any) -> None:
        pass
