"""No field of today's kinds is stored in silence: each is read by a translation, refused, or listed as unheeded."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path as File
from typing import Any

import pytest
from fields import Reading, leaves, samples

import meshlab.mesh.pilot
from meshlab.inforce import InForce
from meshlab.mesh.config import admission, routing, traffic
from meshlab.mesh.config.analyze.run import analyze
from meshlab.mesh.config.analyze.subject import subject
from meshlab.mesh.config.today.delegates import merged
from meshlab.mesh.config.today.kinds import GATEWAY_API, NETWORKING, Kind, kinds
from meshlab.mesh.config.today.stored import Stored
from meshlab.mesh.config.today.translate import translate
from meshlab.mesh.config.unheeded import UNHEEDED, warnings

TRANSLATED = [kind for kind in kinds().values() if kind.kind not in ("GatewayClass", "ReferenceGrant")]
#: Refused on write, as istiod does (`rules_virtual_service`), or read by who chooses objects and not by a translation.
ELSEWHERE = {
    (NETWORKING, "VirtualService"): {"http[].fault.delay.exponentialDelay", "http[].fault.abort.http2Error"},
    (GATEWAY_API, "Gateway"): {"gatewayClassName"},
}


def plain(path: str) -> str:
    return path.replace("[]", "")


@pytest.mark.parametrize("kind", TRANSLATED, ids=lambda kind: f"{kind.group}-{kind.kind}")
def test_each_field_is_read_or_listed(kind: Kind) -> None:
    seen: set[tuple[str, ...]] = set()
    for document in samples(kind.spec, 700):
        stored = Stored(kind.kind, "default", "x", Reading(document, seen), kind.group)
        translate(stored)
        if kind.kind == "VirtualService":
            merged(stored, lambda _: None)
    read = {plain(".".join(path)) for path in seen}
    listed = {*UNHEEDED.get((kind.group, kind.kind), {}), *ELSEWHERE.get((kind.group, kind.kind), ())}
    known = {".".join(path) for path in leaves(kind.spec)}
    covered = {path for path in known if any(path == each or path.startswith((f"{each}.", each + "[")) or
                                             (each.endswith("[]") and path.startswith(each)) for each in listed)}
    assert {path for path in known - covered if plain(path) not in read} == set()
    assert {each for each in listed if not any(path == each or path.startswith(each) for path in known)} == set()


@pytest.mark.parametrize("value", [
    routing.Route, routing.RequestMatch, routing.Retries, routing.Redirect, routing.Rewrite, routing.Cors,
    routing.Mirror, routing.Weighted, routing.Destination, routing.TcpMatch, routing.TcpRoute, traffic.Traffic,
    traffic.Balancer, traffic.Outlier, traffic.ClientTls,
], ids=lambda value: value.__name__)
def test_what_was_translated_reaches_envoy(value: Any) -> None:
    source = "\n".join(each.read_text() for each in File(meshlab.mesh.pilot.__path__[0]).glob("*.py"))
    source += "\n".join(File(module.__file__ or "").read_text() for module in (routing, traffic))
    unused = {each.name for each in fields(value) if not re.search(rf"\.{each.name}\b", source)}
    assert unused == set()


@pytest.mark.parametrize(("action", "told"), [("CUSTOM", "would ask 'opa'"), ("AUDIT", "no effect"), ("DENY", "")])
def test_who_writes_an_action_that_this_mesh_does_not_have_is_told(action: str, told: str) -> None:
    spec = {"action": action, "rules": [{}], **({"provider": {"name": "opa"}} if action == "CUSTOM" else {})}
    policy = {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {}, "spec": spec}
    assert [told in each for each in warnings(policy)] == ([True] if told else [])


def test_who_tries_a_policy_is_told_that_it_refuses_nobody() -> None:
    policy = {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "spec": {"rules": [{}]}}
    told = {
        value: warnings({**policy, "metadata": {"annotations": {"istio.io/dry-run": value}}})
        for value in ("true", "false")
    }
    assert ["refuses nobody" in each for each in told["true"]] == [True]
    assert told["false"] == []


def test_who_writes_such_a_field_is_told() -> None:
    rule = {
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": {"name": "r", "namespace": "default"},
        "spec": {"host": "svcb", "trafficPolicy": {"tunnel": {"targetHost": "a", "targetPort": 80}}},
    }
    text = "spec.trafficPolicy.tunnel has no effect in this lab: sidecars do not tunnel"
    assert "\n" + text in str(InForce(("DestinationRule default/r",), 1.0, {"a": 1.0}, unheeded=(text,)))
    assert warnings(rule) == [text]
    response = admission.review({"request": {"uid": "1", "object": rule}})["response"]
    assert (response["allowed"], response["warnings"]) == (True, [text])
    found = [each for each in analyze([subject(rule)]) if each.code == "ML0005"]
    assert [each.text for each in found] == ["trafficPolicy.tunnel has no effect in this lab: sidecars do not tunnel"]


@pytest.mark.parametrize(("kind", "spec", "told"), [
    ("RouteRule", {"httpFault": {"abort": {"http2Error": "x"}}}, ["httpFault.abort.http2Error"]),
    ("RouteRule", {"http_req_timeout": {"simple_timeout": {"timeout": "1s", "override_header_name": "x"}}},
     ["http_req_timeout.simple_timeout.override_header_name"]),
    ("RouteRule", {"httpReqTimeout": {"simpleTimeout": {"timeout": "1s"}}}, []),
    ("DestinationPolicy", {"circuitBreaker": {"simpleCb": {"httpMaxRetries": 1}}},
     ["circuitBreaker.simpleCb.httpMaxRetries"]),
])  # fmt: skip
def test_who_writes_what_0_4_passed_on_to_nobody_is_told(kind: str, spec: dict[str, Any], told: list[str]) -> None:
    rule = {"apiVersion": "config.istio.io/v1alpha2", "kind": kind, "metadata": {"name": "r"}, "spec": spec}
    assert [each.split()[0] for each in warnings(rule)] == [f"spec.{each}" for each in told]


@pytest.mark.parametrize(("provider", "told"), [("envoy", 0), ("otel", 1)])
def test_what_happens_anyway_is_no_reason_for_a_warning(provider: str, told: int) -> None:
    spec = {"accessLogging": [{"providers": [{"name": provider}]}]}
    assert len(warnings({"apiVersion": "telemetry.istio.io/v1", "kind": "Telemetry", "spec": spec})) == told


def test_who_writes_the_class_of_an_ingress_where_kubernetes_has_it_today_is_told() -> None:
    ingress = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": {"ingressClassName": "istio"}}
    assert ["kubernetes.io/ingress.class" in each for each in warnings(ingress)] == [True]
