"""v1alpha2 to today's API: what is converted means the same, and what does not is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import rules
import yaml
from hypothesis import given, settings

from meshlab.mesh.config import legacy
from meshlab.mesh.config.combine import Combined, combine
from meshlab.mesh.config.convert.stream import Result, convert
from meshlab.mesh.config.documents import read
from meshlab.mesh.config.egress import without_conflicts
from meshlab.mesh.config.labels import Labels
from meshlab.mesh.config.routing import Caller, Destination, Route, Weighted
from meshlab.mesh.config.today.stored import Stored
from meshlab.mesh.config.today.translate import translate
from meshlab.mesh.config.today.validate import problems
from meshlab.mesh.config.traffic import NO_TRAFFIC, Balancer, Traffic
from meshlab.mesh.config.v1alpha2 import config_from_object

HOSTS = [f"{name}.default.svc.cluster.local" for name in rules.NAMES]
CALLERS = [
    Caller("default", Labels(app=f"{name}-app", version=version),
           ((f"{name}.default.svc.cluster.local", Labels(app=f"{name}-app", version=version)),))
    for name in rules.NAMES
    for version in rules.VERSIONS
] + [Caller("other", Labels(app="svca-app"))]  # fmt: skip


def before(documents: list[dict[str, Any]]) -> Combined:
    configs = [config_from_object(each) for each in documents if each["kind"] != "Service"]
    kinds = {t: [c for c in configs if c.meta.type == t] for t in ("route-rule", "destination-policy", "egress-rule")}
    kept, _ = without_conflicts({each.key: each.spec for each in kinds["egress-rule"]})
    return combine(
        route_rules=legacy.host_rules(kinds["route-rule"]),
        policies=legacy.host_traffic(kinds["destination-policy"]),
        egress_rules=[legacy.egress_service(each) for each in kinds["egress-rule"] if each.key in kept],
    )


def after(text: str) -> Combined:
    stored = []
    for each in yaml.safe_load_all(text):
        if each is not None and each["kind"] != "Service":
            assert problems(each) == [], each
            stored.append(Stored.of(each))

    def values(kind: str) -> list[Any]:
        return [translate(each) for each in stored if each.kind == kind]

    return combine(
        virtual_services=values("VirtualService"),
        destination_rules=values("DestinationRule"),
        service_entries=values("ServiceEntry"),
    )


def routes(mesh: Combined, host: str, caller: Caller) -> list[Route]:
    """What this caller's sidecar does, with versions as labels and the route that follows the last rule."""
    found = mesh.rules_for(host, caller)
    default = Route("default-route", destinations=(Weighted(Destination(host)),), websocket=True)
    if found is None:
        return [default]
    out = list(found.routes_for(caller, 80))
    if found.falls_through and not any(each.match.catches_all for each in out):
        out.append(default)
    return [_plain(mesh, each, caller) for each in out]


def _plain(mesh: Combined, route: Route, caller: Caller) -> Route:
    def named(destination: Destination) -> Destination:
        labels = mesh.traffic.labels_of(destination, caller)
        assert labels is not None, destination
        return Destination(destination.host, labels)

    return replace(
        route,
        match=replace(route.match, source=None),
        destinations=tuple(replace(each, destination=named(each.destination)) for each in route.destinations),
        mirrors=tuple(replace(each, destination=named(each.destination)) for each in route.mirrors),
    )


def traffic(mesh: Combined, host: str, labels: Labels, caller: Caller) -> Traffic:
    found = mesh.traffic.policy(host, labels, "", 80, caller)
    said = found.traffic if found is not None else NO_TRAFFIC
    # Round robin is what silence means.
    return replace(said, balancer=None) if said.balancer == Balancer("ROUND_ROBIN") else said


@settings(max_examples=100)
@given(rules.streams())
def test_what_is_converted_means_the_same_for_every_caller(documents: list[dict[str, Any]]) -> None:
    converted = convert(yaml.safe_dump_all(documents))
    assert converted.invalid == ()
    old, new = before(documents), after(converted.text)
    for host in HOSTS:
        for caller in CALLERS:
            assert routes(new, host, caller) == routes(old, host, caller)
            for labels in (Labels(), *(Labels(version=each) for each in rules.VERSIONS)):
                assert traffic(new, host, labels, caller) == traffic(old, host, labels, caller)
    assert [each for each in new.external if each.ports] == [each for each in old.external if each.ports]
    assert new.dropped == ()


