"""The service and pod proxy, in front of a real little server."""

from __future__ import annotations

import json
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from meshlab.cluster import Cluster
from meshlab.kube import Kube


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        seen = {
            "path": self.path, "method": self.command, "body": self.rfile.read(size).decode(),
            "token": self.headers.get("Authorization"), "custom": self.headers.get("X-Custom"),
            "who": [value for name, value in self.headers.items() if name.lower().startswith("x-remote-")],
        }
        body = json.dumps(seen).encode()
        self.send_response(418 if "teapot" in self.path else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Answer", "yes")
        if "to=" in self.path:
            self.send_header("Location", self.path.partition("to=")[2])
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture
def base(kube: Kube, namespace: str, port: int) -> str:
    kube.create(("v1", "services", namespace), {
        "kind": "Service", "apiVersion": "v1", "metadata": {"name": "echo"},
        "spec": {"ports": [{"name": "web", "port": 80, "targetPort": port}]},
    })
    kube.create(("v1", "endpoints", namespace), {
        "kind": "Endpoints", "apiVersion": "v1", "metadata": {"name": "echo"},
        "subsets": [{"addresses": [{"ip": "127.0.0.1"}], "ports": [{"name": "web", "port": port}]}],
    })
    return f"/api/v1/namespaces/{namespace}/services"


@pytest.mark.parametrize("name", ["echo", "echo:80", "echo:web", "http:echo:web"])
def test_a_request_reaches_an_endpoint(kube: Kube, base: str, name: str) -> None:
    raw = kube.raw("GET", f"{base}/{name}/proxy/some/path?x=1&y=%2F", headers={"X-Custom": "c"})
    assert raw.status == 200 and raw.headers["x-answer"] == "yes"
    seen = json.loads(raw.data)
    assert (seen["path"], seen["custom"], seen["token"]) == ("/some/path?x=1&y=%2F", "c", None)


@pytest.mark.parametrize("claim", ["User", "Group", "Uid", "Extra-Scopes"])
def test_nobody_says_himself_who_he_is(kube: Kube, base: str, claim: str) -> None:
    raw = kube.raw("GET", f"{base}/echo/proxy/", headers={f"X-Remote-{claim}": "system:masters"})
    assert json.loads(raw.data)["who"] == []


def test_bodies_methods_and_statuses_pass(kube: Kube, base: str) -> None:
    raw = kube.raw("POST", f"{base}/echo/proxy/teapot", "short and stout")
    assert raw.status == 418
    assert json.loads(raw.data)["body"] == "short and stout"
    assert kube.raw("GET", f"{base}/echo/proxy").headers["location"].endswith("/proxy/")


@pytest.mark.parametrize(("location", "seen"), [
    ("/graph?g0=1#x", "BASE/echo:web/proxy/graph?g0=1#x"),
    ("/classic/", "BASE/echo:web/proxy/classic/"),
    ("graph", "graph"),
    ("../up", "../up"),
    ("http://127.0.0.1/here", "BASE/echo:web/proxy/here"),
    ("http://example.com/there", "http://example.com/there"),
    ("BASE/echo:web/proxy/told", "BASE/echo:web/proxy/told"),
])
def test_a_redirect_stays_below_the_proxy(kube: Kube, base: str, location: str, seen: str) -> None:
    raw = kube.raw("GET", f"{base}/echo:web/proxy/x?to={location.replace('BASE', base).replace('#', '%23')}")
    found = raw.headers["location"].replace("%23", "#")
    assert found == seen.replace("BASE", base)


def test_who_writes_slices_needs_no_endpoints(kube: Kube, namespace: str, port: int) -> None:
    kube.create(("v1", "services", namespace), {
        "kind": "Service", "apiVersion": "v1", "metadata": {"name": "sliced"}, "spec": {"ports": [{"port": 80}]},
    })
    path = f"/api/v1/namespaces/{namespace}/services/sliced:80/proxy/"
    for name, number, ready in (("gone", 1, False), ("there", port, True)):
        assert kube.raw("GET", path).status == 503
        kube.create(("discovery.k8s.io/v1", "endpointslices", namespace), {
            "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "addressType": "IPv4",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": "sliced"}},
            "ports": [{"port": number}], "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": ready}}],
        })
    assert kube.raw("GET", path).status == 200


def test_what_cannot_be_reached_is_503(kube: Kube, base: str, namespace: str) -> None:
    kube.patch(("v1", "endpoints", namespace, "echo"), {"subsets": None})
    raw = kube.raw("GET", f"{base}/echo/proxy/")
    assert raw.status == 503 and 'no endpoints available for service \\"echo\\"' in raw.text
    kube.patch(("v1", "endpoints", namespace, "echo"), {"subsets": [
        {"addresses": [{"ip": "127.0.0.1"}], "ports": [{"name": "web", "port": 1}]},
    ]})
    raw = kube.raw("GET", f"{base}/echo/proxy/")
    assert raw.status == 503 and "error trying to reach service" in raw.text


def test_a_pod_is_reached_by_its_address(kube: Kube, namespace: str, port: int) -> None:
    kube.create(("v1", "pods", namespace), {
        "kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "x"}]},
    })
    kube.patch(("v1", "pods", namespace, "p", "status"), {"status": {"podIP": "127.0.0.1"}})
    raw = kube.raw("GET", f"/api/v1/namespaces/{namespace}/pods/p:{port}/proxy/x")
    assert json.loads(raw.data)["path"] == "/x"


class Upgrading(socketserver.StreamRequestHandler):
    """Takes `Upgrade: echo`, then repeats what it gets; anything else is answered like a request."""

    def handle(self) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.rfile.readline()
        if b"upgrade: echo" in head.lower() and b"authorization" not in head.lower():
            self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
            while data := self.request.recv(65536):
                self.wfile.write(data)
        else:
            self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nno")


class Upgrader(socketserver.ThreadingTCPServer):
    daemon_threads = True


@pytest.mark.parametrize(("protocol", "first", "echo"), [("echo", "101", b"to and fro"), ("other", "403", b"no")])
def test_an_upgraded_connection_goes_through(
    cluster: Cluster, kube: Kube, namespace: str, protocol: str, first: str, echo: bytes
) -> None:
    with Upgrader(("127.0.0.1", 0), Upgrading) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        port = server.server_address[1]
        kube.create(("v1", "services", namespace), {
            "kind": "Service", "apiVersion": "v1", "metadata": {"name": "up"}, "spec": {"ports": [{"port": 80}]},
        })
        kube.create(("v1", "endpoints", namespace), {
            "kind": "Endpoints", "apiVersion": "v1", "metadata": {"name": "up"},
            "subsets": [{"addresses": [{"ip": "127.0.0.1"}], "ports": [{"port": port}]}],
        })
        host, _, api_port = cluster.server.removeprefix("https://").partition(":")
        context = ssl.create_default_context(cafile=str(cluster.settings.pki / "ca.pem"))
        with socket.create_connection((host, int(api_port)), 60) as plain, \
                context.wrap_socket(plain, server_hostname=host) as client:
            path = f"/api/v1/namespaces/{namespace}/services/up/proxy/live?x=1"
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {cluster.token}\r\n"
                           f"Connection: keep-alive, Upgrade\r\nUpgrade: {protocol}\r\n\r\n".encode())
            answers = client.makefile("rb")
            assert answers.readline().split()[1].decode() == first
            while answers.readline() != b"\r\n":
                continue
            if first == "101":
                client.sendall(echo)
            assert answers.read(len(echo)) == echo
            answers.close()
        server.shutdown()
        thread.join()
