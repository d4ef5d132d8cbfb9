"""Each kind of verdict, asked of real sidecars about a real request."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from typing import Any
from xml.etree import ElementTree

import pytest

from meshlab.istioctl.main import main
from meshlab.lab import Lab
from meshlab.notebook import Inside
from meshlab.notebook.waiting import until
from meshlab.sidecars.explanation import Explanation, Hop, Outcome, Place
from meshlab.sidecars.house import house

OUT, IN = Place.OUTBOUND, Place.INBOUND
SVCB = "http://svcb/notify"


@dataclass
class Mesh:
    """The tutorial's services with HTTP ports, both versions of svcb, msgd allowed, and a caller with a sidecar."""

    lab: Lab
    inside: Inside

    def explain(self, url: str = SVCB, source: str = "probe", **headers: str) -> Explanation:
        return self.lab.explain(url, source=source, headers={name.replace("_", "-"): v for name, v in headers.items()})


@pytest.fixture(scope="module")
def mesh(lab: Lab) -> Iterator[Mesh]:
    lab.require("control-plane", "demo", "svcb-v0.2")
    lab.kubectl("apply -f istio-today/crds.yaml")
    with lab.leave_as_found():
        for name in ("svca-http.yaml", "svcb-http.yaml", "rules/enable-svcb-engress-rule.yaml"):
            lab.apply(name)
        with Inside(lab) as inside:
            yield Mesh(lab, inside)
    lab.remove("svcb-v0.2")


@pytest.fixture
def rules(mesh: Mesh) -> Iterator[Any]:
    """Applies what a test asks for, and takes it away again."""
    made: list[dict[str, Any]] = []

    def apply(*documents: dict[str, Any]) -> None:
        for each in documents:
            made.append(each)
            mesh.lab.apply(each)

    yield apply
    for each in reversed(made):
        mesh.lab.delete(each)


@pytest.fixture
def closed(mesh: Mesh) -> Iterator[None]:
    """Nothing leads out of the mesh: svcb cannot reach msgd, and answers 500."""
    mesh.lab.delete("rules/enable-svcb-engress-rule.yaml")
    yield
    mesh.lab.apply("rules/enable-svcb-engress-rule.yaml")


def route(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "config.istio.io/v1alpha2",
        "kind": "RouteRule",
        "metadata": {"name": name},
        "spec": {"destination": {"name": "svcb"}, **spec},
    }


def only(found: Explanation, app: str, place: Place) -> Hop:
    hops = found.find(app, place)
    assert len(hops) == 1, str(found)
    return hops[0]


def test_a_request_is_followed_from_its_caller_to_the_service_outside(mesh: Mesh) -> None:
    found = mesh.lab.explain("http://svca/pay")
    assert [(hop.app, hop.place) for hop in found.hops] == [
        ("client", Place.CALLER),
        ("svca", IN),
        ("svca", Place.PROGRAM),
        ("svca", OUT),
        ("svcb", IN),
        ("svcb", Place.PROGRAM),
        ("svcb", OUT),
        ("msgd", Place.OUTSIDE),
    ], str(found)
    assert {hop.outcome for hop in found.hops} == {Outcome.PASSED}
    assert "known by time" in found.find("svca", Place.PROGRAM)[0].fact("its calls")
    assert found.unknown == ()
    called = only(found, "svca", OUT)
    assert called.fact("listener").startswith("http_0.0.0.0_80 took the connection to ")
    assert called.fact("endpoint").split("(")[1].startswith("svcb-")


def test_the_picture_is_one_drawing_that_says_in_words_what_it_shows(mesh: Mesh) -> None:
    found = mesh.explain(Host="nowhere")
    drawn = house(found).partition("<p ")[0]
    root = ElementTree.fromstring(drawn)  # noqa: S314 - our own drawing
    assert "way out" in root.attrib["aria-label"] and "where it ended" in root.attrib["aria-label"]
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", "").replace("http://svcb", "").replace(
        "http_0", ""
    )
    assert str(found) in found._repr_html_().replace("&gt;", ">").replace("&#x27;", "'")


def test_a_route_that_took_it_is_named_with_those_that_did_not_and_why(mesh: Mesh, rules: Any) -> None:
    rules(
        route(
            "for-testers",
            precedence=5,
            match={"request": {"headers": {"x-tester": {"exact": "yes"}}}},
            route=[{"labels": {"version": "v0.2"}}],
        ),
        route(
            "everybody",
            precedence=1,
            route=[{"labels": {"version": "v0.1"}, "weight": 99}, {"labels": {"version": "v0.2"}, "weight": 1}],
        ),
    )
    tester = only(mesh.explain(x_tester="yes"), "probe", OUT)
    assert (tester.rule, tester.facts_of("passed by")) == ("for-testers", [])
    assert "version=v0.2" in tester.fact("cluster")
    found = mesh.explain(x_tester="no")
    other = only(found, "probe", OUT)
    assert other.rule == "everybody"
    assert other.facts_of("passed by") == ["for-testers: it wants x-tester = yes, and x-tester is no"]
    assert "by its weight" in other.fact("cluster")
    assert "led by everybody" in found.verdict
    # Of a call that a program made, nobody wrote the headers down.
    behind = only(mesh.lab.explain("http://svca/pay"), "svca", OUT)
    assert "no log says whether the request had it; Envoy passed it by" in behind.fact("passed by")