def one(spec: dict[str, Any], kind: str = "RouteRule", name: str = "r", more: str = "") -> Result:
    return convert(yaml.safe_dump(rules.document(kind, name, spec)) + more)


def specs(result: Result) -> dict[str, Any]:
    return {each["kind"]: each["spec"] for each in yaml.safe_load_all(result.text) if each}


def test_the_tutorials_rule_becomes_a_virtual_service_and_the_subsets_it_needs() -> None:
    half = [{"labels": {"version": v}, "weight": 50} for v in ("v0.1", "v0.2")]
    found = specs(one({"destination": {"name": "svcb"}, "precedence": 1, "route": half}))
    assert found["DestinationRule"] == {
        "host": "svcb",
        "trafficPolicy": {"loadBalancer": {"simple": "ROUND_ROBIN"}},  # silence would mean LEAST_REQUEST today
        "subsets": [{"name": f"v0-{n}", "labels": {"version": f"v0.{n}"}} for n in (1, 2)],
    }
    (block,) = found["VirtualService"]["http"]
    assert [(each["destination"]["subset"], each["weight"]) for each in block["route"]] == [("v0-1", 50), ("v0-2", 50)]
    assert block["retries"] == {"attempts": 0}, "silence would mean two retries today"


def test_a_rule_with_conditions_is_followed_by_the_default_that_0_4_had() -> None:
    match = {"request": {"headers": {"uri": {"prefix": "/a"}}}}
    found = specs(one({"destination": {"name": "svcb"}, "match": match}))
    assert [each["name"] for each in found["VirtualService"]["http"]] == ["r", "default-route"]


def test_the_tutorials_egress_rule_gets_a_placeholder_for_the_name_that_it_has_not() -> None:
    result = one(
        {"destination": {"service": "10.100.35.27"}, "ports": [{"port": 9997, "protocol": "http"}]}, "EgressRule"
    )
    entry = specs(result)["ServiceEntry"]
    assert (entry["hosts"], entry["addresses"]) == (["10-100-35-27.invalid"], ["10.100.35.27"])
    assert any("stands for the address" in str(note) for note in result.notes)
    assert any("REGISTRY_ONLY" in str(note) for note in result.notes)


def test_a_rule_for_an_address_outside_names_the_service_entry_by_which_istiod_finds_it() -> None:
    delay = {"delay": {"percent": 100, "fixedDelay": "0.6s"}}
    rule = rules.document("RouteRule", "slow", {"destination": {"service": "10.100.35.27"}, "httpFault": delay})
    way_out = {"destination": {"service": "10.100.35.27"}, "ports": [{"port": 9997, "protocol": "http"}]}
    found = specs(one(way_out, "EgressRule", "out", "---\n" + yaml.safe_dump(rule)))
    assert found["VirtualService"]["hosts"] == found["ServiceEntry"]["hosts"] == ["10-100-35-27.invalid"]


def test_tls_that_the_sidecar_originates_moves_into_a_destination_rule() -> None:
    result = one(
        {"destination": {"service": "www.google.com"}, "ports": [{"port": 443, "protocol": "https"}]}, "EgressRule"
    )
    found = specs(result)
    assert found["ServiceEntry"]["ports"] == [{"number": 443, "name": "http-443", "protocol": "HTTP"}]
    (port,) = found["DestinationRule"]["trafficPolicy"]["portLevelSettings"]
    assert port["tls"] == {"mode": "SIMPLE", "sni": "www.google.com", "insecureSkipVerify": True}


SVCB: dict[str, Any] = {"destination": {"name": "svcb"}}


