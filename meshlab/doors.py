"""Local doors to what runs inside a cluster: a port of 127.0.0.1 for a browser, and a port-forward behind it.

A door belongs to the process that opened it and is gone with it, or when it is closed. Each connection that comes in
gets a port-forward of its own, to a pod that is ready at that moment: one that breaks takes no other with it, and the
next one finds its way again.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Lock, Thread
from types import TracebackType

from .errors import LabError, MeshlabError
from .tunnel import Tunnel

__all__ = ["Door", "Doors"]


class Door:
    """Listens from the start until it is closed; `address` is host and port."""

    def __init__(self, open_: Callable[[], Tunnel]) -> None:
        self._open = open_
        self._lock = Lock()
        self._held: set[Tunnel] = set()
        self._closed = False
        self._server = _Server(self)
        self.address: tuple[str, int] = self._server.server_address[:2]  # type: ignore[assignment]
        self._thread = Thread(
            target=self._server.serve_forever, args=(0.05,), name=f"door {self.address[1]}", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Lets nobody in any more and ends what goes on. Closing twice is harmless."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            held = list(self._held)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for tunnel in held:
            tunnel.close()

    def __enter__(self) -> Door:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def serve(self, guest: socket.socket) -> None:
        """One connection, from its beginning to its end."""
        try:
            tunnel = self._open()
        except MeshlabError as error:
            with suppress(OSError):
                guest.sendall(_apology(error))
            return
        tunnel.settimeout(None)
        with self._lock:
            self._held.add(tunnel)
            late = self._closed
        back = Thread(target=_outward, args=(tunnel, guest), daemon=True)
        back.start()
        try:
            while not late and (data := guest.recv(65536)):
                tunnel.sendall(data)
        except (OSError, MeshlabError):
            pass  # either end is gone: so is the connection
        finally:
            tunnel.close()
            back.join()
            with self._lock:
                self._held.discard(tunnel)


def _outward(tunnel: Tunnel, guest: socket.socket) -> None:
    """What comes from the pod, to its end."""
    begun = False
    try:
        while data := tunnel.recv():
            begun = True
            guest.sendall(data)
    except MeshlabError as error:
        if not begun:
            with suppress(OSError):
                guest.sendall(_apology(error))
    except OSError:
        pass  # the guest has gone
    with suppress(OSError):
        guest.shutdown(socket.SHUT_RDWR)


def _apology(error: MeshlabError) -> bytes:
    """For a browser: why there is nothing to see."""
    text = f"{error}\n".encode()
    head = f"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(text)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + text


class _Server(ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, door: Door) -> None:
        self.door = door
        super().__init__(("127.0.0.1", 0), _Guest)


class _Guest(BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        self.server.door.serve(self.request)


class Doors:
    """Doors by what they lead to: asked for again, one is the same."""

    def __init__(self) -> None:
        self._doors: dict[str, Door] = {}
        self._lock = Lock()

    def to(self, name: str, open_: Callable[[], Tunnel]) -> tuple[str, int]:
        """Host and port of the door of this name, which is made if there is none. Raises `LabError`."""
        with self._lock:
            if name not in self._doors:
                try:
                    self._doors[name] = Door(open_)
                except OSError as error:
                    raise LabError(f"no door to {name}", why=str(error)) from error
            return self._doors[name].address

    def close(self) -> None:
        """Closes all of them."""
        with self._lock:
            doors, self._doors = list(self._doors.values()), {}
        for door in doors:
            door.close()
