"""The collector of spans: what it takes, what it answers, what it forgets."""

from __future__ import annotations

import gzip
import json
import time
from typing import Any

import pytest

from meshlab.addons.spans import BadSpan, checked, from_v1, links, to_v1, tree
from meshlab.addons.spansproto import messages
from meshlab.addons.spanstore import SpanStore
from meshlab.addons.zipkin import Zipkin
from meshlab.mesh.web import Answer, Request

NOW = int(time.time() * 1e6)


def span(trace: int, id_: int, parent: int = 0, *, service: str = "svcb", name: str = "default-route",
         at: int = 0, millis: float = 5, **more: Any) -> dict[str, Any]:
    return {"traceId": f"{trace:016x}", "id": f"{id_:016x}", "name": name, "timestamp": NOW + at * 1000,
            "duration": int(millis * 1000), "localEndpoint": {"serviceName": service},
            **({"parentId": f"{parent:016x}"} if parent else {}), **more}


class Bench:
    def __init__(self, limit: int = 1000) -> None:
        self.zipkin = Zipkin(SpanStore(limit))

    def post(self, body: Any, path: str = "/api/v2/spans", **headers: str) -> Answer:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.zipkin.handle(Request("POST", path, {}, {"content-type": "application/json", **headers}, raw))

    def get(self, path: str, **query: str) -> Any:
        answer = self.zipkin.handle(Request("GET", path, query, {}))
        assert answer.status == 200, answer
        return json.loads(answer.body)

    def ids(self, **query: str) -> list[int]:
        return [int(trace[0]["traceId"], 16) for trace in self.get("/api/v2/traces", **query)]


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    assert bench.post([
        span(1, 1, service="svca", at=-30, millis=20, kind="CLIENT"),
        span(1, 2, 1, service="svcb", at=-28, millis=9, kind="SERVER", tags={"http.status_code": "200"}),
        span(2, 3, service="svcb", at=-20, millis=50, name="slow-rule", tags={"error": "503"}),
        span(3, 4, service="svcb", at=-10, millis=1, tags={"http.method": "GET"}),
    ]).status == 202
    return bench


def test_services_and_names_are_listed(bench: Bench) -> None:
    assert bench.get("/api/v2/services") == ["svca", "svcb"]
    assert bench.get("/api/v2/spans", serviceName="SVCB") == ["default-route", "slow-rule"]


