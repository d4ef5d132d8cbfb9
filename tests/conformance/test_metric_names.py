"""A cluster's Prometheus answers in the names of 2018: its recording rules, tried by Prometheus' own tool."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshlab.doctor import fetch_prometheus
from meshlab.settings import Settings
from meshlab.tutorial import plain

#: What a sidecar of today's Istio says of a request, as far as the rules look at it.
CALLED = {
    "reporter": "destination",
    "source_app": "svca",
    "source_workload_namespace": "default",
    "source_version": "v0.1",
    "destination_app": "svcb",
    "destination_workload": "svcb-v0.2",
    "destination_service": "svcb.default.svc.cluster.local",
    "destination_version": "v0.2",
    "response_code": "200",
}
STRANGER = {**CALLED, "source_app": "unknown", "source_workload_namespace": "unknown", "source_version": "unknown"}
OUTSIDE = {**CALLED, "reporter": "source", "destination_workload": "unknown", "destination_service": "msgd.invalid"}


def series(name: str, labels: dict[str, str]) -> str:
    return name + "{" + ",".join(f'{key}="{value}"' for key, value in sorted(labels.items())) + "}"


def sample(labels: dict[str, str], value: float) -> dict[str, Any]:
    return {"labels": series("", labels), "value": value}


def by(metric: str, *labels: str) -> str:
    return f"sum(rate({metric}[30s])) by ({', '.join(labels)})"


CASES = {
    "requests": (
        {series("istio_requests_total", CALLED): "0+5x60", series("istio_requests_total", STRANGER): "0+10x60"},
        by("istio_request_count", "source_service", "destination_service", "source_version", "destination_version"),
        [
            sample(
                {
                    "source_service": "svca.default.svc.cluster.local",
                    "destination_service": "svcb.default.svc.cluster.local",
                    "source_version": "v0.1",
                    "destination_version": "v0.2",
                },
                1,
            ),
            sample(
                {
                    "source_service": "unknown",
                    "destination_service": "svcb.default.svc.cluster.local",
                    "source_version": "unknown",
                    "destination_version": "v0.2",
                },
                2,
            ),
        ],
    ),
    "requests that leave the mesh, which only their sender counts": (
        {series("istio_requests_total", OUTSIDE): "0+5x60"},
        by("istio_request_count", "destination_service"),
        [sample({"destination_service": "msgd.invalid"}, 1)],
    ),
    "a sender's own count of what the receiver counts": (
        {series("istio_requests_total", {**CALLED, "reporter": "source"}): "0+5x60"},
        "istio_request_count",
        [],
    ),
    "bytes": (
        {series("istio_tcp_received_bytes_total", CALLED): "0+500x60"},
        by("istio_tcp_bytes_received", "source_service"),
        [sample({"source_service": "svca.default.svc.cluster.local"}, 100)],
    ),
    **{
        f"the bounds of buckets, in seconds, as {version} writes them": (
            {
                series("istio_request_duration_milliseconds_bucket", {**CALLED, "le": le}): "1x60"
                for le in ("0.5", f"1{end}", f"25{end}", f"250{end}", f"1000{end}", f"2500{end}", f"60000{end}", "+Inf")
            },
            "count(istio_request_duration_bucket) by (le)",
            [sample({"le": le}, 1) for le in ("0.0005", "0.001", "0.025", "0.250", "1.000", "2.500", "60.000", "+Inf")],
        )
        for version, end in (("Prometheus 2", ""), ("Prometheus 3", ".0"))
    },
    "the mean duration": (
        {
            series("istio_request_duration_milliseconds_sum", CALLED): "0+1500x60",
            series("istio_request_duration_milliseconds_count", CALLED): "0+10x60",
        },
        "sum(rate(istio_request_duration_sum[30s])) / sum(rate(istio_request_duration_count[30s]))",
        [{"labels": "{}", "value": 0.15}],
    ),
}


@pytest.fixture(scope="module")
def promtool() -> Path:
    settings = Settings.load()
    fetch_prometheus(settings)
    return settings.tools / "prometheus" / "usr" / "bin" / "promtool"


def test_metrics_of_today_are_recorded_under_their_names_of_2018(promtool: Path, tmp_path: Path) -> None:
    documents = yaml.safe_load_all((plain() / "cluster" / "addons" / "prometheus.yaml").read_text())
    config = next(each for each in documents if each["kind"] == "ConfigMap")
    (tmp_path / "rules.yml").write_text(config["data"]["rules.yml"])
    tests = [
        {
            "name": name,
            "interval": "5s",
            "input_series": [{"series": key, "values": values} for key, values in given.items()],
            "promql_expr_test": [{"expr": expression, "eval_time": "2m", "exp_samples": expected}],
        }
        for name, (given, expression, expected) in CASES.items()
    ]
    file = tmp_path / "tests.yml"
    file.write_text(json.dumps({"rule_files": ["rules.yml"], "evaluation_interval": "5s", "tests": tests}))
    done = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
