"""The two-sidecar path against the same path through two Envoys with a configuration written by hand.

By hand: one HTTP listener, one route, one static cluster each, and the same duties (trace every request, write an
access log, tell the callee who calls, report the inbound side with both ends to Mixer). Both paths end in the same
application, are loaded by the same generator and are measured in turns, so that a machine that drifts does so for
both; each proxy is a session of its own, or the kernel would share a busy machine between them unequally. The CPU time
of the proxies hardly depends on what else runs.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path as File
from typing import Any

from figure import Figure, lab
from loader import Path, cpu_seconds, proxy_header, seconds_in_turns, throughput

from meshlab.doctor import find_envoy
from meshlab.lab import Lab
from meshlab.mesh.pilot.http import ATTRIBUTES_HEADER, forwarded_attributes

ROUNDS = 16
#: Of each round: how often the paths take turns, and how many requests each has at a time.
TURNS, REQUESTS = 40, 10
Json = dict[str, Any]

ECHO = """
import asyncio, os
class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.held = transport, b""
    def data_received(self, data):
        self.held += data
        while b"\\r\\n\\r\\n" in self.held:
            _, _, self.held = self.held.partition(b"\\r\\n\\r\\n")
            self.transport.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
async def main():
    server = await asyncio.get_running_loop().create_server(Echo, "0.0.0.0", 8080)
    await server.serve_forever()
asyncio.run(main())
"""


def workload(name: str) -> str:
    script = "\n".join("    " + line for line in ECHO.splitlines())
    return f"""
apiVersion: v1
kind: ConfigMap
metadata: {{name: {name}}}
data:
  echo.py: |
{script}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  ports: [{{name: http, port: 80, targetPort: 8080}}]
  selector: {{app: {name}}}
---
apiVersion: extensions/v1beta1
kind: Deployment
metadata: {{name: {name}}}
spec:
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
      - name: app
        image: python:3.12-slim
        command: [python, /app/echo.py]
        volumeMounts: [{{name: app, mountPath: /app}}]
      volumes: [{{name: app, configMap: {{name: {name}}}}}]
"""


def _socket(address: str, port: int) -> Json:
    return {"socket_address": {"address": address, "port_value": port}}


def _cluster(name: str, address: str, port: int, *, http2: bool = False) -> Json:
    made: Json = {
        "name": name,
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _socket(address, port)}}]}],
        },
    }
    if http2:
        kind = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        made["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": kind,
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        }
    return made


def by_hand(mesh: Lab, node: str, listen: tuple[str, int], target: tuple[str, int], *, inbound: bool) -> Json:
    """One proxy as a person would write it: listen, trace, say who calls or report it, pass on.

    `node` is whom Mixer takes it for.
    """
    at = "type.googleapis.com/envoy.extensions"
    services = {
        s["metadata"]["name"]: s["spec"]["clusterIP"] for s in mesh.access.items("v1", "Service", "istio-system")
    }
    manager: Json = {
        "@type": f"{at}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "by_hand",
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "next"}}]}
            ]
        },
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{at}.filters.http.router.v3.Router"}}
        ],
        "tracing": {
            "random_sampling": {"value": 100},
            "provider": {
                "name": "envoy.tracers.zipkin",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig",
                    "collector_cluster": "zipkin",
                    "collector_endpoint": "/api/v2/spans",
                    "collector_endpoint_version": "HTTP_JSON",
                },
            },
        },
    }
    if not inbound:
        # As a sidecar says whose request it is; Mixer's figures have no source without it.
        who = forwarded_attributes(listen[0], "kubernetes://by-hand.default")
        manager["route_config"]["request_headers_to_add"] = [{"header": {"key": ATTRIBUTES_HEADER, "value": who}}]
    manager["access_log"] = [
        {
            "name": "envoy.access_loggers.file",
            "typed_config": {"@type": f"{at}.access_loggers.file.v3.FileAccessLog", "path": "/dev/stdout"},
        }
    ]
    if inbound:
        manager["access_log"].append(
            {
                "name": "envoy.access_loggers.http_grpc",
                "typed_config": {
                    "@type": f"{at}.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
                    "additional_request_headers_to_log": [ATTRIBUTES_HEADER],
                    "common_config": {
                        "log_name": "mixer-inbound",
                        "transport_api_version": "V3",
                        "grpc_service": {"envoy_grpc": {"cluster_name": "mixer"}},
                    },
                },
            }
        )
    listener: Json = {
        "name": "in",
        "address": _socket(*listen),
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    clusters = [
        _cluster("next", *target),
        _cluster("zipkin", services["zipkin"], 9411),
        _cluster("mixer", services["istio-mixer"], 15004, http2=True),
    ]
    return {
        "node": {"id": node, "cluster": "by-hand"},
        "static_resources": {"listeners": [listener], "clusters": clusters},
    }


@contextmanager
def envoy(mesh: Lab, configuration: Json) -> Iterator[int]:
    """This configuration in an Envoy of its own, which is up when its listener takes connections; its process id."""
    words = ["--concurrency", "1", "--disable-hot-restart", "-l", "error"]
    with tempfile.TemporaryDirectory() as folder:
        path = File(folder) / "envoy.json"
        path.write_text(json.dumps(configuration))
        command = [find_envoy(mesh.settings), "-c", path, *words]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            where = configuration["static_resources"]["listeners"][0]["address"]["socket_address"]
            _answers((where["address"], where["port_value"]), process)
            yield process.pid
        finally:
            process.terminate()
            process.wait(10)


def _answers(address: tuple[str, int], process: subprocess.Popen[bytes]) -> None:
    import socket

    while process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(address) == 0:
                return
    raise SystemExit("an Envoy with the configuration written by hand ended")


def sidecar(mesh: Lab, uid: str) -> int:
    """The process of a pod's sidecar."""
    (record,) = (mesh.settings.home / "pods").glob(f"*_{uid}/containers/istio-proxy/process.json")
    return int(json.loads(record.read_text())["pid"])


