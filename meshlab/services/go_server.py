"""HTTP as Go's server speaks it: what svca, svcb and msgd, Go programs in the original, have in common.

Standard library only: in the embedded lab the programs take it from this package, on a real cluster from their
ConfigMap. Headers are spelt and requests printed as Go 1.9 does, because the lessons read them in the logs.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from io import BufferedReader

__all__ = [
    "VERSION",
    "Answer",
    "Handler",
    "Headers",
    "Request",
    "failure",
    "first",
    "flags",
    "go_map",
    "pointer",
    "read_head",
    "say",
    "serve",
]

VERSION = os.environ.get("MESHLAB_VERSION") or "v0.1"
SERVED_BY = f"{os.environ.get('HOSTNAME') or socket.gethostname()};{VERSION}"

Headers = list[tuple[str, str]]
MAX_LINE, MAX_HEADERS, MAX_BODY = 1 << 16, 256, 1 << 20


class Request:
    """A request: `headers` in the order of arrival with Go's spelling, `path` and `query` of the target."""

    def __init__(self, method: str, target: str, proto: str, headers: Headers, remote: str) -> None:
        self.method, self.target, self.proto, self.remote = method, target, proto, remote
        self.path, _, self.query = target.partition("?")
        self.host = first(headers, "Host")
        self.headers = [(name, value) for name, value in headers if name != "Host"]
        self.chunked = "chunked" in first(headers, "Transfer-Encoding").lower()
        self.length = -1 if self.chunked else int(first(headers, "Content-Length") or 0)
        asked = first(headers, "Connection").lower()
        self.close = "close" in asked or (proto == "HTTP/1.0" and "keep-alive" not in asked)
        self.body = b""

    def __str__(self) -> str:
        """The request as Go prints a *http.Request."""
        body = pointer(self) if self.length else "{}"
        encoding = "[chunked]" if self.chunked else "[]"
        seen = [(name, value) for name, value in self.headers if name != "Transfer-Encoding"]
        return (
            f"&{{{self.method} {self.target} {self.proto} {self.proto[5]} {self.proto[7]} {go_map(seen)} {body}"
            f" <nil> {self.length} {encoding} {str(self.close).lower()} {self.host} map[] map[] <nil> map[]"
            f" {self.remote} {self.target} <nil> <nil> <nil> {pointer(self.headers)}}}"
        )


class Answer:
    """What a handler gives back: status, text and headers of its own."""

    def __init__(self, status: int = 200, text: str = "", headers: Mapping[str, str] | None = None) -> None:
        self.status, self.text, self.headers = status, text, dict(headers or {})

    def encode(self, *, head_only: bool, close: bool) -> bytes:
        body = self.text.encode()
        lines = [f"HTTP/1.1 {self.status} {REASONS[self.status]}"]
        lines += [f"{name}: {value}" for name, value in sorted(self.headers.items())]
        lines += [time.strftime("Date: %a, %d %b %Y %H:%M:%S GMT", time.gmtime()), f"Content-Length: {len(body)}"]
        if "Content-Type" not in self.headers:
            lines.append("Content-Type: text/plain; charset=utf-8")  # Go 1.9 says so even of an empty body
        if close:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + (b"" if head_only else body)


REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 500: "Internal Server Error"}
Handler = Callable[[Request], Answer]


def failure(status: int, text: str) -> Answer:
    """Go's http.Error: the text and a newline."""
    kind = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
    return Answer(status, text + "\n", kind)


def first(headers: Headers, name: str) -> str:
    return next((value for key, value in headers if key == name), "")


def canonical(name: str) -> str:
    """A header's name as Go spells it: `x-b3-traceid` is `X-B3-Traceid`."""
    return "-".join(part.capitalize() for part in name.split("-"))


def go_map(headers: Headers) -> str:
    """Headers as Go prints a map of lists."""
    values: dict[str, list[str]] = {}
    for name, value in headers:
        values.setdefault(name, []).append(value)
    return "map[" + " ".join(f"{name}:[{' '.join(each)}]" for name, each in values.items()) + "]"


