"""SPDY frames: what a client may send, and what it gets back."""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlab.cluster.api.streaming.spdy import Connection, SpdyError, dictionary


class Wire:
    """A connection's other side, as bytes: `send` before it is read, `sent` is what came back."""

    def __init__(self, data: bytes, size: int = 1 << 16) -> None:
        self.data, self.size, self.sent = data, size, b""

    async def read(self, size: int) -> bytes:
        size = min(size, self.size)
        piece, self.data = self.data[:size], self.data[size:]
        return piece

    async def write(self, data: bytes) -> None:
        self.sent += data


class Sender:
    """Makes a client's frames; its compression has a state, as a connection has."""

    def __init__(self) -> None:
        self.compress = zlib.compressobj(zdict=dictionary())

    def open(self, number: int, *, flags: int = 0, **headers: str) -> bytes:
        plain = struct.pack(">I", len(headers))
        for pair in headers.items():
            for text in pair:
                plain += struct.pack(">I", len(text)) + text.encode()
        packed = self.compress.compress(plain) + self.compress.flush(zlib.Z_SYNC_FLUSH)
        return control(1, struct.pack(">IIH", number, 0, 0) + packed, flags)


def control(kind: int, body: bytes, flags: int = 0) -> bytes:
    return struct.pack(">HHI", 0x8003, kind, flags << 24 | len(body)) + body


def data(number: int, body: bytes, flags: int = 0) -> bytes:
    return struct.pack(">II", number, flags << 24 | len(body)) + body


def run(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(work(), 60))


def test_the_dictionary_is_the_one_of_the_protocol() -> None:
    # Its Adler-32 travels with every compressed block: another text would be refused by every other program.
    assert (len(dictionary()), zlib.adler32(dictionary())) == (1423, 0xE3C6A7C2)


@pytest.mark.parametrize("size", [1, 7, 65536])
def test_streams_come_with_their_headers_and_data_however_cut(size: int) -> None:
    sender = Sender()
    wire = Wire(sender.open(1, streamtype="error", port="80") + sender.open(3, streamtype="data", port="80")
                + data(3, b"hello ") + data(1, b"", 1) + data(3, b"world", 1), size)

    async def work() -> tuple[list[dict[str, str]], bytes, bytes]:
        streams = [stream async for stream in Connection(wire.read, wire.write).streams()]
        texts = [await streams[1].read(), await streams[1].read(), await streams[1].read()]
        return [dict(s.headers) for s in streams], b"".join(texts), await streams[0].read()

    headers, text, error = run(work)
    assert headers == [{"streamtype": "error", "port": "80"}, {"streamtype": "data", "port": "80"}]
    assert (text, error) == (b"hello world", b"")
    assert wire.sent.count(b"\x80\x03\x00\x02") == 2  # a SYN_REPLY for each


def test_a_ping_comes_back() -> None:
    wire = Wire(control(6, struct.pack(">I", 5)))

    async def work() -> None:
        async for _ in Connection(wire.read, wire.write).streams():
            raise AssertionError("no stream was opened")

    run(work)
    assert wire.sent == control(6, struct.pack(">I", 5))


def test_a_write_goes_in_frames_of_at_most_32_kilobytes() -> None:
    wire = Wire(Sender().open(1))

    async def work() -> None:
        connection = Connection(wire.read, wire.write)
        opened = anext(aiter(connection.streams()))
        stream = await opened
        wire.sent = b""
        await stream.write(b"x" * 70_000)
        await stream.close()

    run(work)
    lengths, place = [], 0
    while place < len(wire.sent):
        number, length = struct.unpack(">II", wire.sent[place:place + 8])
        lengths.append((number, length >> 24, length & 0xFFFFFF))
        place += 8 + (length & 0xFFFFFF)
    assert lengths == [(1, 0, 32768), (1, 0, 32768), (1, 0, 4464), (1, 1, 0)]


@pytest.mark.parametrize("frames", [
    struct.pack(">HHI", 0x8002, 1, 10) + bytes(10),
    control(1, struct.pack(">IIH", 1, 0, 0) + b"not compressed"),
    control(1, b"1234"),
    control(6, b""),
    data(1, b"") + struct.pack(">II", 1, 0xFFFFFF),
    Sender().open(1) + Sender().open(1),
], ids=["version", "compression", "short", "empty", "huge", "twice"])
def test_what_is_no_spdy_is_refused(frames: bytes) -> None:
    wire = Wire(frames)

    async def work() -> None:
        async for _ in Connection(wire.read, wire.write).streams():
            continue

    with pytest.raises(SpdyError):
        run(work)


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_any_bytes_end_in_a_refusal_or_an_end(noise: bytes) -> None:
    wire = Wire(Sender().open(1, a="b") + noise)

    async def work() -> None:
        try:
            async for _ in Connection(wire.read, wire.write).streams():
                continue
        except SpdyError:
            return

    run(work)
