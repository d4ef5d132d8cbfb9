"""exec and attach: a client's terminal joined to a container, over WebSocket channels or SPDY streams."""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from meshlab.cluster.api.logs import choose
from meshlab.cluster.api.request import Target, flag
from meshlab.cluster.api.status import BadRequest, InternalError
from meshlab.cluster.api.streaming.channels import Channels, offered
from meshlab.cluster.api.streaming.handover import HandedOver, hand_over, sender
from meshlab.cluster.api.streaming.spdy import Connection, Stream
from meshlab.cluster.api.streams import Client, Console, Input, Kubelet, KubeletError, Output, Size

__all__ = ["consoles"]

STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)
CHANNELS = (
    "v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io", "base64.channel.k8s.io",
)
#: Versions of the protocol over SPDY; the later ones need an end of a stream that SPDY has anyway.
SPDY_VERSIONS = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
#: Seconds that a SPDY client gets to open its streams; a kubelet's number.
OPENING = 30.0


@dataclass
class Wanted:
    """What a request asks for."""

    command: list[str]
    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool


async def consoles(
    request: web.BaseRequest, target: Target, pod: Mapping[str, Any], kubelet: Kubelet | None
) -> web.StreamResponse:
    """Answers `…/pods/NAME/exec` and `…/attach`. ApiErrors before the connection is upgraded."""
    query, attach = request.query, target.subresource == "attach"
    container = choose(pod, query.get("container", ""))
    wanted = Wanted(query.getall("command", []), *(flag(query, n) for n in ("stdin", "stdout", "stderr", "tty")))
    if wanted.tty:
        wanted.stderr = False  # a terminal has one output
    if not attach and not wanted.command:
        raise BadRequest("you must specify at least one command for the container")
    if not (wanted.stdin or wanted.stdout or wanted.stderr):
        raise BadRequest("you must specify at least 1 of stdin, stdout, stderr")
    if kubelet is None:
        raise InternalError.because("this server runs without a node")
    protocols = offered(request)
    if protocols is None and not request.headers.get("Upgrade", "").lower().startswith("spdy/3.1"):
        raise BadRequest("Upgrade request required")
    try:
        console = kubelet.console(target.namespace or "", target.name or "", container)
    except KubeletError as error:
        raise InternalError.because(f"unable to upgrade connection: {error}") from None
    far: _Far = _OverSpdy(request, wanted) if protocols is None else _OverChannels(request, wanted)
    try:
        await far.open()
        await far.finish(*await _serve(console, far, wanted, attach=attach))
    except ConnectionError:
        pass  # the client went away
    finally:
        await far.close()
    return far.response


async def _serve(console: Console, client: Client, wanted: Wanted, *, attach: bool) -> tuple[dict[str, Any], str]:
    """Until it has ended: the Status that says how, and the text for old clients ("" if all was well)."""
    try:
        code = await console.attach(client) if attach else await console.execute(wanted.command, client)
    except KubeletError as error:
        why = f"error executing command in container: {error}"
        return InternalError.because(why).status(), why
    if code == 0 or attach:
        return {"metadata": {}, "status": "Success"}, ""
    why = f"command terminated with non-zero exit code: exit status {code}"
    cause = {"reason": "ExitCode", "message": str(code)}
    return {
        "metadata": {}, "status": "Failure", "message": why, "reason": "NonZeroExitCode",
        "details": {"causes": [cause]},
    }, why


class _Far(ABC):
    """A Client and the connection to it."""

    def __init__(self, wanted: Wanted) -> None:
        self.stdin, self.stdout, self.stderr, self.tty = wanted.stdin, wanted.stdout, wanted.stderr, wanted.tty

    @property
    @abstractmethod
    def response(self) -> web.StreamResponse: ...

    @abstractmethod
    async def open(self) -> None: ...

    @abstractmethod
    def input(self) -> AsyncIterator[Input]: ...

    @abstractmethod
    async def output(self, source: Output, data: bytes) -> None: ...

    @abstractmethod
    async def finish(self, status: dict[str, Any], text: str) -> None:
        """Says how it ended."""

    @abstractmethod
    async def close(self) -> None: ...


