"""The way into a cluster where the API server's proxy is closed: port-forwards, owned and closed."""

from __future__ import annotations

import http.client
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from faulty_server import Fault, FaultyServer, answer, cut, dropped, silent

from meshlab import inward
from meshlab.access import Access
from meshlab.cluster import Cluster, Parts
from meshlab.doors import Door, Doors
from meshlab.errors import LabError
from meshlab.sidecars.asked import Pages, asked

PROGRAM = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        text = b"x" * 2_000_000 if self.path == "/big" else f"{self.command} {self.path} ".encode() + body
        if self.command == "POST":
            print("posted", flush=True)
        self.send_response(int(self.path[1:]) if self.path[1:].isdigit() else 200)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("X-Seen", self.headers.get("X-Asked") or "")
        if self.close_connection:
            self.send_header("Connection", "close")  # as Go's servers do for whoever asks for it
        self.end_headers()
        self.wfile.write(text)
    do_GET = do_POST = any
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Handler).serve_forever()
"""
PORTS = [{"name": "web", "port": 80, "targetPort": 8000}]
RIGHTS = [
    {"apiGroups": [""], "resources": ["services", "pods"], "verbs": ["get", "list"]},
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list"]},
]
FORWARD = [{"apiGroups": [""], "resources": ["pods/portforward"], "verbs": ["get", "create"]}]
RBAC = "rbac.authorization.k8s.io/v1"


@pytest.fixture(scope="module")
def kubernetes() -> Iterator[Cluster]:
    with Cluster(parts=Parts.ALL) as running:
        kube = running.kube
        labels = {"app": "echo"}
        spec = {"selector": labels, "ports": PORTS}
        kube.create(("v1", "services", "default"), {"metadata": {"name": "echo"}, "spec": spec})
        kube.create(
            ("v1", "services", "default"), {"metadata": {"name": "idle"}, "spec": {**spec, "selector": {"a": "b"}}}
        )
        command = ["python", "-c", PROGRAM]
        container = {"name": "c", "image": "python:3.12", "command": command, "ports": [{"containerPort": 8000}]}
        pod = {"metadata": {"labels": labels}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 1}}
        kube.create(
            ("apps/v1", "deployments", "default"),
            {"metadata": {"name": "echo"}, "spec": {"selector": {"matchLabels": labels}, "template": pod}},
        )
        rollout(running)
        yield running


def rollout(cluster: Cluster) -> None:
    """Waits for the pod."""
    kubectl = Path(sys.executable).parent / "kubectl"
    words = [kubectl, "rollout", "status", "deployment/echo", "--timeout=120s"]
    subprocess.run(words, env=cluster.environ, check=True, capture_output=True)


def token(cluster: Cluster, name: str, *rules: dict[str, Any]) -> str:
    """Of a ServiceAccount with these rights in default."""
    kube = cluster.kube
    kube.create(("v1", "serviceaccounts", "default"), {"metadata": {"name": name}})
    kube.create((RBAC, "roles", "default"), {"metadata": {"name": name}, "rules": list(rules)})
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    subjects = [{"kind": "ServiceAccount", "name": name, "namespace": "default"}]
    kube.create((RBAC, "rolebindings", "default"), {"metadata": {"name": name}, "roleRef": ref, "subjects": subjects})
    wanted = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    return str(kube.create(("v1", "serviceaccounts", "default", name, "token"), wanted)["status"]["token"])


@pytest.fixture(scope="module")
def walker(kubernetes: Cluster) -> str:
    """Somebody who may forward ports, and neither use the proxies nor run commands."""
    return token(kubernetes, "walker", *RIGHTS, *FORWARD)


Serve = Callable[..., FaultyServer]


@pytest.fixture
def serve(kubernetes: Cluster, tmp_path: Path) -> Iterator[Serve]:
    """A way to the cluster that goes wrong as it is told to, for the administrator or whoever has this token."""
    made: list[FaultyServer] = []

    def start(login: str = "") -> FaultyServer:
        made.append(FaultyServer(kubernetes.server, login or kubernetes.token, tmp_path))
        return made[-1]

    yield start
    for each in made:
        each.stop()


def reach(server: FaultyServer, patience: float = 5.0) -> Access:
    return Access(server.kubeconfig, patience=patience, hint="meshlab preflight")


@pytest.mark.parametrize("port", [80, "web"])
def test_where_the_proxy_is_forbidden_a_port_forward_takes_its_place(
    walker: str, serve: Serve, port: int | str
) -> None:
    server = serve(walker)
    access = reach(server)
    reply = access.service("default", "echo", port, "/a", query={"b": 1}, headers={"X-Asked": "yes"})
    assert (reply.status, reply.text, reply.headers.get("x-seen")) == (200, "GET /a?b=1 ", "yes")
    assert access.service("default", "echo", port, "/a", method="POST", body={"c": 2}).text == 'POST /a {"c": 2}'
    assert access.service("default", "echo", port, "/418", check=False).status == 418
    assert len(access.service("default", "echo", port, "/big").body) == 2_000_000
    # It was found out once.
    assert len(server.requests("/proxy")) == 1
    assert len(server.requests("/portforward")) == 4


def test_a_pod_is_reached_that_way_too(kubernetes: Cluster, walker: str, serve: Serve) -> None:
    (pod,) = kubernetes.kube.list(("v1", "pods", "default"))["items"]
    assert reach(serve(walker)).pod("default", pod["metadata"]["name"], 8000, "/x").text == "GET /x "


NO_ROUTE = "error trying to reach service: dial tcp 10.0.3.7:8000: i/o timeout"


@pytest.mark.parametrize("fault", [
    Fault("/proxy/", answer(503, reason="ServiceUnavailable", message=NO_ROUTE), times=-1),
    Fault("/proxy/", silent, times=-1),
], ids=["it says so", "it says nothing"])  # fmt: skip
def test_an_api_server_without_a_route_to_pods_is_gone_around(
    serve: Serve, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inward, "_FIRST", 0.3)
    server = serve()
    server.faults.append(fault)
    access = reach(server)
    assert access.service("default", "echo", 80, "/y", method="POST", body=b"once").text == "POST /y once"
    # What must not be done twice was never sent to the proxy.
    assert server.requests("/proxy") == ["GET /api/v1/namespaces/default/services/echo:80/proxy/"]


@pytest.mark.parametrize("status", [403, 503])
def test_what_a_service_refuses_itself_is_its_answer(serve: Serve, status: int) -> None:
    server = serve()
    assert reach(server).service("default", "echo", 80, f"/{status}", check=False).text == f"GET /{status} "
    assert server.requests("/portforward") == []


def test_a_connection_that_breaks_at_the_first_question_is_no_reason_to_go_around(serve: Serve) -> None:
    server = serve()
    server.faults.append(Fault("/proxy/", dropped, times=2))
    assert reach(server).service("default", "echo", 80, "/w").text == "GET /w "
    assert server.requests("/portforward") == []


@pytest.mark.parametrize("deed", [dropped, cut(400)], ids=["at once", "under way"])
def test_a_port_forward_that_breaks_is_made_again(walker: str, serve: Serve, deed: Any) -> None:
    server = serve(walker)
    server.faults.append(Fault("/portforward", deed, times=2))
    assert len(reach(server).service("default", "echo", 80, "/big").body) == 2_000_000
    assert len(server.requests("/portforward")) == 3


def test_an_order_that_may_have_arrived_is_not_given_twice(walker: str, serve: Serve) -> None:
    server = serve(walker)
    # The connection is made, and the ports of its two channels come through; nothing after them.
    server.faults.append(Fault("/portforward", cut(10), times=1))
    with pytest.raises(LabError, match="no way leads to echo in default, port 80"):
        reach(server).service("default", "echo", 80, "/z", method="POST", body=b"")
    assert len(server.requests("/portforward")) == 1


def test_where_no_way_is_open_both_refusals_are_told(kubernetes: Cluster, serve: Serve) -> None:
    reader = token(kubernetes, "reader", *RIGHTS)
    with pytest.raises(LabError) as caught:
        reach(serve(reader)).service("default", "echo", 80, "/")
    assert 'cannot get resource "services/proxy"' in caught.value.why
    assert '"pods/portforward"' in caught.value.why
    assert caught.value.then == "kubectl auth can-i create pods/portforward -n default"


def test_who_has_no_pods_says_so(walker: str, serve: Serve) -> None:
    access = reach(serve(walker))
    with pytest.raises(LabError, match="no way leads to idle") as caught:
        access.service("default", "idle", 80, "/")
    assert "no pod is ready behind service default/idle" in caught.value.why
    with pytest.raises(LabError) as caught:
        access.service("default", "echo", 81, "/")
    assert "service default/echo has no port 81" in caught.value.why


def test_debug_pages_are_asked_for_by_a_port_forward_where_no_command_may_be_run(
    kubernetes: Cluster, walker: str, serve: Serve
) -> None:
    (pod,) = kubernetes.kube.list(("v1", "pods", "default"))["items"]
    server = serve(walker)
    upgrade, pages = reach(server).upgrade, Pages("pilot-discovery", 8000)
    assert asked(upgrade, "default", pod["metadata"]["name"], "c", pages, "/debug/syncz") == b"GET /debug/syncz "
    assert [line.partition("?")[0].rpartition("/")[2] for line in server.requests("exec|portforward")] == [
        "exec", "portforward",
    ]  # fmt: skip
    with pytest.raises(LabError, match="refuses /404"):
        asked(upgrade, "default", pod["metadata"]["name"], "c", pages, "404")


def ask(address: tuple[str, int], path: str) -> tuple[int, str]:
    """As a browser does."""
    connection = http.client.HTTPConnection(*address, timeout=60)
    try:
        connection.request("GET", path)
        found = connection.getresponse()
        return found.status, found.read().decode()
    finally:
        connection.close()


def test_a_door_lets_many_in_at_a_time_and_none_once_it_is_closed(walker: str, serve: Serve) -> None:
    access = reach(serve(walker))
    with Door(partial(access.inward.tunnel, "services", "default", "echo", 80)) as door:
        assert door.address[0] == "127.0.0.1"
        sizes: list[int] = []
        threads = [threading.Thread(target=lambda: sizes.append(len(ask(door.address, "/big")[1]))) for _ in range(6)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert sizes == [2_000_000] * 6
        kept = http.client.HTTPConnection(*door.address, timeout=60)
        kept.request("GET", "/kept")
        assert kept.getresponse().read() == b"GET /kept "
    # A connection that was open is closed with it.
    assert kept.sock is not None and kept.sock.recv(1) == b""
    kept.close()
    with pytest.raises(ConnectionRefusedError):
        ask(door.address, "/")
    left = [each.name for each in threading.enumerate() if each.name.startswith("door")]
    assert left == []


def test_a_door_leads_to_the_pod_that_there_is_and_says_why_there_is_none(
    kubernetes: Cluster, walker: str, serve: Serve
) -> None:
    server = serve(walker)
    access, doors = reach(server), Doors()
    address = doors.to("echo", partial(access.inward.tunnel, "services", "default", "echo", 80))
    assert doors.to("echo", partial(access.inward.tunnel, "services", "default", "idle", 80)) == address
    assert ask(address, "/one") == (200, "GET /one ")
    (pod,) = kubernetes.kube.list(("v1", "pods", "default"))["items"]
    kubernetes.kube.delete(("v1", "pods", "default", pod["metadata"]["name"]), gracePeriodSeconds=0)
    rollout(kubernetes)
    # A port-forward on its way breaks, and the next one is whole.
    server.faults.append(Fault("/portforward", dropped, times=1))
    assert ask(address, "/two")[0] == 502
    assert ask(address, "/two") == (200, "GET /two ")
    idle = doors.to("idle", partial(access.inward.tunnel, "services", "default", "idle", 80))
    status, said = ask(idle, "/")
    assert (status, said.splitlines()[0]) == (502, "no pod is ready behind service default/idle")
    doors.close()
    with pytest.raises(ConnectionRefusedError):
        ask(address, "/")
