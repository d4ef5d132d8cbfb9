"""networking.istio.io and telemetry.istio.io on real Envoys: for each field a request that shows it, and one that
shows that it does not leak."""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from pilot_cluster import Answer, Cluster

SUBSETS = [{"name": f"v{n}", "labels": {"version": f"v0.{n}"}} for n in (1, 2)]
ONE, TWO = ({"destination": {"host": "svcb", "subset": f"v{n}"}} for n in (1, 2))
URL = "http://svcb/"


@pytest.fixture(autouse=True)
def _leave_as_found(cluster: Cluster) -> Iterator[None]:
    cluster.store("DestinationRule", {"host": "svcb", "subsets": SUBSETS}, "svcb")
    yield
    for kind in ("VirtualService", "DestinationRule", "ServiceEntry", "Sidecar", "Telemetry"):
        for name in ("it", "svcb", "other"):
            cluster.store(kind, {}, name, event="DELETED")


def route(cluster: Cluster, *http: dict[str, Any], hosts: tuple[str, ...] = ("svcb",)) -> None:
    found = cluster.store("VirtualService", {"hosts": list(hosts), "http": list(http)})
    assert found.in_force, found


def ask(cluster: Cluster, path: str = "", headers: dict[str, str] | None = None, method: str = "GET") -> Answer:
    return cluster.get("svca-1", URL + path, headers, method=method)


def pods(cluster: Cluster, number: int = 20) -> Counter[str]:
    return Counter(ask(cluster).pod for _ in range(number))


def test_a_subset_gets_everything_and_another_host_keeps_its_own(cluster: Cluster) -> None:
    route(cluster, {"route": [TWO]})
    assert set(pods(cluster)) == {"svcb-2"}
    assert cluster.get("svca-1", "http://svca/").pod == "svca-1"


def test_weights_are_relative_and_0_is_never(cluster: Cluster) -> None:
    route(cluster, {"route": [{**ONE, "weight": 3}, {**TWO, "weight": 0}]})
    assert set(pods(cluster)) == {"svcb-1"}
    route(cluster, {"route": [{**ONE, "weight": 50}, {**TWO, "weight": 50}]})
    # Both are seen in 60 draws, but once in 10^17.
    assert set(pods(cluster, 60)) == {"svcb-1", "svcb-2"}


def test_a_subset_that_nobody_defines_is_503_and_the_rest_of_the_table_works(cluster: Cluster) -> None:
    route(cluster, {"route": [{"destination": {"host": "svcb", "subset": "v9"}}]})
    assert ask(cluster).status == 503
    assert cluster.get("svca-1", "http://svca/").status == 200


@pytest.mark.parametrize(("match", "yes", "no"), [
    ({"uri": {"exact": "/a"}}, ("a", {}), ("ab", {})),
    ({"uri": {"prefix": "/a"}}, ("ab", {}), ("b", {})),
    ({"uri": {"regex": "/a+"}}, ("aaa", {}), ("b", {})),
    ({"uri": {"prefix": "/A"}, "ignoreUriCase": True}, ("ab", {}), ("b", {})),
    ({"headers": {"x-user": {"exact": "jason"}}}, ("", {"x-user": "jason"}), ("", {"x-user": "jasper"})),
    ({"headers": {"x-user": {"prefix": "ja"}}}, ("", {"x-user": "jason"}), ("", {"x-user": "tom"})),
    ({"headers": {"x-user": {"regex": "j.*n"}}}, ("", {"x-user": "jason"}), ("", {"x-user": "jasper"})),
    ({"headers": {"x-user": {}}}, ("", {"x-user": "anybody"}), ("", {})),
    ({"withoutHeaders": {"x-user": {"exact": "jason"}}}, ("", {}), ("", {"x-user": "jason"})),
    ({"withoutHeaders": {"x-user": {}}}, ("", {}), ("", {"x-user": "jason"})),
    ({"queryParams": {"q": {"exact": "1"}}}, ("?q=1", {}), ("?q=2", {})),
    ({"queryParams": {"q": {"regex": "[0-9]+"}}}, ("?q=12", {}), ("?q=x", {})),
    ({"authority": {"exact": "svcb"}}, ("", {}), None),
    ({"method": {"exact": "GET"}}, ("", {}), None),
    ({"sourceLabels": {"app": "svca"}}, ("", {}), None),
    ({"port": 80}, ("", {}), None),
])
def test_a_match_takes_what_it_says_and_nothing_else(
    cluster: Cluster, match: dict[str, Any], yes: tuple[str, dict[str, str]], no: tuple[str, dict[str, str]] | None
) -> None:
    route(cluster, {"match": [match], "route": [TWO]}, {"route": [ONE]})
    assert ask(cluster, *yes).pod == "svcb-2"
    if no is not None:
        assert ask(cluster, *no).pod == "svcb-1"


