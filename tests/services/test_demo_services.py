"""svca, svcb and msgd write the tutorial's lines and treat connections as Go does."""

from __future__ import annotations

import http.client
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest
from demo_programs import SERVICES, Script, Start, wait_until

from meshlab.services import go_client

OK = b"HTTP/1.1 200 OK\r\nX-Served-By: pod-x;v0.2\r\nContent-Length: 0\r\n\r\n"
BAD = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\nContent-Type: text/plain\r\n\r\noops"
NEVER = "127.90.0.1:1"  # nobody listens there


def get(address: str, target: str, method: str = "GET") -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection(address, timeout=120)
    try:
        connection.request(method, target)
        response = connection.getresponse()
        return response.status, dict(response.headers), response.read().decode()
    finally:
        connection.close()


def test_a_payment_is_notified_through_all_three_services(start: Start) -> None:
    msgd = start("msgd.py", port=9997)
    svcb = start("svcb.py", "-msgsvc", msgd.address, MESHLAB_VERSION="v0.2")
    svca = start("svca.py", "-notifysvc", svcb.address)
    status, headers, body = get(svca.address, "/pay")
    assert (status, body) == (200, "")
    assert headers["X-Served-By"].endswith(";v0.1")
    assert headers["X-Upstream-Served-By"] == f"pod-{svcb.address.partition(':')[0]};v0.2"

    wait_until(lambda: "notify customer ok" in svca.log())
    lines = svca.log().splitlines()
    assert lines[:2] == ["service_a:v0.1 is serving the request...", "service_a:v0.1 pays ok"]
    assert re.fullmatch(r"&\{200 OK 200 HTTP/1\.1 1 1 map\[.*Content-Length:\[0\].*\] \{\} 0 \[\] false false map\[\]"
                        r" 0xc4[0-9a-f]{8} <nil>\}", lines[2])
    assert lines[3:] == ["service_a:v0.1 notify customer ok"]

    wait_until(lambda: "send msg ok" in svcb.log())
    lines = svcb.log().splitlines()
    assert re.fullmatch(r"&\{GET /notify\?msg=service_a:v0\.1-pays-ok HTTP/1\.1 1 1 "
                        r"map\[User-Agent:\[Go-http-client/1\.1\] Accept-Encoding:\[gzip\]\] \{\} <nil> 0 \[\] false "
                        + re.escape(svcb.address) + r" map\[\] map\[\] <nil> map\[\] 127\.[0-9.]+:\d+ "
                        r"/notify\?msg=service_a:v0\.1-pays-ok <nil> <nil> <nil> 0xc4[0-9a-f]{8}\}", lines[0])
    assert lines[1:] == ["service_b:v0.2 is serving the request...",
                         "service_b:v0.2 send msg ok, msg= service_a:v0.1-pays-ok"]

    wait_until(lambda: "recv msg ok" in msgd.log())
    stamp = r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d "
    assert re.fullmatch(
        stamp + r"&\{GET /send\?msg=service_a:v0\.1-pays-ok HTTP/1\.1 1 1 map\[.*\n"
        + stamp + r"Msgd is serving the request\.\.\.\n"
        + stamp + r"Msgd recv msg ok, msg= service_a:v0\.1-pays-ok\n", msgd.log())


def test_a_closed_connection_is_eof_and_a_500_whose_body_svca_ignores(
    start: Start, script: Callable[..., Script]
) -> None:
    wall = script(b"")
    svcb = start("svcb.py", "-msgsvc", wall.address)
    svca = start("svca.py", "-notifysvc", svcb.address)
    status, _, body = get(svca.address, "/pay")
    assert (status, body) == (200, "")
    text = f"Get http://{wall.address}/send?msg=service_a:v0.1-pays-ok: EOF"
    wait_until(lambda: "send msg error" in svcb.log())
    assert svcb.log().splitlines()[2] == f"service_b:v0.1 send msg error: {text}"
    wait_until(lambda: "notify customer ok" in svca.log())
    seen = svca.log().splitlines()[2]
    assert seen.startswith("&{500 Internal Server Error 500 HTTP/1.1 1 1 map[")
    assert "X-Content-Type-Options:[nosniff]" in seen
    assert f"Content-Length:[{len(text) + 1}]" in seen
    assert re.search(rf" 0xc4\w{{8}} {len(text) + 1} \[\] false false map\[\] 0xc4\w{{8}} <nil>}}$", seen)


