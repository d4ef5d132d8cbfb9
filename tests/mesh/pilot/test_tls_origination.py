"""TLS that a sidecar originates for an application that speaks plain HTTP to a host outside the mesh."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from pilot_cluster import BLOCK, Application, Cluster

HOST, ADDRESS = "tls.test", "127.1.2.4"


class Outside:
    """A server that takes TLS only and wants a certificate of its clients, and the files of who calls it."""

    def __init__(self, folder: Path, address: str) -> None:
        self.ca, self.clients, self.stranger = trustme.CA(), trustme.CA(), trustme.CA()
        self.files = {name: str(folder / f"{name}.pem") for name in ("ca", "stranger", "chain", "key")}
        self.ca.cert_pem.write_to_path(self.files["ca"])
        self.stranger.cert_pem.write_to_path(self.files["stranger"])
        own = self.clients.issue_cert("client.test")
        own.cert_chain_pems[0].write_to_path(self.files["chain"])
        own.private_key_pem.write_to_path(self.files["key"])
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(HOST).configure_cert(self.context)
        self.clients.configure_trust(self.context)
        handler = type("Handler", (Application,), {"pod": "outside", "hits": [], "failures": []})
        self.server = http.server.ThreadingHTTPServer((address, 0), handler)
        self.server.socket = self.context.wrap_socket(self.server.socket, server_side=True)
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]  # refusals are what is tested
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def describe(self, cluster: Cluster, **more: Any) -> None:
        """Tells the mesh of it."""
        address, number = self.server.server_address[:2]
        port = {"number": 80, "name": "http", "protocol": "HTTP"}
        endpoints = [{"address": address, "ports": {"http": number}}]
        cluster.store("ServiceEntry", {
            "hosts": [HOST], "addresses": [ADDRESS], "ports": [port], "resolution": "STATIC", "endpoints": endpoints,
            **more,
        })  # fmt: skip


@pytest.fixture(scope="module")
def outside(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    address = f"{cluster.network.external.rsplit('.', 2)[0]}.{BLOCK}.200"
    found = Outside(tmp_path_factory.mktemp("tls"), address)
    found.describe(cluster)
    yield found
    cluster.store("ServiceEntry", {}, event="DELETED")
    found.server.shutdown()
    found.server.server_close()


def ask(cluster: Cluster, **tls: Any) -> int:
    found = cluster.store("DestinationRule", {"host": HOST, "trafficPolicy": {"tls": tls}})
    assert found.in_force, found
    return cluster.get("svca-1", f"http://{HOST}/", address=ADDRESS).status


@pytest.mark.parametrize(("authority", "names", "status"), [
    ("ca", [], 200),
    ("ca", [HOST], 200),
    ("ca", ["other.test"], 503),
    ("stranger", [], 503),
])  # fmt: skip
def test_simple_believes_the_named_authority_and_names_and_nobody_else(
    cluster: Cluster, outside: Outside, authority: str, names: list[str], status: int
) -> None:
    outside.context.verify_mode = ssl.CERT_NONE
    more = {"subjectAltNames": names} if names else {}
    assert ask(cluster, mode="SIMPLE", caCertificates=outside.files[authority], **more) == status


def test_a_file_that_is_not_there_is_named_and_what_was_in_force_stays(cluster: Cluster, outside: Outside) -> None:
    outside.context.verify_mode = ssl.CERT_NONE
    assert ask(cluster, mode="SIMPLE", caCertificates=outside.files["ca"]) == 200
    tls = {"mode": "SIMPLE", "caCertificates": "/nowhere/ca.pem"}
    found = cluster.store("DestinationRule", {"host": "svcb", "trafficPolicy": {"tls": tls}}, "other")
    try:
        assert found.rejected == {"DestinationRule/default/other": "invalid: there is no file /nowhere/ca.pem"}
        assert cluster.get("svca-1", "http://svcb/").status == 200
        assert ask(cluster, mode="SIMPLE", caCertificates=outside.files["ca"]) == 200
    finally:
        cluster.store("DestinationRule", {}, "other", event="DELETED")


def test_who_does_not_verify_believes_anybody(cluster: Cluster, outside: Outside) -> None:
    outside.context.verify_mode = ssl.CERT_NONE
    stranger = {"mode": "SIMPLE", "caCertificates": outside.files["stranger"]}
    assert ask(cluster, **stranger, insecureSkipVerify=True) == 200
    assert ask(cluster, **stranger, insecureSkipVerify=False) == 503


@pytest.mark.parametrize(("names", "status"), [([HOST], 200), (["other.test"], 503)])
def test_a_service_entry_says_which_names_its_host_may_have(
    cluster: Cluster, outside: Outside, names: list[str], status: int
) -> None:
    outside.context.verify_mode = ssl.CERT_NONE
    outside.describe(cluster, subjectAltNames=names)
    try:
        assert ask(cluster, mode="SIMPLE", caCertificates=outside.files["ca"]) == status
    finally:
        outside.describe(cluster)


@pytest.mark.parametrize("sni", ["", "asked.test"])
def test_the_name_that_is_asked_for_is_the_hosts_or_the_one_that_is_said(
    cluster: Cluster, outside: Outside, sni: str
) -> None:
    asked = set[str | None]()
    outside.context.verify_mode = ssl.CERT_NONE
    outside.context.sni_callback = lambda _, name, __: asked.add(name)
    believed = {"mode": "SIMPLE", "caCertificates": outside.files["ca"], "subjectAltNames": [HOST]}
    assert ask(cluster, **believed, **({"sni": sni} if sni else {})) == 200
    assert asked == {sni or HOST}


def test_mutual_shows_the_clients_certificate_where_one_is_demanded(cluster: Cluster, outside: Outside) -> None:
    outside.context.verify_mode = ssl.CERT_REQUIRED
    believed = {"caCertificates": outside.files["ca"]}
    assert ask(cluster, mode="SIMPLE", **believed) == 503
    own = {"clientCertificate": outside.files["chain"], "privateKey": outside.files["key"]}
    assert ask(cluster, mode="MUTUAL", **believed, **own) == 200


def test_without_any_tls_the_server_is_not_understood(cluster: Cluster, outside: Outside) -> None:
    assert ask(cluster, mode="DISABLE") == 503
