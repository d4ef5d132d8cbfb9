"""Envoy's authorization messages: a request to Mixer's attributes, and Mixer's status to what the caller gets."""

from __future__ import annotations

from typing import Any

from envoy.service.auth.v3 import external_auth_pb2

from meshlab.mesh.mixer.attributes import Direction, forwarded_source
from meshlab.mesh.mixer.expressions import Attributes
from meshlab.mesh.mixer.status import Status
from meshlab.mesh.mixer.values import Timestamp

__all__ = ["answer", "attributes"]

FORWARDED = "x-istio-attributes"


def attributes(message: bytes) -> Attributes:
    """What a sidecar says of a request (HTTP) or of a connection (TCP), under the names of 0.4.0."""
    found = external_auth_pb2.CheckRequest.FromString(message).attributes
    http = found.request.http
    protocol = "http" if http.method else "tcp"
    headers = dict(http.headers)
    uid, ip = forwarded_source(headers[FORWARDED]) if FORWARDED in headers else (None, None)
    time = Timestamp(found.request.time.seconds + found.request.time.nanos * 1e-9)
    source, destination = found.source.address.socket_address, found.destination.address.socket_address
    values: dict[str, Any] = {
        "context.protocol": protocol,
        "context.reporter.kind": Direction.INBOUND,
        "context.time": time,
        "context.timestamp": time,
        "source.ip": ip or source.address,
        "source.port": source.port_value,
        "source.uid": uid,
        "source.user": found.source.principal,
        "destination.ip": destination.address,
        "destination.port": destination.port_value,
    }
    if protocol == "http":
        values |= {
            "request.time": time,
            "request.id": headers.get("x-request-id"),
            "request.host": http.host,
            "request.method": http.method,
            "request.path": http.path,
            "request.scheme": http.scheme,
            "request.useragent": headers.get("user-agent"),
            "request.referer": headers.get("referer"),
        }
    kept = Attributes((name, value) for name, value in values.items() if value)
    if protocol == "http":  # these count even when they are empty
        kept |= {"request.headers": headers, "request.size": max(0, http.size)}
    return kept


def answer(status: Status) -> bytes:
    """The answer for Envoy. To the caller a refusal is the mapped HTTP status with the status in words as its body."""
    response = external_auth_pb2.CheckResponse()
    response.status.code = status.code
    response.status.message = status.message
    if not status.ok:
        denied = response.denied_response
        denied.status.code = status.http
        denied.body = str(status)
        header = denied.headers.add()
        header.header.key, header.header.value = "content-type", "text/plain"
    else:
        response.ok_response.SetInParent()
    data: bytes = response.SerializeToString()
    return data
