"""What a lesson counts on, on every engine: the same calls, the same anomalies, the same cure."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from typing import Any
from unittest.mock import ANY

import pytest

from meshlab.capability import Capability
from meshlab.errors import ManifestError, MeshlabError, RuleError
from meshlab.lab import Lab
from meshlab.notebook import LiveGraph, until
from meshlab.notebook.pages import pages

REQUESTS = 60


@pytest.fixture
def lab(engine: Lab) -> Iterator[Lab]:
    """As it was found, before the next test."""
    with engine.leave_as_found():
        yield engine


def test_a_cluster_of_the_kubeconfig_was_among_the_engines(pytestconfig: pytest.Config) -> None:
    if not pytestconfig.getoption("--engine-context"):
        pytest.skip("no cluster was named: pytest tests/conformance --engine-context NAME")


def test_the_demo_answers_and_says_who_served_it(lab: Lab) -> None:
    (answer,) = lab.curl("http://svca/pay")
    assert (answer.status, answer.served_by.partition("-")[0], answer.upstream.partition("-")[0]) == (
        200, "svca", "svcb",
    )  # fmt: skip


def test_preflight_says_what_is_there_and_misses_nothing(lab: Lab) -> None:
    found = lab.preflight()
    assert found.ok, str(found)
    assert "nothing was changed" in str(found)
    assert found._repr_html_().startswith("<table>")
    assert lab.engine.versions()["engine"] == lab.engine.name


def test_a_way_out_is_closed_until_a_rule_opens_it(lab: Lab) -> None:
    lab.curl("http://svca/pay")
    assert "send msg error" in lab.logs("svcb", container="svcb", tail=4)
    said = lab.apply("enable-svcb-engress-rule.yaml")
    assert said.ms is not None
    lab.curl("http://svca/pay")
    assert "send msg ok" in lab.logs("svcb", container="svcb", tail=2)


def everything_to(lab: Lab, version: str) -> dict[str, Any]:
    """A RouteRule that sends all of svcb's requests to this version."""
    rule = lab.documents("route-rules-svcb-v0.2-100.yaml")[0]
    rule["spec"]["route"][0]["labels"]["version"] = version
    return rule


def test_weights_do_nothing_on_a_port_that_is_tcp_and_hold_on_one_that_is_http(lab: Lab) -> None:
    lab.deploy("svcb-v0.2")
    # With the way out open svcb answers without a body, and svca keeps one connection, to whichever pod it happened
    # to lead. A rule for the other version moves nothing.
    lab.apply("enable-svcb-engress-rule.yaml")
    lab.curl("http://svca/pay", 3)
    (first,) = lab.curl("http://svca/pay").by_upstream()
    other = "v0.1" if first == "v0.2" else "v0.2"
    lab.apply(everything_to(lab, other))
    assert lab.curl("http://svca/pay", 20).by_upstream() == {first: 20}
    lab.apply(everything_to(lab, "v0.2"))
    lab.apply("svcb-http.yaml")
    lab.renew("svca")
    lab.settled()
    assert lab.curl("http://svca/pay", REQUESTS).by_upstream() == {"v0.2": REQUESTS}
    said = lab.apply("route-rules-svcb-v0.2-50.yaml")
    counts = lab.curl("http://svca/pay", 200).by_upstream()
    # Six standard deviations of 200 throws of a coin: once in 500 million.
    assert set(counts) == {"v0.1", "v0.2"} and abs(counts["v0.1"] - 100) <= 42
    assert len(said.proxies) >= 1 and said.ms is not None and said.ms > 0


def test_a_rule_is_shown_in_todays_words_where_it_is_translated(lab: Lab) -> None:
    said = lab.apply("enable-svcb-engress-rule.yaml")
    assert ("kind: ServiceEntry" in str(said)) == (not lab.engine.can(Capability.LEGACY_RULES))
    assert "kind: VirtualService" in lab.translate("route-rules-svcb-v0.2-50.yaml")
    assert [rule["kind"] for rule in lab.rules()] == ["EgressRule"]


def test_the_mesh_follows_what_istioctl_and_kubectl_store(lab: Lab) -> None:
    lab.deploy("svcb-v0.2")
    lab.apply("svcb-http.yaml")
    lab.renew("svca")
    lab.settled()
    assert lab.istioctl("create -f demo/rules/route-rules-svcb-v0.2-100.yaml").startswith("Created config")
    lab.settled()
    assert lab.curl("http://svca/pay", 20).by_upstream() == {"v0.2": 20}
    assert "route-rules-svcb" in lab.istioctl("get routerules")
    lab.kubectl("delete routerule route-rules-svcb")
    if not lab.engine.can(Capability.LEGACY_RULES):
        # The mesh acts on the translation, which follows when it is told to: kubectl tells nobody.
        assert lab.access.find("networking.istio.io/v1", "VirtualService", "default", "route-rules-svcb")
        assert lab.curl("http://svca/pay", 20).by_upstream() == {"v0.2": 20}
    lab.settled()
    assert set(lab.curl("http://svca/pay", REQUESTS).by_upstream()) == {"v0.1", "v0.2"}


