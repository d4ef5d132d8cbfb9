"""Listens for questions to the cluster's DNS, by UDP and TCP. What it answers is in `names`."""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress
from typing import cast

from meshlab.cluster.network.namespaces.names import Zone, answer

__all__ = ["Resolver"]

PORT = 53
#: Seconds that a TCP connection may be silent, and bytes that a message has at most there.
SILENCE, LARGEST = 10.0, 65_535


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, zone: Zone) -> None:
        self._zone = zone
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        said = answer(data, self._zone)
        if said is not None and self._transport is not None:
            self._transport.sendto(said, addr)

    def error_received(self, exc: Exception) -> None:
        del exc  # whoever asked is gone


class Resolver:
    """The DNS server of one lab, on `address`."""

    def __init__(self, address: str, zone: Zone) -> None:
        self._address, self._zone = address, zone
        self._datagrams: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listens when this returns. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._datagrams, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(self._zone), local_addr=(self._address, PORT)
        )
        self._server = await asyncio.start_server(self._serve, self._address, PORT)

    async def stop(self) -> None:
        if self._datagrams is not None:
            self._datagrams.close()
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            while True:
                async with asyncio.timeout(SILENCE):
                    (length,) = struct.unpack("!H", await reader.readexactly(2))
                    said = answer(await reader.readexactly(length), self._zone, largest=LARGEST)
                if said is None:
                    break
                writer.write(struct.pack("!H", len(said)) + said)
                await writer.drain()
        writer.close()
