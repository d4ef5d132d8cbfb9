"""One stream: order, acknowledgements, refusals, and Envoy's traps. No network."""

from __future__ import annotations

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from translating import registry, rule

from meshlab.mesh.pilot.build import Builder
from meshlab.mesh.pilot.connection import DRAIN, LINGER, Connection, Push, Request
from meshlab.mesh.pilot.proxy import Proxy, Role
from meshlab.mesh.pilot.registry import Registry
from meshlab.mesh.pilot.snapshot import Kind

PROXY = Proxy(Role.SIDECAR, "127.40.0.10", "svca-1.default", "default.svc.cluster.local", "127.41.0.10")
SVCB = {"destination": {"name": "svcb"}}


class Envoy:
    """The other end: asks as Envoy does, remembers what came."""

    def __init__(self, target: Registry) -> None:
        self.now = 100.0
        self.messages: list[discovery_pb2.DiscoveryResponse] = []
        self.target, self.builder, self.generation = target, Builder(), 0
        self.connection = Connection(PROXY, self._receive, lambda: self.now)
        self.push()
        self.ask(Kind.CLUSTER)
        snapshot = self.connection.snapshot
        assert snapshot is not None
        self.ask(Kind.ENDPOINTS, *snapshot.of(Kind.ENDPOINTS))
        self.ask(Kind.LISTENER)
        self.ask(Kind.ROUTE, *snapshot.of(Kind.ROUTE))
        self.acknowledge()

    def _receive(self, data: bytes) -> None:
        self.messages.append(discovery_pb2.DiscoveryResponse.FromString(data))

    def push(self) -> Push | None:
        self.generation += 1
        return self.connection.push(self.builder.snapshot(self.target.world(), PROXY), self.generation)

    def ask(self, kind: Kind, *names: str, nonce: str = "", error: str = "") -> None:
        self.connection.receive(Request(kind, frozenset(names), nonce, error))

    def acknowledge(self, error: str = "") -> None:
        """Answers every message, once."""
        messages, self.messages = self.messages, []
        for message in messages:
            (kind,) = (each for each in Kind if each.type_url == message.type_url)
            names = self.connection.subscriptions[kind].names
            self.ask(kind, *names, nonce=message.nonce, error=error if kind is Kind.ROUTE else "")

    @property
    def kinds(self) -> list[str]:
        return [message.type_url.rpartition(".")[2] for message in self.messages]


def test_a_rule_for_a_new_version_sends_clusters_endpoints_and_routes_in_this_order() -> None:
    envoy = Envoy(registry())
    rule(envoy.target, {**SVCB, "route": [{"labels": {"version": "v0.2"}}]})
    push = envoy.push()
    assert envoy.kinds == ["Cluster", "ClusterLoadAssignment", "RouteConfiguration"]
    assert push is not None
    assert not push.settled
    envoy.acknowledge()
    assert push.done == envoy.now


def test_nothing_is_sent_when_nothing_changed() -> None:
    envoy = Envoy(registry())
    assert envoy.push() is None
    assert envoy.messages == []


def test_a_changed_cluster_is_followed_by_its_unchanged_endpoints() -> None:
    envoy = Envoy(registry())
    rule(envoy.target, {**SVCB, "loadBalancing": {"name": "RANDOM"}}, kind="DestinationPolicy")
    envoy.push()
    assert envoy.kinds == ["Cluster", "ClusterLoadAssignment"]
    assert len(envoy.messages[1].resources) == 1


def test_who_comes_back_and_asks_for_endpoints_first_gets_them_again_after_the_clusters() -> None:
    envoy = Envoy(registry())
    before = envoy.connection.snapshot
    assert before is not None
    rule(envoy.target, {**SVCB, "loadBalancing": {"name": "RANDOM"}}, kind="DestinationPolicy")
    envoy.connection = Connection(PROXY, envoy._receive, lambda: envoy.now)
    envoy.push()
    envoy.ask(Kind.ENDPOINTS, *before.of(Kind.ENDPOINTS))
    envoy.ask(Kind.CLUSTER)
    assert envoy.kinds == ["ClusterLoadAssignment", "Cluster", "ClusterLoadAssignment"]
    assert envoy.messages[2].resources == envoy.messages[0].resources
    assert envoy.messages[2].version_info != envoy.messages[0].version_info
    envoy.acknowledge()
    assert envoy.connection.synced is False  # it has yet to ask for listeners
    envoy.ask(Kind.LISTENER)
    envoy.acknowledge()
    assert envoy.connection.synced


