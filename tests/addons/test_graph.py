"""The service graph's three forms, and ServiceGraph's answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshlab.addons.graph import BYTES, REQUESTS, build, check_horizon, queries
from meshlab.addons.prom import Prometheus
from meshlab.addons.servicegraph import ServiceGraph
from meshlab.mesh.web import Answer, Request, Server, fetch, plain, to_json


def sample(source: str, target: str, value: str) -> dict[str, Any]:
    (a, va), (b, vb) = source.split("/"), target.split("/")
    return {"metric": {"source_service": a, "source_version": va, "destination_service": b,
                       "destination_version": vb}, "value": [0, value]}


VECTORS = {
    "istio_request_count": [sample("svca.default.svc.cluster.local/v0.1",
                                   "svcb.default.svc.cluster.local/v0.2", "0.5")],
    "istio_tcp_bytes_received": [
        sample("unknown/unknown", "svca.default.svc.cluster.local/v0.1", "12.3456789"),
        sample("svca.default.svc.cluster.local/v0.1", "svcb.default.svc.cluster.local/v0.2", "NaN")],
}


def answer(request: Request) -> Answer:
    """A Prometheus with these two results."""
    asked = request.query["query"]
    found = next(vector for name, vector in VECTORS.items() if name in asked)
    return to_json({"status": "success", "data": {"resultType": "vector", "result": found}})


def test_json_and_dot_are_those_of_0_4() -> None:
    graph = build([(REQUESTS, VECTORS["istio_request_count"]), (BYTES, VECTORS["istio_tcp_bytes_received"])])
    assert graph.to_json() == {
        "nodes": {"svca.default (v0.1)": {}, "svcb.default (v0.2)": {}, "unknown (unknown)": {}},
        "edges": [
            {"source": "svca.default (v0.1)", "target": "svcb.default (v0.2)", "labels": {"reqs/sec": "0.500000"}},
            {"source": "unknown (unknown)", "target": "svca.default (v0.1)", "labels": {"bytes/sec": "12.345679"}},
            {"source": "svca.default (v0.1)", "target": "svcb.default (v0.2)", "labels": {"bytes/sec": "NaN"}},
        ]}
    assert graph.to_dot() == (
        'digraph "istio-servicegraph" {\n'
        '"svca_default_(v0_1)" -> "svcb_default_(v0_2)" [label="reqs/sec: 0.500000"];\n'
        '"unknown_(unknown)" -> "svca_default_(v0_1)" [label="bytes/sec: 12.345679"];\n'
        '"svca_default_(v0_1)" -> "svcb_default_(v0_2)" [label="bytes/sec: NaN"];\n'
        '"svca_default_(v0_1)" [label="svca.default (v0.1)"];\n'
        '"svcb_default_(v0_2)" [label="svcb.default (v0.2)"];\n'
        '"unknown_(unknown)" [label="unknown (unknown)"];\n'
        "}\n")


def test_the_queries_are_those_of_0_4() -> None:
    by = "by (source_service, destination_service, source_version, destination_version)"
    assert queries("5m", filter_empty=False) == (
        ("reqs/sec", f"sum(rate(istio_request_count[5m])) {by}"),
        ("bytes/sec", f"sum(rate(istio_tcp_bytes_received[5m])) {by}"))
    assert queries("15s", filter_empty=True)[0][1].endswith(" > 0")


@pytest.mark.parametrize(("text", "good"), [
    ("5m", True), ("15s", True), ("1h30m", True), ("5", False), ("", False), ("5m]) or vector(1", False)])
def test_a_horizon_is_a_duration(text: str, good: bool) -> None:
    if good:
        assert check_horizon(text) == text
    else:
        with pytest.raises(ValueError, match="could not parse time_horizon"):
            check_horizon(text)


def test_names_with_quotes_stay_inside_their_quotes() -> None:
    graph = build([(REQUESTS, [sample('a"];x/v', "b/v", "1")])])
    assert '"a\\"];x_(v)"' in graph.to_dot()


def test_static_nodes_are_added_by_post() -> None:
    with Server(("127.0.0.1", 0), answer) as prometheus:
        handle = ServiceGraph(Prometheus(prometheus.url)).handle
        statuses = [handle(Request(method, "/node", query, {})).status for method, query in (
            ("GET", {"name": "x"}), ("POST", {}), ("POST", {"name": "msgd"}))]
        assert statuses == [501, 400, 200]
        assert "msgd" in json.loads(handle(Request("GET", "/graph", {}, {})).body)["nodes"]


def test_a_missing_prometheus_is_said() -> None:
    answered = ServiceGraph(Prometheus("http://127.0.0.1:9", timeout=1)).handle(Request("GET", "/graph", {}, {}))
    assert answered.status == 500 and b"does not answer" in answered.body


def test_prometheus_own_errors_are_passed_on() -> None:
    def refuse(request: Request) -> Answer:
        return to_json({"status": "error", "error": "parse error"}, 400)

    with Server(("127.0.0.1", 0), refuse) as prometheus, \
            Server(("127.0.0.1", 0), ServiceGraph(Prometheus(prometheus.url)).handle) as graph:
        status, body = fetch(f"{graph.url}/dotgraph")
    assert status == 500 and b"parse error" in body


def test_an_answer_that_is_no_json_is_said() -> None:
    with Server(("127.0.0.1", 0), lambda request: plain("<html>")) as server:
        body = ServiceGraph(Prometheus(server.url)).handle(Request("GET", "/graph", {}, {})).body
    assert b"without JSON" in body
