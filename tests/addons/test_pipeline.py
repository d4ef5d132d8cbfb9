"""From a real Envoy to the pictures: Mixer, statsd, the real Prometheus, ServiceGraph, dashboard, Zipkin.

Each is the program that runs in the lab, on addresses of its own. Prometheus is found as the lab finds it;
where it is missing the test fails with the command that gets it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from mixer_parts import envoy, get, pod, program, python, sidecar, until, write_store

from meshlab.addons.panels import Drawn, dashboard, draw
from meshlab.addons.prom import Prometheus
from meshlab.doctor import find_prometheus
from meshlab.mesh.web import Server, fetch, plain
from meshlab.settings import Settings

NET = f"127.{71 + os.getpid() % 8}.{(os.getpid() // 8 + 128) % 256}."
MIXER, STATSD, PROMETHEUS, GRAPH, ZIPKIN, GRAFANA = (NET + str(n) for n in range(10, 16))
CALLER, SIDECAR, LOCAL = NET + "5", NET + "7", NET + "2"
EDGE = ("svca.default (v0.1)", "svcb.default (v0.2)")


@dataclass(frozen=True)
class Parts:
    prometheus: Prometheus
    log: Path


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    find_prometheus(Settings.load())
    folder = tmp_path_factory.mktemp("telemetry")
    store = write_store(folder / "config", pod("svcb-1", SIDECAR, app="svcb", version="v0.2"),
                        pod("svca-1", CALLER, app="svca", version="v0.1"))
    scrape = {"global": {"scrape_interval": "15s"}, "scrape_configs": [
        {"job_name": job, "scrape_interval": "500ms", "scrape_timeout": "500ms",
         "static_configs": [{"targets": [target]}]}
        for job, target in (("istio-mesh", f"{MIXER}:42422"), ("envoy", f"{STATSD}:9102"),
                            ("mixer", f"{MIXER}:9093"))]}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(scrape))
    with ExitStack() as stack:
        def start(name: str, *command: str, **env: str) -> None:
            stack.enter_context(program(folder / f"{name}.log", *command, env=env))

        start("mixer", *python("meshlab.mesh.mixer", f"--configStore2URL=fs://{store}"),
              POD_IP=MIXER, LOCAL_IP=LOCAL)
        start("statsd", *python("meshlab.addons.statsd"), POD_IP=STATSD)
        start("zipkin", *python("meshlab.addons.zipkin"), POD_IP=ZIPKIN)
        start("prometheus", *python(
            "meshlab.addons.prometheus", "--storage.tsdb.retention=6h",
            f"--config.file={folder / 'prometheus.yml'}"), POD_IP=PROMETHEUS, MESHLAB_POD_DIR=str(folder))
        start("servicegraph", *python("meshlab.addons.servicegraph",
                                      f"--prometheusAddr=http://{PROMETHEUS}:9090"), POD_IP=GRAPH)
        start("grafana", *python("meshlab.addons.grafana"), POD_IP=GRAFANA,
              PROMETHEUS_URL=f"http://{PROMETHEUS}:9090")
        backend = stack.enter_context(Server((NET + "3", 0), lambda request: plain("hello")))
        config = folder / "envoy.yaml"
        config.write_text(json.dumps(sidecar(SIDECAR, backend.address, (LOCAL, 9091), zipkin=(ZIPKIN, 9411),
                                             statsd=(STATSD, 9125))))
        until(lambda: fetch(f"http://{MIXER}:9093/healthz")[0] == 200)
        start("envoy", *envoy(config))
        prometheus = Prometheus(f"http://{PROMETHEUS}:9090")
        until(lambda: fetch(f"http://{PROMETHEUS}:9090/-/ready")[0] == 200)
        until(lambda: fetch(f"http://{SIDECAR}:8080/warm-up"))

        # Two values of a counter make a rate: requests, a scrape, requests.
        def scraped(at_least: int) -> Any:
            for _ in range(3):
                get((SIDECAR, 8080), "/notify", CALLER)
                get((SIDECAR, 8090), "/tcp", CALLER)
            found = prometheus.query(f'istio_request_count{{source_version="v0.1"}} >= {at_least}')
            return found and prometheus.query('istio_tcp_bytes_received{source_version="v0.1"}')

        until(lambda: scraped(3))
        until(lambda: scraped(9))
        yield Parts(prometheus, folder)


def test_all_three_targets_are_up(parts: Parts) -> None:
    until(lambda: len(parts.prometheus.query("up == 1")) == 3)
    jobs = {sample["metric"]["job"] for sample in parts.prometheus.query("up")}
    assert jobs == {"istio-mesh", "envoy", "mixer"}


def test_envoys_own_statistics_come_by_statsd(parts: Parts) -> None:
    assert until(lambda: parts.prometheus.query("envoy_http_http_downstream_rq_total >= 6"))


def test_the_service_graph_shows_the_call_with_its_rate(parts: Parts) -> None:
    def edges() -> list[dict[str, Any]]:
        status, body = fetch(f"http://{GRAPH}:8088/graph?time_horizon=1m&filter_empty=true")
        assert status == 200, body
        found: list[dict[str, Any]] = json.loads(body)["edges"]
        return [e for e in found if (e["source"], e["target"]) == EDGE]

    found = until(lambda: len(seen := edges()) == 2 and seen)
    assert [list(edge["labels"]) for edge in found] == [["reqs/sec"], ["bytes/sec"]]
    assert re.fullmatch(r"\d+\.\d{6}", found[0]["labels"]["reqs/sec"])
    dot = fetch(f"http://{GRAPH}:8088/dotgraph?time_horizon=1m")[1].decode()
    assert dot.startswith('digraph "istio-servicegraph" {\n')
    assert '"svca_default_(v0_1)" -> "svcb_default_(v0_2)" [label="reqs/sec: ' in dot
    page = fetch(f"http://{GRAPH}:8088/dotviz")[1].decode()
    assert "<svg" in page and "svcb.default (v0.2)" in page


@pytest.mark.parametrize(("path", "status", "text"), [
    ("/graph?time_horizon=nonsense", 500, "could not parse time_horizon"),
    ("/", 404, "not found"),
    ("/node?name=x", 501, "not supported"),
])
def test_the_service_graph_refuses_as_the_original(parts: Parts, path: str, status: int, text: str) -> None:
    got, body = fetch(f"http://{GRAPH}:8088{path}")
    assert got == status and text in body.decode()


def test_the_dashboard_draws_every_panel_from_real_queries(parts: Parts) -> None:
    def whole() -> list[Drawn] | None:
        drawn = list(draw(dashboard("istio"), parts.prometheus, minutes=1))
        empty = [panel.title for panel in drawn if panel.kind == "timeseries" and "no data" in panel.markup]
        # Nothing failed, so there is nothing to draw of failures.
        return drawn if set(empty) <= {"4xxs by Service", "5xxs by Service"} else None

    drawn: list[Drawn] = until(whole)  # two scrapes of each target make a rate
    titles = [panel.title for panel in drawn]
    assert "svcb.default" in titles and "Global Request Volume" in titles
    status, page = fetch(f"http://{GRAFANA}:3000/d/istio-dashboard")
    assert status == 200 and page.count(b"<svg") == sum(p.kind in ("stat", "timeseries") for p in drawn)
    picked = fetch(f"http://{GRAFANA}:3000/d/istio-dashboard?var-http_destination="
                   + quote("svcb.default.svc.cluster.local"))[1].decode()
    assert picked.count("Requests by Source, Version, and Response Code") >= 1


def test_envoys_spans_become_traces(parts: Parts) -> None:
    base = f"http://{ZIPKIN}:9411"

    def spans() -> Any:
        for _ in range(3):
            get((SIDECAR, 8080), "/notify", CALLER)
        return json.loads(fetch(f"{base}/api/v2/traces?serviceName=svcb&limit=5")[1])

    traces = until(spans)
    span = traces[0][0]
    assert span["localEndpoint"]["serviceName"] == "svcb" and span["kind"] in ("SERVER", "CLIENT")
    assert span["duration"] > 0 and span["tags"]["http.status_code"] == "200"
    assert json.loads(fetch(f"{base}/api/v2/services")[1]) == ["svcb"]
    page = fetch(f"{base}/zipkin/?serviceName=svcb")[1].decode()
    assert f'href="traces/{span["traceId"]}"' in page and "<svg" in page
    assert "http.status_code" in fetch(f"{base}/zipkin/traces/{span['traceId']}")[1].decode()
