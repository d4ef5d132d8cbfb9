"""Which rules apply and in what order; conflicts of egress rules; ingress rules."""

from collections.abc import Mapping
from typing import Any

import pytest

from meshlab.mesh.config.egress import without_conflicts
from meshlab.mesh.config.ingress import CLASS_ANNOTATION, ingress_rules, is_ours, parse_rule_name
from meshlab.mesh.config.labels import NO_LABELS, Labels
from meshlab.mesh.config.meshconfig import IngressMode
from meshlab.mesh.config.model import (
    Config,
    DestinationPolicy,
    EgressPort,
    EgressRule,
    IstioService,
    Match,
    MatchKind,
    Meta,
    RouteRule,
    StringMatch,
)
from meshlab.mesh.config.order import (
    is_catch_all,
    policy_for,
    route_rules_for,
    route_rules_of,
    sort_route_rules,
    up_to_catch_all,
)
from meshlab.mesh.config.services import Instance, Port, Service

HOST = "svcb.default.svc.cluster.local"


def rule(
    name: str, precedence: int = 0, *, namespace: str = "default", to: str = "svcb", match: Match | None = None
) -> Config[RouteRule]:
    spec = RouteRule(destination=IstioService(name=to), precedence=precedence, match=match)
    return Config(Meta("route-rule", name, namespace, "cluster.local"), spec)


def instance(service: str, **labels: str) -> Instance:
    return Instance("127.40.0.9", 8080, Service(f"{service}.default.svc.cluster.local"), Port("", 80), Labels(labels))


def names(rules: list[Config[Any]]) -> list[str]:
    return [each.meta.name for each in rules]


def test_higher_precedence_comes_first_and_keys_decide_between_equals() -> None:
    rules = [rule("b"), rule("z", 2), rule("a", -1), rule("a"), rule("y", 2, namespace="another")]
    assert names(sort_route_rules(rules)) == ["y", "z", "a", "b", "a"]


def test_rules_of_any_namespace_apply_if_they_name_the_destination() -> None:
    elsewhere = rule("x", namespace="other")
    named = Config(Meta("route-rule", "y", "other", "cluster.local"),
                   RouteRule(destination=IstioService(name="svcb", namespace="default")))
    assert names(route_rules_for([elsewhere, named, rule("w", to="svca")], [], HOST)) == ["y"]


@pytest.mark.parametrize(
    ("source", "callers", "applies"),
    [
        (None, [], True),
        (IstioService(name="svca"), [], False),
        (IstioService(name="svca"), [instance("svca", version="v1")], True),
        (IstioService(name="svca"), [instance("other"), instance("svca")], True),
        (IstioService(name="svca", labels=Labels(version="v1")), [instance("svca", version="v1", app="svca")], True),
        (IstioService(name="svca", labels=Labels(version="v1")), [instance("svca", version="v2")], False),
        (IstioService(name="svca", namespace="shop"), [instance("svca")], False),
    ],
)
def test_the_source_is_matched_with_the_callers_own_services(
    source: IstioService | None, callers: list[Instance], applies: bool
) -> None:
    rules = [rule("r", match=Match(source=source))]
    assert (names(route_rules_for(rules, callers, HOST)) == ["r"]) is applies


def test_a_pod_also_follows_the_rules_about_itself() -> None:
    assert names(route_rules_of([rule("a", to="svca"), rule("b")], [instance("svcb")])) == ["b"]


def headers(**values: StringMatch) -> Match:
    return Match(headers=values)


PREFIX, EXACT = MatchKind.PREFIX, MatchKind.EXACT


@pytest.mark.parametrize(
    ("match", "everything"),
    [
        (None, True),
        (Match(), True),
        (Match(source=IstioService(name="svca")), True),
        (headers(), True),
        (headers(uri=StringMatch(PREFIX, "/")), True),
        (headers(uri=StringMatch(PREFIX, "/pay")), False),
        (headers(uri=StringMatch(EXACT, "/")), False),
        (headers(uri=StringMatch(MatchKind.REGEX, ".*")), False),
        (headers(uri=StringMatch(PREFIX, "/"), cookie=StringMatch(EXACT, "x")), False),
    ],
)
def test_nothing_after_a_rule_that_matches_everything_can_match(match: Match | None, everything: bool) -> None:
    assert is_catch_all(match) is everything
    second = rule("second", match=headers(x=StringMatch(EXACT, "1")))
    kept, closed = up_to_catch_all([rule("first", match=match), second])
    assert (names(kept), closed) == ((["first"], True) if everything else (["first", "second"], False))


