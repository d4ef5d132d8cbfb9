"""The two-sidecar path against the same path through two Envoys with a configuration written by hand.

By hand: one HTTP listener, one route, one static cluster each, and the same duties (trace every request, write an
access log, tell the callee who calls, report the inbound side with both ends to Mixer). It is there twice: as Envoy's
documentation has it, and with what sidecars save at their spans (protobuf instead of JSON, a hundred at a time instead
of five), which shows what the mesh costs for itself. All paths end in the same application, are loaded by the same
generator and are measured in turns, so that a machine that drifts does so for all; each proxy is a session of its own,
or the kernel would share a busy machine between them unequally. The CPU time of the proxies hardly depends on what else
runs.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path as File
from typing import Any

from figure import Figure, lab
from loader import Path, cpu_seconds, proxy_header, seconds_in_turns, throughput

from meshlab.doctor import find_envoy
from meshlab.lab import Lab
from meshlab.mesh.bootstrap import SPANS
from meshlab.mesh.pilot.http import ATTRIBUTES_HEADER, forwarded_attributes

ROUNDS = 24
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


def by_hand(
    mesh: Lab, node: str, listen: tuple[str, int], target: tuple[str, int], *, inbound: bool, sparing: bool
) -> Json:
    """One proxy as a person would write it: listen, trace, say who calls or report it, pass on.

    `node` is whom Mixer takes it for; `sparing`: spans as sidecars send them.
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
                    "collector_endpoint_version": "HTTP_PROTO" if sparing else "HTTP_JSON",
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
        "layered_runtime": {"layers": [{"name": "spans", "static_layer": dict(SPANS) if sparing else {}}]},
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
        ours = Path((pods["caller"], 15001), proxy_header(pods["caller"], (address, 80)), "echo")
        proxies = {ours: [sidecar(mesh, pod["metadata"]["uid"]) for pod in found.values()]}
        others: dict[str, Path] = {}
        for number, (name, sparing) in enumerate((("by hand", False), ("by hand, spans as ours", True))):
            front, back = ((f"{mesh.network.pods}.250.{2 * number + n}", 8080) for n in (1, 2))
            configurations = (
                by_hand(mesh, nodes["echo"], back, application, inbound=True, sparing=sparing),
                by_hand(mesh, nodes["caller"], front, back, inbound=False, sparing=sparing),
            )
            others[name] = Path(front, b"", "echo")
            proxies[others[name]] = [stack.enter_context(envoy(mesh, each)) for each in configurations]
        taken = measured(proxies)
    yield from figures(taken, ours, others)


@dataclass
class Taken:
    """What was measured on one path, a value a round."""

    #: µs of a request on one connection, and CPU µs of the proxies for it.
    latency: list[float] = field(default_factory=list)
    burnt: list[float] = field(default_factory=list)
    #: Requests/s on 16 connections.
    rates: list[float] = field(default_factory=list)


def measured(proxies: Mapping[Path, list[int]]) -> dict[Path, Taken]:
    """All paths in turns; `proxies` are the processes of each."""
    paths = list(proxies)
    taken = {path: Taken() for path in paths}
    for turn in range(ROUNDS + 1):
        rates: dict[Path, float] = {}
        before = {path: cpu_seconds(pids) for path, pids in proxies.items()}
        seconds = dict(zip(paths, seconds_in_turns(paths, TURNS, REQUESTS), strict=True))
        after = {path: cpu_seconds(pids) for path, pids in proxies.items()}
        for place in range(len(paths)):
            path = paths[(turn + place) % len(paths)]
            rates[path] = throughput(path, 16, 0.5)
        if not turn:
            continue  # the first round warms all up
        for path, each in taken.items():
            each.latency.append(statistics.median(seconds[path]) * 1e6)
            each.burnt.append((after[path] - before[path]) / len(seconds[path]) * 1e6)
            each.rates.append(rates[path])
    return taken


def figures(taken: Mapping[Path, Taken], ours: Path, others: Mapping[str, Path]) -> Iterator[Figure]:
    """What each path took, and ours beside each of the others, pair by pair: positive is what the mesh costs."""
    names = {ours: "two sidecars", **{path: name for name, path in others.items()}}
    for path, each in taken.items():
        yield Figure(f"{names[path]}: p50 of a request, one connection", each.latency, "µs", "-")
        yield Figure(f"{names[path]}: CPU of the proxies for it", each.burnt, "µs", "-")
        yield Figure(f"{names[path]}: requests/s, 16 connections", each.rates, "/s", "-")
    mine = taken[ours]
    for name, path in others.items():
        their = taken[path]
        above = [100 * (a / b - 1) for a, b in zip(mine.latency, their.latency, strict=True)]
        yield Figure(f"p50: ours above {name}", above, "%", "5 %")
        below = [100 * (1 - a / b) for a, b in zip(mine.rates, their.rates, strict=True)]
        yield Figure(f"requests/s: ours below {name}", below, "%", "5 %")
        above = [100 * (a / b - 1) for a, b in zip(mine.burnt, their.burnt, strict=True)]
        yield Figure(f"CPU: ours above {name}", above, "%", "-")
