"""The edge of the mesh: Ingress, Gateway and Kubernetes' Gateway API on a real Envoy, and their statuses."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from pilot_cluster import Cluster

from meshlab.mesh.pilot.gateways import intersection
from tests.mesh.pilot.edge import (
    SVCB,
    TO_B,
    WEB,
    X,
    ask,
    bind,
    certificate,
    edge,
    gateway,
    http_route,
    leave_as_found,
    listeners,
    secure,
    server,
)

__all__ = ["certificate", "edge", "leave_as_found"]  # fixtures


def test_without_anything_port_80_answers_404(edge: Cluster) -> None:
    assert ask(edge, "http://b.test/")[0] == 404


def ingress(edge: Cluster, spec: dict[str, Any], annotations: dict[str, str] | None = None, missing: str = "") -> None:
    """Stores it; it is in force, or waits for what is `missing`."""
    metadata = {"name": "it", "annotations": annotations or {"kubernetes.io/ingress.class": "istio"}}
    revision = edge.put("ingresses", {"metadata": metadata, "spec": spec})
    found = edge.in_force("ingresses", revision)
    assert (found.in_force, found.missing) == (not missing, {"Ingress/default/it": missing} if missing else {})


def rules(host: str, path: str, kind: str = "ImplementationSpecific") -> dict[str, Any]:
    backend = {"service": {"name": "svcb", "port": {"number": 80}}}
    return {"rules": [{"host": host, "http": {"paths": [{"path": path, "pathType": kind, "backend": backend}]}}]}


@pytest.mark.parametrize(("path", "kind", "yes", "no"), [
    ("/x", "ImplementationSpecific", "x", "xy"), ("/x.*", "ImplementationSpecific", "xy", "y"),
    ("/x", "Exact", "x", "x/y"), ("/x", "Prefix", "x/y", "y"), ("", "ImplementationSpecific", "anything", None),
])
def test_an_ingress_serves_its_host_and_path(edge: Cluster, path: str, kind: str, yes: str, no: str | None) -> None:
    ingress(edge, rules("shop.test", path, kind))
    assert ask(edge, f"http://shop.test/{yes}")[2].startswith("svcb")
    assert ask(edge, f"http://other.test/{yes}")[0] == 404
    if no is not None:
        assert ask(edge, f"http://shop.test/{no}")[0] == 404


def test_an_ingress_default_backend_takes_what_no_rule_does_and_another_class_is_nobodys(edge: Cluster) -> None:
    backend = {"service": {"name": "svca", "port": {"name": "http"}}}
    ingress(edge, {**rules("shop.test", "/x"), "defaultBackend": backend})
    assert ask(edge, "http://any.test/y")[2] == "svca-1"
    ingress(edge, {"defaultBackend": backend}, {"kubernetes.io/ingress.class": "nginx"})
    assert ask(edge, "http://any.test/y")[0] == 404


def test_a_virtual_service_at_a_gateway_serves_its_hosts_on_the_gateways_ports_alone(edge: Cluster) -> None:
    gateway(edge, server(80, "HTTP", "*.test"), server(8123, "HTTP", "c.test"))
    bind(edge, {"match": [{"uri": {"prefix": "/b"}}], **TO_B}, hosts=("b.test", "c.test"))
    assert ask(edge, "http://b.test/b/1")[2].startswith("svcb")
    assert ask(edge, "http://c.test:8123/b")[2].startswith("svcb")
    assert [ask(edge, url)[0] for url in (
        "http://b.test/c", "http://d.test/b", "http://b.test:8123/b", "http://b.example/b",
    )] == [404] * 4


def test_a_virtual_service_for_a_gateway_is_not_for_sidecars_and_weights_hold_at_gateways(edge: Cluster) -> None:
    subsets = [{"name": f"v{n}", "labels": {"version": f"v0.{n}"}} for n in (1, 2)]
    edge.store("DestinationRule", {"host": "svcb", "subsets": subsets})
    gateway(edge, server(80))
    bind(edge, {"route": [
        {"destination": {"host": "svcb", "subset": "v1"}, "weight": 0},
        {"destination": {"host": "svcb", "subset": "v2"}, "weight": 1},
    ]}, hosts=("svcb", "b.test"))
    assert Counter(ask(edge, "http://b.test/")[2] for _ in range(10)) == {"svcb-2": 10}
    assert {edge.get("svca-1", "http://svcb/").pod for _ in range(20)} == {"svcb-1", "svcb-2"}


def test_a_gateway_that_selects_other_pods_opens_nothing(edge: Cluster) -> None:
    edge.store("Gateway", {"selector": {"istio": "another"}, "servers": [server(80)]}, "it", "networking.istio.io")
    bind(edge, TO_B)
    assert ask(edge, "http://b.test/")[0] == 404


def test_a_gateway_ends_tls_with_the_certificate_of_its_secret(edge: Cluster, certificate: dict[str, Any]) -> None:
    edge.in_force("secrets", edge.put("secrets", {"metadata": {"name": "it"}, "data": certificate["data"]}))
    gateway(edge, server(443, "HTTPS", "b.test", tls={"mode": "SIMPLE", "credentialName": "it"}),
            server(80, "HTTP", "b.test", tls={"httpsRedirect": True}))
    bind(edge, TO_B)
    assert secure(edge, certificate, "b.test", 443) == 200
    status, headers, _ = ask(edge, "http://b.test/x")
    assert (status, headers["location"]) == (301, "https://b.test/x")
    _, dump = edge.pilot("/debug/config_dump?proxy=ingress-1.default")
    assert certificate["data"]["tls.key"] not in str(dump)


def test_an_ingress_with_tls_is_served_on_443_and_without_its_secret_not_at_all(
    edge: Cluster, certificate: dict[str, Any]
) -> None:
    spec = {**rules("b.test", ""), "tls": [{"secretName": "it"}]}
    ingress(edge, spec, missing="there is no secret default/it with tls.crt and tls.key")
    _, problems = edge.pilot("/debug/problems")
    assert "no secret default/it" in problems["ingress-rule/default/it-1-1"]
    edge.in_force("secrets", edge.put("secrets", {"metadata": {"name": "it"}, "data": certificate["data"]}))
    assert secure(edge, certificate, "b.test", 443) == 200


def test_an_ingress_with_tls_shows_the_certificate_that_the_pod_of_0_4_mounted(
    edge: Cluster, certificate: dict[str, Any]
) -> None:
    missing = "there is no secret default/ignored with tls.crt and tls.key"
    ingress(edge, {**rules("b.test", ""), "tls": [{"secretName": "ignored"}]}, missing=missing)
    meta = {"name": "istio-ingress-certs", "namespace": "istio-system"}
    stored = {"metadata": meta, "data": certificate["data"]}
    edge.in_force("secrets", edge.put("secrets", stored))
    try:
        assert secure(edge, certificate, "b.test", 443) == 200
    finally:
        edge.put("secrets", stored, event="DELETED")


def test_a_gateway_passes_connections_on(edge: Cluster) -> None:
    address, port = edge.outside("plain")
    edge.store("ServiceEntry", {
        "hosts": ["plain.test"], "ports": [{"number": 9000, "name": "tcp", "protocol": "TCP"}], "resolution": "STATIC",
        "addresses": ["127.1.2.3"], "endpoints": [{"address": address, "ports": {"tcp": port}}],
    })
    gateway(edge, server(9001, "TCP"))
    edge.store("VirtualService", {"hosts": ["*"], "gateways": ["it"], "tcp": [
        {"match": [{"port": 9001}], "route": [{"destination": {"host": "plain.test", "port": {"number": 9000}}}]}
    ]})
    try:
        assert ask(edge, "http://whatever:9001/")[2] == "plain"
    finally:
        edge.store("ServiceEntry", {}, event="DELETED")


# Kubernetes' Gateway API


def test_an_http_route_serves_its_hosts_on_its_gateways_listener(edge: Cluster) -> None:
    listeners(edge, WEB)
    http_route(edge, {"backendRefs": [SVCB]}, hostnames=["x.k.test"])
    assert ask(edge, f"{X}/")[2].startswith("svcb")
    assert ask(edge, "http://y.k.test:8124/")[0] == 404
    assert ask(edge, "http://x.k.test/")[0] == 404


@pytest.mark.parametrize(("match", "yes", "no"), [
    ({"path": {"type": "PathPrefix", "value": "/a"}}, "a/b", "ab"),
    ({"path": {"type": "Exact", "value": "/a"}}, "a", "a/b"),
    ({"path": {"type": "RegularExpression", "value": "/a+"}}, "aaa", "b"),
    ({"queryParams": [{"name": "q", "value": "1"}]}, "?q=1", "?q=2"),
    ({"method": "GET"}, "", None),
])
def test_the_matches_of_an_http_route(edge: Cluster, match: dict[str, Any], yes: str, no: str | None) -> None:
    listeners(edge, WEB)
    http_route(edge, {"matches": [match], "backendRefs": [SVCB]})
    assert ask(edge, f"{X}/{yes}")[0] == 200
    if no is not None:
        assert ask(edge, f"{X}/{no}")[0] == 404


@pytest.mark.parametrize(("kind", "fields", "status", "header"), [
    ("RequestRedirect", {"requestRedirect": {"scheme": "https", "statusCode": 301}}, 301, ("location", "https://x.k.")),
    ("ResponseHeaderModifier", {"responseHeaderModifier": {"set": [{"name": "x-a", "value": "1"}]}}, 200, ("x-a", "1")),
])
def test_the_filters_of_an_http_route(
    edge: Cluster, kind: str, fields: dict[str, Any], status: int, header: tuple[str, str]
) -> None:
    listeners(edge, WEB)
    backends = {} if "redirect" in kind.lower() else {"backendRefs": [SVCB]}
    http_route(edge, {"filters": [{"type": kind, **fields}], **backends})
    found, headers, _ = ask(edge, f"{X}/")
    assert found == status
    assert headers[header[0]].startswith(header[1])


def test_a_backend_of_weight_0_gets_nothing_and_without_any_a_rule_answers_for_itself(edge: Cluster) -> None:
    listeners(edge, WEB)
    http_route(edge, {"backendRefs": [{**SVCB, "weight": 0}, {"name": "svca", "port": 80, "weight": 1}]})
    assert {ask(edge, f"{X}/")[2] for _ in range(10)} == {"svca-1"}
    http_route(edge, {"backendRefs": []})
    assert ask(edge, f"{X}/")[0] == 404
    for nobody in ([{**SVCB, "weight": 0}], [{"name": "nobody", "port": 80}], [{**SVCB, "kind": "Pod"}]):
        http_route(edge, {"backendRefs": nobody})
        assert ask(edge, f"{X}/")[0] == 500


def test_a_backend_of_another_namespace_answers_only_when_it_is_granted(edge: Cluster) -> None:
    far = {**SVCB, "namespace": "elsewhere"}
    listeners(edge, WEB)
    refused = edge.store("HTTPRoute", {"parentRefs": [{"name": "it"}], "rules": [{"backendRefs": [far]}]})
    assert "ReferenceGrant in elsewhere" in refused.rejected["HTTPRoute/default/it"]
    assert ask(edge, f"{X}/")[0] == 500
    backends = [{**far, "weight": 1}, {**SVCB, "weight": 1}]
    edge.store("HTTPRoute", {"parentRefs": [{"name": "it"}], "rules": [{"backendRefs": backends}]})
    assert {ask(edge, f"{X}/")[0] for _ in range(40)} == {200, 503}


@pytest.mark.parametrize(("one", "other", "both"), [
    ("*", "a.com", "a.com"), ("*.com", "a.com", "a.com"), ("a.com", "*.com", "a.com"), ("*.com", "*.a.com", "*.a.com"),
    ("a.com", "b.com", ""), ("*.a.com", "*.b.com", ""), ("*", "*", "*"),
])
def test_the_hosts_that_two_patterns_have_in_common(one: str, other: str, both: str) -> None:
    assert intersection(one, other) == both
