"""Rules and names of a lab with namespaces: text and bytes, no kernel."""

from __future__ import annotations

import os
import socket
import struct
from typing import Any

import pytest

from meshlab.cluster.network.namespaces.names import Zone, answer
from meshlab.cluster.network.namespaces.rules import balance, redirect


def entry(
    ip: str, ports: dict[int, list[tuple[str, int]]], *, protocol: str = "TCP", node_port: int = 0, **more: Any
) -> dict[str, Any]:
    suffix = "/UDP" if protocol == "UDP" else ""
    return {
        "ip": ip,
        "ports": [
            {
                "name": "http" if number == 80 else f"p{number}",
                "port": number,
                "protocol": protocol,
                "targetPort": number,
                "nodePort": node_port,
            }
            for number in ports
        ],
        "endpoints": {f"{number}{suffix}": [list(end) for end in ends] for number, ends in ports.items()},
        **more,
    }


# Capture


@pytest.mark.parametrize(
    ("ranges", "taken"),
    [
        ("*", ["-j ISTIO_REDIRECT"]),
        ("10.0.0.0/8", ["-d 10.0.0.0/8 -j ISTIO_REDIRECT", "-j RETURN"]),
        (
            "10.40.0.0/16, 10.105.0.0/16",
            ["-d 10.40.0.0/16 -j ISTIO_REDIRECT", "-d 10.105.0.0/16 -j ISTIO_REDIRECT", "-j RETURN"],
        ),
    ],
)
def test_all_or_some_destinations_are_captured_but_never_the_proxys_own(ranges: str, taken: list[str]) -> None:
    output = [
        line.removeprefix("-A ISTIO_OUTPUT ")
        for line in redirect(15001, ranges).splitlines()
        if line.startswith("-A ISTIO_OUTPUT")
    ]
    spared = ["-m mark --mark 1337 -j RETURN", "-d 127.0.0.1/32 -j RETURN"]
    assert output == ["-o lo ! -d 127.0.0.1/32 -j ISTIO_REDIRECT", *spared, *taken]


# Balancing


def test_connections_are_spread_evenly_over_any_number_of_endpoints() -> None:
    ends = [(f"10.40.0.{number}", 8080) for number in range(2, 6)]
    lines = balance({"default/svcb": entry("10.105.119.194", {80: ends})}, "10.40.0.1").splitlines()
    chances = [float(line.split("--probability ")[1].split()[0]) for line in lines if "--probability" in line]
    assert chances == pytest.approx([1 / 4, 1 / 3, 1 / 2])
    left, each = 1.0, []
    for chance in [*chances, 1.0]:
        each.append(left * chance)
        left *= 1 - chance
    assert each == pytest.approx([1 / 4] * 4)
    assert sum("-j DNAT" in line for line in lines) == 4


@pytest.mark.parametrize(
    ("service", "why"),
    [
        (entry("10.105.1.1", {80: []}), "no endpoints: the address is the node's own, where nobody listens"),
        (entry("None", {80: [("10.40.0.2", 80)]}), "headless"),
        (entry("", {}, externalName="example.com"), "outside"),
        (entry("10.105.1.1", {9125: [("10.40.0.2", 9125)]}, protocol="UDP"), "left to the proxy"),
    ],
)
def test_what_cannot_be_balanced_gets_no_rule(service: dict[str, Any], why: str) -> None:
    assert "-A SERVICES" not in balance({"default/x": service}, "10.40.0.1"), why


def test_a_node_port_leads_where_its_port_leads() -> None:
    table = balance(
        {"istio-system/istio-ingress": entry("10.105.10.87", {80: [("10.40.0.9", 80)]}, node_port=31759)}, "10.40.0.1"
    )
    (by_address, by_node) = [line for line in table.splitlines() if line.startswith("-A SERVICES")]
    assert "-d 10.105.10.87/32 -p tcp --dport 80" in by_address
    assert "-d 10.40.0.1/32 -p tcp --dport 31759" in by_node
    assert by_address.split()[-1] == by_node.split()[-1]


def test_affinity_remembers_clients_and_a_pod_that_calls_itself_is_masked() -> None:
    table = balance(
        {"default/x": entry("10.105.1.1", {80: [("10.40.0.2", 80), ("10.40.0.3", 80)]}, affinity=True)}, "10.40.0.1"
    )
    assert table.count("--rcheck --seconds 10800") == 2
    assert table.count("--set -j DNAT") == 2
    assert "-s 10.40.0.2/32 -j MARK --set-mark 16384" in table
    assert "-A POSTROUTING -m mark --mark 16384 -j MASQUERADE" in table


def test_no_chain_has_a_name_that_iptables_refuses() -> None:
    name = "a-namespace-with-a-name-as-long-as-they-may-be/" + "service" * 9
    table = balance({name: entry("10.105.1.1", {80: [("10.40.0.2", 80)]})}, "10.40.0.1")
    assert all(len(line.split()[0]) <= 29 for line in table.splitlines() if line.startswith(":"))


# Names