@pytest.mark.parametrize(("query", "traces"), [
    ({}, [3, 2, 1]),
    ({"limit": "1"}, [3]),
    ({"serviceName": "svca"}, [1]),
    ({"serviceName": "nobody"}, []),
    ({"spanName": "slow-rule"}, [2]),
    ({"serviceName": "all", "spanName": "all"}, [3, 2, 1]),
    ({"minDuration": "10000"}, [2, 1]),
    ({"minDuration": "10000", "maxDuration": "30000"}, [1]),
    ({"serviceName": "svcb", "minDuration": "10000"}, [2]),
    ({"annotationQuery": "error"}, [2]),
    ({"annotationQuery": "http.method=GET"}, [3]),
    ({"annotationQuery": "error and http.method=GET"}, []),
    ({"endTs": str(NOW // 1000 - 15)}, [2, 1]),
    ({"endTs": str(NOW // 1000 + 1), "lookback": "15"}, [3]),
])
def test_a_query_finds_these_traces_the_newest_first(bench: Bench, query: dict[str, str],
                                                     traces: list[int]) -> None:
    assert bench.ids(**query) == traces


def test_a_trace_is_found_by_its_id_also_shortened(bench: Bench) -> None:
    for path in ("/api/v2/trace/0000000000000001", "/api/v2/trace/1"):
        assert len(bench.get(path)) == 2
    assert bench.zipkin.handle(Request("GET", "/api/v2/trace/99", {}, {})).status == 404
    assert len(bench.get("/api/v2/traceMany", traceIds="1,2,99")) == 2


def test_dependencies_count_calls_between_services(bench: Bench) -> None:
    assert bench.get("/api/v2/dependencies") == [{"parent": "svca", "child": "svcb", "callCount": 1}]


def test_links_come_from_remote_names_too() -> None:
    outward = checked(span(1, 1, service="svcb", kind="CLIENT", remoteEndpoint={"serviceName": "msgd"},
                           tags={"error": "x"}))
    inward = checked(span(2, 2, service="svca", kind="SERVER", remoteEndpoint={"serviceName": "client"}))
    assert links([[outward], [inward]]) == [
        {"parent": "client", "child": "svca", "callCount": 1},
        {"parent": "svcb", "child": "msgd", "callCount": 1, "errorCount": 1}]


V1 = {
    "traceId": "2157e7ffb8105330", "id": "2157e7ffb8105330", "name": "default-route", "timestamp": NOW,
    "duration": 1500,
    "annotations": [
        {"timestamp": NOW, "value": "cs", "endpoint": {"serviceName": "svcb", "ipv4": "10.46.0.12", "port": 0}},
        {"timestamp": NOW + 1500, "value": "cr", "endpoint": {"serviceName": "svcb"}}],
    "binaryAnnotations": [
        {"key": "http.url", "value": "http://10.100.35.27:9997/send", "endpoint": {"serviceName": "svcb"}},
        {"key": "sa", "value": True, "endpoint": {"serviceName": "msgd"}}],
}


def test_version_1_becomes_version_2_and_back() -> None:
    found, = from_v1(V1)
    assert found["kind"] == "CLIENT" and found["duration"] == 1500
    assert found["localEndpoint"]["serviceName"] == "svcb"
    assert found["remoteEndpoint"]["serviceName"] == "msgd"
    assert found["tags"] == {"http.url": "http://10.100.35.27:9997/send"}
    back = to_v1(found)
    assert [note["value"] for note in back["annotations"]] == ["cs", "cr"]
    assert {note["key"] for note in back["binaryAnnotations"]} == {"http.url", "sa"}


def test_a_span_that_client_and_server_shared_becomes_two() -> None:
    both = {**V1, "annotations": [*V1["annotations"],  # type: ignore[misc]
                                  {"timestamp": NOW + 200, "value": "sr", "endpoint": {"serviceName": "msgd"}},
                                  {"timestamp": NOW + 900, "value": "ss", "endpoint": {"serviceName": "msgd"}}]}
    client, server = from_v1(both)
    assert (client["kind"], server["kind"], server["shared"]) == ("CLIENT", "SERVER", True)
    assert server["duration"] == 700
    assert [depth for depth, _ in tree([server, client])] == [0, 1]


def test_version_1_is_taken_and_given() -> None:
    bench = Bench()
    assert bench.post([V1], "/api/v1/spans").status == 202
    assert bench.get("/api/v1/services") == ["svcb"]
    assert bench.get("/api/v1/trace/2157e7ffb8105330")[0]["annotations"][0]["value"] == "cs"


def test_zipped_bodies_are_unpacked() -> None:
    bench = Bench()
    body = gzip.compress(json.dumps([span(1, 1)]).encode())
    assert bench.post(body, **{"content-encoding": "gzip"}).status == 202
    assert bench.ids() == [1]


def packed(**fields: Any) -> bytes:
    """A ListOfSpans with one span."""
    own = {"trace_id": bytes(7) + b"\1", "id": bytes(7) + b"\2", **fields}
    body: bytes = messages()["ListOfSpans"](spans=[messages()["Span"](**own).SerializeToString()]).SerializeToString()
    return body


def test_protobuf_is_taken_as_json_is() -> None:
    bench = Bench()
    body = packed(
        parent_id=bytes(7) + b"\3", kind=2, name="Default-Route", timestamp=NOW, duration=1500, shared=True,
        local_endpoint={"service_name": "SvcB", "ipv4": bytes([127, 40, 0, 1]), "port": 8080},
        remote_endpoint={"ipv6": bytes(15) + b"\1"}, annotations=[{"timestamp": NOW, "value": "ws"}],
        tags=[{"key": "http.method", "value": "GET"}, {"key": "error", "value": "true"}],
    )
    assert bench.post(body, **{"content-type": "application/x-protobuf"}).status == 202
    assert bench.get("/api/v2/services") == ["svcb"]
    assert bench.get("/api/v2/spans", serviceName="svcb") == ["default-route"]
    assert bench.ids(serviceName="svcb", annotationQuery="http.method=GET and error", minDuration="1000") == [1]
    assert bench.get("/api/v2/trace/1") == [{
        "traceId": f"{1:016x}", "id": f"{2:016x}", "parentId": f"{3:016x}", "kind": "SERVER",
        "name": "default-route", "timestamp": NOW, "duration": 1500, "shared": True,
        "localEndpoint": {"serviceName": "svcb", "ipv4": "127.40.0.1", "port": 8080},
        "remoteEndpoint": {"ipv6": "::1"}, "annotations": [{"timestamp": NOW, "value": "ws"}],
        "tags": {"http.method": "GET", "error": "true"},
    }]


def test_protobuf_with_little_in_it_is_a_span_too() -> None:
    bench = Bench()
    assert bench.post(packed(), **{"content-type": "application/x-protobuf"}).status == 202
    assert bench.get("/api/v2/trace/1") == [{"traceId": f"{1:016x}", "id": f"{2:016x}"}]


@pytest.mark.parametrize(("body", "why"), [
    (b"\x0a\xff", "ListOfSpans"), (b"\x0a\1\xff", "ListOfSpans"), (packed(id=b""), "8 bytes"),
    (packed(trace_id=b"1"), "8 or 16"), (packed(parent_id=b"1"), "8 bytes"),
])
def test_what_is_no_protobuf_of_spans_is_refused_with_the_reason(body: bytes, why: str) -> None:
    bench = Bench()
    answer = bench.post(body, **{"content-type": "application/x-protobuf"})
    assert answer.status == 400 and why in answer.body.decode()
    assert bench.ids() == []


def test_version_1_has_no_protobuf() -> None:
    answer = Bench().post(packed(), "/api/v1/spans", **{"content-type": "application/x-protobuf"})
    assert answer.status == 400 and b"only JSON" in answer.body


@pytest.mark.parametrize(("body", "why"), [
    (b"{", "Expecting"), (b"{}", "a list"), (b"[1]", "an object"), (b'[{"traceId":"x","id":"1"}]', "traceId"),
    (b'[{"traceId":"1"}]', "id must be"), (b'[{"traceId":"1","id":"1","timestamp":"soon"}]', "timestamp"),
    (b'[{"traceId":"1","id":"1","tags":[]}]', "tags"),
    (b'[{"traceId":"1","id":"1","localEndpoint":"svcb"}]', "localEndpoint"), (b"\xff", "decode"),
])
def test_what_is_no_span_is_refused_with_the_reason(body: bytes, why: str) -> None:
    bench = Bench()
    answer = bench.post(body)
    assert answer.status == 400 and why in answer.body.decode()
    assert bench.ids() == []


def test_odd_version_1_is_refused_as_well() -> None:
    assert Bench().post([{"traceId": "1", "id": "1", "annotations": ["x"]}], "/api/v1/spans").status == 400
    with pytest.raises(BadSpan):
        from_v1(3)


def test_bombs_are_refused() -> None:
    body = gzip.compress(b" " * (20 << 20))
    assert Bench().post(body, **{"content-encoding": "gzip"}).status == 400


def test_a_parameter_that_is_no_number_is_refused() -> None:
    answer = Bench().zipkin.handle(Request("GET", "/api/v2/traces", {"limit": "many"}, {}))
    assert answer.status == 400 and b"limit must be a number" in answer.body


def test_the_oldest_traces_make_room() -> None:
    bench = Bench(limit=5)
    for number in range(1, 9):
        bench.post([span(number, 1, at=number)])
    assert bench.ids(limit="100", endTs=str(NOW // 1000 + 100)) == [8, 7, 6, 5, 4]
    metrics = bench.zipkin.handle(Request("GET", "/metrics", {}, {})).body.decode()
    assert "zipkin_collector_spans_total 8" in metrics and "zipkin_collector_spans_evicted_total 3" in metrics


def test_a_circle_of_parents_is_still_drawn() -> None:
    trace = [checked(span(1, 1, 2)), checked(span(1, 2, 1))]
    assert len(tree(trace)) == 2


def test_the_page_lists_services_and_shows_a_trace(bench: Bench) -> None:
    index = bench.zipkin.handle(Request("GET", "/", {}, {})).body.decode()
    assert '<option value="svcb">' in index and "Please select" in index
    found = bench.zipkin.handle(Request("GET", "/zipkin/", {"serviceName": "svcb"}, {})).body.decode()
    assert 'href="traces/0000000000000002"' in found and "class=error" in found
    one = bench.zipkin.handle(Request("GET", "/zipkin/traces/0000000000000001", {}, {})).body.decode()
    assert one.count("<h3>") == 2 and "http.status_code" in one
    assert bench.zipkin.handle(Request("GET", "/zipkin", {}, {})).headers["Location"] == "zipkin/"


def test_names_cannot_break_out_of_the_page() -> None:
    bench = Bench()
    bench.post([span(1, 1, service="<script>alert(1)</script>", name='"><img>')])
    page = bench.zipkin.handle(Request("GET", "/", {"serviceName": "all"}, {})).body.decode()
    assert "<script" not in page and "<img" not in page
