"""TLS at the edge through real proxies: what clients are shown, what is asked of them, and what comes behind it."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from pilot_cluster import Cluster

from meshlab.settings import bound_port
from tests.mesh.pilot.secured import Secured

GATEWAY = "networking.istio.io"


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """svcb behind a sidecar, and an ingress proxy; each has an account with a certificate."""
    cluster = Cluster(tmp_path_factory.mktemp("g"))
    try:
        found = Secured(cluster)
        for account in ("svcb", "ingress"):
            found.certify(account)
        cluster.service("svcb")
        cluster.pod("svcb-1", "svcb", account="svcb")
        cluster.pod("ingress-1", "istio-ingress", serve=False, account="ingress", labels={"istio": "ingress"})
        cluster.sidecar("svcb-1")
        cluster.sidecar("ingress-1", role="ingress")
        yield found
    finally:
        cluster.close()


@pytest.fixture
def mesh(edge: Secured) -> Iterator[Secured]:
    cluster = edge.cluster
    cluster.store("VirtualService", {
        "hosts": ["b.test"], "gateways": ["it"], "http": [{"route": [{"destination": {"host": "svcb"}}]}],
    })  # fmt: skip
    yield edge
    edge.clear()
    for kind in ("VirtualService", "Gateway"):
        cluster.store(kind, {}, group=GATEWAY, event="DELETED")
    cluster.in_force("secrets", cluster.put("secrets", {"metadata": {"name": "it"}}, "DELETED"))


def secret(mesh: Secured, ca: trustme.CA, clients: trustme.CA | None = None) -> ssl.SSLContext:
    """Stores a new certificate for b.test; the context of a client that believes its authority."""
    own = ca.issue_cert("b.test")
    data = {"tls.crt": own.cert_chain_pems[0].bytes(), "tls.key": own.private_key_pem.bytes()}
    if clients is not None:
        data["ca.crt"] = clients.cert_pem.bytes()
    encoded = {name: base64.b64encode(text).decode() for name, text in data.items()}
    revision = mesh.cluster.put("secrets", {"metadata": {"name": "it"}, "data": encoded})
    assert mesh.cluster.in_force("secrets", revision).in_force
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


def gateway(mesh: Secured, *servers: dict[str, Any], missing: str = "") -> None:
    """Stores it; it is in force, or waits for what is `missing`."""
    found = mesh.cluster.store("Gateway", {"selector": {"istio": "ingress"}, "servers": list(servers)}, group=GATEWAY)
    assert (found.in_force, bool(found.missing)) == (not missing, bool(missing)), found
    assert missing in "".join(found.missing.values())


def server(port: int, protocol: str, **tls: Any) -> dict[str, Any]:
    opened = {"port": {"number": port, "name": f"p{port}", "protocol": protocol}, "hosts": ["b.test"]}
    return {**opened, "tls": {"credentialName": "it", **tls}} if tls else opened


class Client:
    """A kept connection to the gateway."""

    def __init__(self, mesh: Secured, port: int, context: ssl.SSLContext | None = None) -> None:
        address = (mesh.cluster.pods["ingress-1"][0], bound_port(port))
        self.raw: socket.socket = socket.create_connection(address, timeout=60)
        if context is not None:
            self.raw = context.wrap_socket(self.raw, server_hostname="b.test")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.raw.close()

    @property
    def serial(self) -> str:
        assert isinstance(self.raw, ssl.SSLSocket)
        shown = self.raw.getpeercert()
        assert shown is not None
        return str(shown["serialNumber"])

    def ask(self) -> int:
        self.raw.sendall(b"GET / HTTP/1.1\r\nHost: b.test\r\n\r\n")
        response = http.client.HTTPResponse(self.raw)
        response.begin()
        response.read()
        return response.status


def listeners_replaced(mesh: Secured) -> int:
    return mesh.counter("ingress-1", "listener_manager.listener_modified")


def test_a_new_certificate_replaces_the_old_one_without_touching_the_listener(mesh: Secured) -> None:
    context = secret(mesh, ca := trustme.CA())
    gateway(mesh, server(443, "HTTPS", mode="SIMPLE"))
    with Client(mesh, 443, context) as held:
        assert held.ask() == 200
        replaced, seen = listeners_replaced(mesh), {held.serial}
        for _ in range(3):
            secret(mesh, ca)
            with Client(mesh, 443, context) as fresh:  # in force means: the next connection sees it
                assert fresh.ask() == 200
                seen.add(fresh.serial)
        assert len(seen) == 4
        assert held.ask() == 200  # whoever is there stays
        assert listeners_replaced(mesh) == replaced


def test_a_gateway_may_ask_its_clients_for_a_certificate(mesh: Secured, tmp_path: Path) -> None:
    clients = trustme.CA()
    context = secret(mesh, trustme.CA(), clients)
    gateway(mesh, server(443, "HTTPS", mode="MUTUAL"))
    with pytest.raises(OSError), Client(mesh, 443, context) as nobody:
        nobody.ask()
    clients.issue_cert("somebody").configure_cert(context)
    with Client(mesh, 443, context) as somebody:
        assert somebody.ask() == 200


def test_a_gateway_takes_only_clients_with_the_names_that_it_says(mesh: Secured) -> None:
    clients = trustme.CA()
    context = secret(mesh, trustme.CA(), clients)
    gateway(mesh, server(443, "HTTPS", mode="MUTUAL", subjectAltNames=["somebody"]))
    clients.issue_cert("somebody").configure_cert(context)
    with Client(mesh, 443, context) as somebody:
        assert somebody.ask() == 200
    clients.issue_cert("another").configure_cert(context)
    with pytest.raises(OSError), Client(mesh, 443, context) as another:
        another.ask()


@pytest.mark.parametrize(("limit", "spoken"), [
    ({"maxProtocolVersion": "TLSV1_2"}, "TLSv1.2"), ({"minProtocolVersion": "TLSV1_3"}, "TLSv1.3"),
], ids=str)  # fmt: skip
def test_a_gateway_speaks_the_versions_of_tls_that_it_says(mesh: Secured, limit: dict[str, str], spoken: str) -> None:
    context = secret(mesh, trustme.CA())
    gateway(mesh, server(443, "HTTPS", mode="SIMPLE", **limit))
    with Client(mesh, 443, context) as client:
        assert isinstance(client.raw, ssl.SSLSocket)
        assert (client.raw.version(), client.ask()) == (spoken, 200)
    other = ssl.TLSVersion.TLSv1_3 if spoken == "TLSv1.2" else ssl.TLSVersion.TLSv1_2
    context.minimum_version = context.maximum_version = other
    with pytest.raises(ssl.SSLError), Client(mesh, 443, context):
        pass


def test_a_gateway_with_files_for_a_certificate_is_not_served_and_says_so(mesh: Secured) -> None:
    files = {"mode": "SIMPLE", "serverCertificate": "/etc/a.pem", "privateKey": "/etc/a.key", "credentialName": ""}
    gateway(mesh, server(8444, "HTTPS", **files), missing="credentialName")
    with pytest.raises(ConnectionRefusedError):
        Client(mesh, 8444)


def test_without_an_authority_for_clients_a_mutual_server_is_not_served_and_says_so(mesh: Secured) -> None:
    secret(mesh, trustme.CA())
    gateway(mesh, server(8443, "HTTPS", mode="MUTUAL"), missing="ca.crt")
    with pytest.raises(ConnectionRefusedError):
        Client(mesh, 8443)
    _, problems = mesh.cluster.pilot("/debug/problems")
    assert "ca.crt" in problems["Gateway/default/it/p8443"]


def test_a_proxy_that_has_not_proved_whose_it_is_gets_no_key(mesh: Secured) -> None:
    cluster = mesh.cluster
    secret(mesh, trustme.CA())
    gateway(mesh, server(443, "HTTPS", mode="SIMPLE"))
    cluster.pod("robber-1", "robber", serve=False, labels={"istio": "ingress"})
    cluster.sidecar("robber-1", role="ingress")
    assert b"PRIVATE KEY" not in cluster.admin("robber-1", "/config_dump?include_eds").body
    _, dump = cluster.pilot("/debug/config_dump?proxy=robber-1.default")
    assert dump["sds"] == [] and "kubernetes://" not in json.dumps(dump)
    cluster.kill("robber-1")


@pytest.mark.parametrize("mode", ["DISABLE", "STRICT"])
def test_a_gateway_proves_itself_to_the_service_behind_it(mesh: Secured, mode: str) -> None:
    gateway(mesh, server(80, "HTTP"))
    assert mesh.peers(mode).in_force
    asked: list[int] = []

    def ask() -> None:
        with Client(mesh, 80) as client:
            asked.append(client.ask())

    assert mesh.secured(ask) == (0 if mode == "DISABLE" else 1)
    assert asked == [200]


def test_policies_see_the_gateway_as_the_caller(mesh: Secured) -> None:
    gateway(mesh, server(80, "HTTP"))
    mesh.peers("STRICT")
    for account, status in (("ingress", 200), ("somebody", 403)):
        mesh.allow({"from": [{"source": {"principals": [f"cluster.local/ns/default/sa/{account}"]}}]})
        with Client(mesh, 80) as client:
            assert client.ask() == status
