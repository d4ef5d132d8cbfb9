"""Today's metrics in the lab: sidecars count once a Telemetry object asks, the real Prometheus finds their pods."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from mixer_parts import until

from meshlab.lab import Lab

FILE = "istio-today/addons/prometheus.yaml"
TELEMETRY = {"apiVersion": "telemetry.istio.io/v1", "kind": "Telemetry",
             "metadata": {"name": "mesh-default", "namespace": "istio-system"}, "spec": {"metrics": [{}]}}


@pytest.fixture(scope="module")
def today(lab: Lab) -> Iterator[Lab]:
    """The lab with Prometheus as it is set up today; afterwards as 0.4 had it."""
    lab.require("control-plane", "demo", "prometheus", "grafana")
    lab.kubectl(f"apply -f {lab.files / 'istio-today/crds.yaml'}")
    with lab.leave_as_found():
        lab.apply("rules/enable-svcb-engress-rule.yaml")
        lab.apply("svca-http.yaml")
        lab.apply("svcb-http.yaml")
        until(lambda: lab.kubectl(f"apply -f {lab.files / FILE}"), 60)
        lab.kubectl("rollout status -n istio-system deployment/prometheus --timeout=120s")
        yield lab
        lab.delete(TELEMETRY)
        lab.kubectl(f"apply -f {lab.files / 'istio-0.4.0/install/kubernetes/addons/prometheus.yaml'}")
        lab.kubectl("rollout status -n istio-system deployment/prometheus --timeout=120s")


def ask(lab: Lab, path: str, **query: str) -> Any:
    return json.loads(lab.access.service("istio-system", "prometheus", 9090, path, query=query).text)["data"]


def series(lab: Lab, promql: str) -> list[dict[str, str]]:
    return [{**each["metric"], "=": each["value"][1]} for each in ask(lab, "/api/v1/query", query=promql)["result"]]


def test_prometheus_finds_every_sidecar(today: Lab) -> None:
    def found() -> Any:
        active = [t for t in ask(today, "/api/v1/targets")["activeTargets"] if t["labels"]["job"] == "envoy-stats"]
        listed = today.access.items("v1", "Pod", "default")  # tests before may have left some
        sidecars = [p for p in listed if "istio-proxy" in {each["name"] for each in p["spec"]["containers"]}]
        named = {t["labels"]["pod"] for t in active} == {p["metadata"]["name"] for p in sidecars}
        return named and all(t["health"] == "up" for t in active)

    assert until(found, 60)


def test_both_ends_count_under_todays_names(today: Lab) -> None:
    def asked(reporter: str) -> str:
        return (f'istio_requests_total{{reporter="{reporter}",source_workload="svca",'
                'destination_service="svcb.default.svc.cluster.local"}')

    assert today.curl("http://svca/pay", 10).by_status() == {"200": 10}
    found = until(lambda: series(today, asked("destination")), 60)[0]
    assert {name: found[name] for name in (
        "source_workload", "source_workload_namespace", "source_app", "source_version", "source_canonical_service",
        "destination_workload", "destination_service_name", "destination_service_namespace", "destination_app",
        "response_code", "request_protocol", "response_flags", "connection_security_policy", "source_principal",
    )} == {
        "source_workload": "svca", "source_workload_namespace": "default", "source_app": "svca",
        "source_version": "v0.1", "source_canonical_service": "svca", "destination_workload": "svcb",
        "destination_service_name": "svcb", "destination_service_namespace": "default", "destination_app": "svcb",
        "response_code": "200", "request_protocol": "http", "response_flags": "-",
        "connection_security_policy": "none", "source_principal": "unknown",
    }
    calling = until(lambda: series(today, asked("source")), 60)[0]
    assert calling["destination_workload"] == "svcb" and calling["connection_security_policy"] == "unknown"
    assert calling["destination_service_name"] == "svcb" and calling["response_code"] == "200"
    histogram = "histogram_quantile(0.5, sum(istio_request_duration_milliseconds_bucket) by (le))"
    assert until(lambda: [each for each in series(today, histogram) if each["="] != "NaN"], 60)


def test_a_caller_without_sidecar_and_a_host_outside_are_named_as_today(today: Lab) -> None:
    today.curl("http://svca/pay", 2)
    outside = until(lambda: series(today, 'istio_requests_total{source_workload="svcb",reporter="source"}'), 60)[0]
    assert outside["destination_service_name"] == str(today.network.external)
    assert outside["destination_workload"] == "unknown" and outside["destination_service_namespace"] == "unknown"
    query = 'istio_requests_total{reporter="destination",destination_service_name="svca"}'
    nobody = until(lambda: series(today, query), 60)[0]
    assert nobody["source_workload"] == "unknown" and nobody["source_app"] == "unknown"


def test_the_dashboard_draws_them(today: Lab) -> None:
    page = today.access.service("istio-system", "grafana", 3000, "/d/istio-today").text
    assert "Request Duration by Source" in page and "svcb.default.svc.cluster.local" in page


def test_without_telemetry_nothing_is_counted_and_nothing_shown(today: Lab) -> None:
    pod = next(p["metadata"]["name"] for p in today.access.items("v1", "Pod", "default")
               if p["metadata"]["labels"].get("app") == "svca")
    page = until(lambda: today.access.pod("default", pod, 15090, "/stats/prometheus").text)
    assert "\nistio_requests_total{" in page
    today.delete(TELEMETRY)
    try:
        until(lambda: today.access.request(
            "GET", f"/api/v1/namespaces/default/pods/{pod}:15090/proxy/stats/prometheus", check=False).status == 503)
    finally:
        today.apply(TELEMETRY)
