"""Capture: connections of a pod's programs arrive in a real Envoy's listener tree as iptables would bring them.

The tree is small and written by hand: one HTTP listener for every address on port 80, one TCP listener for one
address on port 90, and nothing else. What answers is told by the tree, not by the shim.
"""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from network_pods import (
    NETWORK,
    MakeServer,
    Pod,
    Server,
    pod_ip,
    service,
    service_ip,
    sidecar_config,
    start_envoy,
    write_network,
)


@dataclass
class Mesh:
    """A captured pod; `web` is a service by HTTP on port 80, `raw` one by TCP on port 90, `lost` has no listener."""

    pod: Pod
    web: str
    raw: str
    lost: str
    http: Server
    tcp: Server
    #: Listens on the address of `lost`, to see what gets past the sidecar.
    outside: Server


@pytest.fixture
def mesh(pod: Pod, server: MakeServer, tmp_path: Path) -> Iterator[Mesh]:
    web, raw, lost = service_ip(), service_ip(), service_ip()
    http, tcp = server(pod_ip(), 8080, "http"), server(pod_ip(), 8080, "tcp")
    outside = server(lost, 9997, "outside")
    pod.capture()
    write_network(pod.network_file, {
        "default/web": service(web, 80, (http.socket.getsockname()[0], 8080)),
        "default/raw": service(raw, 90, (tcp.socket.getsockname()[0], 8080)),
        "default/lost": service(lost, 9997, (lost, 9997)),
    })
    with tempfile.TemporaryDirectory() as sockets:  # a Unix socket's path is short; pytest's folders are not
        config = sidecar_config(pod, Path(sockets, "admin"), http={"web": http.socket.getsockname()}, http_port=80,
                                tcp={(raw, 90): tcp.socket.getsockname()})
        for _ in start_envoy(config, tmp_path):
            yield Mesh(pod, web, raw, lost, http, tcp, outside)


CLIENTS = {
    "urllib": """
import urllib.request, urllib.error
def get(url):
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
""",
    "http.client": """
import http.client
from urllib.parse import urlsplit
def get(url):
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    connection.request("GET", urlsplit(url).path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()
""",
    "requests": """
import requests
def get(url):
    answer = requests.get(url, timeout=60)
    return answer.status_code, answer.text
""",
    "aiohttp": """
import asyncio, aiohttp
async def fetch(url):
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session, session.get(url) as answer:
        return answer.status, await answer.text()
def get(url):
    return asyncio.run(fetch(url))
""",
    "asyncio streams": """
import asyncio
from urllib.parse import urlsplit
async def fetch(url):
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    writer.write(f"GET {parts.path} HTTP/1.1\\r\\nHost: {parts.netloc}\\r\\nConnection: close\\r\\n\\r\\n".encode())
    text = (await asyncio.wait_for(reader.readuntil(b"\\r\\n\\r\\n"), 60)).decode()
    length = next((int(l.split(":")[1]) for l in text.lower().split("\\r\\n") if l.startswith("content-length")), 0)
    body = (await reader.readexactly(length)).decode()
    writer.close()
    return int(text.split()[1]), body
def get(url):
    return asyncio.run(fetch(url))
""",
}


@pytest.mark.parametrize("client", CLIENTS)
def test_http_goes_by_its_host_through_the_wildcard_listener(mesh: Mesh, client: str) -> None:
    seen = mesh.pod.run(CLIENTS[client] + """
status, text = get("http://web/pay")
print(status, text.split()[0], "x-request-id" in text)
status, text = get("http://raw:80/pay")  # another host: its address has a listener for port 80 all the same
print(status, repr(text))
""")
    assert seen == "200 http True\n404 ''"
    assert mesh.http.peers == [mesh.pod.ip]


@pytest.mark.parametrize("client", CLIENTS)
def test_tcp_is_tunnelled_by_the_address_it_was_going_to(mesh: Mesh, client: str) -> None:
    seen = mesh.pod.run(CLIENTS[client] + """
status, text = get("http://raw:90/pay")
print(status, text.split()[0], "x-request-id" in text)
""")
    assert seen == "200 tcp False"


@pytest.mark.parametrize("client", CLIENTS)
def test_a_destination_without_a_listener_is_a_closed_connection(mesh: Mesh, client: str) -> None:
    seen = mesh.pod.run(CLIENTS[client] + """
try:
    print(get("http://lost:9997/send"))
except Exception as error:
    print("closed", type(error).__name__)
""")
    assert seen.startswith("closed ")
    assert "Timeout" not in seen
    assert mesh.outside.peers == []


