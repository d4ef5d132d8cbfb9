"""The small HTTP server of the mesh's programs, spoken to over real sockets."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator

import pytest

from meshlab.mesh.exposition import Family, Histogram, labels_text, render
from meshlab.mesh.web import MAX_BODY, Answer, Request, Server, fetch, html, plain, to_json


def echo(request: Request) -> Answer:
    if request.path == "/fail":
        raise RuntimeError("out of order")
    if request.path == "/page":
        return html("<p>")
    return to_json({"method": request.method, "path": request.path, "query": dict(request.query),
                    "team": request.headers.get("x-team"), "body": request.body.decode()})


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), echo) as server:
        yield server


def talk(server: Server, sent: bytes) -> bytes:
    with socket.create_connection(server.address, timeout=60) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_requests_arrive_whole(server: Server) -> None:
    connection = http.client.HTTPConnection(*server.address, timeout=60)
    for round_ in range(3):  # one connection, kept alive
        connection.request("POST", f"/a%20b?x=1&y=%26&n={round_}", "body", {"X-Team": "mesh"})
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.read().decode() == (
            f'{{"method": "POST", "path": "/a b", "query": {{"x": "1", "y": "&", "n": "{round_}"}}, '
            '"team": "mesh", "body": "body"}')
    connection.request("POST", "/", iter([b"chunk", b"ed"]), encode_chunked=True)
    assert b'"chunked"' in connection.getresponse().read()
    connection.request("HEAD", "/page")
    assert connection.getresponse().read() == b""
    connection.close()


@pytest.mark.parametrize(("sent", "status"), [
    (b"nonsense\r\n\r\n", 400), (b"GET http://[ HTTP/1.1\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400), (b"GET / FTP/1\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n", 400),
    (f"POST / HTTP/1.1\r\nContent-Length: {MAX_BODY + 1}\r\n\r\n".encode(), 413),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", 413),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n", 400),
    (b"GET / HTTP/1.1\r\nX: " + b"x" * 70000 + b"\r\n\r\n", 400),
])
def test_what_is_no_request_is_refused(server: Server, sent: bytes, status: int) -> None:
    assert talk(server, sent).startswith(f"HTTP/1.1 {status} ".encode())
    assert fetch(server.url)[0] == 200  # and the server lives on


def test_a_client_that_waits_for_permission_gets_it(server: Server) -> None:
    answered = talk(server, b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi")
    assert answered.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


def test_a_handlers_error_is_an_answer(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    status, body = fetch(f"{server.url}/fail")
    assert (status, body) == (500, b"RuntimeError: out of order\n")
    assert "out of order" in capsys.readouterr().err


def test_fetch_reads_chunks() -> None:
    def chunked(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n")
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=lambda: chunked(listener.accept()[0]), daemon=True).start()
        host, port = listener.getsockname()
        assert fetch(f"http://{host}:{port}/") == (200, b"abcde")


@pytest.mark.parametrize("url", ["ftp://x/", "http:///", "x"])
def test_fetch_wants_an_http_address(url: str) -> None:
    with pytest.raises(ValueError, match="not an http"):
        fetch(url)


def test_a_closed_server_is_gone_and_closing_twice_is_harmless() -> None:
    server = Server(("127.0.0.1", 0), lambda request: plain("x")).start()
    server.close()
    server.close()
    with pytest.raises(OSError):
        fetch(server.url, timeout=1)


def test_a_page_of_metrics_escapes_and_orders() -> None:
    family = Family("requests", "counter", "two\nlines")
    family.number(labels_text({"path": 'a"b\\c\nd'})).value = 3
    histogram = Family("seconds", "histogram")
    histogram.series[""] = one = Histogram((0.1, 1))
    one.observe(0.1)
    one.observe(7)
    assert render([family, histogram, Family("empty", "gauge")]).decode() == (
        "# HELP requests two\\nlines\n# TYPE requests counter\n"
        'requests{path="a\\"b\\\\c\\nd"} 3\n'
        "# HELP seconds seconds\n# TYPE seconds histogram\n"
        'seconds_bucket{le="0.1"} 1\nseconds_bucket{le="1"} 1\nseconds_bucket{le="+Inf"} 2\n'
        "seconds_sum 7.1\nseconds_count 2\n")
