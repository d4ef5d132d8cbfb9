"""What the mesh is told of hosts outside, and what sidecars know and report, on real Envoys, field by field as far as
`test_today_live` does not show it: a request that has the effect, and one that must not have it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from pilot_cluster import Cluster

HTTP = [{"number": 80, "name": "http", "protocol": "HTTP"}]
#: An address that nobody has: where a caller of such a host believes to go.
SOMEWHERE = "127.1.2.3"
Spec = dict[str, Any]


@pytest.fixture(scope="module")
def web(cluster: Cluster) -> dict[str, tuple[str, int]]:
    """Two hosts outside the mesh."""
    return {name: cluster.outside(name) for name in ("one", "two")}


@pytest.fixture(autouse=True)
def _leave_as_found(cluster: Cluster) -> Iterator[None]:
    yield
    for kind, names in (
        ("VirtualService", ("it",)), ("ServiceEntry", ("it",)), ("WorkloadEntry", ("one", "two")), ("Sidecar", ("it",)),
        ("Telemetry", ("it",)),
    ):  # fmt: skip
        for name in names:
            cluster.store(kind, {}, name, event="DELETED")


def store(cluster: Cluster, kind: str, spec: Spec, name: str = "it") -> None:
    found = cluster.store(kind, spec, name)
    assert found.in_force, found


def entry(cluster: Cluster, **more: Any) -> None:
    store(cluster, "ServiceEntry", {"hosts": ["web.test"], "ports": HTTP, "resolution": "STATIC", **more})


def heard(cluster: Cluster, number: int = 12) -> set[str]:
    """Who answers for the host, by name, and with what status where nobody does."""
    answers = [cluster.get("svca-1", "http://web.test/", address=SOMEWHERE) for _ in range(number)]
    return {each.pod if each.status == 200 else str(each.status) for each in answers}


def place(web: dict[str, tuple[str, int]], name: str, **more: Any) -> Spec:
    address, port = web[name]
    return {"address": address, "ports": {"http": port}, **more}


def test_endpoints_have_weights(cluster: Cluster, web: dict[str, tuple[str, int]]) -> None:
    entry(cluster, endpoints=[place(web, "one", weight=1), place(web, "two", weight=1)])
    assert heard(cluster, 40) == {"one", "two"}
    entry(cluster, endpoints=[place(web, "one", weight=10_000), place(web, "two", weight=1)])
    # Whoever has one share of 10,001 takes its turn once in so many requests.
    assert Counter(pod for _ in range(40) for pod in heard(cluster, 1))["one"] >= 38


def test_a_port_of_the_host_may_be_another_one_there(cluster: Cluster, web: dict[str, tuple[str, int]]) -> None:
    address, port = web["one"]
    entry(cluster, ports=[{**HTTP[0], "targetPort": port}], endpoints=[{"address": address}])
    assert heard(cluster, 2) == {"one"}
    entry(cluster, ports=[{**HTTP[0], "targetPort": 1}], endpoints=[{"address": address}])  # nobody listens on 1
    assert heard(cluster, 2) == {"503"}


@pytest.mark.parametrize(("visible", "known"), [(["."], True), (["*"], True), (["elsewhere"], False)], ids=str)
def test_a_host_is_known_where_it_is_exported(
    cluster: Cluster, web: dict[str, tuple[str, int]], visible: list[str], known: bool
) -> None:
    entry(cluster, endpoints=[place(web, "one")], exportTo=visible)
    assert heard(cluster, 2) == ({"one"} if known else {"404"})


def test_workload_entries_are_endpoints_of_who_selects_them(cluster: Cluster, web: dict[str, tuple[str, int]]) -> None:
    for name, app in (("one", "web"), ("two", "other")):
        store(cluster, "WorkloadEntry", place(web, name, labels={"app": app}), name)
    entry(cluster, workloadSelector={"labels": {"app": "web"}})
    assert heard(cluster) == {"one"}
    entry(cluster, workloadSelector={"labels": {"app": "other"}})
    assert heard(cluster) == {"two"}
    for name, weight in (("one", 10_000), ("two", 1)):
        store(cluster, "WorkloadEntry", place(web, name, labels={"app": "web"}, weight=weight), name)
    entry(cluster, workloadSelector={"labels": {"app": "web"}})
    assert Counter(pod for _ in range(40) for pod in heard(cluster, 1))["one"] >= 38


def test_a_host_inside_is_called_from_the_pods_own_address(cluster: Cluster, web: dict[str, tuple[str, int]]) -> None:
    for location, own in (("MESH_INTERNAL", True), ("MESH_EXTERNAL", False)):
        entry(cluster, endpoints=[place(web, "one")], location=location)
        peer = cluster.get("svca-1", "http://web.test/", address=SOMEWHERE).seen["peer"]
        assert (peer == cluster.pods["svca-1"][0]) is own


# What sidecars know


def test_a_sidecar_object_may_hide_by_port(cluster: Cluster) -> None:
    def egress(port: int) -> Spec:
        number = {"number": port, "protocol": "HTTP", "name": "p"}
        return {"egress": [{"port": number, "hosts": ["*/*"]}, {"hosts": ["./svca.default.svc.cluster.local"]}]}

    for port, status in ((80, 200), (81, 404)):
        store(cluster, "Sidecar", {"workloadSelector": {"labels": {"app": "svca"}}, **egress(port)})
        assert cluster.get("svca-1", "http://svcb/").status == status
        assert cluster.get("svca-1", "http://svca/").status == 200


def test_a_sidecar_object_says_which_ports_lead_where(cluster: Cluster) -> None:
    assert cluster.rule({"destination": {"name": "svcb"}, "route": [{"labels": {"version": "v0.2"}}]}).in_force
    for protocol, behind, status in (("HTTP", 8080, 200), ("TCP", 1, 503)):  # nobody listens on 1
        ingress = [{
            "port": {"number": 8080, "protocol": protocol, "name": "web"}, "defaultEndpoint": f"127.0.0.1:{behind}",
        }]  # fmt: skip
        store(cluster, "Sidecar", {"workloadSelector": {"labels": {"version": "v0.2"}}, "ingress": ingress})
        assert cluster.get("svca-1", "http://svcb/").status == status
        named = {pod: cluster.admin(pod, "/listeners").body.decode() for pod in ("svcb-1", "svcb-2")}
        assert f"{protocol.lower()}_{cluster.pods['svcb-2'][0]}_8080" in named["svcb-2"]
        assert f"http_{cluster.pods['svcb-1'][0]}_8080" in named["svcb-1"]
    cluster.drop()
    assert cluster.get("svcb-1", "http://svca/").status == 200


# What sidecars report


def sampled(cluster: Cluster, caller: str, host: str, path: str = "") -> str:
    return str(cluster.get(caller, f"http://{host}/{path}").seen["headers"]["x-b3-sampled"])


def test_telemetry_is_for_its_pods_and_their_side_of_a_request(cluster: Cluster) -> None:
    """The mesh logs and traces everything; svca says less of what it asks for, and svcb traces nothing."""
    revision = cluster.mesh(mixerAddress="", accessLogFile="/dev/stdout", enableTracing="true")
    try:
        assert cluster.in_force("configmaps", revision).in_force
        assert [sampled(cluster, "svca-1", "svcb"), sampled(cluster, "svcb-1", "svca")] == ["1", "1"]
        as_client, as_server = {"match": {"mode": "CLIENT"}}, {"match": {"mode": "SERVER"}}
        counts = [{"match": {"metric": metric, "mode": mode}, "disabled": True}
                  for metric, mode in (("REQUEST_COUNT", "CLIENT"), ("REQUEST_SIZE", "SERVER"))]  # fmt: skip
        cluster.put("telemetries", {
            "apiVersion": "telemetry.istio.io/v1", "kind": "Telemetry", "metadata": {"name": "it"}, "spec": {
                "selector": {"matchLabels": {"app": "svca"}},
                "accessLogging": [{**as_client, "disabled": True}, {**as_server, "disabled": False}],
                "tracing": [{**as_client, "randomSamplingPercentage": 0}],
                "metrics": [{"overrides": counts}],
            },
        })  # fmt: skip
        off = {"selector": {"matchLabels": {"app": "svcb"}}, "tracing": [{"disableSpanReporting": True}]}
        store(cluster, "Telemetry", off, "other")
        assert [sampled(cluster, "svca-1", "svcb", "out"), sampled(cluster, "svcb-1", "svca", "in")] == ["0", "0"]
        cluster.eventually(lambda: "/in" in cluster.log("svca-1"), "what svca serves is logged")
        assert "/out" not in cluster.log("svca-1")
        cluster.eventually(lambda: any("/out" in cluster.log(pod) for pod in ("svcb-1", "svcb-2")), "svcb logs it")

        def counted() -> set[tuple[str, str]]:
            page = cluster.admin("svca-1", "/stats/prometheus").body.decode()
            return set(re.findall(r'(requests_total|request_bytes_count)\{.*reporter="(\w+)"', page))

        said = {("request_bytes_count", "source"), ("requests_total", "destination")}
        cluster.eventually(lambda: counted() >= said, "requests are counted")
        assert counted() == said
    finally:
        cluster.store("Telemetry", {}, "other", event="DELETED")
        cluster.mesh(mixerAddress="", accessLogFile="", enableTracing="false")


def test_names_of_routes_and_matches_stand_in_the_log(cluster: Cluster) -> None:
    store(cluster, "Telemetry", {"selector": {"matchLabels": {"app": "svca"}}, "accessLogging": [
        {"match": {"mode": "CLIENT"}, "providers": [{"name": "envoy"}]},
    ]})  # fmt: skip
    to = {"route": [{"destination": {"host": "svcb"}}]}
    match = {"name": "mine", "uri": {"prefix": "/named"}, "statPrefix": "counted"}
    store(cluster, "VirtualService", {"hosts": ["svcb"], "http": [{"name": "block", "match": [match], **to}, to]})
    for path in ("named/1", "other/1"):
        assert cluster.get("svca-1", f"http://svcb/{path}").status == 200
    cluster.eventually(lambda: "/other/1" in cluster.log("svca-1"), "both are logged")
    lines = [line for line in cluster.log("svca-1").splitlines() if "/1 " in line]
    assert [line.endswith(" block.mine") for line in lines] == [True, False]
    stats = cluster.admin("svca-1", "/stats?filter=route.counted.upstream_rq_total").body.decode()
    assert re.findall(r": (\d+)$", stats, re.M) == ["1"]
