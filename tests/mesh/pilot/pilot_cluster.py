"""A mesh without a cluster: Pilot fed from memory, real Envoys, small HTTP servers as applications."""

from __future__ import annotations

import asyncio
import http.client
import http.server
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from meshlab.mesh.pilot.ads import AdsServer
from meshlab.mesh.pilot.control import Control, InForce
from meshlab.mesh.pilot.debug import DebugServer
from meshlab.mesh.pilot.registry import Registry
from meshlab.mesh.pilot.rulebook import TODAY
from meshlab.mesh.pilot.tokens import InvalidToken
from meshlab.mesh.pilot.world import Mesh, World
from meshlab.settings import Network, unprivileged_port_start

NETWORK = Network(6)
#: Third octet: above those that a lab gives its pods, and another one for each test process.
BLOCK = 64 + os.getpid() % 190
#: Seconds that an application holds a request at most, and that a caller waits for an answer.
PATIENCE = 30.0


class Memory:
    """A Source: what `put` and `drop` say, as if a cluster had said it."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.revision = 100

    def world(self) -> World:
        return self.registry.world()

    async def current(self, kind: str, revision: int) -> bool:
        return False

    def errors(self) -> dict[str, str]:
        return {}


class Tokens:
    """A Reviewer that takes `token-of-<namespace>/<account>`."""

    async def account(self, token: str) -> str:
        mark, _, account = token.partition("token-of-")
        if mark or not account or account.endswith("/"):
            raise InvalidToken("invalid bearer token")
        return account


class Application(http.server.BaseHTTPRequestHandler):
    """Says who answered and what it was sent; accepts websockets; fails as often as it is told to."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    pod = ""
    #: What is asked for under /held is answered when this is set.
    gate = threading.Event()

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        self.hits.append(self.path)  # type: ignore[attr-defined]
        if self.path.startswith("/held"):
            self.gate.wait(PATIENCE)
        status = 200
        if self.headers.get("Upgrade") == "websocket":
            self.send_response(101)
            self.send_header("Connection", "Upgrade")
            self.send_header("Upgrade", "websocket")
            self.end_headers()
            self.close_connection = True
            return
        if fails := self.failures:  # type: ignore[attr-defined]
            fails.pop()
            status = 503
        answer = json.dumps({
            "pod": self.pod, "path": self.path, "peer": self.client_address[0],
            "headers": {k.lower(): v for k, v in self.headers.items()},
        }).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_OPTIONS = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that gave up before its answer came, as a timeout makes it do, is no error of the application."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Answer:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def seen(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def pod(self) -> str:
        return str(self.seen["pod"])


