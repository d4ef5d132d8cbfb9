"""How connections to a host are made and balanced, as a DestinationRule says it, on real Envoys: it shows for this host
and callers, and nowhere else. (Limits are in `test_limits_live`, TLS in `test_tls_origination`.)"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pilot_cluster import Application, Cluster

ALL = {"host": "svcb", "subset": "all"}
BY_USER = {"loadBalancer": {"consistentHash": {"httpHeaderName": "x-user"}}}
NOBODY = "127.1.2.3"
Spec = dict[str, Any]


@pytest.fixture(autouse=True)
def _leave_as_found(cluster: Cluster) -> Iterator[None]:
    Application.gate.clear()
    yield
    Application.gate.set()
    for kind in ("VirtualService", "DestinationRule", "ServiceEntry"):
        cluster.store(kind, {}, event="DELETED")


def rule(cluster: Cluster, policy: Spec, **more: Any) -> None:
    found = cluster.store("DestinationRule", {"host": "svcb", "trafficPolicy": policy, **more})
    assert found.in_force, found


def route(cluster: Cluster, **destination: str) -> None:
    to = {"destination": destination or {"host": "svcb"}}
    block = {"route": [to], "retries": {"attempts": 0}}
    assert cluster.store("VirtualService", {"hosts": ["svcb"], "http": [block]}).in_force


def pods(cluster: Cluster, number: int, headers: dict[str, str] | None = None, path: str = "") -> list[str]:
    return [cluster.get("svca-1", f"http://svcb/{path}", headers).pod for _ in range(number)]


def sticky(cluster: Cluster, headers: dict[str, str] | None = None, path: str = "") -> bool:
    """Whether one caller stays on one pod. By chance 40 requests do so once in 10^11."""
    return len(set(pods(cluster, 40, headers, path))) == 1


@pytest.mark.parametrize(("policy", "headers", "path", "others"), [
    ({"httpHeaderName": "x-user"}, {"x-user": "a"}, "", {}),
    ({"httpQueryParameterName": "user"}, {}, "?user=a", {}),
    ({"httpCookie": {"name": "user"}}, {"cookie": "user=a"}, "", {}),
    ({"httpHeaderName": "x-user", "minimumRingSize": 64}, {"x-user": "a"}, "", {"ring_hash_lb.size": 64}),
    ({"httpHeaderName": "x-user", "ringHash": {"minimumRingSize": 4096}}, {"x-user": "a"}, "",
     {"ring_hash_lb.size": 4096}),
    ({"httpHeaderName": "x-user", "maglev": {"tableSize": 101}}, {"x-user": "a"}, "",
     {"maglev_lb.max_entries_per_host": 51}),
])  # fmt: skip
def test_who_hashes_alike_stays_on_one_pod_and_others_do_not(
    cluster: Cluster, policy: Spec, headers: dict[str, str], path: str, others: dict[str, int]
) -> None:
    rule(cluster, {"loadBalancer": {"consistentHash": policy}})
    assert sticky(cluster, headers, path)
    spread = {
        pod
        for n in range(48)
        for pod in pods(cluster, 1, {k: v + str(n) for k, v in headers.items()}, path and f"{path}{n}")
    }
    assert spread == {"svcb-1", "svcb-2"}
    assert {name: stat(cluster, name) for name in others} == others
    assert [stat(cluster, name, "svca") for name in others] == [0] * len(others)


def stat(cluster: Cluster, name: str, host: str = "svcb") -> int:
    """A figure of the caller's sidecar about a host, all its versions together."""
    text = cluster.admin("svca-1", f"/stats?filter={re.escape(name)}$").body.decode()
    found = re.search(rf"^cluster\.out\.{host}\.default\.svc\.cluster\.local\|http\.{name}: (\d+)$", text, re.M)
    return int(found[1]) if found else 0


def test_a_caller_without_the_cookie_is_given_one(cluster: Cluster) -> None:
    cookie = {"name": "user", "ttl": "60s", "path": "/shop"}
    rule(cluster, {"loadBalancer": {"consistentHash": {"httpCookie": cookie}}})
    given = cluster.get("svca-1", "http://svcb/").headers["set-cookie"]
    assert re.match(r'user="[0-9a-f]+"; Max-Age=60; Path=/shop; HttpOnly$', given)
    assert "set-cookie" not in cluster.get("svca-1", "http://svca/").headers


def test_one_address_stays_on_one_pod(cluster: Cluster) -> None:
    assert not sticky(cluster)
    rule(cluster, {"loadBalancer": {"consistentHash": {"useSourceIp": True}}})
    assert sticky(cluster)