def test_an_unused_cluster_stays_for_a_while_and_comes_back_without_being_sent() -> None:
    envoy = Envoy(registry())
    for version, expected in (("v0.1", 3), ("v0.2", 1), ("v0.1", 1)):
        rule(envoy.target, {**SVCB, "route": [{"labels": {"version": version}}]})
        envoy.push()
        # The third time cluster and endpoints are still there: routes only.
        assert len(envoy.kinds) == (3 if version == "v0.2" else expected)
        envoy.acknowledge()
    envoy.now += LINGER + 1
    envoy.connection.expire()
    assert envoy.kinds == ["Cluster"]
    names = [resource.value for resource in envoy.messages[0].resources]
    assert not any(b"version=v0.2" in each for each in names)


def test_a_refusal_is_kept_with_its_reason_until_something_newer_is_accepted() -> None:
    envoy = Envoy(registry())
    rule(envoy.target, {**SVCB, "appendHeaders": {"x-a": "1"}})
    push = envoy.push()
    envoy.acknowledge("no good")
    assert push is not None
    assert (push.refused, push.done) == ("rds: no good", None)
    assert envoy.connection.status()["rds"]["state"] == "REFUSED"  # type: ignore[index]
    rule(envoy.target, {**SVCB, "appendHeaders": {"x-a": "2"}})
    second = envoy.push()
    envoy.acknowledge()
    assert second is not None
    assert second.done == envoy.now
    assert envoy.connection.status()["rds"]["state"] == "SYNCED"  # type: ignore[index]


def test_an_answer_to_an_old_message_acknowledges_nothing() -> None:
    envoy = Envoy(registry())
    rule(envoy.target, {**SVCB, "appendHeaders": {"x-a": "1"}})
    push = envoy.push()
    envoy.ask(Kind.ROUTE, "80", nonce="0")
    assert push is not None
    assert not push.settled


def test_a_new_listener_waits_for_its_routes_and_a_replaced_one_for_its_connections() -> None:
    envoy = Envoy(registry())
    spec = {"destination": {"service": "a.com"}, "ports": [{"port": 9997, "protocol": "http"}]}
    rule(envoy.target, spec, kind="EgressRule")
    push = envoy.push()
    assert push is not None
    assert push.drain == 0
    nonces = {message.type_url.rpartition(".")[2]: message.nonce for message in envoy.messages}
    envoy.acknowledge()
    assert not push.settled
    envoy.ask(Kind.ROUTE, *envoy.connection.subscriptions[Kind.ROUTE].names, "9997", nonce=nonces["RouteConfiguration"])
    envoy.acknowledge()
    assert push.settled
    rule(envoy.target, {**spec, "ports": [{"port": 9998, "protocol": "http"}]}, kind="EgressRule")
    moved = envoy.push()
    assert moved is not None
    drains: list[Push] = []
    envoy.connection.draining = drains.append
    nonces = {message.type_url.rpartition(".")[2]: message.nonce for message in envoy.messages}
    envoy.now += 2 * DRAIN
    envoy.acknowledge()
    envoy.ask(Kind.ROUTE, *envoy.connection.subscriptions[Kind.ROUTE].names, "9998", nonce=nonces["RouteConfiguration"])
    assert drains == []
    envoy.acknowledge()
    assert drains == [moved], "from now on: until then the sidecar may not have known of it"
    for pause, settled in ((0.9 * DRAIN, False), (0.2 * DRAIN, True)):
        envoy.now += pause
        moved.check(envoy.now)
        assert moved.settled is settled


def test_what_is_asked_for_and_not_there_is_answered_empty_at_once() -> None:
    envoy = Envoy(registry())
    known = envoy.connection.subscriptions[Kind.ENDPOINTS]
    envoy.ask(Kind.ENDPOINTS, *known.names, "gone", nonce=known.nonce)
    assert len(envoy.messages[0].resources) == 1


@pytest.mark.parametrize("answered", ["each message", "the newest message only"])
def test_a_change_is_in_force_although_the_next_one_was_sent_before_its_answer_came(answered: str) -> None:
    envoy = Envoy(registry())
    pushes = []
    for value in ("1", "2"):
        rule(envoy.target, {**SVCB, "appendHeaders": {"x-a": value}})
        pushes.append(envoy.push())
    if answered == "the newest message only":
        envoy.messages = envoy.messages[-1:]
    envoy.acknowledge()
    assert [push is not None and push.done for push in pushes] == [envoy.now, envoy.now]
