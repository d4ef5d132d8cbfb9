"""Requests per second as metrics of the Kubernetes API, against a Prometheus that knows three pods."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from meshlab.addons.metrics_adapter import Adapter
from meshlab.addons.prom import Prometheus
from meshlab.mesh.web import Answer, Request, Server, to_json

BASE = "/apis/custom.metrics.k8s.io/v1beta2"


class Asked:
    """Answers every query with the same rates, and remembers it."""

    def __init__(self) -> None:
        self.queries: list[str] = []
        self.rates: dict[str, float] = {"web-1": 12.5, "web-2": 0.25, "other": 99.0}
        self.fails = False

    def handle(self, request: Request) -> Answer:
        self.queries.append(request.query["query"])
        if self.fails:
            return to_json({"status": "error", "error": "too many samples"}, 422)
        result = [{"metric": {"pod": pod}, "value": [0, str(rate)]} for pod, rate in self.rates.items()]
        return to_json({"status": "success", "data": {"resultType": "vector", "result": result}})


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def adapter(asked: Asked) -> Iterator[Adapter]:
    def chosen(namespace: str, selector: str) -> Sequence[str]:
        assert (namespace, selector) == ("shop", "app=web")
        return ["web-1", "web-2", "web-3"]

    with Server(("127.0.0.1", 0), asked.handle) as server:
        yield Adapter(Prometheus(f"http://127.0.0.1:{server.address[1]}"), chosen)


def get(adapter: Adapter, path: str, **query: str) -> tuple[int, dict[str, Any]]:
    answer = adapter.handle(Request("GET", path, query, {}))
    return answer.status, json.loads(answer.body)


def test_every_chosen_pod_has_an_amount_and_one_that_nobody_calls_has_none(adapter: Adapter) -> None:
    status, found = get(adapter, f"{BASE}/namespaces/shop/pods/*/requests_per_second", labelSelector="app=web")
    assert (status, found["kind"]) == (200, "MetricValueList")
    assert {item["describedObject"]["name"]: item["value"] for item in found["items"]} == {
        "web-1": "12500m", "web-2": "250m", "web-3": "0m"}


def test_a_service_has_one_amount_by_either_generations_count(adapter: Adapter, asked: Asked) -> None:
    asked.rates = {"": 7.5}
    _, found = get(adapter, f"{BASE}/namespaces/shop/services/web/requests_per_second")
    [item] = found["items"]
    assert (item["describedObject"]["kind"], item["value"], item["windowSeconds"]) == ("Service", "7500m", 30)
    assert 'istio_request_count{destination_service="web.shop.svc.cluster.local"}' in asked.queries[0]
    assert "istio_requests_total" in asked.queries[0]


@pytest.mark.parametrize(("path", "code"), [
    (f"{BASE}/namespaces/shop/pods/*/errors_per_second", 404),
    (f"{BASE}/namespaces/shop/nodes/a/requests_per_second", 404),
    ("/apis/other.io/v1/namespaces/shop/services/web/requests_per_second", 404),
    (f'{BASE}/namespaces/shop"}} or on() vector(9) #/services/web/requests_per_second', 404),
    (f"{BASE}/namespaces/shop/services/.*|web/requests_per_second", 404),
])
def test_what_it_does_not_measure_is_not_there(adapter: Adapter, asked: Asked, path: str, code: int) -> None:
    status, found = get(adapter, path)
    assert (status, found["code"]) == (code, code)
    assert asked.queries == []


def test_a_prometheus_that_refuses_makes_it_unavailable(adapter: Adapter, asked: Asked) -> None:
    asked.fails = True
    status, found = get(adapter, f"{BASE}/namespaces/shop/services/web/requests_per_second")
    assert (status, found["reason"]) == (503, "ServiceUnavailable")
    assert "too many samples" in found["message"]


def test_its_metrics_are_listed(adapter: Adapter) -> None:
    _, found = get(adapter, BASE)
    assert [each["name"] for each in found["resources"]] == ["pods/requests_per_second", "services/requests_per_second"]