def test_a_host_that_no_route_knows_ends_in_the_callers_sidecar(mesh: Mesh) -> None:
    found = mesh.explain(Host="nowhere")
    hop = only(found, "probe", OUT)
    assert (hop.code, hop.flags, hop.outcome) == (404, "NR", Outcome.ENDED)
    assert "virtual hosts of table 80 answers to nowhere" in hop.fact("host")
    assert found.find("svcb", IN) == []
    assert "Nobody behind it was asked" in found.verdict


def test_a_version_without_pods_is_no_healthy_upstream(mesh: Mesh, rules: Any) -> None:
    rules(route("nobody", route=[{"labels": {"version": "v9"}}]))
    hop = only(mesh.explain(), "probe", OUT)
    assert (hop.code, hop.flags, hop.rule, hop.outcome) == (503, "UH", "nobody", Outcome.ENDED)
    assert hop.fact("endpoint") == "none was chosen; the cluster has 0"


def test_an_injected_answer_and_a_delay_are_told_from_the_services_own(mesh: Mesh, rules: Any) -> None:
    rules(
        route(
            "broken",
            match={"request": {"headers": {"x-case": {"exact": "abort"}}}},
            httpFault={"abort": {"percent": 100, "httpStatus": 418}},
        ),
        route(
            "slow",
            match={"request": {"headers": {"x-case": {"exact": "delay"}}}},
            httpFault={"delay": {"percent": 100, "fixedDelay": "0.2s"}},
        ),
    )
    aborted = only(mesh.explain(x_case="abort"), "probe", OUT)
    assert (aborted.code, aborted.flags, aborted.rule, aborted.outcome) == (418, "FI", "broken", Outcome.ENDED)
    assert aborted.fact("fault") == "answers 100 % of the requests with 418"
    delayed = only(mesh.explain(x_case="delay"), "probe", OUT)
    assert (delayed.code, delayed.flags, delayed.outcome) == (200, "DI", Outcome.PASSED)
    assert delayed.fact("fault").startswith("delays 100 % of the requests by 0.2")
    assert delayed.ms is not None


def test_a_timeout_ends_in_front_of_who_was_still_working(mesh: Mesh, rules: Any) -> None:
    slow = route("msgd-is-slow", httpFault={"delay": {"percent": 100, "fixedDelay": "1s"}})
    slow["spec"]["destination"] = {"service": mesh.lab.network.external}
    # Long enough for the request to reach svcb on a busy machine.
    rules(slow, route("impatient", httpReqTimeout={"simpleTimeout": {"timeout": "0.5s"}}))
    found = mesh.explain()
    hop = only(found, "probe", OUT)
    assert (hop.code, hop.flags, hop.rule) == (504, "UT", "impatient")
    assert (hop.fact("timeout"), hop.outcome) == ("0.500s", Outcome.FAILED)
    cut = only(found, "svcb", IN)
    assert "DC" in cut.flags, str(found)
    assert "the route's timeout was over" in found.verdict


def test_each_attempt_of_a_retried_request_is_a_hop(mesh: Mesh, rules: Any, closed: None) -> None:
    rules(route("again", httpReqRetries={"simpleRetry": {"attempts": 2, "perTryTimeout": "2s"}}))
    found = mesh.explain()
    hop = only(found, "probe", OUT)
    assert (hop.code, hop.rule) == (500, "again")
    assert hop.fact("retries").startswith("up to 2 on 5xx")
    attempts = found.find("svcb", IN)
    assert [each.note for each in attempts] == ["attempt 1 of 3", "attempt 2 of 3", "attempt 3 of 3"], str(found)
    assert "URX" in hop.flags
    # Two pods took turns: what their counters say of closed connections is told once for each.
    assert len(found.find("svcb", OUT)) == 2


