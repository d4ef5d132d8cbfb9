"""Telemetry objects in the lab: what sidecars write and trace is said by today's API, for the mesh or one workload."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from mixer_parts import until

from meshlab.lab import Lab


@pytest.fixture
def web(lab: Lab) -> Iterator[Lab]:
    """The demo services with ports named http, and today's kinds; as it was before, afterwards."""
    lab.require("control-plane", "demo")
    lab.kubectl(f"apply -f {lab.files / 'istio-today/crds.yaml'}")
    with lab.leave_as_found():
        lab.apply("rules/enable-svcb-engress-rule.yaml")
        lab.apply("svca-http.yaml")
        lab.apply("svcb-http.yaml")
        yield lab
        lab.kubectl("delete telemetries.telemetry.istio.io --all --all-namespaces")


def telemetry(namespace: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "telemetry.istio.io/v1", "kind": "Telemetry",
            "metadata": {"name": "said", "namespace": namespace}, "spec": spec}


def written(lab: Lab, app: str, since: datetime) -> int:
    """Lines of access log of an app's sidecar about requests for /pay or /notify that began after `since`."""
    log = str(lab.kubectl(f"logs -l app={app} -c istio-proxy --tail=-1"))
    begun = re.findall(r'\[([^]]+)Z\] "GET /(?:pay|notify)', log)
    return sum(datetime.fromisoformat(each).replace(tzinfo=UTC) > since for each in begun)


def test_access_logs_are_switched_off_for_one_workload_and_on_again(web: Lab) -> None:
    start = datetime.now(UTC)
    web.curl("http://svca/pay", 2)
    until(lambda: written(web, "svca", start) and written(web, "svcb", start))
    off = telemetry("default", selector={"matchLabels": {"app": "svcb"}}, accessLogging=[{"disabled": True}])
    web.apply(off)
    start = datetime.now(UTC)
    web.curl("http://svca/pay", 3)
    web.delete(off)
    again = datetime.now(UTC)
    web.curl("http://svca/pay", 1)
    # Lines come half a second late, and in their order: once the last one is there, so is all that comes before.
    until(lambda: written(web, "svcb", again))
    assert written(web, "svcb", start) == 1
    # svca's sidecar logs both ways: the request that came and the one that it made.
    until(lambda: written(web, "svca", start) == 8)


def sampled(lab: Lab) -> list[str]:
    """What the requests that svcb logged say of sampling, oldest first."""
    return re.findall(r"X-B3-Sampled:\[(\d)\]", str(lab.kubectl("logs -l app=svcb -c svcb --tail=-1")))


def test_sampling_is_a_percentage(web: Lab) -> None:
    def asked(percent: float | None) -> list[str]:
        before = len(sampled(web))
        if percent is not None:
            web.apply(telemetry("istio-system", tracing=[{"randomSamplingPercentage": percent}]))
        assert web.curl("http://svca/pay", 40).by_status() == {"200": 40}
        until(lambda: len(sampled(web)) >= before + 40)
        return sampled(web)[before:]

    assert set(asked(None)) == {"1"}, "every request, as in 0.4"
    assert set(asked(0)) == {"0"}
    half = asked(50)
    # 40 draws at 50 %: outside 5 to 35 once in a million runs.
    assert 5 <= half.count("1") <= 35
