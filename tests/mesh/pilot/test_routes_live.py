"""What a VirtualService may say, on real Envoys, field by field as far as `test_today_live` does not show it: a request
that has the effect, and one that must not have it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pilot_cluster import Answer, Application, Cluster

SUBSETS = [{"name": f"v{n}", "labels": {"version": f"v0.{n}"}} for n in (1, 2)]
ONE, TWO = ({"destination": {"host": "svcb", "subset": f"v{n}"}} for n in (1, 2))
REST = {"route": [ONE]}
URL = "http://svcb/"
Spec = dict[str, Any]


@pytest.fixture(autouse=True)
def _leave_as_found(cluster: Cluster) -> Iterator[None]:
    Application.gate.clear()
    cluster.store("DestinationRule", {"host": "svcb", "subsets": SUBSETS}, "svcb")
    yield
    Application.gate.set()
    for kind in ("VirtualService", "DestinationRule", "ServiceEntry"):
        for name in ("it", "svcb", "other"):
            cluster.store(kind, {}, name, event="DELETED")


def store(cluster: Cluster, kind: str, spec: Spec, name: str = "it") -> None:
    found = cluster.store(kind, spec, name)
    assert found.in_force, found


def route(cluster: Cluster, *http: Spec, hosts: tuple[str, ...] = ("svcb",), name: str = "it", **more: Any) -> None:
    store(cluster, "VirtualService", {"hosts": list(hosts), "http": list(http), **more}, name)


def ask(cluster: Cluster, path: str = "", headers: dict[str, str] | None = None, method: str = "GET") -> Answer:
    return cluster.get("svca-1", URL + path, headers, method=method)


@pytest.mark.parametrize(("match", "yes", "no"), [
    ({"scheme": {"exact": "http"}}, "GET", None),
    ({"scheme": {"prefix": "htt"}}, "GET", None),
    ({"scheme": {"regex": "https?"}}, "GET", None),
    ({"scheme": {"exact": "https"}}, None, "GET"),
    ({"scheme": {"prefix": "https"}}, None, "GET"),
    ({"scheme": {"regex": "https"}}, None, "GET"),
    ({"method": {"prefix": "PO"}}, "POST", "GET"),
    ({"method": {"regex": "P.*T"}}, "POST", "GET"),
    ({"authority": {"prefix": "sv"}}, "GET", None),
    ({"authority": {"prefix": "other"}}, None, "GET"),
    ({"authority": {"regex": "svc.*"}}, "GET", None),
    ({"authority": {"regex": "svc"}}, None, "GET"),
    ({"sourceNamespace": "default"}, "GET", None),
    ({"gateways": ["mesh"]}, "GET", None),
])  # fmt: skip
def test_a_match_takes_what_it_says_whatever_the_kind_of_pattern(
    cluster: Cluster, match: Spec, yes: str | None, no: str | None
) -> None:
    route(cluster, {"match": [match], "route": [TWO]}, REST)
    for method, pod in ((yes, "svcb-2"), (no, "svcb-1")):
        if method is not None:
            assert ask(cluster, "x", method=method).pod == pod


CHANGES = {"set": {"x-a": "1"}, "add": {"x-b": "2"}, "remove": ["x-c"]}


@pytest.mark.parametrize("where", ["route", "destination", "one of two destinations"])
def test_headers_are_changed_for_the_route_or_destination_that_says_so(cluster: Cluster, where: str) -> None:
    sent = {"headers": {"request": CHANGES, "response": {**CHANGES, "remove": ["content-length"]}}}
    block: Spec = {"route": [ONE], **sent} if where == "route" else {"route": [{**ONE, **sent}]}
    if where == "one of two destinations":
        block["route"] = [{**ONE, **sent, "weight": 1}, {**TWO, "weight": 0}]
    route(cluster, {"match": [{"uri": {"exact": "/x"}}], **block}, REST)
    asked = {"x-a": "0", "x-c": "3"}
    changed, left = ask(cluster, "x", asked), ask(cluster, "y", asked)
    assert [changed.seen["headers"].get(name) for name in ("x-a", "x-b", "x-c")] == ["1", "2", None]
    assert [changed.headers.get(name) for name in ("x-a", "x-b", "content-length")] == ["1", "2", None]
    assert [left.seen["headers"].get(name) for name in ("x-a", "x-b", "x-c")] == ["0", None, "3"]
    assert [left.headers.get(name) for name in ("x-a", "x-b")] == [None, None]
    assert "content-length" in left.headers


@pytest.mark.parametrize(("block", "status", "header", "value"), [
    ({"redirect": {"scheme": "https", "derivePort": "FROM_PROTOCOL_DEFAULT"}}, 301, "location", "https://svcb/x"),
    ({"redirect": {"scheme": "https", "derivePort": "FROM_REQUEST_PORT"}}, 301, "location", "https://svcb:80/x"),
    ({"directResponse": {"status": 503, "body": {"bytes": "Y2xvc2Vk"}}}, 503, "content-length", "6"),
    ({"route": [ONE], "fault": {"abort": {"grpcStatus": "NOT_FOUND", "percentage": {"value": 100}}}}, 200,
     "grpc-status", "5"),
])  # fmt: skip
def test_what_the_caller_is_answered(cluster: Cluster, block: Spec, status: int, header: str, value: str) -> None:
    route(cluster, {"match": [{"uri": {"exact": "/x"}}], **block}, REST)
    asked = {"content-type": "application/grpc"} if header == "grpc-status" else {}
    answer = ask(cluster, "x", asked)
    assert (answer.status, answer.headers.get(header)) == (status, value)
    left = ask(cluster, "y", asked)
    assert (left.status, left.pod, left.headers.get(header) == value) == (200, "svcb-1", False)


def test_a_deprecated_percent_delays_its_share(cluster: Cluster) -> None:
    for percent, delayed in ((100, 1), (0, 0)):
        fault = {"delay": {"percent": percent, "fixedDelay": "0.1s"}}
        route(cluster, {"match": [{"uri": {"exact": "/x"}}], "fault": fault, **REST}, REST)
        before = cluster.faults("svca-1")
        assert (ask(cluster, "x").pod, ask(cluster, "y").pod) == ("svcb-1", "svcb-1")
        assert cluster.faults("svca-1") == {**before, "delays": before["delays"] + delayed}


def test_a_try_may_take_its_own_time_and_the_next_one_goes_to_another_pod(cluster: Cluster) -> None:
    retries = {"attempts": 1, "perTryTimeout": "0.3s", "retryOn": "gateway-error", "backoff": "1ms",
               "retryIgnorePreviousHosts": True}  # fmt: skip
    route(cluster, {"match": [{"uri": {"prefix": "/held/short"}}], "retries": retries, **REST}, REST)
    hits = cluster.applications["svcb-1"].hits
    before = len(hits)
    assert ask(cluster, "held/short").status == 504
    cluster.eventually(lambda: hits[before:] == ["/held/short"] * 2, "two tries have come")
    Application.gate.set()
    assert ask(cluster, "held/long").status == 200
    both = {"destination": {"host": "svcb"}}
    retries = {"attempts": 1, "retryOn": "5xx", "retryIgnorePreviousHosts": True, "backoff": "1ms"}
    route(cluster, {"route": [both], "retries": retries})
    failing = cluster.applications["svcb-2"].failures
    failing.extend([1] * 100)
    try:
        # Each request that met the failing pod first was answered by the other one.
        assert {ask(cluster, "tried").pod for _ in range(12)} == {"svcb-1"}
        assert len(failing) < 100
    finally:
        failing.clear()


def test_mirrors_get_their_shares_at_their_ports(cluster: Cluster) -> None:
    first, second = (cluster.applications[name].hits for name in ("svca-1", "svcb-2"))
    never = {"destination": {"host": "svca", "port": {"number": 80}}, "percentage": {"value": 0}}
    always = {"destination": {"host": "svcb", "subset": "v2", "port": {"number": 80}}, "percentage": {"value": 100}}
    route(cluster, {"match": [{"uri": {"prefix": "/m"}}], "mirrors": [always, never], **REST}, REST)
    assert ask(cluster, "m/1").pod == "svcb-1"
    cluster.eventually(lambda: "/m/1" in second, "the mirror was reached")
    ask(cluster, "other/1")
    mirror = {"host": "svca", "port": {"number": 80}}
    route(cluster, {"match": [{"uri": {"prefix": "/m"}}], "mirror": mirror, "mirrorPercent": 100, **REST}, REST)
    ask(cluster, "m/2")
    cluster.eventually(lambda: "/m/2" in first, "the mirror was reached")
    route(cluster, {"match": [{"uri": {"prefix": "/m"}}], "mirror": mirror, "mirrorPercent": 0, **REST}, REST)
    ask(cluster, "m/3")
    assert ("/m/1" in first, "/m/2" in second, "/other/1" in second, "/m/3" in first) == (False,) * 4


@pytest.mark.parametrize(("policy", "origin", "header", "value", "stranger"), [
    ({"allowOrigin": ["http://a.test"]}, "http://a.test", "allow-origin", "http://a.test", "http://b.test"),
    ({"allowOrigins": [{"exact": "http://a.test"}]}, "http://a.test", "allow-origin", "http://a.test", "http://a.tes"),
    ({"allowOrigins": [{"prefix": "http://a"}]}, "http://a.test", "allow-origin", "http://a.test", "http://b.test"),
    ({"allowHeaders": ["x-a", "x-b"]}, "http://a.test", "allow-headers", "x-a,x-b", "http://b.test"),
    ({"allowMethods": ["PUT", "GET"]}, "http://a.test", "allow-methods", "PUT,GET", "http://b.test"),
    ({"allowCredentials": True}, "http://a.test", "allow-credentials", "true", "http://b.test"),
])  # fmt: skip
def test_what_cors_allows_it_allows_to_its_origins(
    cluster: Cluster, policy: Spec, origin: str, header: str, value: str, stranger: str
) -> None:
    known = policy if "Origin" in str(policy) else {"allowOrigins": [{"exact": "http://a.test"}], **policy}
    route(cluster, {"match": [{"uri": {"exact": "/x"}}], "corsPolicy": known, **REST}, REST)
    asked = {"Access-Control-Request-Method": "PUT"}
    answers = [
        ask(cluster, path, {"Origin": who, **asked}, "OPTIONS").headers.get(f"access-control-{header}")
        for path, who in (("x", origin), ("x", stranger), ("y", origin))
    ]
    assert answers == [value, None, None]


def test_cors_exposes_headers_and_answers_or_forwards_other_preflights(cluster: Cluster) -> None:
    policy: Spec = {"allowOrigins": [{"exact": "http://a.test"}], "exposeHeaders": ["x-a"]}
    for unmatched, reached in (("FORWARD", True), ("IGNORE", False)):
        block = {"match": [{"uri": {"exact": "/x"}}], "corsPolicy": {**policy, "unmatchedPreflights": unmatched}}
        route(cluster, {**block, **REST}, REST)
        exposed = [ask(cluster, path, {"Origin": "http://a.test"}).headers.get("access-control-expose-headers")
                   for path in ("x", "y")]  # fmt: skip
        assert exposed == ["x-a", None]
        asked = {"Origin": "http://b.test", "Access-Control-Request-Method": "PUT"}
        assert (b'"pod"' in ask(cluster, "x", asked, "OPTIONS").body) is reached


def test_a_delegate_routes_what_its_block_leaves_to_it_and_nothing_else(cluster: Cluster) -> None:
    store(cluster, "VirtualService", {"http": [{"route": [TWO]}]}, "other")
    delegate = {"name": "other", "namespace": "default"}
    route(cluster, {"match": [{"uri": {"prefix": "/pay"}}], "delegate": delegate}, REST)
    assert (ask(cluster, "pay/1").pod, ask(cluster, "look").pod) == ("svcb-2", "svcb-1")


def test_a_destination_may_name_its_port(cluster: Cluster) -> None:
    there, nowhere = ({"route": [{"destination": {"host": "svcb", "port": {"number": n}}}]} for n in (80, 99))
    route(cluster, {"match": [{"uri": {"exact": "/x"}}], **nowhere}, there)
    assert (ask(cluster, "x").status, ask(cluster, "y").status) == (503, 200)


@pytest.mark.parametrize(("visible", "pod"), [(["."], "svcb-2"), (["*"], "svcb-2"), (["elsewhere"], "")])
def test_rules_are_for_the_namespaces_to_which_they_are_exported(
    cluster: Cluster, visible: list[str], pod: str
) -> None:
    route(cluster, {"route": [TWO]}, exportTo=visible)
    seen = {ask(cluster).pod for _ in range(12)}
    assert seen == ({pod} if pod else {"svcb-1", "svcb-2"})
