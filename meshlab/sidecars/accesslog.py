"""Lines of a proxy's access log: istiod's text format, its JSON format, and Envoy's own older text.

    [2026-01-02T15:41:50.000Z] "GET /pay HTTP/1.1" 200 - via_upstream - "-" 0 0 2 2 "-" "curl" "6f0f…" "svca" …

What a format does not have is "" or 0. Lines of other kinds (Envoy's own messages) are passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

__all__ = ["Line", "Refusal", "parse", "same_request"]

#: Envoy writes into this character of a request's id how it was sampled: sidecars see it differ.
TRACE_NIBBLE = 14

_HEAD = r'^\[(?P<start>[^\]]+)\] "(?P<method>\S+) (?P<path>.*) (?P<protocol>\S+)" (?P<code>\d+) (?P<flags>\S+) '
_SIZES = r"(?P<received>\d+) (?P<sent>\d+) (?P<ms>\d+) (?P<upstream_ms>\S+) "
_NAMES = " ".join(rf'"(?P<{name}>[^"]*)"' for name in ("forwarded_for", "agent", "request_id", "authority", "upstream"))
_ISTIO = re.compile(
    _HEAD
    + r'(?P<details>\S+) (?P<termination>\S+) "(?P<failure>[^"]*)" '
    + _SIZES
    + _NAMES
    + r" (?P<cluster>\S+) (?P<upstream_local>\S+) (?P<local>\S+) (?P<remote>\S+) (?P<sni>\S+) (?P<route>.*)$"
)
_ENVOY = re.compile(_HEAD + _SIZES + _NAMES + "$")
_REFUSED = re.compile(
    r"^\[(?P<start>[^\]]+)\] refused (?P<remote>\S+) -> (?P<local>\S+) (?P<flags>[^\s:]+): (?P<why>.*)$"
)
#: Names in istiod's JSON format that differ from ours.
_JSON = {
    "start_time": "start",
    "response_code": "code",
    "response_flags": "flags",
    "response_code_details": "details",
    "connection_termination_details": "termination",
    "upstream_transport_failure_reason": "failure",
    "bytes_received": "received",
    "bytes_sent": "sent",
    "duration": "ms",
    "upstream_service_time": "upstream_ms",
    "x_forwarded_for": "forwarded_for",
    "user_agent": "agent",
    "upstream_host": "upstream",
    "upstream_cluster": "cluster",
    "upstream_local_address": "upstream_local",
    "downstream_local_address": "local",
    "downstream_remote_address": "remote",
    "requested_server_name": "sni",
    "route_name": "route",
}


@dataclass(frozen=True)
class Line:
    """One request, or one connection (`method` is "" then). Times in milliseconds, sizes in bytes."""

    start: datetime
    method: str = ""
    path: str = ""
    protocol: str = ""
    code: int = 0
    flags: str = ""
    details: str = ""
    termination: str = ""
    failure: str = ""
    received: int = 0
    sent: int = 0
    ms: int = 0
    upstream_ms: int | None = None
    forwarded_for: str = ""
    agent: str = ""
    request_id: str = ""
    authority: str = ""
    #: Address of the endpoint, the cluster it is of, our address in that connection.
    upstream: str = ""
    cluster: str = ""
    upstream_local: str = ""
    #: Where the caller wanted to go, and the caller's own address.
    local: str = ""
    remote: str = ""
    sni: str = ""
    route: str = ""
    #: Whether the format has cluster and route at all.
    complete: bool = True

    @property
    def http(self) -> bool:
        return bool(self.method)

    @property
    def end(self) -> datetime:
        return self.start + timedelta(milliseconds=self.ms)


@dataclass(frozen=True)
class Refusal:
    """A connection that a port refused, in the port's own words."""

    start: datetime
    remote: str
    local: str
    why: str


def parse(text: str) -> Iterator[Line | Refusal]:
    """Entries of a log, in its order."""
    for line in text.splitlines():
        try:
            entry = _entry(line)
        except ValueError:
            continue  # a format of somebody's own that begins like one of these
        if entry is not None:
            yield entry


def _entry(line: str) -> Line | Refusal | None:
    """ValueError: a field is not what its place says."""
    if line.startswith("{"):
        return _from_json(line)
    if matched := _ISTIO.match(line) or _ENVOY.match(line):
        return _made(matched.groupdict())
    if matched := _REFUSED.match(line):
        said = matched.groupdict()
        return Refusal(_moment(said["start"]), said["remote"], said["local"], said["why"])
    return None


def same_request(one: str, other: str) -> bool:
    """Whether two ids are of one request, seen by two sidecars.

    >>> same_request("0f0f0f0f-1111-2222-3333-444444444444", "0f0f0f0f-1111-9222-3333-444444444444")
    True
    """
    if not one or not other:
        return False
    cut = TRACE_NIBBLE
    return one[:cut] + one[cut + 1 :] == other[:cut] + other[cut + 1 :]


def _from_json(line: str) -> Line | None:
    found = json.loads(line)
    if not isinstance(found, dict) or "start_time" not in found or "response_code" not in found:
        return None
    known = {_JSON.get(name, name): "" if value is None else str(value) for name, value in found.items()}
    return _made({name: value for name, value in known.items() if name in Line.__dataclass_fields__})


def _made(said: Mapping[str, str]) -> Line:
    values: dict[str, Any] = {name: "" if value == "-" else value for name, value in said.items()}
    values["start"] = _moment(said["start"])
    for name in ("code", "received", "sent", "ms"):
        values[name] = int(values.get(name) or 0)
    waited = values.get("upstream_ms") or ""
    values["upstream_ms"] = int(waited) if waited.isdigit() else None
    return Line(**values, complete="cluster" in said)


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
