"""Mixer's attributes of one entry of Envoy's access log.

Each attribute is a small function of the entry, called only when an expression asks for it. What does not
change along a stream (which proxy reports, in which direction) is in `Reporter`.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from meshlab.mesh.mixer.expressions import Absent
from meshlab.mesh.mixer.values import Duration, Timestamp

__all__ = ["EXTRACTORS", "Bag", "Direction", "Reporter", "forwarded_source"]

_METHODS = ("", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")


class Direction:
    """Which of a proxy's listeners reports; the value is the attribute `context.reporter.kind`."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


@dataclass(frozen=True)
class Reporter:
    """Who reports on a stream. `protocol` is http or tcp; `uid` and `ip` are those of the proxy's own pod."""

    uid: str
    ip: str
    direction: str
    protocol: str

    @classmethod
    def of(cls, node_id: str, log_name: str, protocol: str) -> Reporter:
        """From a node id `sidecar~<ip>~<pod>.<namespace>~<domain>` and the log's name.

        An ingress has one listener, which calls itself outbound; what it reports is its own inbound traffic.
        """
        parts = node_id.split("~")
        role, ip, name = (parts[0], parts[1], parts[2]) if len(parts) >= 3 else ("", "", "")
        outbound = log_name.endswith(Direction.OUTBOUND) and role != "ingress"
        return cls(f"kubernetes://{name}" if name else "", ip,
                   Direction.OUTBOUND if outbound else Direction.INBOUND, protocol)


class Bag(Mapping[str, Any]):
    """The attributes of one entry, lazily. `derived` are those that adapters added."""

    __slots__ = ("derived", "entry", "reporter")

    def __init__(self, entry: Any, reporter: Reporter, derived: Mapping[str, Any]) -> None:
        self.entry, self.reporter, self.derived = entry, reporter, derived

    def __getitem__(self, name: str) -> Any:
        if name in self.derived:
            return self.derived[name]
        extract = EXTRACTORS.get(name)
        value = extract(self.entry, self.reporter) if extract is not None else None
        if value is None:
            raise Absent(name)
        return value

    def __iter__(self) -> Iterator[str]:
        for name in (*self.derived, *EXTRACTORS):
            try:
                self[name]
            except Absent:
                continue
            yield name

    def __len__(self) -> int:
        return sum(1 for _ in self)


