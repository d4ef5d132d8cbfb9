"""What rules of config.istio.io/v1alpha2 say, on real Envoys, field by field as far as `test_live` and
`test_limits_live` do not show it: a request that has the effect, and one that must not have it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from pilot_cluster import BLOCK, Application, Cluster

SVCB = {"destination": {"name": "svcb"}}
V1, V2 = {"labels": {"version": "v0.1"}}, {"labels": {"version": "v0.2"}}
NOBODY = "127.1.2.3"
Spec = dict[str, Any]


@pytest.fixture(autouse=True)
def _leave_as_found(cluster: Cluster) -> Iterator[None]:
    Application.gate.clear()
    yield
    Application.gate.set()
    for kind in ("RouteRule", "DestinationPolicy", "EgressRule"):
        cluster.drop(kind=kind)


def rule(cluster: Cluster, spec: Spec, kind: str = "RouteRule") -> None:
    found = cluster.rule(spec, kind=kind)
    assert found.in_force, found


def pods(cluster: Cluster, host: str = "svcb", number: int = 8) -> set[str]:
    return {cluster.get("svca-1", f"http://{host}/").pod for _ in range(number)}


@pytest.mark.parametrize("destination", [
    {"name": "svcb", "namespace": "default"}, {"name": "svcb", "domain": "svc.cluster.local"},
    {"service": "svcb.default.svc.cluster.local"},
], ids=str)  # fmt: skip
def test_a_service_may_be_named_by_each_of_its_names(cluster: Cluster, destination: Spec) -> None:
    rule(cluster, {"destination": destination, "route": [V2]})
    assert (pods(cluster), pods(cluster, "svca")) == ({"svcb-2"}, {"svca-1"})
    rule(cluster, {"destination": {**SVCB["destination"], "namespace": "elsewhere"}, "route": [V2]})
    assert pods(cluster, number=40) == {"svcb-1", "svcb-2"}


@pytest.mark.parametrize(("source", "holds"), [
    ({"name": "svca"}, True), ({"name": "svcb"}, False),
    ({"name": "svca", "namespace": "default"}, True), ({"name": "svca", "namespace": "elsewhere"}, False),
    ({"name": "svca", "domain": "svc.cluster.local"}, True), ({"name": "svca", "domain": "svc.example"}, False),
    ({"service": "svca.default.svc.cluster.local"}, True), ({"service": "svcb.default.svc.cluster.local"}, False),
    ({"name": "svca", "labels": {"version": "v0.1"}}, True), ({"name": "svca", "labels": {"version": "v0.2"}}, False),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("kind", ["RouteRule", "DestinationPolicy"])
def test_a_source_is_who_calls(cluster: Cluster, source: Spec, holds: bool, kind: str) -> None:
    if kind == "RouteRule":
        rule(cluster, {**SVCB, "match": {"source": source}, "route": [V2]})
        assert pods(cluster, number=40) == ({"svcb-2"} if holds else {"svcb-1", "svcb-2"})
        return
    breaker = {"simpleCb": {"sleepWindow": "30s", "httpDetectionInterval": "10s", "httpMaxRequests": 1}}
    rule(cluster, {**SVCB, "source": source, "circuitBreaker": breaker}, kind)
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(cluster.get, "svca-1", "http://svcb/held/first")
        hits = [cluster.applications[pod].hits for pod in ("svcb-1", "svcb-2")]
        cluster.eventually(lambda: any("/held/first" in each for each in hits), "it waits")
        assert cluster.get("svca-1", "http://svcb/").status == (503 if holds else 200)
        assert cluster.get("svca-1", "http://svca/").status == 200
        Application.gate.set()
        assert held.result().status == 200
    for each in hits:
        each.clear()


@pytest.mark.parametrize("destination", [
    {"name": "svca"}, {"name": "svca", "namespace": "default"}, {"name": "svca", "domain": "svc.cluster.local"},
    {"service": "svca.default.svc.cluster.local"},
], ids=str)  # fmt: skip
def test_a_share_or_a_copy_may_go_to_another_service(cluster: Cluster, destination: Spec) -> None:
    match = {"request": {"headers": {"uri": {"prefix": "/x"}}}}
    rule(cluster, {**SVCB, "match": match, "route": [{"destination": destination, "weight": 100}]})
    assert cluster.get("svca-1", "http://svcb/x").pod == "svca-1"
    assert cluster.get("svca-1", "http://svcb/y").pod.startswith("svcb")
    rule(cluster, {**SVCB, "match": match, "route": [V1], "mirror": destination})
    hits = cluster.applications["svca-1"].hits
    hits.clear()
    assert [cluster.get("svca-1", f"http://svcb/{path}").pod[:4] for path in ("y", "x/copy")] == ["svcb"] * 2
    cluster.eventually(lambda: hits == ["/x/copy"], "the mirror gets its copy, and no other")


def test_cors_says_what_may_be_sent_and_seen(cluster: Cluster) -> None:
    rule(cluster, {**SVCB, "corsPolicy": {
        "allowOrigin": ["http://a.test"], "allowMethods": ["PUT"], "allowHeaders": ["x-a"], "exposeHeaders": ["x-b"],
        "allowCredentials": True,
    }})  # fmt: skip
    asked = {"Access-Control-Request-Method": "PUT"}
    names = ("allow-methods", "allow-headers", "allow-credentials")
    for origin, said in (("http://a.test", ["PUT", "x-a", "true"]), ("http://b.test", [None] * 3)):
        answer = cluster.get("svca-1", "http://svcb/", {"Origin": origin, **asked}, method="OPTIONS")
        assert [answer.headers.get(f"access-control-{name}") for name in names] == said
        exposed = cluster.get("svca-1", "http://svcb/", {"Origin": origin}).headers.get("access-control-expose-headers")
        assert exposed == ("x-b" if said[0] else None)


@pytest.mark.parametrize("destination", [
    {"name": "svcb", "namespace": "default"}, {"name": "svcb", "domain": "svc.cluster.local"},
    {"service": "svcb.default.svc.cluster.local"},
], ids=str)  # fmt: skip
def test_a_policy_names_its_service_like_a_rule(cluster: Cluster, destination: Spec) -> None:
    def balanced(host: str) -> bool:
        dump = cluster.admin("svca-1", "/config_dump?resource=dynamic_active_clusters").body.decode()
        part = dump.partition(f'"out.{host}.default.svc.cluster.local|http"')[2].partition("version_info")[0]
        return '"lb_policy": "RANDOM"' in part

    rule(cluster, {"destination": destination, "loadBalancing": {"name": "RANDOM"}}, "DestinationPolicy")
    assert [balanced("svcb"), balanced("svca")] == [True, False]


# Hosts outside that speak HTTP/2


@pytest.fixture(scope="module")
def greeter(cluster: Cluster) -> Iterator[tuple[str, int]]:
    """A server of gRPC outside the mesh, which speaks HTTP/2 alone."""
    address = f"{cluster.network.external.rsplit('.', 2)[0]}.{BLOCK}.220"
    handler = grpc.stream_unary_rpc_method_handler(lambda requests, context: b"hello")
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("demo", {"Greet": handler})])
        port = server.add_insecure_port(f"{address}:0")
        server.start()
        yield address, port
        server.stop(None).wait()


def test_an_egress_rule_says_which_http_its_host_speaks(cluster: Cluster, greeter: tuple[str, int]) -> None:
    address, port = greeter
    asked = {"content-type": "application/grpc", "te": "trailers"}

    def greeted(host: str) -> bool:
        url = f"http://{host}:{port}/demo/Greet"
        return b"hello" in cluster.get("svca-1", url, asked, address=address, method="POST").body

    for protocol, understood in (("http2", True), ("grpc", True), ("http", False)):
        ports = [{"port": port, "protocol": protocol}]
        rule(cluster, {"destination": {"service": "greeter.test"}, "ports": ports}, "EgressRule")
        assert greeted("greeter.test") is understood
        assert not greeted("other.test")