@pytest.mark.parametrize("match", [
    {"sourceLabels": {"app": "somebody-else"}}, {"sourceNamespace": "elsewhere"}, {"port": 81},
    {"gateways": ["gw"]}, {"method": {"exact": "POST"}}, {"authority": {"exact": "b"}},
])
def test_a_match_for_others_does_not_concern_this_caller(cluster: Cluster, match: dict[str, Any]) -> None:
    route(cluster, {"match": [match], "route": [TWO]}, {"route": [ONE]})
    assert set(pods(cluster, 5)) == {"svcb-1"}


def test_what_no_match_takes_is_404_and_without_any_route_for_the_caller_the_host_is_as_ever(cluster: Cluster) -> None:
    route(cluster, {"match": [{"uri": {"exact": "/a"}}], "route": [ONE]})
    assert (ask(cluster, "a").status, ask(cluster, "b").status) == (200, 404)
    route(cluster, {"match": [{"sourceLabels": {"app": "x"}}], "route": [ONE]})
    assert ask(cluster, "b").status == 200


def test_of_several_routes_and_matches_the_first_that_matches_is_taken(cluster: Cluster) -> None:
    route(
        cluster,
        {"match": [{"uri": {"exact": "/a"}}, {"uri": {"exact": "/b"}}], "route": [TWO]},
        {"match": [{"uri": {"prefix": "/a"}}], "directResponse": {"status": 418}},
        {"route": [ONE]},
    )
    assert [ask(cluster, path).status for path in ("a", "b", "ab", "c")] == [200, 200, 418, 200]
    assert (ask(cluster, "a").pod, ask(cluster, "c").pod) == ("svcb-2", "svcb-1")


@pytest.mark.parametrize(("block", "status", "header", "value"), [
    ({"redirect": {"uri": "/new"}}, 301, "location", "http://svcb/new"),
    ({"redirect": {"authority": "other", "redirectCode": 307}}, 307, "location", "http://other/x"),
    ({"redirect": {"scheme": "https"}}, 301, "location", "https://svcb/x"),
    ({"redirect": {"port": 8443, "redirectCode": 308}}, 308, "location", "http://svcb:8443/x"),
    ({"directResponse": {"status": 503, "body": {"string": "closed"}}}, 503, "content-length", "6"),
    ({"route": [ONE], "headers": {"response": {"set": {"x-a": "50%%"}}}}, 200, "x-a", "50%"),
    ({"route": [ONE], "headers": {"response": {"set": {"x-a": "%PROTOCOL% %REQ(:method)%"}}}}, 200, "x-a",
     "HTTP/1.1 GET"),
    ({"route": [{**ONE, "headers": {"response": {"add": {"x-b": "1"}}}}]}, 200, "x-b", "1"),
])
def test_what_the_caller_gets(
    cluster: Cluster, block: dict[str, Any], status: int, header: str, value: str
) -> None:
    route(cluster, {"match": [{"uri": {"exact": "/x"}}], **block}, {"route": [ONE]})
    answer = ask(cluster, "x")
    assert (answer.status, answer.headers.get(header)) == (status, value)
    assert ask(cluster, "y").status == 200
    assert ask(cluster, "y").headers.get(header) != value


@pytest.mark.parametrize(("block", "path", "headers"), [
    ({"rewrite": {"uri": "/new"}}, "/new/1", {}),
    ({"rewrite": {"authority": "other"}}, "/x/1", {"host": "other"}),
    ({"rewrite": {"uriRegexRewrite": {"match": "/x/(.*)", "rewrite": r"/\1/x"}}}, "/1/x", {}),
    ({"headers": {"request": {"set": {"x-a": "1"}, "add": {"x-b": "2"}, "remove": ["x-c"]}}}, "/x/1",
     {"x-a": "1", "x-b": "2", "x-c": None}),
    ({"headers": {"request": {"set": {"Host": "other"}}}}, "/x/1", {"host": "other"}),
])
def test_what_the_destination_gets(
    cluster: Cluster, block: dict[str, Any], path: str, headers: dict[str, str | None]
) -> None:
    route(cluster, {"match": [{"uri": {"prefix": "/x"}}], "route": [ONE], **block}, {"route": [ONE]})
    seen = ask(cluster, "x/1", {"x-a": "0", "x-c": "3"}).seen
    assert seen["path"] == path
    assert {name: seen["headers"].get(name) for name in headers} == headers
    assert ask(cluster, "y", {"x-a": "0"}).seen["path"] == "/y"


