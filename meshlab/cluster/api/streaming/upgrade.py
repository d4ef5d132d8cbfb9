"""Upgrades through the service and pod proxy: WebSocket, or whatever the program behind it speaks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from aiohttp import web

from meshlab.cluster.api.status import ServiceUnavailable
from meshlab.cluster.api.streaming.handover import HandedOver, hand_over, pump, sender

__all__ = ["proxy_upgrade", "wants_upgrade"]

#: Bytes of the head of an answer.
LARGEST_HEAD = 64 * 1024
#: Seconds for a connection to a program of this machine.
CONNECTING = 5.0


def wants_upgrade(request: web.BaseRequest) -> bool:
    """Whether the connection shall become something else than HTTP."""
    words = [w.strip().lower() for line in request.headers.getall("Connection", []) for w in line.split(",")]
    return "upgrade" in words and "Upgrade" in request.headers


async def proxy_upgrade(
    request: web.BaseRequest, scheme: str, host: str, port: int, path: str, headers: Iterable[tuple[str, str]]
) -> web.StreamResponse:
    """Sends the request on and joins the two connections, whatever the answer is. 503 where nothing answers."""
    secure = None
    if scheme == "https":
        import ssl

        secure = ssl._create_unverified_context()  # noqa: S323 - as the API server's proxy, which has no root for it
    try:
        async with asyncio.timeout(CONNECTING):
            reader, writer = await asyncio.open_connection(host, port, ssl=secure, limit=LARGEST_HEAD)
    except (OSError, TimeoutError) as error:
        raise ServiceUnavailable(f"error trying to reach service: {error}") from None
    try:
        lines = [f"{request.method} {path} HTTP/1.1", f"Host: {host}:{port}", "Connection: Upgrade",
                 f"Upgrade: {request.headers['Upgrade']}", *(f"{key}: {value}" for key, value in headers), "", ""]
        writer.write("\r\n".join(lines).encode("latin-1", "replace"))
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise ServiceUnavailable(f"error trying to reach service: {error}") from None
        if b" 101 " not in head.split(b"\r\n", 1)[0]:
            head = _closing(head)  # an answer like any other, after which the connection ends
        client_reader, client_writer = hand_over(request, head)
        there = asyncio.create_task(pump(client_reader.read, sender(writer)))
        here = asyncio.create_task(pump(reader.read, sender(client_writer)))
        try:
            await asyncio.wait({there, here}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (there, here):
                task.cancel()
            await asyncio.gather(there, here, return_exceptions=True)
            client_writer.close()
    finally:
        writer.close()
    return HandedOver()


def _closing(head: bytes) -> bytes:
    """The head of an answer, saying that the connection ends with it."""
    first, *rest = head.rstrip(b"\r\n").split(b"\r\n")
    kept = [line for line in rest if line.partition(b":")[0].strip().lower() not in (b"connection", b"keep-alive")]
    return b"\r\n".join([first, *kept, b"Connection: close", b"", b""])