def test_a_rule_that_makes_no_sense_is_refused_and_nothing_is_stored(lab: Lab) -> None:
    rule = lab.documents("route-rules-svcb-v0.2-50.yaml")[0]
    rule["spec"]["route"][0]["weight"] = 60
    with pytest.raises(RuleError, match="invalid"):
        lab.apply(rule)
    assert lab.rules() == []


def test_what_is_for_mixer_works_or_is_refused_with_the_reason(lab: Lab) -> None:
    if lab.engine.can(Capability.MIXER):
        lab.apply("mixer/deny-svca.yaml")
        return
    with pytest.raises(ManifestError, match="for Mixer"):
        lab.apply("mixer/deny-svca.yaml")


def test_deploying_and_installing_again_changes_nothing(lab: Lab) -> None:
    def revisions() -> dict[str, str]:
        kinds = (("apps/v1", "Deployment"), ("v1", "Service"), ("v1", "ConfigMap"))
        found = [each for kind in kinds for each in lab.access.items(*kind, "default")]
        return {f"{o['kind']} {o['metadata']['name']}": str(o["metadata"].get("generation")) for o in found}

    before = revisions()
    lab.deploy("svca-v0.1", "svcb-v0.1")
    assert revisions() == before


def test_a_version_that_is_removed_is_gone(lab: Lab) -> None:
    lab.deploy("svcb-v0.2")
    lab.remove("svcb-v0.2")
    names = {each["metadata"]["name"] for each in lab.access.items("apps/v1", "Deployment", "default")}
    assert names == {"svca", "svcb"}


@pytest.mark.parametrize("name", ["prometheus", "servicegraph", "zipkin"])
def test_an_addon_is_reached_through_the_api_server(lab: Lab, name: str) -> None:
    lab.addons(name)
    asked = {
        "prometheus": lambda: lab.prometheus.targets().empty,
        "servicegraph": lambda: lab.servicegraph().nodes,
        "zipkin": lab.traced_services,
    }
    asked[name]()


SVCA, SVCB = "svca.default.svc.cluster.local", "svcb.default.svc.cluster.local"
#: https://istio.io/latest/docs/reference/config/metrics/, of a request from svca to svcb.
TODAYS_LABELS = {
    "source_workload": "svca",
    "source_workload_namespace": "default",
    "source_app": "svca",
    "source_version": "v0.1",
    "source_canonical_service": "svca",
    "source_principal": ANY,
    "destination_workload": "svcb",
    "destination_workload_namespace": "default",
    "destination_app": "svcb",
    "destination_version": "v0.1",
    "destination_principal": ANY,
    "destination_service": SVCB,
    "destination_service_name": "svcb",
    "destination_service_namespace": "default",
    "request_protocol": "http",
    "response_code": "500",
    "response_flags": "-",
    "connection_security_policy": ANY,
}


def test_the_mesh_counts_exactly_what_is_sent_and_pictures_show_it(lab: Lab) -> None:
    lab.addons("prometheus")
    lab.apply("svca-http.yaml", "svcb-http.yaml")
    lab.renew("svca")
    assert lab.curl("http://svca/no-such-page", 20).by_status() == {"404": 20}
    live = LiveGraph(lab)

    def failing() -> bool:
        call = live.take().get(("svca (v0.1)", "svcb (v0.1)"))
        return call is not None and call.failing == pytest.approx(1)

    with lab.load("http://svca/pay", rps=20, seconds=60):
        # The way out is closed: svcb fails each request, and its caller does not mind. Lesson 05.
        until(failing, timeout=40, what="svca's calls in the picture, all red")
    missed = f'sum(istio_request_count{{destination_service="{SVCA}",response_code="404"}})'
    # What was in the picture is svcb's count. svca's sidecar is new: Prometheus looks at it at other moments.
    until(lambda: lab.prometheus.value(missed), timeout=40, what="svca's count in Prometheus")
    assert lab.prometheus.value(missed) == 20
    if lab.engine.can(Capability.ISTIOD):
        called = f'istio_requests_total{{source_app="svca",destination_service="{SVCB}"}}'
        both = {"source", "destination"}

        def seen() -> list[tuple[dict[str, str], float]]:
            found = lab.prometheus.vector(called)
            return found if {labels["reporter"] for labels, _ in found} == both else []

        for labels, _ in until(seen, timeout=40, what="counts of both sidecars").value:
            assert {name: labels.get(name) for name in TODAYS_LABELS} == TODAYS_LABELS


def test_a_browser_on_this_machine_sees_the_addons_pages(lab: Lab) -> None:
    lab.addons("prometheus", "servicegraph", "zipkin")
    links = pages(lab).links
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for name, text in (("servicegraph", "<svg"), ("zipkin", "Zipkin")):
        with opener.open(links[name], timeout=60) as answer:
            assert answer.status == 200 and text in answer.read().decode()
    assert pages(lab).links == links
    lab.close()


def test_an_error_names_the_cause_and_the_next_command(lab: Lab) -> None:
    with pytest.raises(MeshlabError) as caught:
        lab.apply("no-such-file.yaml")
    assert caught.value.why