def test_a_delay_waits_only_where_it_is_said(cluster: Cluster) -> None:
    slow = {"fault": {"delay": {"percentage": {"value": 100}, "fixedDelay": "0.1s"}}}
    route(cluster, {"match": [{"uri": {"exact": "/slow"}}], "route": [ONE], **slow}, {"route": [ONE]})
    before = cluster.faults("svca-1")
    assert (ask(cluster, "slow").status, ask(cluster, "fast").status) == (200, 200)
    assert cluster.faults("svca-1") == {**before, "delays": before["delays"] + 1}


@pytest.mark.parametrize(("abort", "status"), [
    ({"httpStatus": 418, "percentage": {"value": 100}}, 418), ({"httpStatus": 418}, 200),
    ({"httpStatus": 418, "percentage": {"value": 0}}, 200),
])
def test_an_abort_answers_for_its_share(cluster: Cluster, abort: dict[str, Any], status: int) -> None:
    route(cluster, {"match": [{"uri": {"exact": "/x"}}], "fault": {"abort": abort}, "route": [ONE]}, {"route": [ONE]})
    assert (ask(cluster, "x").status, ask(cluster, "y").status) == (status, 200)


@pytest.mark.parametrize(("retries", "failures", "status"), [
    ({"attempts": 2, "retryOn": "5xx"}, 2, 200), ({"attempts": 1, "retryOn": "5xx"}, 2, 503),
    ({"attempts": 2, "retryOn": "503"}, 2, 200), ({"attempts": 0}, 1, 503), (None, 1, 503),
])
def test_retries_are_made_for_what_they_say(
    cluster: Cluster, retries: dict[str, Any] | None, failures: int, status: int
) -> None:
    route(cluster, {"route": [ONE], **({"retries": retries} if retries is not None else {})})
    application = cluster.applications["svcb-1"]
    application.failures.extend([1] * failures)
    try:
        assert ask(cluster).status == status
    finally:
        application.failures.clear()


def test_a_mirror_sees_the_request_and_its_answer_is_nobodys(cluster: Cluster) -> None:
    route(cluster, {"route": [ONE], "mirror": {"host": "svcb", "subset": "v2"}})
    hits = cluster.applications["svcb-2"].hits
    before = len(hits)
    assert ask(cluster, "mirrored").pod == "svcb-1"
    cluster.eventually(lambda: hits[before:] == ["/mirrored"], "the mirror was reached")
    route(cluster, {"route": [ONE], "mirror": {"host": "svcb", "subset": "v2"}, "mirrorPercentage": {"value": 0}})
    ask(cluster, "again")
    assert "/again" not in hits


def test_cors_answers_a_preflight_of_an_origin_that_it_allows(cluster: Cluster) -> None:
    policy = {"allowOrigins": [{"regex": "http://.*[.]a[.]b"}], "allowMethods": ["PUT"], "maxAge": "300s"}
    route(cluster, {"route": [ONE], "corsPolicy": policy})
    headers = {"Access-Control-Request-Method": "PUT"}
    answer = ask(cluster, "", {"Origin": "http://x.a.b", **headers}, "OPTIONS")
    assert answer.headers["access-control-allow-origin"] == "http://x.a.b"
    assert answer.headers["access-control-max-age"] == "300"
    other = ask(cluster, "", {"Origin": "http://evil", **headers}, "OPTIONS")
    assert "access-control-allow-origin" not in other.headers


def test_consistent_hashing_keeps_a_user_on_one_pod(cluster: Cluster) -> None:
    cluster.store("DestinationRule", {"host": "svcb", "trafficPolicy": {
        "loadBalancer": {"consistentHash": {"httpHeaderName": "x-user"}}
    }}, "svcb")
    # Where users hash to depends on the pods' addresses: 40 of them on one pod is once in 10^12.
    users = {user: {ask(cluster, "", {"x-user": user}).pod for _ in range(3)} for user in map(str, range(40))}
    assert all(len(found) == 1 for found in users.values())
    assert len(set().union(*users.values())) == 2


def test_outlier_detection_ejects_the_pod_that_fails(cluster: Cluster) -> None:
    cluster.store("DestinationRule", {"host": "svcb", "trafficPolicy": {"outlierDetection": {
        "consecutive5xxErrors": 1, "interval": "1s", "baseEjectionTime": "30s", "maxEjectionPercent": 100,
    }}}, "svcb")
    route(cluster, {"route": [{"destination": {"host": "svcb"}}], "retries": {"attempts": 0}})
    cluster.applications["svcb-2"].failures.append(1)
    assert 503 in [ask(cluster).status for _ in range(4)]
    # Another thread of Envoy ejects it, in a moment.
    cluster.eventually(lambda: set(pods(cluster, 10)) == {"svcb-1"}, "it is left out")


# Hosts outside


def entry(cluster: Cluster, host: str, port: int, protocol: str = "HTTP", **more: Any) -> None:
    found = cluster.store("ServiceEntry", {
        "hosts": [host], "ports": [{"number": port, "name": "it", "protocol": protocol}], **more
    })
    assert found.in_force, found


def test_a_service_entry_opens_its_host_and_no_other(cluster: Cluster) -> None:
    address, port = cluster.outside("web")
    assert closed(cluster, address, port)
    entry(cluster, "web.test", port)
    assert cluster.get("svca-1", f"http://web.test:{port}/", address=address).pod == "web"
    assert cluster.get("svca-1", f"http://other.test:{port}/", address=address).status == 404


def test_a_service_entry_of_placeholders_without_addresses_takes_nothing_from_others(cluster: Cluster) -> None:
    ports = [{"number": 80, "name": "http", "protocol": "HTTP"}]
    assert cluster.store("ServiceEntry", {"hosts": ["a.invalid"], "ports": ports}).in_force
    assert ask(cluster).status == 200


def test_static_endpoints_are_used_whatever_address_the_caller_has(cluster: Cluster) -> None:
    address, port = cluster.outside("web")
    entry(cluster, "web.test", 80, resolution="STATIC", endpoints=[{"address": address, "ports": {"it": port}}])
    assert cluster.get("svca-1", "http://web.test/", address="127.1.2.3").pod == "web"
    route(cluster, {"route": [{"destination": {"host": "web.test"}}], "timeout": "1s",
                    "headers": {"request": {"set": {"x-a": "1"}}}}, hosts=("web.test",))
    assert cluster.get("svca-1", "http://web.test/", address="127.1.2.3").seen["headers"]["x-a"] == "1"


def test_a_route_may_lead_out_of_the_mesh(cluster: Cluster) -> None:
    address, port = cluster.outside("web")
    entry(cluster, "web.test", 80, resolution="STATIC", endpoints=[{"address": address, "ports": {"it": port}}])
    route(cluster, {"route": [{"destination": {"host": "web.test"}}]})
    assert ask(cluster).pod == "web"


def test_tcp_by_address_is_tunnelled_and_another_address_is_closed(cluster: Cluster) -> None:
    address, port = cluster.outside("db")
    entry(cluster, "db.test", port, "TCP", addresses=[address])
    assert cluster.get("svca-1", f"http://whatever:{port}/", address=address).pod == "db"
    assert closed(cluster, "127.1.2.3", port)


def test_connections_by_address_leave_the_requests_on_their_port_alone(cluster: Cluster) -> None:
    address, port = cluster.outside("db")
    entry(cluster, "db.test", 80, "TCP", addresses=["127.1.2.3"], resolution="STATIC",
          endpoints=[{"address": address, "ports": {"it": port}}])
    assert cluster.get("svca-1", "http://whatever/", address="127.1.2.3").pod == "db"
    assert ask(cluster).status == 200


def closed(cluster: Cluster, address: str, port: int) -> bool:
    with cluster.connect("svca-1", address, port) as raw:
        raw.settimeout(30)
        with contextlib.suppress(ConnectionError):
            raw.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            return raw.recv(1) == b""
        return True


@pytest.mark.parametrize("by", ["mesh", "sidecar"])
def test_outbound_traffic_policy(cluster: Cluster, by: str) -> None:
    address, port = cluster.outside("unknown")

    def policy(mode: str) -> None:
        if by == "sidecar":
            found = cluster.store("Sidecar", {"outboundTrafficPolicy": {"mode": mode}})
            assert found.in_force, found
        else:
            settings = {"mixerAddress": "", "accessLogFile": "", "enableTracing": "false"}
            revision = cluster.mesh(**settings, outboundTrafficPolicy=json.dumps({"mode": mode}))
            assert cluster.in_force("configmaps", revision).in_force

    try:
        policy("ALLOW_ANY")
        assert cluster.get("svca-1", f"http://unknown:{port}/", address=address).pod == "unknown"
        policy("REGISTRY_ONLY")
        assert cluster.get("svca-1", "http://nobody/", address=address).status == 502
        assert closed(cluster, address, port)
        assert ask(cluster).status == 200
    finally:
        cluster.mesh(mixerAddress="", accessLogFile="", enableTracing="false")


def test_a_sidecar_object_hides_what_it_does_not_name(cluster: Cluster) -> None:
    cluster.store("Sidecar", {"egress": [{"hosts": ["./svca.default.svc.cluster.local"]}]})
    assert cluster.get("svca-1", "http://svca/").status == 200
    assert ask(cluster).status == 404
    cluster.store("Sidecar", {}, event="DELETED")
    assert ask(cluster).status == 200


def test_a_sidecar_object_is_for_the_pods_that_it_selects(cluster: Cluster) -> None:
    cluster.store("Sidecar", {
        "workloadSelector": {"labels": {"app": "svcb"}}, "egress": [{"hosts": ["~/*"]}]
    })
    assert ask(cluster).status == 200


def test_telemetry_turns_the_access_log_of_its_pods_on(cluster: Cluster) -> None:
    cluster.store("Telemetry", {
        "selector": {"matchLabels": {"app": "svca"}}, "accessLogging": [{"providers": [{"name": "envoy"}]}]
    })
    ask(cluster, "logged")
    cluster.eventually(lambda: "/logged" in cluster.log("svca-1"), "the request is logged")
    assert "/logged" not in cluster.log("svcb-1") + cluster.log("svcb-2")


def test_telemetry_says_which_requests_are_logged(cluster: Cluster) -> None:
    cluster.store("Telemetry", {"selector": {"matchLabels": {"app": "svca"}}, "accessLogging": [
        {"providers": [{"name": "envoy"}], "filter": {"expression": "request.path.startsWith('/wanted')"}},
    ]})
    for path in ("unwanted", "wanted-1", "unwanted", "wanted-2"):
        ask(cluster, path)
    cluster.eventually(lambda: "/wanted-2" in cluster.log("svca-1"), "the request is logged")
    assert "/wanted-1" in cluster.log("svca-1") and "/unwanted" not in cluster.log("svca-1")


def test_telemetry_counts_by_what_an_expression_says(cluster: Cluster) -> None:
    tag = {"value": "request.path.startsWith('/fine') ? 'fine' : 'other'"}
    override = {"match": {"metric": "REQUEST_COUNT"}, "tagOverrides": {"path_class": tag}}
    found = cluster.store("Telemetry", {
        "selector": {"matchLabels": {"app": "svca"}},
        "metrics": [{"providers": [{"name": "prometheus"}], "overrides": [override]}],
    })
    assert found.in_force, found
    for path in ("fine/1", "fine/2", "bad"):
        ask(cluster, path)

    def counted() -> Counter[str]:
        page = cluster.admin("svca-1", "/stats/prometheus").body.decode()
        found = Counter[str]()
        for kind, count in re.findall(r'requests_total\{.*path_class="(.*?)".*\} (\d+)', page):
            found[kind] += int(count)
        return found

    cluster.eventually(lambda: counted() == {"fine": 2, "other": 1}, "requests are counted by class")


# Both generations


def test_a_virtual_service_wins_over_a_route_rule_which_says_so(cluster: Cluster) -> None:
    rule = {"destination": {"name": "svcb"}, "route": [{"labels": {"version": "v0.1"}}]}
    assert cluster.rule(rule).in_force
    assert set(pods(cluster, 5)) == {"svcb-1"}
    try:
        route(cluster, {"route": [TWO]})
        assert set(pods(cluster, 5)) == {"svcb-2"}
        _, problems = cluster.pilot("/debug/problems")
        assert "VirtualService/default/it" in problems["route-rule/default/rule"]
        cluster.store("VirtualService", {}, event="DELETED")
        assert set(pods(cluster, 5)) == {"svcb-1"}
    finally:
        cluster.drop()


def test_what_is_stored_and_invalid_is_a_problem_and_changes_nothing(cluster: Cluster) -> None:
    found = cluster.store("VirtualService", {"hosts": ["svcb"], "http": [
        {"match": [{"uri": {"regex": "(?=a)"}}], "route": [ONE]}
    ]})
    assert not found.in_force
    assert "invalid" in found.rejected["VirtualService/default/it"]
    assert ask(cluster).status == 200