def test_an_open_circuit_breaker_says_its_limits(mesh: Mesh, rules: Any) -> None:
    slow = route("msgd-is-slow", httpFault={"delay": {"percent": 100, "fixedDelay": "1s"}})
    slow["spec"]["destination"] = {"service": mesh.lab.network.external}
    policy = {
        "apiVersion": "config.istio.io/v1alpha2",
        "kind": "DestinationPolicy",
        "metadata": {"name": "narrow"},
        "spec": {
            "destination": {"name": "svcb"},
            "circuitBreaker": {
                "simpleCb": {
                    "maxConnections": 1,
                    "httpMaxPendingRequests": 1,
                    "sleepWindow": "30s",
                    "httpDetectionInterval": "1s",
                }
            },
        },
    }
    rules(slow, policy)
    with mesh.inside.load(SVCB, rps=40, seconds=30, concurrency=12) as load:
        end = time.monotonic() + 60
        while not load.progress()["by_status"].get("503") and time.monotonic() < end:
            pass
        for _ in range(5):  # now and then one finds the place that another has just left
            found = mesh.explain()
            if [each.code for each in found.find("probe", OUT)] == [503]:
                break
    hop = only(found, "probe", OUT)
    assert (hop.code, hop.flags, hop.outcome) == (503, "UO", Outcome.ENDED), str(found)
    assert "max_connections 1" in hop.fact("limits")


def test_a_mirrored_copy_is_a_hop_that_does_not_count(mesh: Mesh, rules: Any) -> None:
    rules(
        route("copied", route=[{"labels": {"version": "v0.1"}}], mirror={"name": "svcb", "labels": {"version": "v0.2"}})
    )
    found = mesh.explain()
    hop = only(found, "probe", OUT)
    assert "version=v0.2" in hop.fact("copies")
    assert {(each.version, each.note[:4]) for each in found.find("svcb", IN)} == {("v0.1", ""), ("v0.2", "copy")}, str(
        found
    )


def test_a_connection_that_nothing_allows_is_known_by_counters_alone(mesh: Mesh) -> None:
    found = mesh.explain(f"http://{mesh.lab.network.external}:9/")
    hop = only(found, "probe", OUT)
    assert (hop.outcome, hop.code) == (Outcome.ENDED, 0)
    assert f"none takes a connection to {mesh.lab.network.external}:9" in hop.fact("listener")
    assert hop.fact("known by").startswith("counters: 1 closed")
    assert "Empty reply" in found.answer


def test_blocked_egress_of_a_program_is_found_behind_an_answer_that_hides_it(mesh: Mesh, closed: None) -> None:
    found = mesh.lab.explain("http://svca/pay")
    hop = only(found, "svcb", OUT)
    assert hop.outcome is Outcome.ENDED and hop.rule == "(nothing allows it)"
    assert "EOF" in hop.fact("its log")
    assert found.root.code == 200 and "did not pass the failure on" in found.verdict
    assert any("its destination is not" in each for each in found.unknown)


def test_a_port_without_a_name_is_tcp_and_no_rule_is_asked(mesh: Mesh, rules: Any) -> None:
    rules(route("never-asked", route=[{"labels": {"version": "v0.1"}}]))
    port = [{"op": "remove", "path": "/spec/ports/0/name"}]
    mesh.lab.kubectl(f"patch service svcb --type=json -p '{json.dumps(port)}'")
    mesh.lab.settled()
    try:
        found = mesh.explain()
    finally:
        mesh.lab.apply("svcb-http.yaml")
    hop = only(found, "probe", OUT)
    assert hop.fact("because") == "port 80 of service svcb has no name, which the mesh takes for TCP", str(found)
    assert hop.fact("route").startswith("none") and hop.rule == ""
    assert hop.fact("endpoint").endswith("1 of 2: a new connection")
    inbound = only(found, "svcb", IN)
    assert hop.fact("endpoint").split("(")[1].split(")")[0] == inbound.where.rpartition(".")[0]
    assert "No sidecar read the request" in found.verdict


def test_a_denial_names_the_policy(mesh: Mesh, rules: Any) -> None:
    rules(
        {
            "apiVersion": "security.istio.io/v1",
            "kind": "AuthorizationPolicy",
            "metadata": {"name": "no-notify"},
            "spec": {
                "selector": {"matchLabels": {"app": "svcb"}},
                "action": "DENY",
                "rules": [{"to": [{"operation": {"paths": ["/notify"]}}]}],
            },
        }
    )
    found = mesh.explain()
    hop = only(found, "svcb", IN)
    assert (hop.code, hop.outcome) == (403, Outcome.ENDED)
    assert "no-notify" in hop.rule, str(found)
    assert found.find("svcb", Place.PROGRAM) == []
    assert "svcb's sidecar on the way in by" in found.verdict


