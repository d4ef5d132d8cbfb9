"""Addresses depend on names and on what is in use, on nothing else."""

from __future__ import annotations

import pytest

from meshlab.cluster.network.addresses import (
    NODE_PORTS,
    TUTORIAL,
    AddressError,
    node_port,
    pod_ip,
    reserve_service_ip,
    service_ip,
)
from meshlab.settings import Network

LAB = Network(0)


@pytest.mark.parametrize(
    ("namespace", "name", "address"),
    [
        ("default", "svca", "127.105.38.238"),
        ("default", "svcb", "127.105.119.194"),
        ("istio-system", "istio-pilot", "127.105.80.55"),
        ("istio-system", "istio-mixer", "127.105.244.155"),
        ("istio-system", "istio-ingress", "127.105.10.87"),
        ("istio-system", "prometheus", "127.105.160.37"),
        ("istio-system", "grafana", "127.105.21.25"),
        ("istio-system", "servicegraph", "127.105.245.21"),
        ("istio-system", "zipkin", "127.105.7.219"),
        ("default", "kubernetes", "127.105.0.1"),
    ],
)
def test_services_of_the_tutorial_have_its_addresses(namespace: str, name: str, address: str) -> None:
    assert service_ip(namespace, name, set(), LAB) == address


def test_a_name_of_the_tutorial_in_another_namespace_is_an_ordinary_service() -> None:
    assert service_ip("shop", "svca", set(), LAB) != "127.105.38.238"


def test_a_service_keeps_its_address_whatever_else_there_is() -> None:
    alone = service_ip("shop", "cart", set(), LAB)
    assert service_ip("shop", "cart", {"127.105.9.9"}, LAB) == alone
    assert service_ip("shop", "cart", {alone}, LAB) != alone


def test_other_slots_have_the_same_addresses_in_their_own_network() -> None:
    assert service_ip("default", "svca", set(), Network(3)) == "127.108.38.238"


def test_many_services_share_no_address_and_take_none_of_the_tutorials() -> None:
    used: set[str] = set()
    for number in range(2_000):
        used.add(service_ip("many", f"service-{number}", used, LAB))
    assert len(used) == 2_000
    assert not used & {f"127.105.{high}.{low}" for high, low in TUTORIAL.values()}


def test_a_taken_address_of_the_tutorial_is_not_given_twice() -> None:
    assert service_ip("default", "svca", {"127.105.38.238"}, LAB) != "127.105.38.238"


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("10.105.38.238", "not in the valid range"),
        ("127.40.0.5", "127.105.0.0/16"),
        ("127.105.1.1", "already allocated"),
        ("here", "not a valid IP"),
    ],
)
def test_an_address_that_was_asked_for_is_refused_with_the_reason(wanted: str, words: str) -> None:
    with pytest.raises(AddressError, match=words):
        reserve_service_ip(wanted, {"127.105.1.1"}, LAB)


def test_a_free_address_that_was_asked_for_is_given() -> None:
    assert reserve_service_ip("127.105.1.2", {"127.105.1.1"}, LAB) == "127.105.1.2"


def test_pods_get_distinct_addresses_and_never_the_nodes() -> None:
    used: set[str] = set()
    for number in range(500):
        used.add(pod_ip(f"uid-{number}", used, LAB))
    assert len(used) == 500
    assert LAB.node not in used
    assert all(address.startswith("127.40.") for address in used)
    assert not any(address.endswith((".0", ".1", ".255")) for address in used)


def test_a_full_range_is_an_error_and_not_an_endless_search() -> None:
    everything = {f"127.40.{high}.{low}" for high in range(64) for low in range(256)}
    with pytest.raises(AddressError, match="no pod address"):
        pod_ip("one more", everything, LAB)
    with pytest.raises(AddressError, match="range is full"):
        node_port("a", "b", 80, NODE_PORTS)


def test_node_ports_lie_in_kubernetes_range_and_the_ingress_has_the_tutorials() -> None:
    assert node_port("istio-system", "istio-ingress", 80, set()) == 31_759
    first = node_port("default", "web", 80, set())
    assert first in NODE_PORTS
    assert node_port("default", "web", 80, {first}) != first
