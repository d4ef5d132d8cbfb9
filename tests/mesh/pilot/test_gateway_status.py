"""What Gateways, HTTPRoutes and Ingresses are told in their status, and whose routes a listener takes."""

from __future__ import annotations

from typing import Any

import pytest
from translating import put, registry

from meshlab.mesh.config.today.stored import Stored
from meshlab.mesh.pilot.gateways import rules_of
from meshlab.mesh.pilot.registry import Registry
from meshlab.mesh.pilot.rulebook import TODAY
from meshlab.mesh.pilot.status import gateway_status, ingress_status, merged, route_status

KUBERNETES = "gateway.networking.k8s.io"
SVCB = {"name": "svcb", "port": 80}
WEB = {"name": "web", "port": 8124, "protocol": "HTTP", "hostname": "*.k.test"}


def stored(target: Registry, kind: str, name: str, spec: dict[str, Any], group: str = KUBERNETES) -> Stored:
    plural, known = next((p, k) for p, k in TODAY.items() if (k.kind, k.group) == (kind, group))
    put(target, plural, name, apiVersion=known.api_version, kind=kind, spec=spec)
    return next(e.stored for e in target.rules.entries(plural) if e.stored.name == name)


def conditions(status: dict[str, Any]) -> dict[str, str]:
    return {each["type"]: f"{each['status']} {each['reason']}" for each in status["conditions"]}


@pytest.fixture
def target() -> Registry:
    found = registry()
    put(found, "services", "istio-ingress", meta={"namespace": "istio-system"}, spec={
        "clusterIP": "127.105.10.87", "selector": {"istio": "ingress"}, "ports": [{"name": "http", "port": 80}],
    })
    return found


@pytest.mark.parametrize(("route", "accepted", "resolved"), [
    ({"backendRefs": [SVCB]}, "True Accepted", "True ResolvedRefs"),
    ({"backendRefs": [{"name": "nobody", "port": 80}]}, "True Accepted", "False BackendNotFound"),
    ({"backendRefs": [{"name": "svcb", "port": 81}]}, "True Accepted", "False BackendNotFound"),
])
def test_the_conditions_of_a_route(target: Registry, route: dict[str, Any], accepted: str, resolved: str) -> None:
    stored(target, "Gateway", "it", {"gatewayClassName": "istio", "listeners": [WEB]})
    it = stored(target, "HTTPRoute", "r", {"parentRefs": [{"name": "it"}], "rules": [route]})
    world = target.world()
    (parent,) = route_status(world, it, {each.name: each for each in world.gateways})["parents"]
    assert conditions(parent) == {"Accepted": accepted, "ResolvedRefs": resolved}


@pytest.mark.parametrize(("fields", "reason"), [
    ({"hostnames": ["a.example"]}, "NoMatchingListenerHostname"),
    ({"parentRefs": [{"name": "it", "sectionName": "nowhere"}]}, "NoMatchingParent"),
])
def test_a_route_that_no_listener_takes_says_why(target: Registry, fields: dict[str, Any], reason: str) -> None:
    stored(target, "Gateway", "it", {"gatewayClassName": "istio", "listeners": [WEB]})
    it = stored(target, "HTTPRoute", "r", {"parentRefs": [{"name": "it"}], "rules": [{}], **fields})
    world = target.world()
    (parent,) = route_status(world, it, {each.name: each for each in world.gateways})["parents"]
    assert conditions(parent)["Accepted"] == f"False {reason}"


def test_the_conditions_and_address_of_a_gateway(target: Registry) -> None:
    tls = {"name": "tls", "port": 443, "protocol": "HTTPS", "tls": {"certificateRefs": [{"name": "cert"}]}}
    it = stored(target, "Gateway", "it", {"gatewayClassName": "istio", "listeners": [WEB, tls]})
    route = stored(target, "HTTPRoute", "r", {"parentRefs": [{"name": "it", "sectionName": "web"}], "rules": [{}]})
    world = target.world()
    status = gateway_status(world, it, world.gateways[0], [route])
    assert status["addresses"] == [{"type": "IPAddress", "value": "127.105.10.87"}]
    assert conditions(status) == {"Accepted": "True Accepted", "Programmed": "True Programmed"}
    assert [each["attachedRoutes"] for each in status["listeners"]] == [1, 0]
    assert conditions(status["listeners"][1])["ResolvedRefs"] == "False InvalidCertificateRef"


@pytest.mark.parametrize(("selector", "taken"), [
    ({}, True),
    ({"matchLabels": {"team": "a"}}, True),
    ({"matchLabels": {"team": "b"}}, False),
    ({"matchExpressions": [{"key": "team", "operator": "In", "values": ["a", "b"]}]}, True),
    ({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["a"]}]}, False),
    ({"matchExpressions": [{"key": "gone", "operator": "NotIn", "values": ["a"]}]}, True),
    ({"matchLabels": {"team": "a"}, "matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}, False),
    ({"matchExpressions": [{"key": "team", "operator": "Exists"}]}, True),
])
def test_a_listener_takes_routes_of_the_namespaces_that_it_chooses_by_label(
    target: Registry, selector: dict[str, Any], taken: bool
) -> None:
    put(target, "namespaces", "shop", meta={"namespace": "", "labels": {"team": "a"}})
    chosen = {"namespaces": {"from": "Selector", "selector": selector}}
    it = stored(target, "Gateway", "it", {"gatewayClassName": "istio", "listeners": [{**WEB, "allowedRoutes": chosen}]})
    parent = {"name": "it", "namespace": "default"}
    put(target, "httproutes", "r", meta={"namespace": "shop"}, spec={"parentRefs": [parent], "rules": [{}]},
        apiVersion="gateway.networking.k8s.io/v1", kind="HTTPRoute")
    route = next(e.stored for e in target.rules.entries("httproutes"))
    world = target.world()
    (said,) = route_status(world, route, {each.name: each for each in world.gateways})["parents"]
    assert conditions(said)["Accepted"] == ("True Accepted" if taken else "False NotAllowedByListeners")
    assert gateway_status(world, it, world.gateways[0], [route])["listeners"][0]["attachedRoutes"] == int(taken)
    assert bool(list(rules_of(world, world.gateways[0], world.gateways[0].servers[0]))) == taken
    put(target, "namespaces", "shop", meta={"namespace": "", "labels": {"team": "c", "gone": "a"}})
    assert target.world().namespaces["shop"] == {"team": "c", "gone": "a"}


def test_a_gateway_of_another_class_is_not_ours(target: Registry) -> None:
    it = stored(target, "Gateway", "it", {"gatewayClassName": "nginx", "listeners": [WEB]})
    assert not target.rules.is_ours(it)
    assert target.world().gateways == ()


def test_an_ingress_is_told_its_address(target: Registry) -> None:
    assert ingress_status(target.world()) == {"loadBalancer": {"ingress": [{"ip": "127.105.10.87"}]}}


def test_a_condition_that_says_what_it_said_keeps_its_time() -> None:
    wanted = {"conditions": [{"type": "Accepted", "status": "True", "reason": "Accepted", "message": ""}]}
    first = merged({}, wanted, 1, "then")
    assert merged(first, wanted, 1, "now") == first
    other = {"conditions": [{**wanted["conditions"][0], "status": "False"}]}
    assert merged(first, other, 1, "now")["conditions"][0]["lastTransitionTime"] == "now"
