"""Timeouts and limits of connections on real Envoys, in both generations: where they are said, and nowhere else."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from pilot_cluster import Answer, Application, Cluster

V1 = {"version": "v0.1"}
NAME = "out.svcb.default.svc.cluster.local|http|version=v0.1"
WINDOWS = {"sleepWindow": "30s", "httpDetectionInterval": "10s"}


@pytest.fixture(autouse=True)
def _leave_as_found(cluster: Cluster) -> Iterator[None]:
    Application.gate.clear()
    yield
    Application.gate.set()
    for kind in ("VirtualService", "DestinationRule"):
        cluster.store(kind, {}, event="DELETED")
    for kind in ("RouteRule", "DestinationPolicy", "EgressRule"):
        cluster.drop(kind=kind)


@pytest.fixture
def together() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool
        Application.gate.set()


def asked(pool: ThreadPoolExecutor, cluster: Cluster, url: str) -> Future[Answer]:
    return pool.submit(cluster.get, "svca-1", url)


@pytest.mark.parametrize("generation", ["2018", "today"])
def test_a_timeout_answers_for_who_is_slow(cluster: Cluster, together: ThreadPoolExecutor, generation: str) -> None:
    if generation == "2018":
        match = {"request": {"headers": {"uri": {"prefix": "/held/short"}}}}
        limit = {"simpleTimeout": {"timeout": "0.1s"}}
        assert cluster.rule({"destination": {"name": "svcb"}, "match": match, "httpReqTimeout": limit}).in_force
    else:
        to = {"route": [{"destination": {"host": "svcb"}}]}
        short = {"match": [{"uri": {"prefix": "/held/short"}}], "timeout": "0.1s", **to}
        assert cluster.store("VirtualService", {"hosts": ["svcb"], "http": [short, to]}).in_force
    patient = asked(together, cluster, "http://svcb/held/long")
    answer = cluster.get("svca-1", "http://svcb/held/short")
    assert (answer.status, patient.done()) == (504, False)
    Application.gate.set()
    assert patient.result().status == 200


def limited(cluster: Cluster, generation: str, **limits: int) -> None:
    """Everything to v0.1, under limits called as in 2018."""
    if generation == "2018":
        assert cluster.rule({"destination": {"name": "svcb"}, "route": [{"labels": V1}]}).in_force
        breaker = {"simpleCb": {**WINDOWS, **limits}}
        policy = {"destination": {"name": "svcb", "labels": V1}, "circuitBreaker": breaker}
        assert cluster.rule(policy, kind="DestinationPolicy").in_force
        return
    names = {
        "maxConnections": ("tcp", "maxConnections"), "httpMaxPendingRequests": ("http", "http1MaxPendingRequests"),
        "httpMaxRequestsPerConnection": ("http", "maxRequestsPerConnection"),
    }  # fmt: skip
    pool: dict[str, dict[str, int]] = {}
    for name, value in limits.items():
        part, field = names[name]
        pool.setdefault(part, {})[field] = value
    only = {"host": "svcb", "subsets": [{"name": "v1", "labels": V1}], "trafficPolicy": {"connectionPool": pool}}
    assert cluster.store("DestinationRule", only).in_force
    to = {"route": [{"destination": {"host": "svcb", "subset": "v1"}}], "retries": {"attempts": 0}}
    assert cluster.store("VirtualService", {"hosts": ["svcb"], "http": [to]}).in_force


@pytest.mark.parametrize("generation", ["2018", "today"])
def test_what_is_more_than_connections_and_queue_take_is_refused_at_once(
    cluster: Cluster, together: ThreadPoolExecutor, generation: str
) -> None:
    limited(cluster, generation, maxConnections=1, httpMaxPendingRequests=1)
    hits = cluster.applications["svcb-1"].hits
    before = len(hits)
    many = [asked(together, cluster, "http://svcb/held")]
    # Until its connection is open it stands in the queue itself.
    cluster.eventually(lambda: len(hits) > before, "the first one is served")
    many += [asked(together, cluster, "http://svcb/held") for _ in range(3)]
    cluster.eventually(lambda: sum(each.done() for each in many) == 2, "two are refused while two wait")
    assert {each.result().status for each in many if each.done()} == {503}
    assert cluster.get("svca-1", "http://svca/").status == 200
    Application.gate.set()
    assert sorted(each.result().status for each in many) == [200, 200, 503, 503]


def connections(cluster: Cluster) -> int:
    """How many the caller's sidecar has opened to v0.1 so far."""
    stats = cluster.admin("svca-1", "/stats?filter=upstream_cx_total").body.decode()
    return sum(int(each) for each in re.findall(re.escape(NAME) + r".*\.upstream_cx_total: ([0-9]+)", stats))


@pytest.mark.parametrize("generation", ["2018", "today"])
def test_a_connection_takes_as_many_requests_as_are_said(cluster: Cluster, generation: str) -> None:
    limited(cluster, generation, httpMaxRequestsPerConnection=1)
    before = connections(cluster)
    for _ in range(5):
        assert cluster.get("svca-1", "http://svcb/").pod == "svcb-1"
    assert connections(cluster) - before == 5
    limited(cluster, generation, httpMaxRequestsPerConnection=100)
    before = connections(cluster)
    for _ in range(5):
        assert cluster.get("svca-1", "http://svcb/").pod == "svcb-1"
    assert connections(cluster) - before <= 1


def reached(cluster: Cluster, host: str, port: int, address: str) -> Any:
    """The status, or None where the connection is closed."""
    try:
        return cluster.get("svca-1", f"http://{host}:{port}/", address=address).status
    except http.client.RemoteDisconnected:
        return None


@pytest.mark.parametrize(("service", "protocol", "host", "yes", "no"), [
    ("*.out.test", "http", "a.out.test", 200, 404),
    ("*", "http", "any.test", 200, 200),
    ("{network}.0/24", "tcp", "a.test", 200, None),
    ("{network}.0/24", "mongo", "a.test", 200, None),
])  # fmt: skip
def test_an_egress_rule_may_be_for_many(
    cluster: Cluster, service: str, protocol: str, host: str, yes: int, no: int | None
) -> None:
    address, port = cluster.outside("outside")
    named = service.format(network=address.rpartition(".")[0])
    ports = [{"port": port, "protocol": protocol}]
    assert cluster.rule({"destination": {"service": named}, "ports": ports}, kind="EgressRule").in_force
    assert reached(cluster, host, port, address) == yes
    elsewhere = address if protocol == "http" else f"{cluster.network.services}.201.201"
    assert reached(cluster, "other.test", port, elsewhere) == no