def test_the_tutorials_own_address_gives_its_66_bytes(start: Start) -> None:
    assert len("Get http://10.100.35.27:9997/send?msg=service_a:v0.1-pays-ok: EOF\n") == 66


def test_svcb_gives_its_caller_the_error_as_text(start: Start) -> None:
    svcb = start("svcb.py", "-msgsvc", NEVER)
    status, headers, body = get(svcb.address, "/notify?msg=hello")
    assert status == 500
    assert body == f"Get http://{NEVER}/send?msg=hello: dial tcp {NEVER}: getsockopt: connection refused\n"
    assert headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("flags", "env", "words"),
    [
        ([], {}, "Get http:///send?msg=m: http: no Host in request URL"),
        ([], {"MESHLAB_MSGSVC": NEVER}, f"dial tcp {NEVER}: getsockopt: connection refused"),
        (["-msgsvc=no.such.host.invalid:9997"], {}, "dial tcp: lookup no.such.host.invalid: no such host"),
    ],
    ids=["no address", "address from the environment", "unknown name"],
)
def test_svcb_says_in_gos_words_why_it_could_not_send(
    start: Start, flags: list[str], env: dict[str, str], words: str
) -> None:
    svcb = start("svcb.py", *flags, **env)
    assert words in get(svcb.address, "/notify?msg=m")[2]


def test_svca_answers_500_when_svcb_gives_no_answer_at_all(start: Start) -> None:
    svca = start("svca.py", "-notifysvc", NEVER)
    status, _, body = get(svca.address, "/pay")
    assert status == 500
    assert body.startswith(f"Get http://{NEVER}/notify?msg=service_a:v0.1-pays-ok: dial tcp")
    assert "service_a:v0.1 notify error: Get http://" in svca.log()


@pytest.mark.parametrize(
    ("replies", "connections"),
    [
        ([OK, OK, OK], 1),
        ([BAD, OK, OK], 2),
        ([OK, BAD, OK], 2),
        ([BAD, BAD, BAD], 3),
        ([OK.replace(b"X-Served-By: pod-x;v0.2", b"Connection: close"), OK, OK], 2),
    ],
    ids=["empty answers", "a body left unread", "a body in the middle", "bodies only", "asked to close"],
)
def test_svca_keeps_its_connection_unless_a_body_was_left_unread(
    start: Start, script: Callable[..., Script], replies: list[bytes], connections: int
) -> None:
    svcb = script(*replies)
    svca = start("svca.py", "-notifysvc", svcb.address)
    for _ in replies:
        assert get(svca.address, "/pay")[0] == 200
    assert svcb.connections == connections


def test_svca_tries_again_when_a_kept_connection_turns_out_to_be_closed(
    start: Start, script: Callable[..., Script]
) -> None:
    svcb = script(OK, b"", OK)
    svca = start("svca.py", "-notifysvc", svcb.address)
    assert get(svca.address, "/pay")[0] == 200
    assert get(svca.address, "/pay")[0] == 200
    assert svcb.connections == 2
    assert len(svcb.requests) == 3


def test_a_connection_that_was_closed_while_idle_is_not_used_again(
    start: Start, script: Callable[..., Script]
) -> None:
    svcb = script(OK, OK)
    svca = start("svca.py", "-notifysvc", svcb.address)
    assert get(svca.address, "/pay")[0] == 200
    svcb.open[0].shutdown(socket.SHUT_RDWR)
    assert get(svca.address, "/pay")[0] == 200
    assert svcb.connections == 2
    assert len(svcb.requests) == 2


