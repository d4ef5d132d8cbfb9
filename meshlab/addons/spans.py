"""Zipkin's spans: version 1 to version 2 and back, order within a trace, links between services. Pure.

A span of version 2 is kept as its JSON object: `traceId`, `id`, `parentId`, `kind`, `name`, `timestamp` and
`duration` in microseconds, `localEndpoint`, `remoteEndpoint`, `tags`, `annotations`, `shared`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshlab.addons.svg import Bar

__all__ = ["BadSpan", "Kept", "Span", "bars", "checked", "from_v1", "kept", "links", "service_of", "to_v1", "tree"]

Span = dict[str, Any]
_HEX = frozenset("0123456789abcdef")
#: Version 1's core annotations: (kind, begins the span).
_CORE = {"cs": ("CLIENT", True), "cr": ("CLIENT", False), "sr": ("SERVER", True), "ss": ("SERVER", False),
         "ms": ("PRODUCER", True), "mr": ("CONSUMER", True)}
_ADDRESSES = ("ca", "sa", "ma")


class BadSpan(ValueError):
    """What came is no span; the message says which part."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A span as it is stored, with what queries look for: `at` in microseconds, 0 if it did not say."""

    trace: str
    service: str
    name: str
    at: int
    #: JSON, or Zipkin's protobuf.
    data: str | bytes


def kept(span: Span) -> Kept:
    """A span as `checked` makes it. Its text takes a quarter of the object's memory."""
    text = json.dumps(span, separators=(",", ":"))
    return Kept(span["traceId"], service_of(span), str(span.get("name") or ""), span.get("timestamp") or 0, text)


def service_of(span: Mapping[str, Any]) -> str:
    """The service that reported a span, "" if it did not say."""
    return str((span.get("localEndpoint") or {}).get("serviceName") or "")


def checked(raw: Any) -> Span:
    """A version 2 span, normalised as Zipkin does: ids in lower case and padded, names in lower case.

    Raises BadSpan.
    """
    if not isinstance(raw, dict):
        raise BadSpan("a span must be an object")
    span = {key: value for key, value in raw.items() if value is not None}
    span["traceId"] = _hex(span.get("traceId"), "traceId", (16, 32))
    span["id"] = _hex(span.get("id"), "id", (16,))
    if span.get("parentId"):
        span["parentId"] = _hex(span["parentId"], "parentId", (16,))
    if span.get("parentId") in ("", span["id"], "0" * 16):
        span.pop("parentId", None)
    for key in ("timestamp", "duration"):
        if key in span:
            try:
                span[key] = int(span[key])
            except (TypeError, ValueError):
                raise BadSpan(f"{key} must be a number of microseconds") from None
            if span[key] <= 0:
                del span[key]
    if "name" in span:
        span["name"] = str(span["name"]).lower()
    for key in ("localEndpoint", "remoteEndpoint"):
        endpoint = span.get(key)
        if endpoint is not None and not isinstance(endpoint, dict):
            raise BadSpan(f"{key} must be an object")
        if endpoint and endpoint.get("serviceName"):
            span[key] = {**endpoint, "serviceName": str(endpoint["serviceName"]).lower()}
    notes = span.get("annotations", [])
    if not isinstance(span.get("tags", {}), dict) or not isinstance(notes, list) or not all(
            isinstance(note, dict) and isinstance(note.get("timestamp", 0), int | float | None) for note in notes):
        raise BadSpan("tags must be an object and annotations a list of objects")
    return span


def from_v1(raw: Any) -> list[Span]:
    """A version 1 span as one span of version 2, or as two where client and server shared one. BadSpan."""
    try:
        return _from_v1(raw)
    except (AttributeError, TypeError) as error:
        raise BadSpan(f"no span of version 1: {error}") from None


def _from_v1(raw: Any) -> list[Span]:
    base = {key: raw[key] for key in ("traceId", "id", "parentId", "name", "debug") if raw.get(key)}
    halves: dict[str, Span] = {}
    rest: list[dict[str, Any]] = []
    for note in raw.get("annotations") or ():
        core = _CORE.get(note.get("value", ""))
        if core is None:
            rest.append({"timestamp": note.get("timestamp"), "value": note.get("value")})
            continue
        kind, begins = core
        half = halves.setdefault(kind, {**base, "kind": kind})
        half["_begin" if begins else "_end"] = note.get("timestamp")
        if note.get("endpoint"):
            half["localEndpoint"] = note["endpoint"]
    spans = list(halves.values()) or [dict(base)]
    for span in spans:
        begin, end = span.pop("_begin", None), span.pop("_end", None)
        alone = len(spans) == 1 or span.get("kind") == "CLIENT"
        span["timestamp"] = (raw.get("timestamp") if alone else None) or begin
        span["duration"] = (raw.get("duration") if alone else None) or (end - begin if begin and end else None)
    if len(spans) == 2:
        for span in spans:
            if span["kind"] == "SERVER":
                span["shared"] = True
    if rest:
        spans[0]["annotations"] = rest
    tags: dict[str, str] = {}
    for note in raw.get("binaryAnnotations") or ():
        key, value, endpoint = note.get("key", ""), note.get("value"), note.get("endpoint") or {}
        if key in _ADDRESSES and value is True:
            for span in spans:
                span.setdefault("remoteEndpoint", endpoint)
            continue
        tags[key] = str(value).lower() if isinstance(value, bool) else str(value)
        for span in spans:
            if endpoint:
                span.setdefault("localEndpoint", endpoint)
    for span in spans:
        if tags:
            span["tags"] = dict(tags)
    return [checked(span) for span in spans]


