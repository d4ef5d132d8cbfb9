"""HTTP as Go's default client speaks it: how svca calls svcb, and svcb the message service.

Standard library only, like `go_server`. The original's one client for the whole process keeps connections alive; the
lesson on shifting traffic depends on that.
"""

from __future__ import annotations

import socket
import threading
import time

from meshlab.services.go_server import Headers, first, go_map, pointer, read_head

__all__ = ["Client", "GetError", "Response"]

IDLE_SECONDS, IDLE_PER_HOST = 90, 2  # net/http's DefaultTransport


class GetError(Exception):
    """A request that got no answer; the text is Go's."""


class Connection:
    """One connection to a server. `stale` tells, before it is used again, that the server has closed it."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        try:
            self.socket = socket.create_connection((host.strip("[]"), int(port)))
        except socket.gaierror:
            raise GetError(f"dial tcp: lookup {host}: no such host") from None
        except ConnectionRefusedError:
            raise GetError(f"dial tcp {address}: getsockopt: connection refused") from None
        except OSError as error:
            raise GetError(f"dial tcp {address}: {(error.strerror or str(error)).lower()}") from None
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.address, self.reader, self.since = address, self.socket.makefile("rb"), 0.0

    @property
    def stale(self) -> bool:
        try:
            self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def ask(self, message: bytes) -> tuple[str, Headers]:
        """Send a request, read the answer's head; ("", []) where the server closed instead of answering.

        A server that closes may be seen as an end of file or as a reset, whichever overtakes the other on the
        way. Both mean that no answer came, and both are told as the tutorial's EOF.
        """
        try:
            self.socket.sendall(message)
            return read_head(self.reader)
        except ConnectionError:
            return "", []

    def close(self) -> None:
        self.reader.close()
        self.socket.close()


class Response:
    """An answer's head. Its body is never read, as the original never did."""

    def __init__(self, start: str, headers: Headers) -> None:
        self.proto, _, self.status = start.partition(" ")
        if self.proto not in ("HTTP/1.0", "HTTP/1.1") or not self.status[:3].isdigit():
            raise GetError(f'malformed HTTP response "{start}"')
        self.code = int(self.status[:3])
        self.chunked = "chunked" in first(headers, "Transfer-Encoding").lower()
        self.headers = [pair for pair in headers if pair[0] != "Transfer-Encoding"]
        stated = first(headers, "Content-Length")
        self.length = 0 if self.code in (204, 304) else int(stated) if stated and not self.chunked else -1
        asked = first(headers, "Connection").lower()
        self.close = "close" in asked or (self.proto == "HTTP/1.0" and "keep-alive" not in asked)

    def __str__(self) -> str:
        """The answer as Go prints a *http.Response."""
        body = pointer(self) if self.length else "{}"
        encoding = "[chunked]" if self.chunked else "[]"
        return (
            f"&{{{self.status} {self.code} {self.proto} {self.proto[5]} {self.proto[7]} {go_map(self.headers)}"
            f" {body} {self.length} {encoding} {str(self.close).lower()} false map[]"
            f" {pointer(self.headers)} <nil>}}"
        )


class Client:
    """One pool of connections for the whole process, like Go's http.DefaultClient.

    A connection goes back to the pool when its answer had an empty body, and is closed when a body was left
    unread: that is what `resp.Body.Close()` does in Go. The pool keeps two idle connections for each server, for
    90 seconds. With it all requests may travel on one connection, and whatever balances connections cannot
    balance them.
    """

    def __init__(self) -> None:
        self.idle: list[Connection] = []
        self.changed = threading.Condition()
        threading.Thread(target=self._close_idle, daemon=True).start()

    def get(self, url: str) -> Response:
        """GET an http:// URL. Raises GetError in Go's words."""
        host, slash, target = url.removeprefix("http://").partition("/")
        if not host:
            raise GetError(f"Get {url}: http: no Host in request URL")
        message = (
            f"GET {slash or '/'}{target} HTTP/1.1\r\nHost: {host}\r\n"
            "User-Agent: Go-http-client/1.1\r\nAccept-Encoding: gzip\r\n\r\n"
        ).encode()
        address = host if host.rpartition(":")[2].isdigit() else f"{host}:80"
        try:
            return self._exchange(address, message)
        except (GetError, ValueError) as error:
            raise GetError(f"Get {url}: {error}") from None

    def _exchange(self, address: str, message: bytes) -> Response:
        while True:
            kept = self._take(address)
            connection = kept or Connection(address)
            try:
                start, headers = connection.ask(message)
                if not start and kept:
                    connection.close()
                    continue  # closed while it was idle: Go tries again on another one
                if not start:
                    raise GetError("EOF")
                response = Response(start, headers)
            except BaseException:
                connection.close()
                raise
            if response.length or response.close:
                connection.close()
            else:
                self._give(connection)
            return response

    def _take(self, address: str) -> Connection | None:
        """The idle connection that was used last, if its server still holds it."""
        with self.changed:
            for connection in [each for each in reversed(self.idle) if each.address == address]:
                self.idle.remove(connection)
                if not connection.stale:
                    return connection
                connection.close()
        return None

    def _give(self, connection: Connection) -> None:
        with self.changed:
            if sum(each.address == connection.address for each in self.idle) >= IDLE_PER_HOST:
                connection.close()
                return
            connection.since = time.monotonic()
            self.idle.append(connection)
            self.changed.notify()

    def _close_idle(self) -> None:
        """Close what has been idle for 90 seconds. The list is ordered by the time of the last use."""
        with self.changed:
            while True:
                if not self.idle:
                    self.changed.wait()
                    continue
                left = self.idle[0].since + IDLE_SECONDS - time.monotonic()
                if left > 0:
                    self.changed.wait(left)
                else:
                    self.idle.pop(0).close()