def test_passthrough_leads_where_the_caller_went(cluster: Cluster) -> None:
    rule(cluster, {"loadBalancer": {"simple": "PASSTHROUGH"}})
    # To the service's own address, where nobody listens.
    assert [cluster.get("svca-1", f"http://{host}/").status for host in ("svcb", "svca")] == [503, 200]


EVERY = {"name": "all", "labels": {"app": "svcb"}}


@pytest.mark.parametrize(("spec", "holds"), [
    ({"trafficPolicy": BY_USER}, True),
    ({"trafficPolicy": {"portLevelSettings": [{"port": {"number": 80}, **BY_USER}]}}, True),
    ({"trafficPolicy": {"portLevelSettings": [{"port": {"number": 81}, **BY_USER}]}}, False),
    ({"subsets": [{**EVERY, "trafficPolicy": BY_USER}]}, True),
    ({"subsets": [EVERY, {"name": "other", "trafficPolicy": BY_USER}]}, False),
    ({"subsets": [{**EVERY, "trafficPolicy": {"portLevelSettings": [{"port": {"number": 80}, **BY_USER}]}}]}, True),
    ({"subsets": [{**EVERY, "trafficPolicy": {"portLevelSettings": [{"port": {"number": 81}, **BY_USER}]}}]}, False),
    ({"trafficPolicy": BY_USER, "exportTo": ["."]}, True),
    ({"trafficPolicy": BY_USER, "exportTo": ["elsewhere"]}, False),
    ({"trafficPolicy": BY_USER, "workloadSelector": {"matchLabels": {"app": "svca"}}}, True),
    ({"trafficPolicy": BY_USER, "workloadSelector": {"matchLabels": {"app": "svcb"}}}, False),
    ({"host": "*.default.svc.cluster.local", "trafficPolicy": BY_USER}, True),
    ({"host": "svca", "trafficPolicy": BY_USER}, False),
])  # fmt: skip
def test_a_policy_holds_where_and_for_whom_it_stands(cluster: Cluster, spec: Spec, holds: bool) -> None:
    assert cluster.store("DestinationRule", {"host": "svcb", **spec}).in_force
    route(cluster, **(ALL if "subsets" in spec else {"host": "svcb"}))
    assert sticky(cluster, {"x-user": "a"}) is holds


# Connections


@pytest.mark.parametrize("pool", [
    {"tcp": {"idleTimeout": "0.05s"}}, {"http": {"idleTimeout": "0.05s"}}, {"tcp": {"maxConnectionDuration": "0.05s"}},
], ids=str)  # fmt: skip
def test_connections_end_when_they_are_idle_or_old(cluster: Cluster, pool: Spec) -> None:
    rule(cluster, {"connectionPool": pool})
    for host in ("svcb", "svca"):
        assert cluster.get("svca-1", f"http://{host}/").status == 200
    cluster.eventually(lambda: stat(cluster, "upstream_cx_active") == 0, "the connection is closed")
    assert stat(cluster, "upstream_cx_active", "svca") >= 1


@pytest.mark.parametrize(("pool", "second"), [
    ({"http": {"h2UpgradePolicy": "UPGRADE"}}, True), ({"http": {"h2UpgradePolicy": "DO_NOT_UPGRADE"}}, False),
    ({"http": {"h2UpgradePolicy": "DEFAULT", "useClientProtocol": True}}, False),
], ids=str)  # fmt: skip
def test_http_2_is_spoken_where_it_is_asked_for(cluster: Cluster, pool: Spec, second: bool) -> None:
    rule(cluster, {"connectionPool": pool})
    before = stat(cluster, "upstream_cx_http2_total"), stat(cluster, "upstream_cx_http2_total", "svca")
    for host in ("svcb", "svca"):
        assert cluster.get("svca-1", f"http://{host}/").status == 200
    assert (stat(cluster, "upstream_cx_http2_total") > before[0]) is second
    assert stat(cluster, "upstream_cx_http2_total", "svca") == before[1]


def test_more_requests_than_are_allowed_at_once_are_refused(cluster: Cluster) -> None:
    rule(cluster, {"connectionPool": {"http": {"http2MaxRequests": 1}}})
    route(cluster)
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(cluster.get, "svca-1", "http://svcb/held")
        cluster.eventually(lambda: stat(cluster, "upstream_rq_active") == 1, "it waits")
        assert cluster.get("svca-1", "http://svcb/").status == 503
        assert cluster.get("svca-1", "http://svca/").status == 200
        Application.gate.set()
        assert held.result().status == 200


