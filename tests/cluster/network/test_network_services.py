"""A Service and its Endpoints as the network file and kube-proxy's configuration have them."""

from __future__ import annotations

from typing import Any

import pytest

from meshlab.cluster.network.envoy import resources
from meshlab.cluster.network.services import entry, of_slice, port_key

Json = dict[str, Any]


def a_service(*ports: Json, **spec: Any) -> Json:
    return {"metadata": {"name": "web", "namespace": "shop"}, "spec": {"clusterIP": "127.105.1.1", "ports": list(ports)}
            | spec}


def some_endpoints(*subsets: Json) -> Json:
    return {"metadata": {"name": "web", "namespace": "shop"}, "subsets": list(subsets)}


HTTP, STATS = {"name": "http", "port": 80, "targetPort": 8080}, {"name": "stats", "port": 9125, "protocol": "UDP"}


def test_endpoints_are_kept_by_the_services_port_with_the_pods_port() -> None:
    found = entry(a_service(HTTP, STATS), some_endpoints({
        "addresses": [{"ip": "127.40.0.9"}, {"ip": "127.40.0.7"}],
        "notReadyAddresses": [{"ip": "127.40.0.8"}],
        "ports": [{"name": "http", "port": 8080}, {"name": "stats", "port": 9125, "protocol": "UDP"}],
    }))
    assert found == {
        "ip": "127.105.1.1",
        "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080, "nodePort": 0},
                  {"name": "stats", "port": 9125, "protocol": "UDP", "targetPort": 9125, "nodePort": 0}],
        "endpoints": {"80": [["127.40.0.7", 8080], ["127.40.0.9", 8080]],
                      "9125/UDP": [["127.40.0.7", 9125], ["127.40.0.9", 9125]]},
    }


@pytest.mark.parametrize("endpoints", [None, {"metadata": {}}, some_endpoints({"ports": [{"port": 8080}]})])
def test_a_service_whose_pods_are_not_ready_has_its_port_and_no_endpoints(endpoints: Json | None) -> None:
    assert entry(a_service({"port": 80}), endpoints)["endpoints"] == {"80": []}


def test_pods_that_name_their_port_differently_are_several_subsets() -> None:
    found = entry(a_service(HTTP), some_endpoints(
        {"addresses": [{"ip": "127.40.0.7"}], "ports": [{"name": "http", "port": 8080}]},
        {"addresses": [{"ip": "127.40.0.8"}], "ports": [{"name": "http", "port": 9090}]}))
    assert found["endpoints"] == {"80": [["127.40.0.7", 8080], ["127.40.0.8", 9090]]}


def test_what_is_special_about_a_service_is_said_only_then() -> None:
    assert entry(a_service(sessionAffinity="ClientIP"), None)["affinity"] is True
    alias = entry({"metadata": {}, "spec": {"type": "ExternalName", "externalName": "example.com"}}, None)
    assert (alias["ip"], alias["externalName"]) == ("", "example.com")
    assert "affinity" not in alias
    named = some_endpoints({"addresses": [{"ip": "127.40.0.9", "hostname": "db-0"}, {"ip": "127.40.0.8"}]})
    assert entry(a_service(clusterIP="None"), named)["hosts"] == {"db-0": "127.40.0.9"}


def configured(*ports: Json, low: int = 1024, **spec: Any) -> Any:
    ends = some_endpoints({"addresses": [{"ip": "127.40.0.7"}],
                           "ports": [{"name": port.get("name"), "port": port.get("targetPort", port["port"]),
                                      "protocol": port.get("protocol", "TCP")} for port in ports]})
    return resources("shop/web", entry(a_service(*ports, **spec), ends), node="127.40.0.1", low_port_start=low,
                     domain="cluster.local")


def test_kube_proxy_listens_on_the_service_and_on_the_node_port_for_it() -> None:
    found = configured(HTTP | {"nodePort": 31759}, STATS)
    assert [each["name"] for each in found.listeners] == [
        "127.105.1.1:20080", "127.40.0.1:31759", "127.105.1.1:9125/UDP"]
    assert [each["name"] for each in found.clusters] == ["shop/web:80", "shop/web:9125/UDP"]
    assert {each["lb_policy"] for each in found.clusters} == {"RANDOM"}


@pytest.mark.parametrize(("low", "service", "end"), [(1024, 20080, 20081), (0, 80, 81), (81, 20080, 81)])
def test_low_ports_are_the_ones_really_bound(low: int, service: int, end: int) -> None:
    found = configured({"port": 80, "targetPort": 81}, low=low)
    assert found.listeners[0]["address"]["socket_address"]["port_value"] == service
    point = found.clusters[0]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    assert point["address"]["socket_address"] == {"address": "127.40.0.7", "port_value": end}


def test_affinity_hashes_the_clients_address() -> None:
    found = configured(HTTP, STATS, sessionAffinity="ClientIP")
    assert {each["lb_policy"] for each in found.clusters} == {"MAGLEV"}


@pytest.mark.parametrize("spec", [{"clusterIP": "None"}, {"clusterIP": ""}])
def test_a_service_without_an_address_has_nothing_to_listen_on(spec: Json) -> None:
    found = configured(HTTP, **spec)
    assert not (found.listeners or found.clusters or found.hosts)


def test_the_forward_proxy_knows_a_service_by_its_names_with_a_port_and_port_80_without() -> None:
    [web, admin] = configured({"name": "a", "port": 80}, {"name": "b", "port": 81}, STATS).hosts
    assert set(web["domains"]) == {
        f"{name}{port}" for port in ("", ":80")
        for name in ("web.shop", "web.shop.svc", "web.shop.svc.cluster.local", "127.105.1.1")}
    assert all(domain.endswith(":81") for domain in admin["domains"])


def test_tcp_and_udp_ports_of_one_number_are_two() -> None:
    assert port_key(53, "TCP") != port_key(53, "UDP")
    assert len(configured({"name": "t", "port": 53}, {"name": "u", "port": 53, "protocol": "UDP"}).clusters) == 2


def a_slice(manager: str | None, *endpoints: Json, family: str = "IPv4") -> Json:
    managed = {"endpointslice.kubernetes.io/managed-by": manager} if manager else {}
    labels = {"kubernetes.io/service-name": "web"} | managed
    return {"metadata": {"name": "web-1", "namespace": "shop", "labels": labels},
            "addressType": family, "endpoints": list(endpoints),
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]}


def test_slices_that_somebody_wrote_by_hand_are_followed_like_endpoints() -> None:
    found = of_slice(a_slice(None, {"addresses": ["127.40.0.7"]},
                             {"addresses": ["127.40.0.8"], "conditions": {"ready": False}}))
    assert found is not None
    service, subset = found
    assert service == "web"
    assert entry(a_service(HTTP), None, [subset])["endpoints"] == {"80": [["127.40.0.7", 8080]]}


@pytest.mark.parametrize("found", [
    a_slice("endpointslice-controller.k8s.io", {"addresses": ["127.40.0.7"]}),
    a_slice("endpointslicemirroring-controller.k8s.io", {"addresses": ["127.40.0.7"]}),
    a_slice(None, {"addresses": ["2001:db8::1"]}, family="IPv6"),
    {**a_slice(None), "metadata": {"name": "other"}},
], ids=["a controller's", "a mirror", "IPv6", "no service"])
def test_other_slices_say_nothing_new(found: Json) -> None:
    assert of_slice(found) is None
