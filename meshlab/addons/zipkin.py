"""`python -m meshlab.addons.zipkin`: a collector of spans that answers like Zipkin, port 9411.

Takes /api/v1/spans in JSON and /api/v2/spans in JSON or protobuf; answers Zipkin's queries of both versions; shows a
page with the list of services and each trace as a waterfall. In memory, as the tutorial's Zipkin was.
"""

from __future__ import annotations

import json
import os
import sys
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from meshlab.addons.spans import BadSpan, checked, from_v1, kept, links, to_v1
from meshlab.addons.spanstore import Query, SpanStore
from meshlab.mesh.exposition import CONTENT_TYPE, Family, render
from meshlab.mesh.web import MAX_BODY, Answer, Request, Server, plain, to_json

__all__ = ["Zipkin", "main", "query_of"]

PORT = 9411
MAX_LIMIT = 1000


class Zipkin:
    """The handler: `Zipkin(SpanStore()).handle`."""

    def __init__(self, store: SpanStore) -> None:
        self._store = store
        self._routes: Mapping[str, Callable[[Request, str], Answer]] = {
            "services": lambda request, version: to_json(store.services()),
            "spans": self._spans, "traces": self._traces, "dependencies": self._dependencies,
            "traceMany": self._many,
        }

    def handle(self, request: Request) -> Answer:
        parts = [part for part in request.path.split("/") if part]
        try:
            if parts[:1] == ["api"] and len(parts) >= 3 and parts[1] in ("v1", "v2"):
                return self._api(request, parts[1], parts[2:])
            return self._page(request, parts)
        except ValueError as error:  # BadSpan, bad JSON, a parameter that is no number
            return plain(f"{error}\n", 400)

    def _api(self, request: Request, version: str, rest: Sequence[str]) -> Answer:
        if rest[0] == "trace" and len(rest) == 2:
            trace = self._store.trace(unquote(rest[1]))
            if not trace:
                return plain(f"trace {rest[1]} not found\n", 404)
            return to_json(trace if version == "v2" else [to_v1(span) for span in trace])
        route = self._routes.get(rest[0]) if len(rest) == 1 else None
        return route(request, version) if route else plain("not found\n", 404)

    def _spans(self, request: Request, version: str) -> Answer:
        if request.method != "POST":
            service = request.query.get("serviceName", "").lower()
            return to_json(self._store.span_names(service))
        body = request.body
        if request.headers.get("content-encoding") == "gzip":
            body = _gunzip(body)
        content = request.headers.get("content-type", "json")
        if version == "v2" and "protobuf" in content:
            from meshlab.addons.spansproto import from_protobuf

            self._store.add(from_protobuf(body))
            return Answer(202)
        if "json" not in content:
            return plain("only JSON is understood, and protobuf by /api/v2\n", 400)
        received = json.loads(body)
        if not isinstance(received, list):
            raise BadSpan("expected a list of spans")
        if version == "v2":
            self._store.add([kept(checked(span)) for span in received])
        else:
            self._store.add([kept(span) for raw in received for span in from_v1(raw)])
        return Answer(202)

    def _traces(self, request: Request, version: str) -> Answer:
        traces = self._store.traces(query_of(request.query))
        if version == "v1":
            traces = [[to_v1(span) for span in trace] for trace in traces]
        return to_json(traces)

    def _many(self, request: Request, version: str) -> Answer:
        ids = [part for part in request.query.get("traceIds", "").split(",") if part]
        found = [self._store.trace(each) for each in ids[:MAX_LIMIT]]
        return to_json([trace for trace in found if trace])

    def _dependencies(self, request: Request, version: str) -> Answer:
        query = query_of({**request.query, "limit": str(MAX_LIMIT)})
        return to_json(links(self._store.traces(query)))

    def _page(self, request: Request, parts: Sequence[str]) -> Answer:
        if parts == ["health"]:
            return to_json({"status": "UP", "zipkin": {"status": "UP", "details": {
                "InMemoryStorage{}": {"status": "UP"}}}})
        if parts == ["info"]:
            return to_json({"zipkin": {"version": "meshlab"}})
        if parts == ["metrics"]:
            return self._metrics()
        from meshlab.addons import zipkin_page  # pages are drawn on demand only

        if parts == ["zipkin"] and not request.path.endswith("/"):
            return Answer(302, headers={"Location": "zipkin/"})  # or the page's relative links go astray
        if parts[:1] == ["zipkin"]:
            parts = parts[1:]
        if not parts:
            return zipkin_page.index(self._store, query_of(request.query), request.query)
        if len(parts) == 2 and parts[0] == "traces":
            return zipkin_page.trace(self._store.trace(parts[1]), parts[1])
        return plain("not found\n", 404)

    def _metrics(self) -> Answer:
        families = []
        for name, kind, value in (("zipkin_collector_spans_total", "counter", self._store.accepted),
                                  ("zipkin_collector_spans_evicted_total", "counter", self._store.evicted),
                                  ("zipkin_storage_spans", "gauge", len(self._store))):
            family = Family(name, kind)
            family.number().value = value
            families.append(family)
        return Answer(200, render(families), CONTENT_TYPE)


def query_of(parameters: Mapping[str, str]) -> Query:
    """The query that URL parameters ask for. Raises ValueError for what is no number."""
    def number(name: str, default: float) -> float:
        text = parameters.get(name) or ""
        try:
            return float(text) if text else default
        except ValueError:
            raise ValueError(f"{name} must be a number, not {text!r}") from None

    # "error and http.method=GET", joined by " and "
    annotations: dict[str, str | None] = {}
    for part in parameters.get("annotationQuery", "").split(" and "):
        key, equals, value = part.partition("=")
        if key.strip():
            annotations[key.strip()] = value.strip() if equals else None
    service = parameters.get("serviceName", "").lower()
    name = parameters.get("spanName", "").lower()
    return Query(
        service="" if service == "all" else service, span_name="" if name == "all" else name,
        annotations=annotations, min_duration=int(number("minDuration", 0)),
        max_duration=int(number("maxDuration", 0)), end=number("endTs", 0) or time.time() * 1000,
        lookback=number("lookback", 86_400_000.0), limit=max(1, min(int(number("limit", 10)), MAX_LIMIT)))


def _gunzip(body: bytes) -> bytes:
    unpacker = zlib.decompressobj(31)
    try:
        data = unpacker.decompress(body, MAX_BODY)
    except zlib.error as error:
        raise BadSpan(f"broken gzip: {error}") from None
    if unpacker.unconsumed_tail:
        raise BadSpan(f"more than {MAX_BODY} bytes")
    return data


def main(argv: Sequence[Any] | None = None) -> int:
    address = (os.environ.get("POD_IP", "127.0.0.1"), int(os.environ.get("QUERY_PORT", PORT)))
    try:
        server = Server(address, Zipkin(SpanStore()).handle)
    except OSError as error:
        print(f"zipkin: cannot listen on {address[0]}:{address[1]}: {error}", file=sys.stderr)
        return 1
    server.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