class _OverChannels(_Far):
    def __init__(self, request: web.BaseRequest, wanted: Wanted) -> None:
        super().__init__(wanted)
        self._channels = Channels(request, CHANNELS)

    @property
    def response(self) -> web.StreamResponse:
        return self._channels.response

    async def open(self) -> None:
        await self._channels.open()
        # As a kubelet does, to tell the client that all is set up.
        await self._channels.send(STDOUT if self.stdout else STDERR if self.stderr else ERROR, b"")

    async def input(self) -> AsyncIterator[Input]:
        async for channel, data in self._channels.messages():
            if channel == STDIN and self.stdin:
                if data is None:
                    yield b""
                elif data:
                    yield data
            elif channel == RESIZE and data and (size := _size(data)) is not None:
                yield size

    async def output(self, source: Output, data: bytes) -> None:
        await self._channels.send(source.value, data)

    async def finish(self, status: dict[str, Any], text: str) -> None:
        if self._channels.structured:
            await self._channels.send(ERROR, json.dumps(status, separators=(",", ":")).encode())
        elif text:
            await self._channels.send(ERROR, text.encode())

    async def close(self) -> None:
        await self._channels.close()


class _OverSpdy(_Far):
    def __init__(self, request: web.BaseRequest, wanted: Wanted) -> None:
        super().__init__(wanted)
        self._request = request
        lines = request.headers.getall("X-Stream-Protocol-Version", [])
        asked = [name.strip() for line in lines for name in line.split(",")]
        known = [name for name in asked if name in SPDY_VERSIONS]
        if asked and not known:
            raise BadRequest(f"unable to negotiate protocol: client supports {asked}, server accepts "
                             f"{list(SPDY_VERSIONS)}")
        self._version = known[0] if known else "channel.k8s.io"
        self._writer: asyncio.StreamWriter | None = None
        self._connection: Connection
        self._streams: dict[str, Stream] = {}
        self._complete = asyncio.Event()
        self._inputs: asyncio.Queue[Input | None] = asyncio.Queue(16)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def response(self) -> web.StreamResponse:
        return HandedOver()

    async def open(self) -> None:
        head = ("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
                f"X-Stream-Protocol-Version: {self._version}\r\n\r\n")
        reader, self._writer = hand_over(self._request, head.encode())
        self._connection = Connection(reader.read, sender(self._writer))
        self._tasks = [asyncio.create_task(self._read(), name="SPDY console")]
        with suppress(TimeoutError):
            await asyncio.wait_for(self._complete.wait(), OPENING)
        if not self._expected() <= set(self._streams):
            raise ConnectionResetError("the client opened too few streams")
        self._tasks += [asyncio.create_task(work) for work in (self._take("stdin"), self._take("resize"), self._end())]

    def _expected(self) -> set[str]:
        wanted = {"error"} | {name for name in ("stdin", "stdout", "stderr") if getattr(self, name)}
        # Terminals are resized since v3.
        return wanted | ({"resize"} if self.tty and self._version >= "v3" else set())

    async def _read(self) -> None:
        try:
            async for stream in self._connection.streams():
                self._streams[stream.headers.get("streamtype", "")] = stream
                if self._expected() <= set(self._streams):
                    self._complete.set()
        except ConnectionError:
            return
        finally:
            self._complete.set()

    async def _take(self, name: str) -> None:
        stream = self._streams.get(name)
        if stream is None:
            return
        while data := await stream.read():
            if name == "stdin":
                await self._inputs.put(data)
            elif (size := _size(data)) is not None:
                await self._inputs.put(size)
        if name == "stdin":
            await self._inputs.put(b"")

    async def _end(self) -> None:
        await self._tasks[0]
        await self._inputs.put(None)

    async def input(self) -> AsyncIterator[Input]:
        while (item := await self._inputs.get()) is not None:
            yield item

    async def output(self, source: Output, data: bytes) -> None:
        stream = self._streams.get("stdout" if source is Output.STDOUT else "stderr")
        if stream is not None:
            await stream.write(data)

    async def finish(self, status: dict[str, Any], text: str) -> None:
        error = self._streams["error"]
        if self._version.startswith("v4."):
            await error.write(json.dumps(status, separators=(",", ":")).encode())
        elif text:
            await error.write(text.encode())
        for stream in self._streams.values():
            await stream.close()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._writer is not None:
            self._writer.close()


def _size(data: bytes) -> Size | None:
    """From `{"Width":80,"Height":24}`; None for what is no size."""
    try:
        value = json.loads(data)
        columns, rows = int(value["Width"]), int(value["Height"])
    except (ValueError, KeyError, TypeError):
        return None
    return Size(columns, rows) if 0 <= columns < 65536 and 0 <= rows < 65536 else None