def test_plain_text_to_a_strict_port_is_refused_by_the_port(mesh: Mesh, rules: Any) -> None:
    rules(
        {
            "apiVersion": "security.istio.io/v1",
            "kind": "PeerAuthentication",
            "metadata": {"name": "svcb", "namespace": "default"},
            "spec": {"selector": {"matchLabels": {"app": "svcb"}}, "mtls": {"mode": "STRICT"}},
        }
    )
    found = mesh.lab.explain(SVCB)
    hop = only(found, "svcb", IN)
    assert (hop.outcome, hop.rule) == (Outcome.ENDED, "mutual TLS only"), str(found)
    assert "this port takes mutual TLS only" in hop.fact("because")
    allowed = mesh.explain()
    assert only(allowed, "svcb", IN).fact("TLS").startswith("mutual TLS between sidecars")
    assert ">mTLS</text>" in house(allowed)


def test_calls_of_a_busy_program_are_not_guessed(mesh: Mesh) -> None:
    with mesh.lab.load("http://svca/pay", rps=200, seconds=30, concurrency=16) as load:
        end = time.monotonic() + 60
        while load.progress()["sent"] < 50 and time.monotonic() < end:
            pass
        for _ in range(4):
            found = mesh.lab.explain("http://svca/pay")
            if found.unknown:
                break
    assert any("does not pass x-request-id on" in each for each in found.unknown), str(found)
    assert found.find("svca", OUT) == []


def test_a_gateway_is_a_hop_of_its_own(mesh: Mesh, rules: Any) -> None:
    backend = {"service": {"name": "svcb", "port": {"number": 80}}}
    rules(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": "way-in", "annotations": {"kubernetes.io/ingress.class": "istio"}},
            "spec": {"rules": [{"http": {"paths": [{"path": "/notify", "pathType": "Exact", "backend": backend}]}}]},
        }
    )
    found = mesh.lab.explain("http://istio-ingress.istio-system.svc/notify")
    assert [hop.place for hop in found.hops[:3]] == [Place.CALLER, Place.GATEWAY, IN], str(found)
    missed = mesh.lab.explain("http://istio-ingress.istio-system.svc/other")
    gateway = missed.find("istio-ingress", Place.GATEWAY)[0]
    assert (gateway.outcome, gateway.flags) == (Outcome.ENDED, "NR")
    assert "its path is /notify, not /other" in gateway.fact("passed by")


def with_sidecar(lab: Lab) -> set[str]:
    """The proxies that the pods of namespace `default` make, as istioctl calls them."""
    pods = lab.access.items("v1", "Pod", "default")
    sidecars = [pod for pod in pods if "istio-proxy" in {each["name"] for each in pod["spec"]["containers"]}]
    return {f"{pod['metadata']['name']}.default" for pod in sidecars}


def test_the_commands_of_todays_istioctl_ask_the_sidecars(mesh: Mesh, rules: Any) -> None:
    def istioctl(command: str) -> str:
        printed, failed = StringIO(), StringIO()
        words = [*shlex.split(command), "-c", str(mesh.lab.settings.kubeconfig)]
        return printed.getvalue() if main(words, printed, failed) == 0 else failed.getvalue()

    rules(route("everybody", route=[{"labels": {"version": "v0.1"}}]))
    # Pods of tests before may be there, or take their leave.
    until(lambda: {line.split()[0] for line in istioctl("ps -n default").splitlines()[1:]} == with_sidecar(mesh.lab))
    assert any(name.startswith("probe-") for name in with_sidecar(mesh.lab))
    status = istioctl("ps -n default").splitlines()
    assert status[0].split()[:4] == ["NAME", "CLUSTER", "ISTIOD", "VERSION"]
    assert all("(CDS,LDS,EDS,RDS" in line for line in status[1:])  # and SDS, once there are certificates
    assert istioctl("ps -v 1 -n default").splitlines()[1].split()[2:6] == ["SYNCED"] * 4
    same = istioctl("proxy-status deployment/probe").splitlines()
    assert same[:2] == ["Clusters Match", "Listeners Match"] and same[2].startswith("Routes Match (RDS last loaded at ")
    routes = istioctl("proxy-config route deployment/probe --name 80").splitlines()
    assert [line.split()[-1] for line in routes if "svcb.default.svc" in line] == ["everybody"]
    clusters = istioctl("pc c deployment/probe --fqdn svcb.default --subset v0.1").splitlines()
    assert clusters[1].split() == ["svcb.default.svc.cluster.local", "http", "version=v0.1", "outbound", "EDS"]
    address = mesh.lab.access.items("v1", "Pod", "default", labelSelector="version=v0.1,app=svcb")[0]["status"]["podIP"]
    assert f"{address}:8080 " in istioctl("pc ep deployment/probe --status healthy")
    assert json.loads(istioctl("pc bootstrap deployment/probe"))["bootstrap"]["node"]["id"].startswith("sidecar~")
    said = istioctl(f"explain {SVCB} --from probe -H 'x-case: none'")
    assert "led by everybody" in said and "x-case: none" in said.splitlines()[0]
    assert istioctl("pc route nobody").startswith('Error: no running pod "nobody" in namespace default')
