"""Takes a connection away from the HTTP server, for protocols that it does not speak.

aiohttp upgrades to WebSocket only; SPDY and whatever a proxied program speaks need the bare connection. Once handed
over, the connection belongs to the handler; the HTTP server hears of its end, and of nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from aiohttp import web

__all__ = ["HandedOver", "hand_over", "pump", "sender"]

#: Bytes read at a time.
PIECE = 64 * 1024


class HandedOver(web.StreamResponse):
    """What a handler returns when the connection was handed over: nothing more is to be sent."""

    async def prepare(self, request: web.BaseRequest) -> None:
        """Nothing: the answer has been given."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing either."""


class _Protocol(asyncio.StreamReaderProtocol):
    def __init__(self, reader: asyncio.StreamReader, loop: asyncio.AbstractEventLoop, before: Any) -> None:
        super().__init__(reader, loop=loop)
        self._before = before

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._before.connection_lost(exc)  # which cancels the handler


def hand_over(request: web.BaseRequest, head: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The bare connection of a request whose client awaits `head` before it goes on.

    Raises ConnectionResetError if the client has gone.
    """
    transport, loop = request.transport, asyncio.get_running_loop()
    if not isinstance(transport, asyncio.Transport) or transport.is_closing():
        raise ConnectionResetError("the client went away")
    reader = asyncio.StreamReader(PIECE, loop=loop)
    protocol = _Protocol(reader, loop, transport.get_protocol())
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    with suppress(RuntimeError):  # it was not paused
        transport.resume_reading()
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    writer.write(head)
    return reader, writer


async def pump(
    read: Callable[[int], Awaitable[bytes]], write: Callable[[bytes], Awaitable[None]]
) -> None:
    """Copies until the end of what is read, in order and not faster than it is taken."""
    while data := await read(PIECE):
        await write(data)


def sender(writer: asyncio.StreamWriter) -> Callable[[bytes], Awaitable[None]]:
    """A function that writes all of what it is given, and waits while the other side is slow."""
    async def write(data: bytes) -> None:
        writer.write(data)
        await writer.drain()

    return write
