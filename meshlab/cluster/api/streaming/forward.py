"""port-forward: connections of a client's machine that end inside a pod.

kubectl opens a pair of SPDY streams for each connection, in a WebSocket or bare. The Python client names its ports in
the request and gets a pair of channels for each: the first message of a channel is the port, little-endian.
"""

from __future__ import annotations

import asyncio
import os
import struct
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from aiohttp import WSMsgType, web

from meshlab.cluster.api.request import Target
from meshlab.cluster.api.status import BadRequest, InternalError
from meshlab.cluster.api.streaming.channels import Channels, offered
from meshlab.cluster.api.streaming.handover import HandedOver, hand_over, pump, sender
from meshlab.cluster.api.streaming.spdy import Connection, Stream
from meshlab.cluster.api.streams import Dial, Kubelet, KubeletError

__all__ = ["forward_ports"]

TUNNEL = "SPDY/3.1+portforward.k8s.io"
VERSION = "portforward.k8s.io"
CHANNELS = ("v4.channel.k8s.io", "v4.base64.channel.k8s.io")
#: Messages of a port that wait for the program behind it, before the others wait as well.
WAITING = 64

#: What came for each port that is still open, by the number of its data channel.
Queues = dict[int, "asyncio.Queue[bytes]"]


async def forward_ports(request: web.BaseRequest, target: Target, kubelet: Kubelet | None) -> web.StreamResponse:
    """Answers `…/pods/NAME/portforward`. ApiErrors before the connection is upgraded."""
    if kubelet is None:
        raise InternalError.because("this server runs without a node")
    protocols = offered(request)
    upgrade = request.headers.get("Upgrade", "").lower()
    if protocols is None and not upgrade.startswith("spdy/3.1"):
        raise BadRequest("Upgrade request required")
    name = target.name or ""
    try:
        dial = kubelet.dialer(target.namespace or "", name)
    except KubeletError as error:
        raise InternalError.because(str(error)) from None
    if protocols is None:
        return await _over_spdy(request, name, dial)
    if TUNNEL in protocols:
        return await _in_tunnel(request, name, dial)
    return await _over_channels(request, name, dial)


# kubectl and client-go


async def _over_spdy(request: web.BaseRequest, pod: str, dial: Dial) -> web.StreamResponse:
    head = ("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
            f"X-Stream-Protocol-Version: {VERSION}\r\n\r\n")
    reader, writer = hand_over(request, head.encode())
    try:
        await _serve(Connection(reader.read, sender(writer)), pod, dial)
    finally:
        writer.close()
    return HandedOver()


async def _in_tunnel(request: web.BaseRequest, pod: str, dial: Dial) -> web.StreamResponse:
    socket = web.WebSocketResponse(protocols=(TUNNEL,), max_msg_size=0, compress=False, timeout=1.0)
    try:
        await socket.prepare(request)
    except web.HTTPException as error:
        raise BadRequest(error.text or "this is no WebSocket handshake") from None

    async def read(size: int) -> bytes:
        del size
        while (message := await socket.receive()).type is WSMsgType.BINARY:
            if message.data:
                return bytes(message.data)
        return b""

    await _serve(Connection(read, socket.send_bytes), pod, dial)
    await socket.close()
    return socket


async def _serve(connection: Connection, pod: str, dial: Dial) -> None:
    """Each pair of streams becomes one connection; they share a request's number in their headers."""
    halves: dict[str, Stream] = {}
    tasks: set[asyncio.Task[None]] = set()
    try:
        async for stream in connection.streams():
            kind, number = stream.headers.get("streamtype"), stream.headers.get("requestid", "")
            port = stream.headers.get("port", "")
            if kind not in ("data", "error") or not _is_port(port):
                await stream.reset()
                connection.forget(stream)
                continue
            # Old clients number nothing: their error stream comes first, and the data stream is the next.
            other = halves.pop(number, None)
            if other is None:
                halves[number] = stream
                continue
            data, error = (stream, other) if kind == "data" else (other, stream)
            task = asyncio.create_task(_pair(connection, data, error, pod, int(port), dial))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
    except ConnectionError:
        return  # the client went away, or speaks otherwise
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pair(connection: Connection, data: Stream, error: Stream, pod: str, port: int, dial: Dial) -> None:
    try:
        failure = await _join(data.read, data.write, pod, port, dial)
        if failure:
            await error.write(failure.encode())
        await data.close()
        await error.close()
    except ConnectionError:
        return
    finally:
        connection.forget(data)
        connection.forget(error)