def test_the_pod_that_answers_as_a_bad_gateway_is_left_out_unless_too_few_would_be_left(cluster: Cluster) -> None:
    """With both pods wanted (100 %) Envoy panics at once, and asks ejected ones, too."""
    failing = cluster.applications["svcb-2"].failures
    ejects: Spec = {"consecutive5xxErrors": 0, "consecutiveGatewayErrors": 1, "interval": "1s",
                    "baseEjectionTime": "30s", "maxEjectionPercent": 100}  # fmt: skip
    for least, asked in ((0, {"svcb-1"}), (100, {"svcb-1", "svcb-2"})):
        rule(cluster, {"outlierDetection": {**ejects, "minHealthPercent": least}})
        route(cluster)
        failing.append(1)
        cluster.eventually(lambda: not failing or not pods(cluster, 1), "it failed once")
        # Another thread of Envoy ejects it, in a moment.
        cluster.eventually(lambda wanted=asked: set(pods(cluster, 40)) == wanted, "it is left out, or not")  # type: ignore[misc]
        cluster.store("DestinationRule", {}, event="DELETED")


def test_a_host_that_nobody_can_connect_to_is_left_out_by_its_own_count(cluster: Cluster) -> None:
    address, port = cluster.outside("there")
    endpoints = [{"address": address, "ports": {"http": n}} for n in (port, 1)]  # nobody listens on 1
    assert cluster.store("ServiceEntry", {
        "hosts": ["two.test"], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}], "resolution": "STATIC",
        "endpoints": endpoints, "location": "MESH_EXTERNAL",
    }).in_force  # fmt: skip
    assert cluster.store("VirtualService", {"hosts": ["two.test"], "http": [
        {"route": [{"destination": {"host": "two.test"}}], "retries": {"attempts": 0}}
    ]}).in_force  # fmt: skip

    def statuses() -> set[int]:
        return {cluster.get("svca-1", "http://two.test/", address=NOBODY).status for _ in range(40)}

    assert statuses() == {200, 503}
    ejects = {"splitExternalLocalOriginErrors": True, "consecutiveLocalOriginFailures": 1, "consecutive5xxErrors": 0,
              "interval": "1s", "baseEjectionTime": "30s", "maxEjectionPercent": 100}  # fmt: skip
    assert cluster.store(
        "DestinationRule", {"host": "two.test", "trafficPolicy": {"outlierDetection": ejects}}
    ).in_force
    assert 503 in statuses()
    cluster.eventually(lambda: statuses() == {200}, "it is left out")


@pytest.mark.parametrize(("policy", "path", "value"), [
    ({"loadBalancer": {"simple": "RANDOM"}}, "lb_policy", "RANDOM"),
    ({"connectionPool": {"tcp": {"connectTimeout": "3s"}}}, "connect_timeout", "3s"),
    ({"connectionPool": {"tcp": {"tcpKeepalive": {"probes": 3, "time": "7s", "interval": "5s"}}}},
     "upstream_connection_options", {"tcp_keepalive": {
         "keepalive_probes": 3, "keepalive_time": 7, "keepalive_interval": 5}}),
    ({"connectionPool": {"http": {"maxRetries": 7}}}, "circuit_breakers", {"thresholds": [{"max_retries": 7}]}),
    ({"connectionPool": {"http": {"h2UpgradePolicy": "UPGRADE", "maxConcurrentStreams": 9}}},
     "typed_extension_protocol_options", 9),
    ({"loadBalancer": {"simple": "ROUND_ROBIN", "warmupDurationSecs": "60s"}}, "round_robin_lb_config",
     {"slow_start_config": {"slow_start_window": "60s"}}),
    ({"loadBalancer": {"simple": "LEAST_REQUEST", "warmup": {
        "duration": "60s", "minimumPercent": 20, "aggression": 2}}}, "least_request_lb_config",
     {"slow_start_config": {"slow_start_window": "60s", "min_weight_percent": {"value": 20},
                            "aggression": {"default_value": 2, "runtime_key": "warmup"}}}),
])  # fmt: skip
def test_what_no_single_request_shows_stands_in_envoys_own_configuration_of_that_host(
    cluster: Cluster, policy: Spec, path: str, value: Any
) -> None:
    rule(cluster, policy)
    dump = json.loads(cluster.admin("svca-1", "/config_dump?resource=dynamic_active_clusters").body)["configs"]
    found = {each["cluster"]["name"]: each["cluster"].get(path) for each in dump}
    ours, theirs = (found[f"out.{host}.default.svc.cluster.local|http"] for host in ("svcb", "svca"))
    if path == "typed_extension_protocol_options":
        assert f'"max_concurrent_streams": {value}' in json.dumps(ours)
    else:
        assert ours == value
    assert ours != theirs