def pointer(thing: object) -> str:
    """A number that looks as Go 1.9 prints an address on its heap; it means nothing."""
    return f"0xc4{id(thing) & 0xFFFFFFFF:08x}"


def read_head(reader: BufferedReader) -> tuple[str, Headers]:
    """Start line and headers of a message; ("", []) where the peer closed instead. ValueError: not HTTP."""
    line = reader.readline(MAX_LINE)
    if not line:
        return "", []
    start = line.decode("latin-1").rstrip("\r\n")
    headers: Headers = []
    for _ in range(MAX_HEADERS):
        line = reader.readline(MAX_LINE)
        if not line.endswith(b"\n"):
            raise ValueError("the message ends within its headers")
        text = line.decode("latin-1").rstrip("\r\n")
        if not text:
            return start, headers
        name, colon, value = text.partition(":")
        if not colon or not name or name != name.strip():
            raise ValueError(f"malformed header {text!r}")
        headers.append((canonical(name), value.strip()))
    raise ValueError("too many headers")


def read_request(conn: socket.socket, reader: BufferedReader, remote: str) -> Request | None:
    """The next request of a connection with its body, or None where the peer closed it. ValueError: not HTTP."""
    start, headers = read_head(reader)
    if not start:
        return None
    words = start.split(" ")
    if len(words) != 3 or words[2] not in ("HTTP/1.0", "HTTP/1.1") or words[1][:1] not in ("/", "*"):
        raise ValueError(f"malformed request line {start!r}")
    request = Request(words[0], words[1], words[2], headers, remote)
    if request.length and first(headers, "Expect").lower() == "100-continue":
        conn.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.body = read_chunks(reader) if request.chunked else read_exactly(reader, request.length)
    return request


def read_exactly(reader: BufferedReader, length: int) -> bytes:
    if not 0 <= length <= MAX_BODY:
        raise ValueError(f"a body of {length} bytes")
    body = reader.read(length)
    if len(body) != length:
        raise ValueError("the message ends within its body")
    return body


def read_chunks(reader: BufferedReader) -> bytes:
    body = b""
    while size := int(reader.readline(MAX_LINE).partition(b";")[0], 16):
        body += read_exactly(reader, size)
        if reader.readline(MAX_LINE).strip() or len(body) > MAX_BODY:
            raise ValueError("malformed chunk")
    while reader.readline(MAX_LINE).strip():
        pass  # trailers: read, and of no use here
    return body


def converse(conn: socket.socket, remote: str, routes: Mapping[str, Handler]) -> None:
    """Answer the requests of one connection until either side closes it."""
    with conn, conn.makefile("rb") as reader, contextlib.suppress(ConnectionError):  # a peer that went away
        try:
            while request := read_request(conn, reader, remote):
                handler = routes.get(request.path)
                answer = handler(request) if handler else failure(404, "404 page not found")
                answer.headers["X-Served-By"] = SERVED_BY
                conn.sendall(answer.encode(head_only=request.method == "HEAD", close=request.close))
                if request.close:
                    return
        except ValueError:
            conn.sendall(failure(400, "400 Bad Request").encode(head_only=False, close=True))


def serve(listen: str, routes: Mapping[str, Handler]) -> None:
    """Answer on `host:port` until the process is told to stop; one thread for each connection."""
    host, _, port = listen.rpartition(":")
    with socket.create_server((host, int(port)), backlog=512) as listener:
        while True:
            conn, peer = listener.accept()
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            remote = f"{peer[0]}:{peer[1]}"
            threading.Thread(target=converse, args=(conn, remote, routes), daemon=True).start()


def flags(argv: list[str], **known: str) -> dict[str, str]:
    """Go's flags: `-name value`, `-name=value`, two dashes as well. Leaves with 2 for one that is not known."""
    words = iter(argv)
    for word in words:
        name, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("-") or name not in known:
            print(f"flag provided but not defined: {word}\nknown: {' -'.join(('', *known))}", file=sys.stderr)
            sys.exit(2)
        known[name] = value if equals else next(words, "")
    return known


def say(*words: object) -> None:
    """Go's fmt.Println: one line on standard output, whole even where threads write at once."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())