async def _join(
    read: Callable[[int], Awaitable[bytes]], write: Callable[[bytes], Awaitable[None]], pod: str, port: int, dial: Dial
) -> str:
    """One connection from its beginning to its end; what went wrong, if anything. ConnectionError: the client's end."""
    try:
        reader, writer = await dial(port)
    except OSError as error:
        why = os.strerror(error.errno).lower() if error.errno else str(error)
        return (f"error forwarding port {port} to pod {pod}: failed to connect to localhost:{port} inside the pod: "
                f"dial tcp4 127.0.0.1:{port}: connect: {why}")
    there = asyncio.create_task(_send(read, writer))
    try:
        await _receive(reader, write)
    finally:
        there.cancel()
        writer.close()  # first: whoever ends this may not wait for what comes next
        await asyncio.gather(there, return_exceptions=True)
    return ""


async def _send(read: Callable[[int], Awaitable[bytes]], writer: StreamWriter) -> None:
    """To the program, until the client has no more."""
    with suppress(ConnectionError):
        await pump(read, sender(writer))
        if writer.can_write_eof():
            writer.write_eof()


async def _receive(reader: StreamReader, write: Callable[[bytes], Awaitable[None]]) -> None:
    """From the program, until it closes the connection, politely or not."""
    while True:
        try:
            data = await reader.read(32 * 1024)
        except OSError:
            return
        if not data:
            return
        await write(data)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) < 65536


# The Python client


async def _over_channels(request: web.BaseRequest, pod: str, dial: Dial) -> web.StreamResponse:
    texts = [text for line in request.query.getall("ports", []) for text in line.split(",")]
    if not texts:
        raise BadRequest('query parameter "port" is required')
    if not all(_is_port(text) for text in texts):
        raise BadRequest(f"unable to parse {texts} as a list of ports")
    ports = [int(text) for text in texts]
    channels = Channels(request, CHANNELS)
    await channels.open()
    queues: Queues = {2 * place: asyncio.Queue(WAITING) for place in range(len(ports))}
    tasks: list[asyncio.Future[Any]] = []
    try:
        for place, port in enumerate(ports):
            for channel in (2 * place, 2 * place + 1):
                await channels.send(channel, struct.pack("<H", port))
        work = [_line(channels, 2 * place, queues, pod, port, dial) for place, port in enumerate(ports)]
        tasks = [asyncio.gather(*work), asyncio.create_task(_distribute(channels, queues))]
        # Until every program has closed its connection, or the client goes.
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    except ConnectionError:
        pass
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await channels.close()
    return channels.response


async def _distribute(channels: Channels, queues: Queues) -> None:
    async for channel, data in channels.messages():
        if data and channel in queues:
            await queues[channel].put(data)


async def _line(channels: Channels, channel: int, queues: Queues, pod: str, port: int, dial: Dial) -> None:
    queue = queues[channel]

    async def read(size: int) -> bytes:
        del size
        return await queue.get()

    async def write(data: bytes) -> None:
        await channels.send(channel, data)

    failure = await _join(read, write, pod, port, dial)
    # What still comes for a connection that has ended is dropped, or the other ports would wait for it.
    del queues[channel]
    while not queue.empty():
        queue.get_nowait()
    if failure:
        await channels.send(channel + 1, failure.encode())
