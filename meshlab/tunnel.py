"""A connection into a pod, by the API server's port-forward.

Subprotocol v4, which every kubelet speaks: the request names a port, and gets two channels for it. Channel 0 carries
the connection's bytes, channel 1 says what went wrong; the first message of each is the port's number. One WebSocket
is one connection: who has lost one opens another, and whoever closes it has closed all of it.
"""

from __future__ import annotations

import io
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import quote

from .errors import LabError
from .upgrade import Upgrade

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer
    from websocket import WebSocket

__all__ = ["Tunnel", "request"]

PROTOCOLS = ("v4.channel.k8s.io",)
DATA, ERROR = 0, 1
#: Bytes of one message: what a kubelet reads at a time.
_PIECE = 32 * 1024


class Tunnel:
    """One connection to a port of a pod. What reads it may be another thread than what writes it."""

    def __init__(self, connection: WebSocket, where: str) -> None:
        self._connection, self._where = connection, where
        self._begun: set[int] = set()

    @classmethod
    def open(cls, upgrade: Upgrade, namespace: str, pod: str, port: int, *, timeout: float = 30.0) -> Tunnel:
        """Raises `Rejected` if the server refuses, `LabError` if it cannot be reached.

        Whether the program in the pod takes the connection shows with the first `recv`.
        """
        path = f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(pod)}/portforward?ports={port}"
        return cls(upgrade(path, PROTOCOLS, timeout), f"port {port} of pod {namespace}/{pod}")

    def settimeout(self, seconds: float | None) -> None:
        """How long `recv` waits; None is for ever."""
        self._connection.settimeout(seconds)

    def sendall(self, data: ReadableBuffer) -> None:
        """Raises `LabError` when the connection is lost."""
        from websocket import WebSocketException

        whole = bytes(data)
        try:
            for start in range(0, len(whole), _PIECE):
                self._connection.send_binary(bytes([DATA]) + whole[start : start + _PIECE])
        except (OSError, WebSocketException) as error:
            raise self._lost(error) from error

    def recv(self) -> bytes:
        """What comes next; empty at the end. Raises `LabError` with the node's words, or when it is lost."""
        from websocket import WebSocketConnectionClosedException, WebSocketException

        while True:
            try:
                message = self._connection.recv()
            except WebSocketConnectionClosedException:
                return b""
            except (OSError, WebSocketException) as error:
                raise self._lost(error) from error
            if not message:
                return b""
            data = message if isinstance(message, bytes) else message.encode()
            channel = data[0]
            if channel not in self._begun:
                self._begun.add(channel)  # the port's number
            elif channel == ERROR:
                raise LabError(f"no connection to {self._where}", why=data[1:].decode("utf-8", "replace").strip())
            elif len(data) > 1:
                return data[1:]

    def makefile(self, mode: str = "rb", *_: object) -> BinaryIO:
        """To be read as a file: what `http.client` asks of a socket."""
        return io.BufferedReader(_Reader(self))

    def close(self) -> None:
        """Ends it at once, also under somebody who waits in `recv`. Closing twice is harmless."""
        plain = self._connection.sock
        if plain is None:
            return
        with suppress(OSError):  # the other end was faster
            plain.shutdown(socket.SHUT_RDWR)
        plain.close()

    def _lost(self, error: Exception) -> LabError:
        return LabError(f"the connection to {self._where} was lost", why=str(error))


def request(
    tunnel: Tunnel, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """One HTTP request, its status, headers and body; the tunnel is closed. Raises `LabError` if it breaks."""
    from http.client import HTTPConnection, HTTPException, HTTPResponse

    connection = HTTPConnection("localhost")
    connection.sock = tunnel
    try:
        connection.request(method, path, body, {"Connection": "close", **(headers or {})})
        # Not `getresponse`, which closes the tunnel before the body is read where the answer says `close`, as Go's do.
        answer = HTTPResponse(cast("socket.socket", tunnel), method=method)
        answer.begin()
        return answer.status, dict(answer.headers), answer.read()
    except HTTPException as error:
        raise LabError(f"{method} {path}: the connection was lost", why=str(error) or type(error).__name__) from error
    finally:
        tunnel.close()


class _Reader(io.RawIOBase):
    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel, self._rest = tunnel, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        into = memoryview(buffer).cast("B")
        self._rest = self._rest or self._tunnel.recv()
        size = min(len(into), len(self._rest))
        into[:size], self._rest = self._rest[:size], self._rest[size:]
        return size
