"""The telemetry of the lab itself: what the tutorial saw, why its graph looked odd, and what survives."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from mixer_parts import until

from meshlab.errors import MeshlabError
from meshlab.lab import Lab
from meshlab.mesh.mixer.store import SWITCH

SERIES = re.compile(r'(\w+)\{source_service="([\w-]*)[^}]*destination_service="([\w-]*)[^}]*\} (\S+)')


@pytest.fixture(scope="module")
def observed(lab: Lab) -> Iterator[Lab]:
    """The lab with the add-ons and the outside reachable; as it was before, afterwards."""
    lab.require("control-plane", "demo", "prometheus", "zipkin", "servicegraph", "grafana")
    with lab.leave_as_found():
        lab.apply("rules/enable-svcb-engress-rule.yaml")
        yield lab
        lab.kubectl(f"annotate configmap istio -n istio-system {SWITCH}-")


def read(lab: Lab, service: str, port: int, path: str) -> str:
    return lab.access.service("istio-system", service, port, path).text


def counted(lab: Lab, metric: str) -> dict[tuple[str, str], float]:
    """(source, destination) → sum over its series in Mixer, names without their domain."""
    totals: dict[tuple[str, str], float] = {}
    for name, source, destination, value in SERIES.findall(read(lab, "istio-mixer", 42422, "/metrics")):
        if name == metric:
            totals[source, destination] = totals.get((source, destination), 0) + float(value)
    return totals


def growth(lab: Lab, metric: str, requests: int, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], float]:
    """What requests add to a metric; waits until the wanted pairs have all of it."""
    before = counted(lab, metric)
    lab.curl("http://svca/pay", requests)

    def grown() -> dict[tuple[str, str], float] | None:
        now = counted(lab, metric)
        found = {pair: now[pair] - before.get(pair, 0) for pair in now if now[pair] > before.get(pair, 0)}
        return found if all(found.get(pair, 0) >= requests for pair in wanted) else None

    found: dict[tuple[str, str], float] = until(grown)
    return found


def test_prometheus_finds_all_three_targets_up(observed: Lab) -> None:
    def targets() -> Any:
        active = json.loads(read(observed, "prometheus", 9090, "/api/v1/targets"))["data"]["activeTargets"]
        return all(target["health"] == "up" for target in active) and {t["labels"]["job"] for t in active}

    assert until(targets, 60) == {"istio-mesh", "envoy", "mixer"}


def test_as_written_the_mesh_counts_bytes_and_traces_only_the_call_outside(observed: Lab) -> None:
    def only_bytes() -> bool:
        requests = counted(observed, "istio_request_count")
        grown = growth(observed, "istio_tcp_bytes_received", 5, {("client", "svca")})
        assert ("client", "svca") in grown
        return counted(observed, "istio_request_count") == requests

    until(only_bytes)  # the reports of others' last requests may still be on their way
    until(lambda: "svcb" in json.loads(read(observed, "zipkin", 9411, "/api/v2/services")), 60)


def test_with_the_port_named_http_the_graph_is_right_and_the_double_report_explains_anomaly_d(
        observed: Lab) -> None:
    observed.apply("svca-http.yaml")
    observed.apply("svcb-http.yaml")
    calls = {("client", "svca"), ("svca", "svcb")}
    until(lambda: growth(observed, "istio_request_count", 5, calls) == dict.fromkeys(calls, 5))
    observed.kubectl(f"annotate configmap istio -n istio-system {SWITCH}=true --overwrite")

    def doubled() -> Any:
        grown = growth(observed, "istio_request_count", 1, calls)
        return {("svca", "svca"), ("svcb", "svcb")} <= set(grown)

    until(doubled)
    observed.kubectl(f"annotate configmap istio -n istio-system {SWITCH}=false --overwrite")
    until(lambda: growth(observed, "istio_request_count", 5, calls) == dict.fromkeys(calls, 5))


def test_a_killed_mixer_comes_back_and_the_sidecars_find_it(observed: Lab) -> None:
    def started() -> str:
        try:
            page = read(observed, "istio-mixer", 9093, "/metrics")
        except MeshlabError:  # it is away for a moment, and its service has no endpoint
            return ""
        return next(line for line in page.splitlines() if line.startswith("process_start_time_seconds "))

    before = started()
    pods = observed.settings.pods.glob("istio-system_istio-mixer-*/containers/mixer/process.json")
    os.kill(next(json.loads(file.read_text())["pid"] for file in pods), signal.SIGKILL)
    until(lambda: started() not in ("", before), 120)

    def counting() -> Any:
        observed.curl("http://svca/pay", 2)
        return {("client", "svca"), ("svca", "svcb")} <= set(counted(observed, "istio_request_count"))

    until(counting, 60)


def test_the_dashboard_page_draws_from_the_labs_prometheus(observed: Lab) -> None:
    page = read(observed, "grafana", 3000, "/d/istio-dashboard")
    assert "Global Request Volume" in page and page.count("<svg") >= 8
