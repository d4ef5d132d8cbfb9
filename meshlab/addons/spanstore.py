"""Spans in memory, bounded: the oldest traces go when there are too many.

A span is kept as text or as the bytes that came, a quarter of what it takes as an object, and read again when somebody
asks for its trace; what queries look for is kept beside it.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from meshlab.addons.spans import Kept, Span, service_of

__all__ = ["Query", "SpanStore"]

#: About 600 bytes each: some 6 MB. Envoy sends two per request between two sidecars.
MAX_SPANS = 10_000


@dataclass(frozen=True)
class Query:
    """Which traces: of a service, in which a span has this name, these tags, this duration (µs).

    `end` and `lookback` in milliseconds since 1970; `limit` newest traces.
    """

    service: str = ""
    span_name: str = ""
    annotations: Mapping[str, str | None] | None = None
    min_duration: int = 0
    max_duration: int = 0
    end: float = 0.0
    lookback: float = 86_400_000.0
    limit: int = 10


class _Trace:
    __slots__ = ("first", "names", "spans")

    def __init__(self) -> None:
        self.spans: list[str | bytes] = []
        self.first = 0
        self.names: set[tuple[str, str]] = set()


class SpanStore:
    """Thread-safe."""

    def __init__(self, limit: int = MAX_SPANS) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._traces: OrderedDict[str, _Trace] = OrderedDict()
        self._size = 0
        #: Spans ever accepted, and those of them that had to go.
        self.accepted = self.evicted = 0

    def __len__(self) -> int:
        return self._size

    def add(self, spans: Iterable[Kept]) -> None:
        with self._lock:
            for span in spans:
                trace = self._traces.get(span.trace)
                if trace is None:
                    trace = self._traces[span.trace] = _Trace()
                trace.spans.append(span.data)
                if span.at and (not trace.first or span.at < trace.first):
                    trace.first = span.at
                trace.names.add((sys.intern(span.service), sys.intern(span.name)))
                self._size += 1
                self.accepted += 1
            while self._size > self._limit and len(self._traces) > 1:
                _, oldest = self._traces.popitem(last=False)
                self._size -= len(oldest.spans)
                self.evicted += len(oldest.spans)

    def services(self) -> list[str]:
        with self._lock:
            found = {service for trace in self._traces.values() for service, _ in trace.names}
        return sorted(found - {""})

    def span_names(self, service: str) -> list[str]:
        with self._lock:
            found = {name for trace in self._traces.values() for s, name in trace.names if s == service}
        return sorted(found - {""})

    def trace(self, trace_id: str) -> list[Span]:
        """The spans of a trace, [] if there is none. 64-bit ids find the 128-bit ones that end in them."""
        wanted = trace_id.lower()
        with self._lock:
            found = self._traces.get(wanted) or self._traces.get(wanted.rjust(16, "0"))
            if found is None and len(wanted) <= 16:
                found = next((t for key, t in self._traces.items() if key.endswith(wanted.rjust(16, "0"))), None)
            stored = list(found.spans) if found else []
        return _read(stored)

    def traces(self, query: Query) -> list[list[Span]]:
        """Traces that match, the newest first."""
        end = query.end or time.time() * 1000
        low, high = (end - query.lookback) * 1000, end * 1000
        wants: Callable[[_Trace], bool] = (
            (lambda t: any(s == query.service and (not query.span_name or n == query.span_name)
                           for s, n in t.names))
            if query.service else (lambda t: not query.span_name or any(n == query.span_name for _, n in t.names)))
        with self._lock:
            candidates = [(t.first, list(t.spans)) for t in self._traces.values()
                          if low <= t.first <= high and wants(t)]
        found: list[list[Span]] = []
        for _, stored in sorted(candidates, key=lambda c: -c[0]):
            if len(found) >= query.limit:
                break
            trace = _read(stored)
            if _deep(query, trace):
                found.append(trace)
        return found


def _read(stored: Iterable[str | bytes]) -> list[Span]:
    return [json.loads(each) if isinstance(each, str) else _unpacked(each) for each in stored]


def _unpacked(data: bytes) -> Span:
    from meshlab.addons.spansproto import span_of  # there already, or there would be no such bytes

    return span_of(data)


def _deep(query: Query, trace: list[Span]) -> bool:
    """What needs the spans themselves: durations and annotations, of the service asked for."""
    own = [span for span in trace if not query.service or service_of(span) == query.service]
    if query.min_duration and not any(
            query.min_duration <= (span.get("duration") or 0) <= (query.max_duration or float("inf"))
            for span in own):
        return False
    for key, value in (query.annotations or {}).items():
        if value is None:
            hit = any(key in (s.get("tags") or {}) or any(a.get("value") == key for a in s.get("annotations") or ())
                      for s in own)
        else:
            hit = any((s.get("tags") or {}).get(key) == value for s in own)
        if not hit:
            return False
    return True