def to_v1(span: Mapping[str, Any]) -> Span:
    """A version 2 span as version 1 writes it, for clients that ask /api/v1."""
    endpoint = span.get("localEndpoint") or {}
    begin, duration = span.get("timestamp"), span.get("duration")
    notes = [{"timestamp": n.get("timestamp"), "value": n.get("value"), "endpoint": endpoint}
             for n in span.get("annotations") or ()]
    for value, (kind, begins) in _CORE.items():
        if span.get("kind") == kind and begin:
            at = begin if begins else begin + (duration or 0)
            notes.append({"timestamp": at, "value": value, "endpoint": endpoint})
    out = {key: span[key] for key in ("traceId", "id", "parentId", "timestamp", "duration") if key in span}
    binary = [{"key": key, "value": value, "endpoint": endpoint}
              for key, value in (span.get("tags") or {}).items()]
    if span.get("remoteEndpoint"):
        key = "ca" if span.get("kind") == "SERVER" else "sa"
        binary.append({"key": key, "value": True, "endpoint": span["remoteEndpoint"]})
    return {**out, "name": span.get("name", ""), "annotations": sorted(notes, key=lambda n: n["timestamp"] or 0),
            "binaryAnnotations": binary}


def tree(trace: Sequence[Span]) -> list[tuple[int, Span]]:
    """(depth, span) of a trace: children below their parent, by time. Lost parents make roots."""
    ids = {span["id"] for span in trace}
    children: dict[str | None, list[Span]] = {}
    for span in sorted(trace, key=_start):
        parent = span.get("parentId") if span.get("parentId") in ids else None
        if span.get("shared"):
            # The server's half of a shared span hangs below the client's.
            twin = any(other["id"] == span["id"] and other is not span for other in trace)
            parent = f"{span['id']}/shared" if twin else parent
        children.setdefault(parent, []).append(span)
    out: list[tuple[int, Span]] = []
    seen: set[int] = set()
    # A stack, as a hostile trace may be deeper than Python's.
    stack = [(0, span) for span in reversed(children.get(None, []))]
    while stack:
        depth, span = stack.pop()
        if id(span) in seen:
            continue
        seen.add(id(span))
        out.append((depth, span))
        below = ([] if span.get("shared") else children.get(f"{span['id']}/shared", []))
        below = below + (children.get(span["id"], []) if span.get("shared") or not below else [])
        stack += [(depth + 1, child) for child in reversed(below)]
    out += [(0, span) for span in trace if id(span) not in seen]  # a circle of parents
    return out


def bars(trace: Sequence[Span]) -> list[Bar]:
    """The rows of a waterfall."""
    begin = min((_start(span) for span in trace if span.get("timestamp")), default=0)
    rows = []
    for depth, span in tree(trace):
        tags = {str(key): str(value) for key, value in (span.get("tags") or {}).items()}
        code = tags.get("http.status_code", "")
        rows.append(Bar(
            str(span.get("name") or span.get("kind") or span["id"]),
            ((span.get("timestamp") or begin) - begin) / 1000, (span.get("duration") or 0) / 1000,
            depth, service_of(span), code, "error" in tags or code.startswith("5"), tags))
    return rows


def links(traces: Iterable[Sequence[Span]]) -> list[dict[str, Any]]:
    """Dependencies: `{"parent", "child", "callCount", "errorCount"}` between services, over these traces."""
    counts: dict[tuple[str, str], list[int]] = {}
    for trace in traces:
        by_id = {span["id"]: span for span in trace if not span.get("shared")}
        parents = {span.get("parentId") for span in trace}
        for span in trace:
            above = by_id.get(span["id"]) if span.get("shared") else by_id.get(span.get("parentId") or "")
            here, remote = service_of(span), str((span.get("remoteEndpoint") or {}).get("serviceName") or "")
            pair = None
            if span.get("kind") == "CLIENT" and remote and span["id"] not in parents:
                pair = (here, remote)
            elif above is not None and service_of(above) != here:
                pair = (service_of(above), here)
            elif above is None and span.get("kind") == "SERVER" and remote:
                pair = (remote, here)
            if pair and all(pair):
                count = counts.setdefault(pair, [0, 0])
                count[0] += 1
                count[1] += "error" in (span.get("tags") or {})
    return [{"parent": parent, "child": child, "callCount": calls, **({"errorCount": bad} if bad else {})}
            for (parent, child), (calls, bad) in sorted(counts.items())]


def _start(span: Mapping[str, Any]) -> int:
    return int(span.get("timestamp") or 0)


def _hex(value: Any, name: str, lengths: tuple[int, ...]) -> str:
    text = str(value or "").lower()
    if not text or len(text) > lengths[-1] or not _HEX.issuperset(text):
        raise BadSpan(f"{name} must be 1 to {lengths[-1]} hexadecimal digits, not {value!r}")
    return text.rjust(next(length for length in lengths if len(text) <= length), "0")
