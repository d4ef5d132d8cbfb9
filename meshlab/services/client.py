"""client: sends requests into the mesh on order, and says what came back; the tutorial used curl for it.

One file, standard library only: it runs as an image of the embedded lab, and from a ConfigMap in
`python:3.12-slim` on a real cluster, each time in a pod without a sidecar. Orders and results are JSON:

    POST   /curl       {"url", "method", "headers", "body", "timeout", "n", "keep_alive", "concurrency"}
                       → {"answers": [{"status", "reason", "headers", "body", "ms", "error"}, …]}
    POST   /load       {"url", "rps", "seconds", "concurrency", "headers", "timeout", "keep_alive"} → {"id"}
    GET    /load/<id>  → {"running", "sent", "ok", "missed", "by_status", "by_upstream", "by_server", "errors",
                          "latency_ms": {"p50", "p90", "p99"}, "series": [{"t", "sent", "ok", "by_upstream"}, …]}
    DELETE /load/<id>  the same, after it has stopped
    DELETE /load       → {"stopped"}: every load that runs, also those whose number nobody knows any more
    GET    /healthz

Times are milliseconds; a body is cut after 4 KB. `ok` counts answers below 400. `by_server` and `by_upstream`
count by the headers X-Served-By and X-Upstream-Served-By (`<pod>;<version>`). Every request has a connection of
its own unless `keep_alive` is true. Load is sent by a timetable of `rps`, whether or not earlier answers have
come; a request that could not start within a second of its time is counted as `missed`. Errors are curl's.

    python client.py [-listen 0.0.0.0:8080] [-search default]

A name without a dot is looked up as it is, then in the namespace `-search`: the client lives in one of its own.
"""

from __future__ import annotations

import http.client
import json
import math
import socket
import socketserver
import ssl
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

#: Bounds of an order. One core sends about 2,000 requests a second with this program.
MAX_REQUESTS, MAX_RPS, MAX_SECONDS, MAX_CONCURRENCY, MAX_TIMEOUT = 1_000, 2_000.0, 3_600.0, 64, 120.0
#: Loads whose counts are kept; the oldest that has ended makes room.
MAX_LOADS = 32
MAX_BODY, MAX_ORDER = 4_096, 1 << 20
#: Of an endless answer this much is read, bytes; then its connection is closed.
MAX_READ = 1 << 20
#: A latency is counted in a bucket 2 % wide: memory stays bounded and a percentile is off by 1 % at most.
BUCKET = math.log(1.02)


class OrderError(ValueError):
    """An order that cannot be carried out; the text goes back to whoever gave it."""


class Target:
    """What to ask for: a URL taken apart, and the way to get a connection to it."""

    def __init__(self, order: Mapping[str, Any], search: str) -> None:
        self.url = _field(order, "url", str, "")
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise OrderError(f"url: {self.url!r} is no http:// or https:// address")
        self.host, self.secure, self.search = parts.hostname, parts.scheme == "https", search
        self.port = parts.port or (443 if self.secure else 80)
        self.path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self.method = _field(order, "method", str, "GET").upper()
        self.headers = {"User-Agent": "meshlab-client", "Accept": "*/*"}
        self.headers |= {str(name): str(value) for name, value in _field(order, "headers", dict, {}).items()}
        self.body = _field(order, "body", str, "").encode() or None
        self.timeout = _number(order, "timeout", 10.0, MAX_TIMEOUT)
        self.keep_alive = _field(order, "keep_alive", bool, False)

    def connect(self) -> http.client.HTTPConnection:
        """An open connection to the host; OSError when there is none to be had."""
        try:
            sock = socket.create_connection((self.host, self.port), self.timeout)
        except socket.gaierror:
            if "." in self.host or not self.search:
                raise
            sock = socket.create_connection((f"{self.host}.{self.search}", self.port), self.timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)
        if self.secure:
            # Certificates of a lab are its own: what is asked here is whether TLS works, not who answers.
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            sock = context.wrap_socket(sock, server_hostname=self.host)
            connection.default_port = 443  # or the Host header would carry :443
        connection.sock = sock
        return connection