def test_an_idle_connection_is_closed_after_its_time_without_a_further_request(
    script: Callable[..., Script], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mixer hears of a TCP connection when it closes: the original's client closes it after 90 idle seconds."""
    assert go_client.IDLE_SECONDS == 90
    monkeypatch.setattr(go_client, "IDLE_SECONDS", 0.05)
    server, client = script(OK), go_client.Client()
    client.get(f"http://{server.address}/")
    wait_until(lambda: not client.idle)
    wait_until(lambda: server.open[0].fileno() == -1)  # the server has seen the end as well


def test_the_pool_keeps_two_connections_for_each_server(start: Start, script: Callable[..., Script]) -> None:
    gate, svcb = threading.Barrier(4), script(*[OK] * 8)
    svca = start("svca.py", "-notifysvc", svcb.address)

    def pay() -> None:
        gate.wait(60)
        get(svca.address, "/pay")

    for _ in range(2):
        threads = [threading.Thread(target=pay) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    wait_until(lambda: sum(conn.fileno() != -1 for conn in svcb.open) <= 2)


def test_svca_asks_as_gos_client_does(start: Start, script: Callable[..., Script]) -> None:
    svcb = script(OK)
    get(start("svca.py", "-notifysvc", svcb.address).address, "/pay")
    assert svcb.requests == [
        f"GET /notify?msg=service_a:v0.1-pays-ok HTTP/1.1\r\nHost: {svcb.address}\r\n"
        "User-Agent: Go-http-client/1.1\r\nAccept-Encoding: gzip\r\n\r\n".encode()
    ]


def test_headers_are_logged_in_gos_spelling(start: Start) -> None:
    msgd = start("msgd.py", port=9997)
    host, _, port = msgd.address.partition(":")
    with socket.create_connection((host, int(port)), 60) as conn:
        conn.sendall(b"GET /send?msg=a%20b HTTP/1.1\r\nhost: m\r\nx-b3-traceid: 1\r\nX-OT-Span-Context: 1;1;0\r\n"
                     b"accept: a\r\naccept: b\r\n\r\n")
        assert conn.recv(65_536).startswith(b"HTTP/1.1 200 OK\r\n")
    wait_until(lambda: "recv msg ok, msg= a b" in msgd.log())
    assert "map[X-B3-Traceid:[1] X-Ot-Span-Context:[1;1;0] Accept:[a b]] {} <nil> 0 [] false m map[]" in msgd.log()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", b"404 Not Found"),
        (b"nonsense\r\n\r\n", b"400 Bad Request"),
        (b"GET /send HTTP/1.1\r\nno colon\r\n\r\n", b"400 Bad Request"),
        (b"POST /send HTTP/1.1\r\nContent-Length: many\r\n\r\n", b"400 Bad Request"),
        (b"POST /send HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400 Bad Request"),
        (b"POST /send HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", b"200 OK"),
        (b"POST /send HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc", b"100 Continue"),
        (b"HEAD /send HTTP/1.1\r\nHost: x\r\n\r\n", b"200 OK"),
        (b"GET /send HTTP/1.0\r\n\r\n", b"200 OK"),
    ],
)
def test_any_input_gets_an_answer(start: Start, sent: bytes, status: bytes) -> None:
    msgd = start("msgd.py", port=9997)
    host, _, port = msgd.address.partition(":")
    with socket.create_connection((host, int(port)), 60) as conn:
        conn.sendall(sent)
        assert conn.recv(65_536).split(b"\r\n")[0] == b"HTTP/1.1 " + status
    assert msgd.process.poll() is None


def test_an_unknown_flag_ends_the_program_with_its_name() -> None:
    done = subprocess.run([sys.executable, str(SERVICES / "msgd.py"), "-colour", "blue"], capture_output=True,
                          text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("flag provided but not defined: -colour")