def test_tls_passes_through_a_tunnel_untouched(mesh: Mesh, server: MakeServer, tmp_path: Path) -> None:
    import trustme

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("raw").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    plain = mesh.tcp.answer
    mesh.tcp.answer = lambda conn: plain(context.wrap_socket(conn, server_side=True))  # type: ignore[method-assign]
    assert mesh.pod.run(f"""
import ssl, socket, asyncio
context = ssl.create_default_context(cafile={str(tmp_path / "ca.pem")!r})
with context.wrap_socket(socket.socket(), server_hostname="raw") as s:
    s.connect(("raw", 90)); s.sendall(b"x"); print(s.recv(100).split()[-2].decode())
with context.wrap_socket(socket.create_connection(("raw", 90), 60), server_hostname="raw") as s:
    s.sendall(b"x"); print(s.recv(100).split()[-2].decode())
async def main():
    reader, writer = await asyncio.open_connection("raw", 90, ssl=context)
    writer.write(b"x"); print((await reader.read(100)).split()[-2].decode())
    writer.close(); await writer.wait_closed()
asyncio.run(main())
""") == "tcp\ntcp\ntcp"


def test_sockets_keep_their_time_limit_and_their_way_of_not_blocking(mesh: Mesh) -> None:
    assert mesh.pod.run("""
import socket
for limit in (None, 0.0, 2.5):
    s = socket.socket(); s.settimeout(limit)
    print(s.connect_ex(("raw", 90)), s.gettimeout())
""") == "0 None\n0 0.0\n0 2.5"


@pytest.mark.parametrize(
    ("ranges", "answer"),
    [("*", "closed"), ("10.0.0.0/8", "outside"), ("10.0.0.0/8, {network}.0.0/16", "closed"), ("{lost}", "closed")],
)
def test_only_the_included_ranges_are_captured(mesh: Mesh, ranges: str, answer: str) -> None:
    mesh.pod.capture(ranges.format(network=NETWORK.services, lost=mesh.lost))
    seen = mesh.pod.run("""
import socket
s = socket.create_connection(("lost", 9997), 60)
try:
    s.sendall(b"x"); print((s.recv(100) or b"closed").split()[0].decode())
except ConnectionError:
    print("closed")
""")
    assert seen == ("closed" if answer == "closed" else "HTTP/1.1")


def test_what_stays_in_the_pod_is_not_captured(mesh: Mesh) -> None:
    assert mesh.pod.run("""
import socket, threading
s = socket.create_server(('', 8080))
threading.Thread(target=lambda: s.accept()[0].sendall(b'here'), daemon=True).start()
print(socket.create_connection(("127.0.0.1", 8080), 60).recv(10).decode())
""") == "here"


def test_a_connection_to_the_pods_own_address_goes_through_its_sidecar(mesh: Mesh) -> None:
    # iptables redirects what goes over lo to anything but 127.0.0.1; here the tree has no listener for it.
    assert mesh.pod.run("""
import socket, os
s = socket.create_connection((os.environ["POD_IP"], 8080), 60)
try:
    print(s.recv(10))
except ConnectionError:
    print(b"")
""") == "b''"


def test_without_its_sidecar_a_captured_pod_reaches_nobody(pod: Pod, server: MakeServer) -> None:
    ip = service_ip()
    outside = server(ip, 8080)
    pod.capture()
    write_network(pod.network_file, {"default/web": service(ip, 8080, (ip, 8080))})
    assert pod.run("import socket; print(socket.socket().connect_ex(('web', 8080)))") == "111"
    assert outside.peers == []


def test_the_demo_reports_eof_for_a_destination_that_the_mesh_does_not_know(mesh: Mesh) -> None:
    """svcb's log line of the tutorial: the lost connection may end in a reset, and is EOF all the same."""
    seen = mesh.pod.run("""
import sys
sys.path.insert(0, __import__("os").path.join(__import__("meshlab").__path__[0], "services"))
import svcb
client = svcb.Client()
for _ in range(50):
    try:
        client.get("http://lost:9997/send?msg=m")
    except svcb.GetError as error:
        print(error)
""").splitlines()
    assert set(seen) == {"Get http://lost:9997/send?msg=m: EOF"}
    assert len(seen) == 50