class Sender:
    """Sends the requests of one thread, on one connection if the order says keep-alive."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.connection: http.client.HTTPConnection | None = None

    def send(self) -> dict[str, Any]:
        """Send one request. Returns status (0 for none), reason, headers, body, ms and error ("" for none)."""
        target, started = self.target, time.perf_counter()
        answer: dict[str, Any] = {"status": 0, "reason": "", "headers": {}, "body": "", "error": ""}
        try:
            if self.connection is None:
                self.connection = target.connect()
            self.connection.request(target.method, target.path, target.body, target.headers)
            with self.connection.getresponse() as response:
                data = response.read(MAX_READ)
                answer |= {"status": response.status, "reason": response.reason, "headers": dict(response.headers),
                           "body": data[:MAX_BODY].decode("utf-8", "replace")}
                if not target.keep_alive or response.will_close or not response.isclosed():
                    self.close()
        except (OSError, http.client.HTTPException, ValueError) as error:
            answer["error"] = curl_error(error, target)
            self.close()
        return answer | {"ms": round((time.perf_counter() - started) * 1_000, 3)}

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def curl_error(error: Exception, target: Target) -> str:
    """What curl would say: its exit code and words. A close and a reset before the answer are the same to it."""
    if isinstance(error, socket.gaierror):
        return f"(6) Could not resolve host: {target.host}"
    if isinstance(error, ConnectionRefusedError):
        return f"(7) Failed to connect to {target.host} port {target.port}: Connection refused"
    if isinstance(error, TimeoutError):
        return f"(28) Operation timed out after {target.timeout * 1_000:.0f} milliseconds"
    if isinstance(error, ssl.SSLError):
        return f"(35) TLS: {error.reason or error}"
    if isinstance(error, http.client.RemoteDisconnected | ConnectionError):
        return "(52) Empty reply from server"
    if isinstance(error, http.client.IncompleteRead):
        return "(18) transfer closed with outstanding read data remaining"
    return f"(56) {type(error).__name__}: {error}"


class Counts:
    """The counts of one load; every method may be called from any thread."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.sent = self.ok = self.missed = 0
        self.by: dict[str, dict[str, int]] = {"status": {}, "upstream": {}, "server": {}, "errors": {}}
        self.buckets: dict[int, int] = {}
        self.series: list[dict[str, Any]] = []

    def add(self, answer: Mapping[str, Any], second: int) -> None:
        """Count an answer that came in this second of the load."""
        headers = {name.lower(): value for name, value in answer["headers"].items()}
        good = 0 < answer["status"] < 400
        names = {"status": "error" if answer["error"] else str(answer["status"]), "errors": answer["error"],
                 "upstream": headers.get("x-upstream-served-by"), "server": headers.get("x-served-by")}
        with self.lock:
            self.sent += 1
            self.ok += good
            for kind, name in names.items():
                if name:
                    self.by[kind][name] = self.by[kind].get(name, 0) + 1
            bucket = round(math.log(max(answer["ms"], 0.001)) / BUCKET)
            self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
            while len(self.series) <= second:
                self.series.append({"t": len(self.series), "sent": 0, "ok": 0, "by_upstream": {}})
            point = self.series[second]
            point["sent"] += 1
            point["ok"] += good
            if upstream := names["upstream"]:
                point["by_upstream"][upstream] = point["by_upstream"].get(upstream, 0) + 1

    def report(self) -> dict[str, Any]:
        with self.lock:
            report = {"sent": self.sent, "ok": self.ok, "missed": self.missed, "errors": dict(self.by["errors"]),
                      "latency_ms": {f"p{p}": self._percentile(p) for p in (50, 90, 99)},
                      "series": [point | {"by_upstream": dict(point["by_upstream"])} for point in self.series]}
            return report | {f"by_{kind}": dict(self.by[kind]) for kind in ("status", "upstream", "server")}

    def _percentile(self, percent: int) -> float | None:
        left = self.sent * percent / 100
        for bucket, number in sorted(self.buckets.items()):
            left -= number
            if left <= 0:
                return round(math.exp(bucket * BUCKET), 3)
        return None


class Load:
    """Requests sent by a timetable until their time is over or somebody stops them."""

    def __init__(self, target: Target, order: Mapping[str, Any]) -> None:
        self.target, self.counts, self.stopped = target, Counts(), threading.Event()
        self.rps = _number(order, "rps", 10.0, MAX_RPS)
        self.seconds = _number(order, "seconds", 60.0, MAX_SECONDS)
        self.lock, self.next = threading.Lock(), 0
        self.started = time.monotonic()
        count = int(_number(order, "concurrency", 1, MAX_CONCURRENCY))
        self.threads = [threading.Thread(target=self._work, daemon=True) for _ in range(max(1, count))]
        for thread in self.threads:
            thread.start()

    @property
    def running(self) -> bool:
        return any(thread.is_alive() for thread in self.threads)

    def stop(self) -> None:
        """Send nothing more, and wait for the answers on their way."""
        self.stopped.set()
        for thread in self.threads:
            thread.join(self.target.timeout)

    def report(self) -> dict[str, Any]:
        return {"running": self.running, "url": self.target.url, "rps": self.rps} | self.counts.report()

    def _work(self) -> None:
        sender = Sender(self.target)
        try:
            while (due := self._take()) < self.started + self.seconds:
                if self.stopped.wait(max(0.0, due - time.monotonic())):
                    return
                answer = sender.send()
                self.counts.add(answer, int(time.monotonic() - self.started))
        finally:
            sender.close()

    def _take(self) -> float:
        """When the next request is due. Those that are late by more than a second are not sent any more."""
        with self.lock:
            late = time.monotonic() - 1 - (self.started + self.next / self.rps)
            if late > 0:
                left = math.ceil(self.seconds * self.rps) - self.next  # of the timetable
                skipped = max(0, min(math.ceil(late * self.rps), left))
                self.next += skipped
                with self.counts.lock:
                    self.counts.missed += skipped
            due = self.started + self.next / self.rps
            self.next += 1
            return due


