"""SPDY/3.1 as far as Kubernetes uses it: streams with headers over one connection, seen from the server.

kubectl's port-forward speaks it inside a WebSocket, older clients speak it bare after `Upgrade: SPDY/3.1`. There is no
flow control: Go's implementation has none either. The format is that of draft-mbelshe-httpbis-spdy-00, version 3.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

__all__ = ["Connection", "SpdyError", "Stream"]

SYN_STREAM, SYN_REPLY, RST_STREAM, PING, GOAWAY = 1, 2, 3, 6, 7
FIN = 0x01
CANCEL = 5
#: Bytes of a frame that we take or make; Go's writers send at most 32 KB.
LARGEST, PIECE = 4 * 1024 * 1024, 32 * 1024
#: Frames waiting in a stream before the connection is not read any further.
WAITING = 256
#: Streams of one connection; more are a mistake, or an attack.
STREAMS = 1000

#: Both sides' header compression starts with this text (section 2.6.10.1): words with their lengths, then a tail.
_WORDS = """options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age
allow authorization cache-control connection content-base content-encoding content-language content-length
content-location content-md5 content-range content-type date etag expect expires from host if-match if-modified-since
if-none-match if-range if-unmodified-since last-modified location max-forwards pragma proxy-authenticate
proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade user-agent vary via warning
www-authenticate method get status 200=OK version HTTP/1.1 url public set-cookie keep-alive origin"""
_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden"
    "404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,"
    "publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def dictionary() -> bytes:
    """The 1,423 bytes that prime the compression of headers."""
    words = [word.replace("=", " ").encode() for word in _WORDS.split()]
    return b"".join(struct.pack(">I", len(word)) + word for word in words) + _TAIL.encode()


class SpdyError(ConnectionError):
    """The other side does not speak SPDY/3.1."""


class Stream:
    """One stream, opened by the client. Both directions are closed independently of each other."""

    def __init__(self, connection: Connection, number: int, headers: Mapping[str, str]) -> None:
        self.headers, self.number = headers, number
        self._connection = connection
        self._received: asyncio.Queue[bytes] = asyncio.Queue(WAITING)
        self._at_end = self._closed = False

    async def read(self, size: int = -1) -> bytes:
        """The next piece as it came, whatever `size`; b"" at the end."""
        del size
        if self._at_end:
            return b""
        data = await self._received.get()
        self._at_end = not data
        return data

    async def write(self, data: bytes) -> None:
        """Sends all of it. ConnectionError if the connection or the stream is gone."""
        if self._closed:
            raise ConnectionResetError("the stream is closed")
        for start in range(0, len(data), PIECE):
            await self._connection.send_data(self.number, data[start:start + PIECE], 0)

    async def close(self) -> None:
        """Our direction has ended."""
        if not self._closed:
            self._closed = True
            await self._connection.send_data(self.number, b"", FIN)

    async def reset(self) -> None:
        """Both directions have ended."""
        if not self._closed:
            self._closed = True
            await self._connection.send_control(RST_STREAM, 0, struct.pack(">II", self.number, CANCEL))

    async def feed(self, data: bytes) -> None:
        """What arrived; b"" for the end."""
        await self._received.put(data)

    def cut(self) -> None:
        """The connection has ended, or the client has taken the stream back."""
        self._closed = True
        while self._received.full():
            self._received.get_nowait()
        self._received.put_nowait(b"")


class Connection:
    """The server's side of a connection.

    `read` gives the next bytes (b"" at the end), `write` takes some and returns when there is room for more.
    """

    def __init__(self, read: Callable[[int], Awaitable[bytes]], write: Callable[[bytes], Awaitable[None]]) -> None:
        self._read, self._write = read, write
        self._buffer = bytearray()
        self._streams: dict[int, Stream] = {}
        self._sending = asyncio.Lock()
        primed = dictionary()
        self._compress, self._decompress = zlib.compressobj(zdict=primed), zlib.decompressobj(zdict=primed)

    async def streams(self) -> AsyncIterator[Stream]:
        """Every stream that the client opens, until it closes the connection. SpdyError if it speaks otherwise.

        The data of all streams arrives while this is iterated, so whoever does must not wait for a stream meanwhile.
        """
        try:
            while (head := await self._exactly(8)) is not None:
                first, second = struct.unpack(">II", head)
                length = second & 0xFFFFFF
                if length > LARGEST:
                    raise SpdyError(f"a frame of {length} bytes")
                body = await self._exactly(length)
                if body is None:
                    return
                if not first >> 31:
                    await self._data(first, second >> 24, body)
                elif (opened := await self._control(first, second >> 24, body)) is not None:
                    yield opened
        finally:
            for stream in self._streams.values():
                stream.cut()

    async def send_data(self, number: int, data: bytes, flags: int) -> None:
        async with self._sending:
            await self._write(struct.pack(">II", number, flags << 24 | len(data)) + data)

    async def send_control(self, kind: int, flags: int, body: bytes) -> None:
        async with self._sending:
            await self._write(struct.pack(">HHI", 0x8003, kind, flags << 24 | len(body)) + body)

    async def goodbye(self) -> None:
        """Tells the client that nothing more will come."""
        await self.send_control(GOAWAY, 0, struct.pack(">II", max(self._streams, default=0), 0))

    def forget(self, stream: Stream) -> None:
        """The stream is done with: data that still comes for it is dropped."""
        self._streams.pop(stream.number, None)
        stream.cut()

    async def _data(self, number: int, flags: int, body: bytes) -> None:
        stream = self._streams.get(number)
        if stream is None:
            return  # forgotten
        if body:
            await stream.feed(body)
        if flags & FIN:
            await stream.feed(b"")

    async def _control(self, first: int, flags: int, body: bytes) -> Stream | None:
        version, kind = first >> 16 & 0x7FFF, first & 0xFFFF
        if version != 3:
            raise SpdyError(f"SPDY version {version}")
        match kind:
            case _ if len(body) < 4:
                raise SpdyError(f"a control frame of {len(body)} bytes")
            case 1:
                return await self._opened(flags, body)
            case 3:
                stream = self._streams.pop(int.from_bytes(body[:4], "big"), None)
                if stream is not None:
                    stream.cut()
            case 6:
                await self.send_control(PING, 0, body)
        return None  # settings, priorities and windows mean nothing here

    async def _opened(self, flags: int, body: bytes) -> Stream:
        if len(body) < 10:
            raise SpdyError("a SYN_STREAM without its numbers")
        number = int.from_bytes(body[:4], "big") & 0x7FFFFFFF
        # Unpacked even if the stream is refused: the compression's state goes on.
        headers = self._headers(body[10:])
        if number in self._streams or len(self._streams) >= STREAMS:
            raise SpdyError(f"stream {number} is one too many")
        stream = self._streams[number] = Stream(self, number, headers)
        async with self._sending:
            packed = self._compress.compress(struct.pack(">I", 0)) + self._compress.flush(zlib.Z_SYNC_FLUSH)
            reply = struct.pack(">I", number) + packed
            await self._write(struct.pack(">HHI", 0x8003, SYN_REPLY, len(reply)) + reply)
        if flags & FIN:
            await stream.feed(b"")
        return stream

    def _headers(self, packed: bytes) -> dict[str, str]:
        try:
            plain = self._decompress.decompress(packed, LARGEST)
        except zlib.error as error:
            raise SpdyError(f"headers: {error}") from None
        texts: list[str] = []
        place = 4
        for _ in range(2 * int.from_bytes(plain[:4], "big")):
            if place + 4 > len(plain):
                raise SpdyError("headers end too early")
            size = int.from_bytes(plain[place:place + 4], "big")
            texts.append(plain[place + 4:place + 4 + size].decode(errors="replace"))
            place += 4 + size
        return dict(zip(texts[::2], texts[1::2], strict=True))

    async def _exactly(self, size: int) -> bytes | None:
        while len(self._buffer) < size:
            piece = await self._read(PIECE)
            if not piece:
                return None
            self._buffer += piece
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken
