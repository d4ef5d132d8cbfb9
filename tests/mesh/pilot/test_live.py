"""Real Envoys against our Pilot: what a rule does to requests, when it is in force, and what a bad one cannot do."""

from __future__ import annotations

import http.client
import json
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pilot_cluster import Cluster

SVCB = {"destination": {"name": "svcb"}}
V1, V2 = {"labels": {"version": "v0.1"}}, {"labels": {"version": "v0.2"}}


@pytest.fixture(autouse=True)
def _leave_as_found(cluster: Cluster) -> Iterator[None]:
    yield
    cluster.drop()


def pods(cluster: Cluster, number: int, **options: Any) -> Counter[str]:
    return Counter(cluster.get("svca-1", "http://svcb/", **options).pod for _ in range(number))


def test_without_a_rule_every_version_is_reached(cluster: Cluster) -> None:
    assert set(pods(cluster, 10)) == {"svcb-1", "svcb-2"}


def test_a_rule_is_in_force_when_pilot_says_so_every_time(cluster: Cluster) -> None:
    for number in range(20):
        version = V1 if number % 2 else V2
        assert cluster.rule({**SVCB, "route": [{**version, "weight": 100}]}).in_force
        assert set(pods(cluster, 3)) == {"svcb-1" if number % 2 else "svcb-2"}


def test_weights_are_kept(cluster: Cluster) -> None:
    cluster.rule({**SVCB, "route": [{**V1, "weight": 50}, {**V2, "weight": 50}]})
    # A band of +-59 around 200 of 400: one false alarm in 500 million.
    assert abs(pods(cluster, 400)["svcb-1"] - 200) <= 59
    cluster.rule({**SVCB, "route": [{**V1, "weight": 100}, {**V2, "weight": 0}]})
    assert set(pods(cluster, 50)) == {"svcb-1"}


@pytest.mark.parametrize(("headers", "request_headers", "path", "matches"), [
    ({"uri": {"exact": "/a"}}, {}, "/a", True),
    ({"uri": {"exact": "/a"}}, {}, "/ab", False),
    ({"uri": {"exact": "/a"}}, {}, "/a?q=1", True),
    ({"uri": {"prefix": "/a"}}, {}, "/ab", True),
    ({"uri": {"regex": "/a[0-9]+"}}, {}, "/a12", True),
    ({"uri": {"regex": "/a[0-9]+"}}, {}, "/a12b", False),
    ({"x-user": {"exact": "jason"}}, {"X-User": "jason"}, "/", True),
    ({"x-user": {"exact": "jason"}}, {"X-User": "Jason"}, "/", False),
    ({"x-user": {"prefix": "ja.on"}}, {"X-User": "jason"}, "/", False),
    ({"cookie": {"regex": "^(.*?;)?(user=jason)(;.*)?$"}}, {"Cookie": "a=b;user=jason"}, "/", True),
    ({"x-user": {"exact": "a"}, "uri": {"prefix": "/p"}}, {"X-User": "a"}, "/q", False),
    ({"method": {"exact": "GET"}}, {}, "/", True),
    ({"authority": {"exact": "svcb"}}, {}, "/", True),
    ({"scheme": {"exact": "https"}}, {}, "/", False),
])
def test_conditions(
    cluster: Cluster, headers: dict[str, Any], request_headers: dict[str, str], path: str, matches: bool
) -> None:
    cluster.rule({**SVCB, "route": [V1]}, "rest")
    cluster.rule({**SVCB, "precedence": 1, "match": {"request": {"headers": headers}}, "route": [V2]})
    answer = cluster.get("svca-1", f"http://svcb{path}", request_headers)
    assert answer.pod == ("svcb-2" if matches else "svcb-1")
    cluster.drop("rest")


def test_a_source_is_the_callers_service_and_version(cluster: Cluster) -> None:
    cluster.rule({**SVCB, "match": {"source": {"name": "svcb"}}, "redirect": {"uri": "/x"}})
    assert cluster.get("svca-1", "http://svcb/").status == 200
    assert cluster.get("svcb-1", "http://svcb/").status == 302


def test_redirect_and_rewrite(cluster: Cluster) -> None:
    cluster.rule({**SVCB, "redirect": {"uri": "/new", "authority": "elsewhere"}})
    answer = cluster.get("svca-1", "http://svcb/old")
    assert (answer.status, answer.headers["location"]) == (302, "http://elsewhere/new")
    cluster.rule({
        **SVCB, "match": {"request": {"headers": {"uri": {"prefix": "/old"}}}},
        "rewrite": {"uri": "/new", "authority": "other"},
    })
    seen = cluster.get("svca-1", "http://svcb/old/x").seen
    assert (seen["path"], seen["headers"]["host"]) == ("/new/x", "other")


def test_a_delay_delays_and_an_abort_answers_and_neither_touches_other_routes(cluster: Cluster) -> None:
    match = {"request": {"headers": {"x-fault": {"exact": "1"}}}}
    cluster.rule({**SVCB, "match": match, "httpFault": {"delay": {"percent": 100, "fixedDelay": "0.2s"}}})
    before = cluster.faults("svca-1")
    assert cluster.get("svca-1", "http://svcb/", {"x-fault": "1"}).status == 200
    assert cluster.get("svca-1", "http://svcb/").status == 200
    assert cluster.faults("svca-1") == {**before, "delays": before["delays"] + 1}
    cluster.rule({**SVCB, "match": match, "httpFault": {"abort": {"percent": 100, "httpStatus": 418}}})
    assert cluster.get("svca-1", "http://svcb/", {"x-fault": "1"}).status == 418
    assert cluster.get("svca-1", "http://svcb/").status == 200


def test_retries_hide_failures_and_without_a_rule_nothing_is_retried(cluster: Cluster) -> None:
    for name in ("svcb-1", "svcb-2"):
        cluster.applications[name].failures.append(1)
    assert 503 in {cluster.get("svca-1", "http://svcb/").status for _ in range(4)}
    for name in ("svcb-1", "svcb-2"):
        cluster.applications[name].failures.clear()
    cluster.rule({
        **SVCB, "route": [V1], "httpReqRetries": {"simpleRetry": {"attempts": 3, "perTryTimeout": "2s"}}
    })
    cluster.applications["svcb-1"].failures.extend([1, 1])
    assert cluster.get("svca-1", "http://svcb/").status == 200
    assert cluster.applications["svcb-1"].failures == []


def test_headers_are_appended_and_a_mirror_sees_a_copy(cluster: Cluster) -> None:
    cluster.rule({
        **SVCB, "route": [V1], "mirror": {"name": "svcb", "labels": {"version": "v0.2"}},
        "appendHeaders": {"x-added": "50% %REQ(x)%"},
    })
    hits = cluster.applications["svcb-2"].hits
    seen = cluster.get("svca-1", "http://svcb/mirrored").seen
    assert (seen["pod"], seen["headers"]["x-added"]) == ("svcb-1", "50% %REQ(x)%")
    cluster.eventually(lambda: "/mirrored" in hits, "the mirror gets its copy")


def test_cors_answers_a_preflight(cluster: Cluster) -> None:
    cluster.rule({**SVCB, "corsPolicy": {
        "allowOrigin": ["http://a.example"], "allowMethods": ["GET"], "maxAge": "300s"
    }})
    ask = {"Origin": "http://a.example", "Access-Control-Request-Method": "GET"}
    answer = cluster.get("svca-1", "http://svcb/", ask, method="OPTIONS")
    assert answer.headers["access-control-allow-origin"] == "http://a.example"
    assert answer.headers["access-control-max-age"] == "300"
    other = cluster.get("svca-1", "http://svcb/", {**ask, "Origin": "http://b.example"}, method="OPTIONS")
    assert "access-control-allow-origin" not in other.headers


def test_a_websocket_passes_both_sidecars_only_with_the_rule(cluster: Cluster) -> None:
    ask = {"Connection": "Upgrade", "Upgrade": "websocket"}
    assert cluster.get("svca-1", "http://svcb/", ask).status == 403
    cluster.rule({**SVCB, "route": [V1], "websocketUpgrade": True})
    assert cluster.get("svca-1", "http://svcb/", ask).status == 101


def test_an_unknown_host_is_404_and_an_unknown_port_is_closed(cluster: Cluster) -> None:
    nowhere = f"{cluster.network.services}.200.200"
    assert cluster.get("svca-1", "http://unknown/", address=nowhere).status == 404
    with pytest.raises(http.client.RemoteDisconnected):
        cluster.get("svca-1", "http://unknown:9997/", address=nowhere)


@pytest.mark.parametrize("protocol", ["http", "tcp"])
def test_an_egress_rule_opens_its_destination_and_nothing_else(cluster: Cluster, protocol: str) -> None:
    address, port = cluster.outside("outside")
    url = f"http://{address}:{port}/"
    with pytest.raises(http.client.RemoteDisconnected):
        cluster.get("svca-1", url, address=address)
    spec = {"destination": {"service": address}, "ports": [{"port": port, "protocol": protocol}]}
    assert cluster.rule(spec, kind="EgressRule").in_force
    assert cluster.get("svca-1", url, address=address).pod == "outside"
    other = f"{cluster.network.services}.201.201"
    if protocol == "http":
        assert cluster.get("svca-1", f"http://other:{port}/", address=other).status == 404
    else:
        with pytest.raises(http.client.RemoteDisconnected):
            cluster.get("svca-1", f"http://{other}:{port}/", address=other)
    assert cluster.drop(kind="EgressRule").in_force
    with pytest.raises(http.client.RemoteDisconnected):
        cluster.get("svca-1", url, address=address)


def test_an_egress_request_carries_the_headers_of_the_tutorial(cluster: Cluster) -> None:
    address, port = cluster.outside("outside")
    cluster.mesh(mixerAddress="istio-mixer.istio-system:15004", accessLogFile="", enableTracing="true")
    spec = {"destination": {"service": address}, "ports": [{"port": port, "protocol": "http"}]}
    cluster.rule(spec, kind="EgressRule")
    try:
        headers = cluster.get("svca-1", f"http://{address}:{port}/", address=address).seen["headers"]
        trace = headers["x-b3-traceid"]
        assert headers["x-ot-span-context"] == f"{trace};{trace};0000000000000000"
        assert headers["x-envoy-decorator-operation"] == "default-route"
        assert headers["x-b3-sampled"] == "1"
        assert set(headers) >= {"x-request-id", "x-istio-attributes", "x-forwarded-proto", "x-b3-spanid"}
    finally:
        cluster.mesh(mixerAddress="", accessLogFile="", enableTracing="false")
        cluster.drop(kind="EgressRule")


def test_a_version_that_comes_back_has_its_endpoints_at_once(cluster: Cluster) -> None:
    """Clusters that are new or changed wait 15 s for endpoints unless they are sent again."""

    def warm() -> bool:
        return not json.loads(cluster.admin("svca-1", "/config_dump?resource=dynamic_warming_clusters").body)

    for version in ("v7", "v0.1", "v8", "v0.2"):
        assert cluster.rule({**SVCB, "route": [{"labels": {"version": version}}]}).in_force
        expected = 200 if version.startswith("v0") else 503
        assert cluster.get("svca-1", "http://svcb/").status == expected
        assert warm()
    for name in ("RANDOM", "LEAST_CONN"):
        cluster.rule({**SVCB, "loadBalancing": {"name": name}}, kind="DestinationPolicy")
        assert cluster.get("svca-1", "http://svcb/").status == 200
        assert warm()
    cluster.drop(kind="DestinationPolicy")


def test_circuit_breaking_ejects_a_failing_pod(cluster: Cluster) -> None:
    cluster.rule({**SVCB, "circuitBreaker": {"simpleCb": {
        "sleepWindow": "30s", "httpDetectionInterval": "1s", "httpConsecutiveErrors": 2,
        "httpMaxEjectionPercent": 50,
    }}}, kind="DestinationPolicy")
    cluster.applications["svcb-1"].failures.extend([1] * 50)
    try:
        cluster.eventually(lambda: [
            cluster.get("svca-1", "http://svcb/").status for _ in range(6)
        ] == [200] * 6, "the failing pod is left out")
    finally:
        cluster.applications["svcb-1"].failures.clear()
        cluster.drop(kind="DestinationPolicy")


@pytest.mark.parametrize("spec", [
    {**SVCB, "match": {"request": {"headers": {"uri": {"regex": "(?=x)"}}}}},
    {**SVCB, "route": [{"labels": {"version": "v0.1"}, "weight": 7}]},
    {**SVCB, "unknown": 1},
])
def test_a_bad_rule_is_reported_and_what_was_there_stays(cluster: Cluster, spec: dict[str, Any]) -> None:
    cluster.rule({**SVCB, "route": [V2]}, "good")
    found = cluster.rule(spec)
    assert not found.in_force
    assert "route-rule/default/rule" in found.rejected
    assert set(pods(cluster, 6)) == {"svcb-2"}
    cluster.drop("good")


def test_a_refusal_by_envoy_is_an_error_with_its_reason_and_the_next_good_rule_works(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.rule({**SVCB, "route": [V2]})
    # As if Pilot's own check did not know this one.
    monkeypatch.setattr("meshlab.mesh.pilot.check.regex_problem", lambda pattern: "")
    monkeypatch.setattr("meshlab.mesh.pilot.match.regex_problem", lambda pattern: "")
    found = cluster.rule({**SVCB, "match": {"request": {"headers": {"uri": {"regex": "(?=x)"}}}}})
    assert not found.in_force
    assert "invalid perl operator" in found.rejected["svca-1.default"]
    assert set(pods(cluster, 6)) == {"svcb-2"}
    status, body = cluster.pilot("/debug/syncz")
    assert status == 200
    states = [each["rds"]["state"] for name, each in body["proxies"].items() if "svca-1" in name]
    assert states == ["REFUSED"]
    assert cluster.rule({**SVCB, "route": [V1]}).in_force
    assert set(pods(cluster, 6)) == {"svcb-1"}


def test_the_debug_port_answers(cluster: Cluster) -> None:
    revision = cluster.put("routerules", {
        "kind": "RouteRule", "metadata": {"name": "rule"}, "spec": {**SVCB, "route": [V1]}
    })
    status, body = cluster.pilot(f"/debug/inforce?kind=routerules&resourceVersion={revision}&timeout=20")
    assert (status, body["inForce"], set(body["proxies"])) == (
        200, True, {"svca-1.default", "svcb-1.default", "svcb-2.default"}
    )
    assert cluster.pilot("/ready")[0] == 200
    status, body = cluster.pilot("/debug/config_dump?proxy=svca-1.default")
    assert (status, {"cds", "eds", "lds", "rds"} <= set(body)) == (200, True)
    assert cluster.pilot("/debug/config_dump?proxy=nobody")[0] == 404
    assert cluster.pilot("/debug/inforce?kind=routerules")[0] == 400
    assert cluster.pilot("/nothing")[0] == 404
    late = cluster.pilot("/debug/inforce?kind=routerules&resourceVersion=999999&timeout=0.1")[1]
    assert (late["inForce"], list(late["rejected"])) == (False, ["pilot"])


def test_an_unnamed_port_is_a_tunnel_and_a_cure_by_name_is_in_force_after_the_old_connections(
    cluster: Cluster,
) -> None:
    cluster.services["svcb"]["port_name"] = ""
    service = {"metadata": {"name": "svcb"}, "spec": {
        "clusterIP": cluster.services["svcb"]["ip"], "selector": {"app": "svcb"},
        "ports": [{"name": "", "port": 80, "targetPort": 8080}],
    }}
    cluster.put("services", service)
    cluster._endpoints("svcb")
    cluster.rule({**SVCB, "route": [V2]})
    cluster.eventually(lambda: "x-request-id" not in cluster.get("svca-1", "http://svcb/").seen["headers"],
                       "the port is TCP")
    assert set(pods(cluster, 12)) == {"svcb-1", "svcb-2"}
    held = cluster.connect("svca-1", cluster.services["svcb"]["ip"], 80)
    service["spec"]["ports"][0]["name"] = "http"  # type: ignore[index]
    cluster.services["svcb"]["port_name"] = "http"
    revision = cluster.put("services", service)
    cluster._endpoints("svcb")
    found = cluster.in_force("services", revision)
    assert found.in_force
    assert found.ms >= 1000
    held.settimeout(30)
    with held:
        assert closed(held.recv, 1)
    assert set(pods(cluster, 12)) == {"svcb-2"}


def closed(receive: Callable[[int], bytes], size: int) -> bool:
    try:
        return receive(size) == b""
    except ConnectionResetError:
        return True


def test_a_sidecar_that_comes_back_has_everything_at_once(cluster: Cluster) -> None:
    cluster.rule({**SVCB, "route": [V1]})
    cluster.pod("late", "svca", serve=False)
    cluster.sidecar("late")
    assert {cluster.get("late", "http://svcb/").pod for _ in range(6)} == {"svcb-1"}
    cluster.kill("late")
    cluster.eventually(lambda: all(
        c.proxy.id != "late.default" for c in list(cluster.control.connections.values())
    ), "its stream is gone")
    found = cluster.rule({**SVCB, "route": [V2]})
    assert found.in_force
    assert "late.default" not in found.proxies


def test_the_admin_interface_is_nobody_elses(cluster: Cluster) -> None:
    path = cluster.home / "run" / "svca-1.sock"
    assert path.stat().st_mode & 0o777 == 0o600
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(path))


def test_a_running_sidecar_that_pilot_cannot_reach_is_not_counted_as_in_force(cluster: Cluster) -> None:
    """Just after a restart of Pilot no sidecar is connected, and none has the new rule."""
    stray: dict[str, Any] = {
        "metadata": {"name": "stray", "labels": {"app": "stray"}},
        "spec": {"containers": [{"name": "istio-proxy", "args": ["proxy", "sidecar"]}]},
        "status": {"podIP": f"{cluster.network.pods}.1.1", "phase": "Running",
                   "conditions": [{"type": "Ready", "status": "True"}]},
    }
    cluster.put("pods", stray)
    revision = cluster.put("routerules", {
        "kind": "RouteRule", "metadata": {"name": "rule"}, "spec": {**SVCB, "route": [V1]}
    })
    found = cluster.in_force("routerules", revision, 0.3)
    assert (found.in_force, found.rejected) == (False, {"stray.default": "its sidecar is not connected to Pilot"})
    cluster.put("pods", stray, "DELETED")
    assert cluster.in_force("routerules", revision).in_force