class Orders:
    """Carries out orders and keeps the loads."""

    def __init__(self, search: str) -> None:
        self.search, self.lock, self.loads, self.number = search, threading.Lock(), dict[str, Load](), 0

    def curl(self, order: Mapping[str, Any]) -> dict[str, Any]:
        target, n = Target(order, self.search), int(_number(order, "n", 1, MAX_REQUESTS))
        parts = max(1, int(_number(order, "concurrency", 1, MAX_CONCURRENCY)))

        def send(count: int) -> list[dict[str, Any]]:
            with closing(Sender(target)) as sender:
                return [sender.send() for _ in range(count)]

        with ThreadPoolExecutor(parts) as pool:
            shares = pool.map(send, [n // parts + (part < n % parts) for part in range(parts)])
            return {"answers": [answer for share in shares for answer in share]}

    def start(self, order: Mapping[str, Any]) -> dict[str, Any]:
        target = Target(order, self.search)
        with self.lock:
            if len(self.loads) >= MAX_LOADS:
                ended = next((name for name, load in self.loads.items() if not load.running), None)
                if ended is None:
                    raise OrderError(f"{MAX_LOADS} loads are running; stop one with DELETE /load/<id>")
                del self.loads[ended]
            self.number += 1
            self.loads[str(self.number)] = Load(target, order)
            return {"id": str(self.number)}


class Handler(BaseHTTPRequestHandler):
    """The orders over HTTP."""

    protocol_version = "HTTP/1.1"
    orders: Orders

    def do_GET(self) -> None:
        load = self._load()
        if load:
            self._answer(200, load.report())
        elif self.path == "/healthz":
            self._answer(200, {"status": "ok"})
        else:
            self._answer(404, {"error": f"no {self.path} here; there are /curl, /load, /load/<id>, /healthz"})

    def do_DELETE(self) -> None:
        load = self._load()
        if load:
            load.stop()
            self._answer(200, load.report())
        elif self.path == "/load":
            running = [each for each in list(self.orders.loads.values()) if each.running]
            for each in running:
                each.stop()
            self._answer(200, {"stopped": len(running)})
        else:
            self._answer(404, {"error": f"no {self.path} here"})

    def do_POST(self) -> None:
        work = {"/curl": self.orders.curl, "/load": self.orders.start}.get(self.path)
        try:
            text = self._body()
            if work is None:
                self._answer(404, {"error": f"no {self.path} here"})
                return
            order = json.loads(text)
            if not isinstance(order, dict):
                raise OrderError("an order is a JSON object")
            self._answer(200, work(order))
        except ValueError as error:  # JSON's and ours
            self._answer(400, {"error": str(error)})

    def _body(self) -> bytes:
        """The request's body. Proxies that pass a body on as it comes, as API servers do, send it in chunks."""
        self.close_connection = True  # should it break in the middle
        length, body = int(self.headers.get("Content-Length") or 0), b""
        chunked = "chunked" in (self.headers.get("Transfer-Encoding") or "").lower()
        if chunked:
            length = self._chunk()
        while length:
            if not 0 <= length <= MAX_ORDER - len(body):
                raise OrderError(f"an order of more than {MAX_ORDER} bytes")
            body += self.rfile.read(length)
            length = 0
            if chunked:
                self.rfile.readline()
                length = self._chunk()
        if chunked:
            while self.rfile.readline().strip():
                pass  # trailers: read, and of no use here
        self.close_connection = (self.headers.get("Connection") or "").lower() == "close"
        return body

    def _chunk(self) -> int:
        return int(self.rfile.readline(64).partition(b";")[0], 16)

    def _load(self) -> Load | None:
        return self.orders.loads.get(self.path.removeprefix("/load/"))

    def _answer(self, status: int, value: Mapping[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Orders are not traffic: they leave the pod's log to what its requests have to say."""


def _field(order: Mapping[str, Any], name: str, kind: type, default: Any) -> Any:
    value = order.get(name)
    if value is None:
        return default
    if not isinstance(value, kind):
        raise OrderError(f"{name}: {value!r} is no {kind.__name__}")
    return value


def _number(order: Mapping[str, Any], name: str, default: float, most: float) -> float:
    value = order.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        raise OrderError(f"{name}: {value!r} is no number above 0 and up to {most:g}")
    return float(value)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def server_bind(self) -> None:
        """Bind without the look-up of the host's own name, which can take seconds where there is no DNS."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])


def main(argv: list[str]) -> None:
    given = {"listen": "0.0.0.0:8080", "search": "default"}
    words = iter(argv)
    for word in words:
        name, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("-") or name not in given:
            print(f"flag provided but not defined: {word}\nknown: -listen -search", file=sys.stderr)
            sys.exit(2)
        given[name] = value if equals else next(words, "")
    host, _, port = given["listen"].rpartition(":")
    bound = type("BoundHandler", (Handler,), {"orders": Orders(given["search"])})
    with Server((host, int(port)), bound) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
