"""svcb: the notify service of the tutorial. GET /notify?msg=… passes a message on to the external service.

One file, standard library only: it runs as the tutorial's image in the embedded lab, and from a ConfigMap in
`python:3.12-slim` on a real cluster. v0.1 and v0.2 differ by the version that they log. The original is a Go
program; this one logs its lines and fails in its words: without an EgressRule the reader of its log sees
`send msg error: Get http://…/send?msg=…: EOF`, and the caller a 500 with the same text.

The original did not say which pod answered. Here each answer carries `X-Served-By: <pod>;<version>`.

    python svcb.py -msgsvc 127.100.35.27:9997 [-listen 0.0.0.0:8080]        MESHLAB_VERSION=v0.1

Without -msgsvc it takes MESHLAB_MSGSVC: the tutorial's own text leaves the flag out of its manifest.
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
from urllib.parse import parse_qsl, quote

VERSION = os.environ.get("MESHLAB_VERSION") or "v0.1"
SERVED_BY = f"{os.environ.get('HOSTNAME') or socket.gethostname()};{VERSION}"

# ---- HTTP as Go's server speaks it (the same text in svca.py, svcb.py and msgd.py) ----

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
        return (f"&{{{self.method} {self.target} {self.proto} {self.proto[5]} {self.proto[7]} {go_map(seen)} {body}"
                f" <nil> {self.length} {encoding} {str(self.close).lower()} {self.host} map[] map[] <nil> map[]"
                f" {self.remote} {self.target} <nil> <nil> <nil> {pointer(self.headers)}}}")


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


# ---- end of the common text ----

# ---- HTTP as Go's default client speaks it (the same text in svca.py and svcb.py) ----

IDLE_SECONDS, IDLE_PER_HOST = 90, 2  # net/http's DefaultTransport


class GetError(Exception):
    """A request that got no answer; the text is Go's."""


class Connection:
    """One connection to a server. `stale` tells, before it is used again, that the server has closed it."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        try:
            self.socket = socket.create_connection((host.strip("[]"), int(port)))
        except socket.gaierror:
            raise GetError(f"dial tcp: lookup {host}: no such host") from None
        except ConnectionRefusedError:
            raise GetError(f"dial tcp {address}: getsockopt: connection refused") from None
        except OSError as error:
            raise GetError(f"dial tcp {address}: {(error.strerror or str(error)).lower()}") from None
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.address, self.reader, self.since = address, self.socket.makefile("rb"), 0.0

    @property
    def stale(self) -> bool:
        try:
            self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def ask(self, message: bytes) -> tuple[str, Headers]:
        """Send a request, read the answer's head; ("", []) where the server closed instead of answering.

        A server that closes may be seen as an end of file or as a reset, whichever overtakes the other on the
        way. Both mean that no answer came, and both are told as the tutorial's EOF.
        """
        try:
            self.socket.sendall(message)
            return read_head(self.reader)
        except ConnectionError:
            return "", []

    def close(self) -> None:
        self.reader.close()
        self.socket.close()


class Response:
    """An answer's head. Its body is never read, as the original never did."""

    def __init__(self, start: str, headers: Headers) -> None:
        self.proto, _, self.status = start.partition(" ")
        if self.proto not in ("HTTP/1.0", "HTTP/1.1") or not self.status[:3].isdigit():
            raise GetError(f'malformed HTTP response "{start}"')
        self.code = int(self.status[:3])
        self.chunked = "chunked" in first(headers, "Transfer-Encoding").lower()
        self.headers = [pair for pair in headers if pair[0] != "Transfer-Encoding"]
        stated = first(headers, "Content-Length")
        self.length = 0 if self.code in (204, 304) else int(stated) if stated and not self.chunked else -1
        asked = first(headers, "Connection").lower()
        self.close = "close" in asked or (self.proto == "HTTP/1.0" and "keep-alive" not in asked)

    def __str__(self) -> str:
        """The answer as Go prints a *http.Response."""
        body = pointer(self) if self.length else "{}"
        encoding = "[chunked]" if self.chunked else "[]"
        return (f"&{{{self.status} {self.code} {self.proto} {self.proto[5]} {self.proto[7]} {go_map(self.headers)}"
                f" {body} {self.length} {encoding} {str(self.close).lower()} false map[]"
                f" {pointer(self.headers)} <nil>}}")