def run() -> Iterator[Figure]:
    with lab("control-plane", "zipkin") as mesh, ExitStack() as stack:
        for name in ("caller", "echo"):
            mesh.kubectl("apply -f -", stdin=str(mesh.istioctl("kube-inject -f -", stdin=workload(name))))
        mesh.wait("caller", "echo")
        found = {p["metadata"]["labels"]["app"]: p for p in mesh.access.items("v1", "Pod", "default")}
        pods = {app: pod["status"]["podIP"] for app, pod in found.items()}
        nodes = {
            app: f"sidecar~{pods[app]}~{pod['metadata']['name']}.default~default.svc.cluster.local"
            for app, pod in found.items()
        }
        service = mesh.access.request("GET", "/api/v1/namespaces/default/services/echo").json()
        address = service["spec"]["clusterIP"]
        application = mesh.network.local_of(pods["echo"]), 8080
        front, back = ((f"{mesh.network.pods}.250.{n}", 8080) for n in (1, 2))
        configurations = (
            by_hand(mesh, nodes["echo"], back, application, inbound=True),
            by_hand(mesh, nodes["caller"], front, back, inbound=False),
        )
        ours = Path((pods["caller"], 15001), proxy_header(pods["caller"], (address, 80)), "echo")
        theirs = Path(front, b"", "echo")
        proxies = {
            ours: [sidecar(mesh, pod["metadata"]["uid"]) for pod in found.values()],
            theirs: [stack.enter_context(envoy(mesh, each)) for each in configurations],
        }
        latency: dict[Path, list[float]] = {ours: [], theirs: []}
        burnt: dict[Path, list[float]] = {ours: [], theirs: []}
        rates: dict[Path, list[float]] = {ours: [], theirs: []}
        for turn in range(ROUNDS + 1):
            before = {path: cpu_seconds(each) for path, each in proxies.items()}
            taken = seconds_in_turns((ours, theirs), TURNS, REQUESTS)
            spent = {path: cpu_seconds(each) - before[path] for path, each in proxies.items()}
            for path, seconds in zip((ours, theirs), taken, strict=True) if turn % 2 else (
                (theirs, taken[1]), (ours, taken[0])
            ):
                rate = throughput(path, 16, 0.5)
                if turn:  # the first round warms both up
                    latency[path].append(statistics.median(seconds) * 1e6)
                    burnt[path].append(spent[path] / len(seconds) * 1e6)
                    rates[path].append(rate)
    yield Figure("two sidecars, p50 of a request, one connection", latency[ours], "µs", "-")
    yield Figure("the same by hand", latency[theirs], "µs", "-")
    ratio = [100 * (a / b - 1) for a, b in zip(latency[ours], latency[theirs], strict=True)]
    yield Figure("p50: ours above by hand, pair by pair", ratio, "%", "5 %")
    yield Figure("two sidecars, CPU of a request", burnt[ours], "µs", "-")
    yield Figure("the same by hand", burnt[theirs], "µs", "-")
    ratio = [100 * (a / b - 1) for a, b in zip(burnt[ours], burnt[theirs], strict=True)]
    yield Figure("CPU: ours above by hand, pair by pair", ratio, "%", "-")
    yield Figure("two sidecars, requests/s, 16 connections", rates[ours], "/s", "-")
    yield Figure("the same by hand", rates[theirs], "/s", "-")
    ratio = [100 * (1 - a / b) for a, b in zip(rates[ours], rates[theirs], strict=True)]
    yield Figure("requests/s: ours below by hand, pair by pair", ratio, "%", "5 %")
