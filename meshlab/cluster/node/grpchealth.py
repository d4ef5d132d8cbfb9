"""The health question of gRPC (grpc.health.v1.Health/Check), asked without a gRPC library.

One request on one connection is a handful of HTTP/2 frames; the library that could do more would cost the daemon more
memory than all the rest of it. Of the answer only its message is read: who has none to give does not serve.
"""

from __future__ import annotations

import asyncio
import struct
from asyncio import StreamReader

from meshlab.cluster.node.outcome import Outcome
from meshlab.settings import bound_port

__all__ = ["serving"]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
ACK = END_STREAM = 1
END_HEADERS = 4
#: Longest frame that is read; peers may not send longer ones without being asked to.
LONGEST = 16_384
STATUS = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}


async def serving(host: str, port: int, service: str, source: str) -> Outcome:
    """Whether the server at a nominal port says that it serves. Asked from the address `source`."""
    where = f"{host}:{port}"
    try:
        reader, writer = await asyncio.open_connection(host, bound_port(port), local_addr=(source, 0))
    except OSError:
        return Outcome(False, f'error: failed to connect service "{where}": connection refused')
    try:
        writer.write(PREFACE + _frame(SETTINGS) + _frame(HEADERS, END_HEADERS, 1, _headers(where))
                     + _frame(DATA, END_STREAM, 1, _message(service)))
        while True:
            kind, flags, stream, body = await _read(reader)
            if kind == SETTINGS and not flags & ACK:
                writer.write(_frame(SETTINGS, ACK))
            elif kind == PING and not flags & ACK:
                writer.write(_frame(PING, ACK, 0, body))
            elif kind == DATA and stream == 1 and len(body) >= 5:
                status = STATUS.get(body[6] if body[5:6] == b"\x08" and len(body) > 6 else 0, "UNKNOWN")
                return Outcome(status == "SERVING", f'service unhealthy (responded with "{status}")')
            elif (stream == 1 and kind in (HEADERS, RESET) and (kind == RESET or flags & END_STREAM)) or kind == GOAWAY:
                return Outcome(False, "error: health rpc failed: the server does not know the service, or does not "
                                      "implement the grpc health protocol (grpc.health.v1.Health)")
    except (OSError, EOFError, struct.error):
        return Outcome(False, f'error: health rpc failed: the connection to "{where}" was closed')
    finally:
        writer.transport.abort()


def _frame(kind: int, flags: int = 0, stream: int = 0, body: bytes = b"") -> bytes:
    return struct.pack("!I", len(body))[1:] + struct.pack("!BBI", kind, flags, stream) + body


async def _read(reader: StreamReader) -> tuple[int, int, int, bytes]:
    head = await reader.readexactly(9)
    length = int.from_bytes(head[:3], "big")
    if length > LONGEST:
        raise EOFError("a frame that nobody has asked for")
    kind, flags, stream = struct.unpack("!BBI", head[3:])
    return kind, flags, stream & 0x7FFFFFFF, await reader.readexactly(length)


def _headers(where: str) -> bytes:
    """Literal fields without indexing: the simplest form of HPACK."""
    fields = ((":method", "POST"), (":scheme", "http"), (":path", "/grpc.health.v1.Health/Check"),
              (":authority", where), ("content-type", "application/grpc"), ("te", "trailers"),
              ("user-agent", "kube-probe/1.37"))
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in fields)


def _text(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()  # lengths below 127 fit one byte


def _message(service: str) -> bytes:
    """HealthCheckRequest{1: service}, not compressed."""
    name = service.encode()
    size = bytes([len(name)]) if len(name) < 128 else bytes([len(name) & 0x7F | 0x80, len(name) >> 7])
    body = b"\x0a" + size + name if name else b""
    return b"\0" + struct.pack("!I", len(body)) + body