class Client:
    """One pool of connections for the whole process, like Go's http.DefaultClient.

    A connection goes back to the pool when its answer had an empty body, and is closed when a body was left
    unread: that is what `resp.Body.Close()` does in Go. The pool keeps two idle connections for each server, for
    90 seconds. With it all requests may travel on one connection, and whatever balances connections cannot
    balance them.
    """

    def __init__(self) -> None:
        self.idle: list[Connection] = []
        self.changed = threading.Condition()
        threading.Thread(target=self._close_idle, daemon=True).start()

    def get(self, url: str) -> Response:
        """GET an http:// URL. Raises GetError in Go's words."""
        host, slash, target = url.removeprefix("http://").partition("/")
        if not host:
            raise GetError(f"Get {url}: http: no Host in request URL")
        message = (f"GET {slash or '/'}{target} HTTP/1.1\r\nHost: {host}\r\n"
                   "User-Agent: Go-http-client/1.1\r\nAccept-Encoding: gzip\r\n\r\n").encode()
        address = host if host.rpartition(":")[2].isdigit() else f"{host}:80"
        try:
            return self._exchange(address, message)
        except (GetError, ValueError) as error:
            raise GetError(f"Get {url}: {error}") from None

    def _exchange(self, address: str, message: bytes) -> Response:
        while True:
            kept = self._take(address)
            connection = kept or Connection(address)
            try:
                start, headers = connection.ask(message)
                if not start and kept:
                    connection.close()
                    continue  # closed while it was idle: Go tries again on another one
                if not start:
                    raise GetError("EOF")
                response = Response(start, headers)
            except BaseException:
                connection.close()
                raise
            if response.length or response.close:
                connection.close()
            else:
                self._give(connection)
            return response

    def _take(self, address: str) -> Connection | None:
        """The idle connection that was used last, if its server still holds it."""
        with self.changed:
            for connection in [each for each in reversed(self.idle) if each.address == address]:
                self.idle.remove(connection)
                if not connection.stale:
                    return connection
                connection.close()
        return None

    def _give(self, connection: Connection) -> None:
        with self.changed:
            if sum(each.address == connection.address for each in self.idle) >= IDLE_PER_HOST:
                connection.close()
                return
            connection.since = time.monotonic()
            self.idle.append(connection)
            self.changed.notify()

    def _close_idle(self) -> None:
        """Close what has been idle for 90 seconds. The list is ordered by the time of the last use."""
        with self.changed:
            while True:
                if not self.idle:
                    self.changed.wait()
                    continue
                left = self.idle[0].since + IDLE_SECONDS - time.monotonic()
                if left > 0:
                    self.changed.wait(left)
                else:
                    self.idle.pop(0).close()


# ---- end of the common text ----


def say(*words: object) -> None:
    """Go's fmt.Println: one line on standard output, whole even where threads write at once."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def notify_handler(client: Client, messages: str) -> Handler:
    """The handler of /notify, which sends its message to /send of the service at `messages`."""
    name = f"service_b:{VERSION}"

    def notify(request: Request) -> Answer:
        say(request)
        say(f"{name} is serving the request...")
        message = dict(parse_qsl(request.query)).get("msg", "")
        # The original put the message into the address as it was; what would break the request is escaped here.
        escaped = quote(message, safe="!$&'()*+,/:;=?@[]~-._%\"<>{}|\\^`")
        try:
            client.get(f"http://{messages}/send?msg={escaped}")
        except GetError as error:
            say(f"{name} send msg error:", error)
            return failure(500, str(error))
        say(f"{name} send msg ok, msg=", message)
        return Answer()

    return notify


def main(argv: list[str]) -> None:
    given = flags(argv, msgsvc=os.environ.get("MESHLAB_MSGSVC", ""), listen="0.0.0.0:8080")
    serve(given["listen"], {"/notify": notify_handler(Client(), given["msgsvc"])})


if __name__ == "__main__":
    main(sys.argv[1:])
