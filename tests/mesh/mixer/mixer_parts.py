"""Parts for Mixer's tests: its default configuration, and log entries as Envoy sends them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from envoy.data.accesslog.v3 import accesslog_pb2

MANIFEST = Path(__file__).parents[3] / "manifests/istio-0.4.0/install/kubernetes/istio.yaml"


def default_objects() -> list[dict[str, Any]]:
    """The Mixer objects of the tutorial's own installation."""
    return [document for document in yaml.safe_load_all(MANIFEST.read_text())
            if document and document["apiVersion"] == "config.istio.io/v1alpha2"]


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
