"""Connections that VirtualServices route by where they come from and go to and, of TLS, by the name that is asked for.

A listener that changes takes a second until its last connections are gone: each case has a host of its own, and all of
them are stored at once.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import trustme
from pilot_cluster import BLOCK, Cluster

from meshlab.mesh.pilot.rulebook import TODAY

PORTS = {"tls": 9443, "tcp": 9444}
#: An address that only a rule has.
ELSEWHERE = "127.9.9.9"
Spec = dict[str, Any]
#: What a route asks of a connection, and whether that holds for this caller and its host.
CASES: list[tuple[Spec, bool]] = [
    ({}, True),
    ({"port": "own"}, True),
    ({"port": 9999}, False),
    ({"sourceLabels": {"app": "svca"}}, True),
    ({"sourceLabels": {"app": "svcb"}}, False),
    ({"sourceNamespace": "default"}, True),
    ({"sourceNamespace": "elsewhere"}, False),
    ({"gateways": ["mesh"]}, True),
    ({"gateways": ["default/gw"]}, False),
    ({"destinationSubnets": "own"}, True),
    ({"destinationSubnets": [f"{ELSEWHERE}/32"]}, False),
]
WEIGHTS = [(1, 0), (0, 1), (1, 1)]


class Speaker:
    """A server outside the mesh that says its name to whoever connects, by TLS or not."""

    def __init__(self, address: str, name: str, ca: trustme.CA | None) -> None:
        self._listening = socket.create_server((address, 0))
        self.address, self.port = address, int(self._listening.getsockname()[1])
        self._name, self._tls = name, None
        if ca is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            ca.issue_cert("*.a.test").configure_cert(self._tls)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                raw, _ = self._listening.accept()
            except OSError:
                return  # closed
            with contextlib.suppress(OSError), raw, self._tls.wrap_socket(raw, True) if self._tls else raw as caller:
                caller.recv(1)
                caller.sendall(self._name.encode())

    def close(self) -> None:
        # Whoever waits in accept is not woken by a close alone.
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


class Routed:
    """Of each kind of route and each case a host, which is `there`; where its route leads is `away`."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self._newest, ca = cluster, dict[str, int](), trustme.CA()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ca.configure_trust(self._context)
        place = f"{cluster.network.external.rsplit('.', 2)[0]}.{BLOCK}"
        self.speakers = {
            (kind, name): Speaker(f"{place}.{210 + len(kind) * n}", name, ca if kind == "tls" else None)
            for n, kind in enumerate(PORTS)
            for name in ("there", "away")
        }
        for kind in PORTS:
            self._entry(kind, 200, "away")
            for number, (match, _) in enumerate(CASES):
                self._entry(kind, number, "there")
                own = {"port": PORTS[kind], "destinationSubnets": [f"{self.address(kind, number)}/32"]}
                wanted = {name: own[name] if value == "own" else value for name, value in match.items()}
                away = {"host": self.host(kind, 200), "port": {"number": PORTS[kind]}}
                self._route(kind, number, wanted, {"destination": away})
            for number, weights in enumerate(WEIGHTS, 100):
                self._entry(kind, number, "there", "away")
                subsets = [{"name": name, "labels": {"is": name}} for name in ("there", "away")]
                self._put("DestinationRule", kind, number, {"host": self.host(kind, number), "subsets": subsets})
                self._route(
                    kind,
                    number,
                    {},
                    *(
                        {"destination": {"host": self.host(kind, number), "subset": name}, "weight": weight}
                        for name, weight in zip(("there", "away"), weights, strict=True)
                    ),
                )
        for plural, revision in self._newest.items():
            found = cluster.in_force(plural, revision)
            assert found.in_force, found

    def host(self, kind: str, number: int) -> str:
        return f"{kind}{number}.a.test"

    def _put(self, kind: str, protocol: str, number: int, spec: Spec) -> None:
        plural, known = next((p, k) for p, k in TODAY.items() if k.kind == kind)
        self._newest[plural] = self.cluster.put(
            plural,
            {
                "apiVersion": known.api_version,
                "kind": kind,
                "metadata": {"name": f"{protocol}{number}"},
                "spec": spec,
            },
        )

    def _entry(self, kind: str, number: int, *names: str) -> None:
        speakers = {name: self.speakers[kind, name] for name in names}
        self._put(
            "ServiceEntry",
            kind,
            number,
            {
                "hosts": [self.host(kind, number)],
                "addresses": [self.address(kind, number)],
                "resolution": "STATIC",
                "ports": [{"number": PORTS[kind], "name": "it", "protocol": kind.upper()}],
                "endpoints": [
                    {"address": each.address, "ports": {"it": each.port}, "labels": {"is": name}}
                    for name, each in speakers.items()
                ],
            },
        )

    def _route(self, kind: str, number: int, match: Spec, *to: Spec) -> None:
        named: Spec = {"sniHosts": [self.host(kind, number)]} if kind == "tls" else {}
        block = {"match": [{**named, **match}], "route": [*to]}
        self._put("VirtualService", kind, number, {"hosts": [self.host(kind, number)], kind: [block]})

    @staticmethod
    def address(kind: str, number: int) -> str:
        return f"127.1.{2 if kind == 'tls' else 3}.{number}"

    def heard(self, kind: str, number: int, address: str = "", sni: str = "") -> str:
        """What a connection of the caller to a host is told; "" where it is closed."""
        where = address or self.address(kind, number)
        with contextlib.suppress(OSError), self.cluster.connect("svca-1", where, PORTS[kind]) as raw:
            name = sni or self.host(kind, number)
            with self._context.wrap_socket(raw, server_hostname=name) if kind == "tls" else raw as connection:
                connection.sendall(b"?")
                return connection.recv(10).decode()
        return ""

    def close(self) -> None:
        for each in self.speakers.values():
            each.close()


@pytest.fixture(scope="module")
def routed(cluster: Cluster) -> Iterator[Routed]:
    found = Routed(cluster)
    yield found
    found.close()


@pytest.mark.parametrize("kind", PORTS)
@pytest.mark.parametrize("number", range(len(CASES)), ids=[str(case[0]) for case in CASES])
def test_a_connection_is_led_away_where_all_that_its_route_asks_holds(routed: Routed, kind: str, number: int) -> None:
    match, holds = CASES[number]
    there = "there"
    if "destinationSubnets" in match and kind == "tls" and not holds:
        there = ""  # what a route by name says of networks, it says of the name
    assert routed.heard(kind, number) == ("away" if holds else there)


def test_the_networks_of_a_route_hold_for_addresses_that_no_service_has(routed: Routed) -> None:
    number = len(CASES) - 1
    assert routed.heard("tcp", number, ELSEWHERE) == "away"
    assert routed.heard("tcp", number, "127.9.9.8") == ""
    assert routed.heard("tls", number, ELSEWHERE) == "away"
    assert routed.heard("tls", number, ELSEWHERE, "other.a.test") == ""


def test_where_routes_go_by_name_no_other_name_gets_anywhere(routed: Routed) -> None:
    assert routed.heard("tls", 0, sni="other.a.test") == ""


@pytest.mark.parametrize("kind", PORTS)
def test_connections_are_shared_out_by_weight_among_versions(routed: Routed, kind: str) -> None:
    # Where both have a share, both are seen in 50 draws, but once in 10^15.
    heard = [{routed.heard(kind, 100 + n) for _ in range(50 if all(w) else 6)} for n, w in enumerate(WEIGHTS)]
    assert heard == [{"there"}, {"away"}, {"there", "away"}]