@pytest.mark.parametrize(
    ("kind", "spec", "said"),
    [
        ("RouteRule", SVCB, "changed: route-rule/default/r: without websocketUpgrade"),
        ("RouteRule", SVCB | {"match": {"source": {"name": "svca"}}}, "labelled app=svca (a guess"),
        ("RouteRule", SVCB | {"httpFault": {"delay": {"percent": 0.5, "fixedDelay": "1s"}}}, "0.5 % injected nothing"),
        ("RouteRule", SVCB | {"httpFault": {"delay": {"percent": 10.5, "fixedDelay": "1s"}}}, "cut to 10 %"),
        ("RouteRule", SVCB | {"httpFault": {"abort": {"percent": 9, "httpStatus": 99}}}, "httpStatus 99 had no effect"),
        ("RouteRule", SVCB | {"mirror": {"name": "svcc"}}, "in 0.4.0 they led nowhere"),
        ("RouteRule", SVCB | {"match": {"request": {"headers": {"uri": {"regex": "/a"}}}}}, "compared uri expressions"),
        ("RouteRule", SVCB | {"httpReqTimeout": {"simpleTimeout": {"timeout": "1s", "overrideHeaderName": "x"}}},
         "lost: route-rule/default/r: httpReqTimeout.overrideHeaderName"),
        ("EgressRule", {"destination": {"service": "*"}, "ports": [{"port": 80, "protocol": "http"}]}, "ALLOW_ANY"),
        ("EgressRule", {"destination": {"service": "a.com"}, "ports": [{"port": 80, "protocol": "tcp"}]},
         "was routed nowhere by 0.4.0"),
        ("DestinationPolicy", SVCB | {"circuitBreaker": {"simpleCb": {
            "sleepWindow": "1ms", "httpDetectionInterval": "1s", "httpMaxRetries": 3}}}, "less than a second"),
        ("memquota", {}, "Mixer is gone; what comes closest is Envoy's rate limits"),
    ],
)  # fmt: skip
def test_every_loss_and_change_is_named(kind: str, spec: dict[str, Any], said: str) -> None:
    result = one(spec, kind)
    assert any(said in str(note) for note in result.notes), result.notes
    assert said in result.text, "and stands as a comment in the stream"


def test_rules_that_could_never_match_are_named_instead_of_converted() -> None:
    late = "---\n" + yaml.safe_dump(rules.document("RouteRule", "late", SVCB | {"precedence": -1}))
    result = one(SVCB, more=late)
    assert len(specs(result)["VirtualService"]["http"]) == 1
    assert "not in force: route-rule/default/late: route-rule/default/r takes every request before it" in result.text


def test_of_egress_rules_in_conflict_the_one_in_force_is_converted() -> None:
    spec = {"destination": {"service": "a.com"}, "ports": [{"port": 80, "protocol": "http"}]}
    other = "---\n" + yaml.safe_dump(rules.document("EgressRule", "second", spec))
    result = one(spec, "EgressRule", "first", other)
    assert [each["metadata"]["name"] for each in yaml.safe_load_all(result.text) if each] == ["first"]
    assert "conflicts with rule egress-rule/default/first on domain a.com" in result.text


def test_other_documents_pass_through_as_they_are_written() -> None:
    text = "# mine\nkind: Service\napiVersion: v1\nmetadata: {name: a}   # so\n"
    assert convert(text).text == text


def test_invalid_rules_are_left_out_and_reported_by_line() -> None:
    text = "kind: Service\napiVersion: v1\n---\n" + yaml.safe_dump(rules.document("RouteRule", "r", {}))
    result = convert(text)
    assert result.invalid == ((4, "route rule must have a destination service"),)


def test_converting_twice_changes_nothing() -> None:
    once = one(SVCB).text
    assert convert(once).text == once
    assert [each.valid for each in read(once)] == [True]


def legacy_rule(name: str, spec: str) -> str:
    return f"apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"


MATCH = "destination: {{name: svcb}}, match: {{request: {{headers: {{{}: {{exact: a}}}}}}}}"


@pytest.mark.parametrize(
    ("text", "lost", "kept"),
    [
        (legacy_rule("r", MATCH.format("a b")), ["route-rule/default/r"], 0),
        (
            legacy_rule("r", MATCH.format("a b")) + "---\n" + legacy_rule("s", MATCH.format("a-b")),
            ["route-rule/default/r"],
            1,
        ),
        (legacy_rule("r", 'destination: {service: "0.0.0.0/8"}'), ["route-rule/default/r"], 0),
        (legacy_rule("r", "destination: {name: svcb}, route: [{destination: {}}]"), ["route-rule/default/r"], 0),
    ],
)
def test_what_todays_api_refuses_is_left_out_and_named_and_the_rest_stays(
    text: str, lost: list[str], kept: int
) -> None:
    result = convert(text)
    after(result.text)  # whose documents are valid
    told = [each.key for each in result.notes if each.text.startswith("today's API refuses it")]
    assert (told, result.text.count("kind: VirtualService")) == (lost, kept)