@lru_cache(maxsize=4096)
def forwarded_source(header: str) -> tuple[str | None, str | None]:
    """(source.uid, source.ip) out of the header x-istio-attributes; None for what it does not hold.

    It is base64 of a protobuf map from names to values: strings in field 2, bytes in field 6.
    """
    uid = ip = None
    try:
        for number, pair in _fields(base64.b64decode(header, validate=True)):
            if number != 1:
                continue
            item = dict(_fields(pair))
            value = dict(_fields(item.get(2, b"")))
            name = item.get(1, b"").decode()
            if name == "source.uid":
                uid = value.get(2, b"").decode() or None
            elif name == "source.ip":
                ip = _address(value.get(6, b""))
    except (ValueError, IndexError, binascii.Error):
        return None, None
    return uid, ip


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, content) of the length-delimited fields of a protobuf message."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        if key & 7 != 2:
            raise ValueError("a field that is not length-delimited")
        size, at = _varint(data, at)
        if at + size > len(data):
            raise ValueError("cut short")
        yield key >> 3, data[at:at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _address(raw: bytes) -> str | None:
    if len(raw) not in (4, 16):
        return None
    address = ipaddress.ip_address(raw)
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def _seconds(duration: Any) -> Duration:
    return Duration(duration.seconds + duration.nanos * 1e-9)


def _header(entry: Any) -> tuple[str | None, str | None]:
    header = entry.request.request_headers.get("x-istio-attributes")
    return forwarded_source(header) if header else (None, None)


def _source_ip(entry: Any, reporter: Reporter) -> str | None:
    if reporter.protocol == "http" and (ip := _header(entry)[1]) and reporter.direction == Direction.INBOUND:
        return ip
    common = entry.common_properties
    return (common.downstream_remote_address.socket_address.address
            or common.downstream_direct_remote_address.socket_address.address or None)


def _source_uid(entry: Any, reporter: Reporter) -> str | None:
    if reporter.protocol == "http" and reporter.direction == Direction.INBOUND:
        return _header(entry)[0]
    return None


def _destination_port(entry: Any, reporter: Reporter) -> int | None:
    return entry.common_properties.downstream_local_address.socket_address.port_value or None


def _duration(entry: Any) -> Duration:
    common = entry.common_properties
    if common.HasField("duration"):
        return _seconds(common.duration)
    return _seconds(common.time_to_last_downstream_tx_byte)


def _start(entry: Any) -> Timestamp:
    start = entry.common_properties.start_time
    return Timestamp(start.seconds + start.nanos * 1e-9)


def _http(read: Callable[[Any], Any]) -> Callable[[Any, Reporter], Any]:
    """An attribute that only HTTP entries have; empty text counts as absent."""
    def extract(entry: Any, reporter: Reporter) -> Any:
        if reporter.protocol != "http":
            return None
        value = read(entry)
        return None if value == "" else value
    return extract


def _tcp(read: Callable[[Any], Any]) -> Callable[[Any, Reporter], Any]:
    def extract(entry: Any, reporter: Reporter) -> Any:
        return read(entry) if reporter.protocol == "tcp" else None
    return extract


def _headers(entry: Any) -> dict[str, str]:
    request = entry.request
    known = {":authority": request.authority, ":path": request.path, "user-agent": request.user_agent,
             "referer": request.referer, "x-request-id": request.request_id}
    return {**{name: value for name, value in known.items() if value}, **request.request_headers}


#: Attribute → function of (entry, reporter); None = absent. The names of 0.4.0's attribute manifests.
EXTRACTORS: Mapping[str, Callable[[Any, Reporter], Any]] = {
    "source.ip": _source_ip,
    "source.uid": _source_uid,
    "source.port": lambda e, r: (
        e.common_properties.downstream_remote_address.socket_address.port_value or None),
    "source.user": lambda e, r: next(
        (name.uri for name in e.common_properties.tls_properties.peer_certificate_properties.subject_alt_name
         if name.uri), None),
    # The 0.4.0 double report: an outbound listener names its own pod as the destination.
    "destination.ip": lambda e, r: r.ip or None,
    "destination.uid": lambda e, r: r.uid or None,
    "destination.port": _destination_port,
    "context.protocol": lambda e, r: r.protocol,
    "context.reporter.kind": lambda e, r: r.direction,
    "context.time": lambda e, r: _start(e),
    "context.timestamp": lambda e, r: _start(e),
    "request.time": _http(_start),
    "request.id": _http(lambda e: e.request.request_id),
    "request.host": _http(lambda e: e.request.authority),
    "request.method": _http(lambda e: _METHODS[e.request.request_method]
                            if 0 <= e.request.request_method < len(_METHODS) else ""),
    "request.path": _http(lambda e: e.request.original_path or e.request.path),
    "request.scheme": _http(lambda e: e.request.scheme),
    "request.size": _http(lambda e: e.request.request_body_bytes),
    "request.useragent": _http(lambda e: e.request.user_agent),
    "request.referer": _http(lambda e: e.request.referer),
    "request.headers": _http(_headers),
    "response.code": _http(lambda e: e.response.response_code.value),
    "response.size": _http(lambda e: e.response.response_body_bytes),
    "response.duration": _http(_duration),
    "response.headers": _http(lambda e: dict(e.response.response_headers)),
    "connection.received.bytes": _tcp(lambda e: e.connection_properties.received_bytes),
    "connection.sent.bytes": _tcp(lambda e: e.connection_properties.sent_bytes),
    "connection.received.bytes_total": _tcp(lambda e: e.connection_properties.received_bytes),
    "connection.sent.bytes_total": _tcp(lambda e: e.connection_properties.sent_bytes),
    "connection.duration": _tcp(_duration),
}