ZONE = Zone(
    "cluster.local",
    {"meshlab": "10.40.0.1"},
    {
        "default/svcb": entry("10.105.119.194", {80: [("10.40.0.7", 8080)]}),
        "default/headless": entry("None", {80: [("10.40.0.8", 80), ("10.40.0.7", 80)]}, hosts={"db-0": "10.40.0.8"}),
        "default/elsewhere": entry("", {}, externalName="example.com"),
        "default/alias": entry("", {}, externalName="svcb.default.svc.cluster.local"),
    },
)
A, CNAME, PTR, AAAA, SRV = 1, 5, 12, 28, 33


def question(name: str, kind: int = A) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    return struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!HH", kind, 1)


def read(message: bytes | None) -> tuple[int, list[tuple[int, bytes]]]:
    """Code and records of an answer."""
    assert message is not None
    number, flags, questions, count = struct.unpack_from("!HHHH", message)
    assert (number, flags & 0x8180) == (7, 0x8180), "an answer to this question"
    place = 12
    if questions:
        place = message.index(b"\0", 12) + 5
    records = []
    for _ in range(count):
        while message[place] not in (0, 0xC0):
            place += 1 + message[place]
        place += 2 if message[place] == 0xC0 else 1
        kind, _, _, length = struct.unpack_from("!HHIH", message, place)
        records.append((kind, message[place + 10 : place + 10 + length]))
        place += 10 + length
    assert place == len(message)
    return flags & 0xF, records


@pytest.mark.parametrize(
    ("name", "kind", "addresses"),
    [
        ("svcb.default.svc.cluster.local", A, ["10.105.119.194"]),
        ("SVCB.Default.svc.cluster.local", A, ["10.105.119.194"]),
        ("headless.default.svc.cluster.local", A, ["10.40.0.7", "10.40.0.8"]),
        ("db-0.headless.default.svc.cluster.local", A, ["10.40.0.8"]),
        ("10-40-0-7.default.pod.cluster.local", A, ["10.40.0.7"]),
        ("meshlab", A, ["10.40.0.1"]),
        ("svcb.default.svc.cluster.local", AAAA, []),
        ("svc.cluster.local", A, []),
        ("default.svc.cluster.local", A, []),
    ],
)
def test_names_of_the_cluster_have_addresses(name: str, kind: int, addresses: list[str]) -> None:
    code, records = read(answer(question(name, kind), ZONE))
    assert (code, [socket.inet_ntoa(data) for _, data in records]) == (0, addresses)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("svcb.default.svc.cluster.local.default.svc.cluster.local", 3),
        ("svcb.cluster.local", 3),
        ("nobody.default.svc.cluster.local", 3),
        ("db-7.headless.default.svc.cluster.local", 3),
        ("default.pod.cluster.local", 3),
        ("x.default.pod.cluster.local", 3),
        ("svcb", 3),
        ("example.com", 2),
    ],
)
def test_other_names_are_denied_and_names_outside_cannot_be_asked_for(name: str, code: int) -> None:
    assert read(answer(question(name), ZONE)) == (code, [])


def test_an_external_name_is_an_alias_and_followed_inside_the_cluster() -> None:
    _, outside = read(answer(question("elsewhere.default.svc.cluster.local"), ZONE))
    assert outside == [(CNAME, b"\x07example\x03com\0")]
    _, inside = read(answer(question("alias.default.svc.cluster.local"), ZONE))
    assert [kind for kind, _ in inside] == [CNAME, A]


def test_a_ports_number_and_an_addresss_name_can_be_asked_for() -> None:
    _, ((kind, data),) = read(answer(question("_http._tcp.svcb.default.svc.cluster.local", SRV), ZONE))
    assert (kind, struct.unpack_from("!HHH", data)[2]) == (SRV, 80)
    _, ((kind, data),) = read(answer(question("194.119.105.10.in-addr.arpa", PTR), ZONE))
    assert (kind, data) == (PTR, b"\x04svcb\x07default\x03svc\x07cluster\x05local\0")


def test_an_answer_that_is_too_long_says_so() -> None:
    many = Zone("cluster.local", {}, {"default/many": entry("None", {80: [(f"10.40.1.{n}", 80) for n in range(60)]})})
    asked = question("many.default.svc.cluster.local")
    short = answer(asked, many)
    assert short is not None
    assert len(short) <= 512
    assert struct.unpack_from("!H", short, 2)[0] & 0x0200
    assert len(read(answer(asked, many, largest=65_535))[1]) == 60


def test_nothing_that_is_sent_makes_it_fail() -> None:
    whole = question("svcb.default.svc.cluster.local")
    cut = [whole[:length] for length in range(len(whole))]
    for message in [b"", b"x", *cut, *(os.urandom(40) for _ in range(500))]:
        answer(message, ZONE)
    assert answer(whole[:2] + b"\x80\0" + whole[4:], ZONE) is None, "an answer is no question"
    assert read(answer(whole[:2] + b"\x29\0" + whole[4:], ZONE) or b"")[0] == 4