def policy(name: str, labels: Labels = NO_LABELS) -> Config[DestinationPolicy]:
    destination = IstioService(name="svcb", labels=labels)
    meta = Meta("destination-policy", name, "default", "cluster.local")
    return Config(meta, DestinationPolicy(destination=destination))


def test_a_policy_needs_exactly_the_labels_of_the_version() -> None:
    policies = [policy("b"), policy("a"), policy("v", Labels(version="v1"))]
    plain, versioned = (policy_for(policies, [], HOST, labels) for labels in (NO_LABELS, Labels(version="v1")))
    assert plain and plain.meta.name == "a"
    assert versioned and versioned.meta.name == "v"
    assert policy_for(policies, [], HOST, Labels(version="v1", app="x")) is None


def egress(service: str, *ports: tuple[int, str]) -> EgressRule:
    return EgressRule(IstioService(service=service), tuple(EgressPort(*port) for port in ports))


@pytest.mark.parametrize(
    ("rules", "kept", "messages"),
    [
        ({"a": egress("x", (80, "http")), "b": egress("y", (80, "GRPC"))}, ["a", "b"], []),
        (
            {"b": egress("x", (80, "http")), "a": egress("x", (90, "tcp"))},
            ["a"],
            ["rule b conflicts with rule a on domain x, is rejected"],
        ),
        (
            {
                "a": egress("x", (80, "tcp")),
                "b": egress("y", (90, "http"), (80, "mongo")),
                "c": egress("z", (90, "tcp")),
            },
            ["a"],
            [
                "rule b is rejected since it conflicts rules [a] on port 80, protocol Mongo vs. protocol TCP",
                "rule c is rejected since it conflicts rules [b] on port 90, protocol TCP vs. protocol HTTP",
            ],
        ),
    ],
)
def test_of_two_egress_rules_in_conflict_the_smaller_key_wins(
    rules: Mapping[str, EgressRule], kept: list[str], messages: list[str]
) -> None:
    good, conflicts = without_conflicts(rules)
    assert (list(good), [each.message for each in conflicts]) == (kept, messages)


@pytest.mark.parametrize(
    ("mode", "annotation", "ours"),
    [
        (IngressMode.STRICT, None, False),
        (IngressMode.STRICT, "istio", True),
        (IngressMode.DEFAULT, None, True),
        (IngressMode.DEFAULT, "nginx", False),
        (IngressMode.OFF, "istio", False),
        (None, "istio", False),
    ],
)
def test_whose_ingress_it_is(mode: IngressMode | None, annotation: str | None, ours: bool) -> None:
    assert is_ours({CLASS_ANNOTATION: annotation} if annotation else {}, mode, "istio") is ours


def test_each_path_of_an_ingress_is_a_rule() -> None:
    ingress = {
        "metadata": {"name": "front-door", "namespace": "shop"},
        "spec": {
            "tls": [{"secretName": "cert"}],
            "backend": {"serviceName": "fallback", "servicePort": 80},
            "rules": [
                {"host": "a.com", "http": {"paths": [
                    {"path": "/exact", "backend": {"serviceName": "svca", "servicePort": "http"}},
                    {"path": "/pre/.*", "backend": {"serviceName": "svca", "servicePort": 80}},
                ]}},
                {"http": {"paths": [{"backend": {"service": {"name": "svcb", "port": {"number": 81}}}}]}},
            ],
        },
    }
    rules = ingress_rules(ingress)
    assert names(rules) == ["front-door-0-0", "front-door-1-1", "front-door-1-2", "front-door-2-1"]
    paths = [each.spec.match.headers["uri"] for each in rules]  # type: ignore[union-attr,index]
    assert [(path.kind, path.value) for path in paths] == [
        (PREFIX, "/"), (EXACT, "/exact"), (PREFIX, "/pre/"), (PREFIX, "/")
    ]
    assert [(each.spec.destination_port, each.spec.destination_port_name) for each in rules] == [
        (80, None), (None, "http"), (80, None), (81, None)
    ]
    assert {each.spec.tls_secret for each in rules} == {"cert.shop"}
    assert rules[1].spec.match.headers["authority"] == StringMatch(EXACT, "a.com")  # type: ignore[union-attr,index]


def test_a_rules_name_says_which_path_it_is() -> None:
    assert parse_rule_name("my-ingress-3-5") == ("my-ingress", 3, 5)
    for name in ("name", "name-3", "name-x-5", "name-3-y"):
        with pytest.raises(ValueError, match=name):
            parse_rule_name(name)