class Cluster:
    """The objects, the processes, and how to ask for something inside."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.network = NETWORK
        registry = Registry(Mesh(low_port_start=unprivileged_port_start()), os.path.isfile)
        self.source = Memory(registry)
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.control: Control = self._do(self._start())
        self._envoys: dict[str, subprocess.Popen[bytes]] = {}
        self._servers: list[Server] = []
        self.applications: dict[str, Any] = {}
        self.pods: dict[str, tuple[str, dict[str, str]]] = {}
        self.services: dict[str, dict[str, Any]] = {}
        self.accounts: dict[str, str] = {}
        self.mesh(mixerAddress="", accessLogFile="", enableTracing="false")

    async def _start(self) -> Control:
        control = Control(self.source)
        self.ads = AdsServer(control, f"{self.network.node}:0", Tokens())
        self.debug = DebugServer(control, self.network.node, 0)
        await self.ads.start()
        await self.debug.start()
        self._running = asyncio.ensure_future(control.run())
        return control

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def close(self) -> None:
        for envoy in self._envoys.values():
            envoy.terminate()
        for envoy in self._envoys.values():
            envoy.wait(60)
        for server in self._servers:
            server.shutdown()
            server.server_close()

        async def stop() -> None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            await self.debug.stop()
            await self.ads.stop()

        self._do(stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(60)
        self.loop.close()

    # Objects

    def put(self, plural: str, obj: dict[str, Any], event: str = "ADDED") -> int:
        """Stores an object; its revision."""
        self.source.revision += 1
        revision = self.source.revision
        obj["metadata"] = {"namespace": "default", **obj["metadata"], "resourceVersion": str(revision)}

        def apply() -> None:
            self.source.registry.apply(plural, event, obj)
            self.control.changed(plural, revision)

        self.loop.call_soon_threadsafe(apply)
        return revision

    def mesh(self, **settings: str) -> int:
        text = "\n".join(f"{name}: {value or chr(34) * 2}" for name, value in settings.items())
        return self.put("configmaps", {
            "metadata": {"namespace": "istio-system", "name": "istio"}, "data": {"mesh": text}
        })

    def rule(self, spec: dict[str, Any], name: str = "rule", kind: str = "RouteRule", wait: bool = True) -> InForce:
        plural = {"RouteRule": "routerules", "EgressRule": "egressrules"}.get(kind, "destinationpolicies")
        revision = self.put(plural, {"kind": kind, "metadata": {"name": name}, "spec": spec})
        return self.in_force(plural, revision) if wait else InForce(False, 0)

    def drop(self, name: str = "rule", kind: str = "RouteRule") -> InForce:
        plural = {"RouteRule": "routerules", "EgressRule": "egressrules"}.get(kind, "destinationpolicies")
        return self.in_force(plural, self.put(plural, {"kind": kind, "metadata": {"name": name}}, "DELETED"))

    def in_force(self, plural: str, revision: int, timeout: float = 20.0) -> InForce:
        found: InForce = self._do(self.control.in_force(plural, revision, timeout))
        return found

    def service(self, name: str, port_name: str = "http", port: int = 80, target: int = 8080) -> str:
        """A service of the pods labelled app=<name>; its address."""
        ip = f"{self.network.services}.{BLOCK}.{len(self.services) + 1}"
        self.services[name] = {"ip": ip, "port_name": port_name, "target": target}
        self.put("services", {
            "metadata": {"name": name},
            "spec": {
                "clusterIP": ip, "selector": {"app": name},
                "ports": [{"name": port_name, "port": port, "targetPort": target, "protocol": "TCP"}],
            },
        })
        self._endpoints(name)
        return ip

    def pod(
        self, name: str, app: str, version: str = "v0.1", *, serve: bool = True, account: str = "",
        labels: dict[str, str] | None = None,
    ) -> str:
        """A pod with an application on its private address; its own address.

        With an `account` it is ready and has a sidecar as far as Pilot can see, and the sidecar a token.
        """
        ip = f"{self.network.pods}.{BLOCK}.{len(self.pods) + 1}"
        labels = {"app": app, "version": version, **(labels or {})}
        self.pods[name] = (ip, labels)
        self.put("pods", {
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "containers": [{"args": ["proxy", "sidecar"]}], "serviceAccountName": account
            } if account else {"containers": []},
            "status": {
                "podIP": ip, "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True"}] if account else [],
            },
        })
        if account:
            self.accounts[name] = account
        if serve:
            handler = type("Handler", (Application,), {"pod": name, "hits": [], "failures": []})
            server = Server((self.network.local_of(ip), 8080), handler)
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            self._servers.append(server)
            self.applications[name] = handler
        if app in self.services:
            self._endpoints(app)
        return ip

    def outside(self, name: str, port: int = 0) -> tuple[str, int]:
        """A host outside the mesh; its address and port."""
        handler = type("Handler", (Application,), {"pod": name, "hits": [], "failures": []})
        address = f"{self.network.external.rsplit('.', 2)[0]}.{BLOCK}.{len(self._servers) + 1}"
        server = Server((address, port), handler)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        self._servers.append(server)
        self.applications[name] = handler
        return address, int(server.server_address[1])

    def _endpoints(self, name: str) -> None:
        service = self.services[name]
        addresses = [
            {"ip": ip, "targetRef": {"kind": "Pod", "namespace": "default", "name": pod}}
            for pod, (ip, labels) in self.pods.items() if labels["app"] == name
        ]
        self.put("endpoints", {
            "metadata": {"name": name},
            "subsets": [{
                "addresses": addresses, "ports": [{"name": service["port_name"], "port": service["target"]}]
            }] if addresses else [],
        })

    # Processes

    def store(
        self, kind: str, spec: dict[str, Any], name: str = "it", group: str = "", event: str = "ADDED"
    ) -> InForce:
        """Stores an object of today's API (its group only where two have the kind) and waits until it is in force."""
        plural, known = next(
            (p, k) for p, k in TODAY.items() if k.kind == kind and group in ("", k.group)
        )
        obj = {"apiVersion": known.api_version, "kind": kind, "metadata": {"name": name}, "spec": spec}
        return self.in_force(plural, self.put(plural, obj, event))

    def sidecar(self, pod: str, patience: float = 30.0, role: str = "sidecar") -> None:
        """Starts the proxy of a pod by its agent, and waits until it is live."""
        ip, _ = self.pods[pod]
        folder = self.home / f"default_{pod}_{pod}"
        folder.mkdir()
        (folder / "pod.json").write_text(json.dumps({"name": pod, "namespace": "default", "uid": pod}))
        network = self.home / "network.json"
        network.write_text(json.dumps({"services": {}}))
        environ = {
            **{k: v for k, v in os.environ.items() if k in ("PATH", "LANG")}, "POD_IP": ip,
            "LOCAL_IP": self.network.local_of(ip), "MESHLAB_POD_DIR": str(folder),
            "MESHLAB_NETWORK": str(network), "MESHLAB_SOCKETS": str(self.home / "run"),
        }
        if pod in self.accounts:
            kubeconfig = folder / "kubeconfig"
            kubeconfig.write_text(json.dumps({
                "users": [{"user": {"token": f"token-of-default/{self.accounts[pod]}"}}]
            }))
            environ["KUBECONFIG"] = str(kubeconfig)
        with (folder / "log").open("wb") as log:
            self._envoys[pod] = subprocess.Popen(
                [sys.executable, "-m", "meshlab.mesh.agent", "proxy", role, "--serviceCluster",
                 self.pods[pod][1]["app"], "--discoveryAddress", f"{self.network.node}:{self.ads.port}"],
                env=environ, stdout=log, stderr=subprocess.STDOUT,
            )
        self.eventually(lambda: self.admin(pod, "/ready").status == 200, f"{pod} is live", patience)

    def kill(self, pod: str) -> None:
        envoy = self._envoys.pop(pod)
        envoy.kill()
        envoy.wait()

    def log(self, pod: str) -> str:
        return (self.home / f"default_{pod}_{pod}" / "log").read_text()

    def eventually(self, condition: Callable[[], bool], what: str, timeout: float = 30.0) -> float:
        """Waits for a condition; the seconds that it took."""
        start, pause = time.monotonic(), threading.Event()
        while True:
            try:
                if condition():
                    return time.monotonic() - start
            except OSError:
                pass  # not there yet
            if time.monotonic() - start > timeout:
                logs = {pod: self.log(pod)[-1500:] for pod in self._envoys}
                raise AssertionError(f"{what}: not within {timeout} s; {logs}")
            pause.wait(0.005)

    def admin(self, pod: str, path: str, method: str = "GET") -> Answer:
        """Asks a sidecar's admin interface."""
        with socket.socket(socket.AF_UNIX) as raw:
            raw.settimeout(20)
            raw.connect(str(self.home / "run" / f"{pod[:8]}.sock"))
            raw.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            response = http.client.HTTPResponse(raw)
            response.begin()
            return Answer(response.status, {}, response.read())

    def faults(self, pod: str) -> dict[str, int]:
        """How many requests of a pod its sidecar has delayed and answered itself so far, as rules of faults say."""
        stats = self.admin(pod, "/stats?filter=fault[.](delays|aborts)_injected").body.decode()
        counts = re.findall(r"fault\.(delays|aborts)_injected: ([0-9]+)", stats)
        return {kind: sum(int(count) for each, count in counts if each == kind) for kind in ("delays", "aborts")}

    # Requests

    def connect(self, pod: str, address: str, port: int) -> socket.socket:
        """A connection of a pod's application, captured by its sidecar as the start-up shim does it."""
        ip, _ = self.pods[pod]
        raw = socket.create_connection((ip, 15001), timeout=PATIENCE)
        # Two small writes follow each other: without this the second waits 40 ms for the first's acknowledgement.
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = b"\r\n\r\n\0\r\nQUIT\n" + struct.pack(">BBH", 0x21, 0x11, 12)
        raw.sendall(head + socket.inet_aton(ip) + socket.inet_aton(address)
                    + struct.pack(">HH", raw.getsockname()[1], port))
        return raw

    def get(
        self, pod: str, url: str, headers: dict[str, str] | None = None, *, address: str = "",
        method: str = "GET",
    ) -> Answer:
        """`url` as http://host[:port]/path; the host is a service of this cluster unless `address` is given."""
        host, _, path = url.removeprefix("http://").partition("/")
        name, _, port = host.partition(":")
        where = address or self.services[name.partition(".")[0]]["ip"]
        with self.connect(pod, where, int(port or 80)) as raw:
            lines = [f"{method} /{path} HTTP/1.1", f"Host: {host}", "Connection: close"]
            lines += [f"{k}: {v}" for k, v in (headers or {}).items()]
            raw.sendall("\r\n".join([*lines, "", ""]).encode())
            response = http.client.HTTPResponse(raw, method=method)
            response.begin()
            body = response.read()
            found = {k.lower(): v for k, v in response.getheaders()}
            return Answer(response.status, found, body)

    def pilot(self, path: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(self.network.node, self.debug.port, timeout=60)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()
