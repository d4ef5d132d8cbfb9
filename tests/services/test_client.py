"""The client sends what it is told to and reports what came back."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from typing import Any

import pytest
from demo_programs import Script, Start, wait_until

OK = b"HTTP/1.1 200 OK\r\nX-Served-By: a;v0.1\r\nX-Upstream-Served-By: b;v0.2\r\nContent-Length: 2\r\n\r\nhi"
TEAPOT = b"HTTP/1.1 418 I'm a teapot\r\nContent-Length: 0\r\n\r\n"
Order = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def order(start: Start) -> Order:
    """order("POST", "/curl", {…}) of a running client: status and JSON."""
    client = start("client.py")

    def send(method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection(client.address, timeout=120)
        try:
            text = body if isinstance(body, str) else json.dumps(body)
            connection.request(method, path, None if body is None else text)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    return send


def test_a_request_comes_back_with_everything_in_its_answer(order: Order, script: Callable[..., Script]) -> None:
    server = script(OK)
    status, result = order("POST", "/curl", {"url": f"http://{server.address}/pay?x=1", "headers": {"X-Who": "me"}})
    assert status == 200
    [answer] = result["answers"]
    assert answer.pop("ms") > 0
    assert answer == {"status": 200, "reason": "OK", "body": "hi", "error": "",
                      "headers": {"X-Served-By": "a;v0.1", "X-Upstream-Served-By": "b;v0.2", "Content-Length": "2"}}
    assert server.requests[0].startswith(b"GET /pay?x=1 HTTP/1.1\r\nHost: " + server.address.encode())
    assert b"X-Who: me\r\n" in server.requests[0]


@pytest.mark.parametrize(("keep_alive", "connections"), [(False, 3), (True, 1)])
def test_requests_have_connections_of_their_own_unless_told_otherwise(
    order: Order, script: Callable[..., Script], keep_alive: bool, connections: int
) -> None:
    server = script(OK, TEAPOT, OK)
    _, result = order("POST", "/curl", {"url": f"http://{server.address}", "n": 3, "keep_alive": keep_alive})
    assert [answer["status"] for answer in result["answers"]] == [200, 418, 200]
    assert server.connections == connections


def test_several_requests_at_a_time_share_the_number_that_is_asked_for(
    order: Order, script: Callable[..., Script]
) -> None:
    server = script(OK, OK, OK, OK, OK)
    wanted = {"url": f"http://{server.address}", "n": 5, "concurrency": 2, "keep_alive": True}
    _, result = order("POST", "/curl", wanted)
    assert [answer["status"] for answer in result["answers"]] == [200] * 5
    assert server.connections == 2


def test_a_long_body_is_cut_and_ends_its_connection(order: Order, script: Callable[..., Script]) -> None:
    long = b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 3_000_000
    server = script(long, OK)
    _, result = order("POST", "/curl", {"url": f"http://{server.address}", "n": 2, "keep_alive": True})
    assert [len(answer["body"]) for answer in result["answers"]] == [4096, 2]
    assert server.connections == 2


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.90.0.1:1/", "(7) Failed to connect to 127.90.0.1 port 1: Connection refused"),
        ("http://no.such.host.invalid/", "(6) Could not resolve host: no.such.host.invalid"),
        ("{closing}", "(52) Empty reply from server"),
    ],
)
def test_what_broke_is_told_in_curls_words(
    order: Order, script: Callable[..., Script], url: str, words: str
) -> None:
    address = f"http://{script(b'').address}/" if url == "{closing}" else url
    [answer] = order("POST", "/curl", {"url": address})[1]["answers"]
    assert (answer["status"], answer["error"]) == (0, words)


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/curl", {"url": "svca/pay"}, "no http:// or https:// address"),
        ("/curl", {"url": "http://x/", "n": 0}, "n: 0 is no number above 0"),
        ("/curl", {"url": "http://x/", "n": 100_000}, "up to 1000"),
        ("/curl", {"url": "http://x/", "headers": "none"}, "headers: 'none' is no dict"),
        ("/load", {"url": "http://x/", "rps": 1e9}, "rps: 1000000000.0 is no number above 0 and up to 2000"),
        ("/load", {"url": "http://x/", "seconds": True}, "seconds: True is no number"),
        ("/load", [], "an order is a JSON object"),
        ("/load", "{", "Expecting property name"),
    ],
)
def test_an_order_that_cannot_be_carried_out_is_refused_with_the_reason(
    order: Order, path: str, body: object, words: str
) -> None:
    status, result = order("POST", path, body)
    assert status == 400
    assert words in result["error"]


def test_an_order_may_come_in_chunks_and_has_a_bound(start: Start, script: Callable[..., Script]) -> None:
    text = json.dumps({"url": f"http://{script(OK).address}/"}).encode()
    connection = http.client.HTTPConnection(start("client.py").address, timeout=120)
    try:
        connection.request("POST", "/curl", iter([text[:5], text[5:]]), encode_chunked=True,
                           headers={"Transfer-Encoding": "chunked"})
        assert json.loads(connection.getresponse().read())["answers"][0]["status"] == 200
        connection.putrequest("POST", "/curl")
        connection.putheader("Content-Length", "2000000")
        connection.endheaders()
        refused = connection.getresponse()
        assert refused.status == 400
        assert "more than 1048576 bytes" in refused.read().decode()
    finally:
        connection.close()


def test_load_keeps_its_timetable_and_counts_by_who_answered(order: Order, script: Callable[..., Script]) -> None:
    server = script(*[OK, OK, OK, TEAPOT] * 25)
    status, result = order("POST", "/load", {"url": f"http://{server.address}/", "rps": 200, "seconds": 0.5,
                                             "concurrency": 2})
    assert status == 200
    path = f"/load/{result['id']}"
    wait_until(lambda: not order("GET", path)[1]["running"])
    report = order("GET", path)[1]
    sent = report["sent"]
    assert sent + report["missed"] == 100  # a busy machine misses some
    good = 3 * (sent // 4) + sent % 4
    assert report["ok"] == good > 0
    assert report["by_status"] == {"200": good, "418": sent // 4}
    assert report["by_upstream"] == {"b;v0.2": good}
    assert report["by_server"] == {"a;v0.1": good}
    assert report["errors"] == {}
    assert 0 < report["latency_ms"]["p50"] <= report["latency_ms"]["p90"] <= report["latency_ms"]["p99"]
    assert sum(point["sent"] for point in report["series"]) == sent
    assert report["series"][0]["t"] == 0


def test_load_ends_when_it_is_told_to(order: Order, script: Callable[..., Script]) -> None:
    server = script(*[OK] * 10_000)
    number = order("POST", "/load", {"url": f"http://{server.address}/", "rps": 50, "seconds": 600})[1]["id"]
    wait_until(lambda: order("GET", f"/load/{number}")[1]["sent"] > 3)
    stopped = order("DELETE", f"/load/{number}")[1]
    assert not stopped["running"]
    assert order("DELETE", f"/load/{number}")[1]["sent"] == stopped["sent"]


def test_load_counts_failures_by_their_cause(order: Order) -> None:
    number = order("POST", "/load", {"url": "http://127.90.0.1:1/", "rps": 100, "seconds": 0.1})[1]["id"]
    wait_until(lambda: not order("GET", f"/load/{number}")[1]["running"])
    report = order("GET", f"/load/{number}")[1]
    sent = report["sent"]
    assert sent + report["missed"] == 10
    assert report["by_status"] == {"error": sent}
    assert report["errors"] == {"(7) Failed to connect to 127.90.0.1 port 1: Connection refused": sent}
    assert report["ok"] == 0


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/healthz", 200), ("GET", "/load/7", 404),
                                                        ("DELETE", "/load/7", 404), ("POST", "/x", 404)])
def test_other_paths(order: Order, method: str, path: str, status: int) -> None:
    assert order(method, path, {} if method == "POST" else None)[0] == status
