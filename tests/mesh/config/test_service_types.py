"""Services as the mesh sees them: protocols by port name, names of clusters, host names."""

from typing import Any

import pytest

from meshlab.mesh.config.labels import NO_LABELS, Labels
from meshlab.mesh.config.model import IstioService, Meta
from meshlab.mesh.config.names import resolve_hostname
from meshlab.mesh.config.services import (
    Authentication,
    Protocol,
    parse_service_key,
    port_authentication,
    port_protocol,
    service_from_kubernetes,
    service_key,
)


@pytest.mark.parametrize(
    ("name", "protocol"),
    [
        ("", Protocol.TCP),
        ("web", Protocol.TCP),
        ("http", Protocol.HTTP),
        ("HTTP-api", Protocol.HTTP),
        ("http-", Protocol.HTTP),
        ("https-api", Protocol.HTTPS),
        ("http_api", Protocol.TCP),
        ("httpx", Protocol.TCP),
        ("grpc-web", Protocol.GRPC),
        ("-http", Protocol.TCP),
        ("udp-dns", Protocol.TCP),
        ("redis", Protocol.REDIS),
    ],
)
def test_a_ports_protocol_is_what_its_name_says_before_the_first_dash(name: str, protocol: Protocol) -> None:
    assert port_protocol(name) is protocol


def test_kubernetes_udp_wins_over_any_name() -> None:
    assert port_protocol("http", "UDP") is Protocol.UDP
    assert port_protocol("http", "SCTP") is Protocol.TCP


def test_https_is_not_routed_by_request() -> None:
    assert [each.name for each in Protocol if each.is_http] == ["GRPC", "HTTP2", "HTTP"]


def test_only_known_policies_of_exactly_this_port_count() -> None:
    annotations = {"auth.istio.io/80": "MUTUAL_TLS", "auth.istio.io/81": "strict"}
    assert port_authentication(80, annotations) is Authentication.MUTUAL_TLS
    assert port_authentication(81, annotations) is Authentication.INHERIT
    assert port_authentication(8, annotations) is Authentication.INHERIT


def _service(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "svcb", "namespace": "shop"}, "spec": {"ports": [{"port": 80}], **spec}}


def test_a_kubernetes_service_becomes_a_service_of_the_mesh() -> None:
    obj = _service(clusterIP="127.105.3.4", ports=[{"port": 80}, {"port": 90, "name": "http-x", "protocol": "TCP"}])
    service = service_from_kubernetes(obj)
    assert service.hostname == "svcb.shop.svc.cluster.local"
    assert (service.name, service.namespace, service.address) == ("svcb", "shop", "127.105.3.4")
    assert [(port.number, port.protocol) for port in service.ports] == [(80, Protocol.TCP), (90, Protocol.HTTP)]
    assert not service.headless


def test_headless_means_neither_address_nor_external_name() -> None:
    assert service_from_kubernetes(_service(clusterIP="None")).headless
    assert not service_from_kubernetes(_service(type="ExternalName", externalName="a.com")).headless
    assert service_from_kubernetes(_service(clusterIP="1.2.3.4", externalName="a.com")).external_name == ""


@pytest.mark.parametrize(
    ("ports", "labels", "key"),
    [
        ([""], [], "h"),
        ([], [], "h"),
        ([""], [None], "h"),
        ([""], [NO_LABELS], "h"),
        (["http"], [], "h|http"),
        (["http"], [Labels(b="2", a="1")], "h|http|a=1,b=2"),
        ([""], [Labels(a="1")], "h||a=1"),
        (["x", "http"], [Labels(b="1"), Labels(a="1")], "h|http,x|a=1;b=1"),
        (["http"], [Labels(a="")], "h|http|a"),
    ],
)
def test_keys_name_ports_and_versions_in_order(ports: list[str], labels: list[Labels | None], key: str) -> None:
    assert service_key("h", ports, labels) == key


def test_keys_can_be_taken_apart() -> None:
    assert parse_service_key("h|http,x|a=1;b=1,c") == ("h", ("http", "x"), (Labels(a="1"), Labels(b="1", c="")))
    assert parse_service_key("h") == ("h", ("",), ())


def test_labels_are_equal_whatever_their_order_and_can_be_keys() -> None:
    assert Labels(a="1", b="2") == Labels({"b": "2", "a": "1"})
    assert {Labels(a="1"): "x"}[Labels(a="1")] == "x"
    assert not NO_LABELS
    assert Labels(a="1").subset_of({"a": "1", "b": "2"})
    assert not Labels(a="1").subset_of({"a": "2"})
    assert Labels(a="").subset_of({})


@pytest.mark.parametrize(
    ("service", "hostname"),
    [
        (IstioService(name="svcb"), "svcb.ns.svc.mesh.local"),
        (IstioService(name="svcb", namespace="shop"), "svcb.shop.svc.mesh.local"),
        (IstioService(name="svcb", domain="corp.com"), "svcb.ns.corp.com"),
        (IstioService(service="*.corp.com"), "*.corp.com"),
        (IstioService(name="ignored", service="a.com"), "a.com"),
    ],
)
def test_short_names_are_completed_from_the_rules_own_place(service: IstioService, hostname: str) -> None:
    assert resolve_hostname(Meta("route-rule", "r", "ns", "mesh.local"), service) == hostname
