"""Identity and mutual TLS through real sidecars: who must prove who they are, and how certificates come and go."""

from __future__ import annotations

import json
import threading

import pytest
from pilot_cluster import Answer

from tests.mesh.pilot.secured import Secured, mesh, shop

__all__ = ["mesh", "shop"]  # fixtures

# Who must prove who they are


def test_without_any_policy_everything_is_plain_text_as_in_0_4(mesh: Secured) -> None:
    assert mesh.secured(lambda: mesh.call()) == 0
    assert mesh.plain() == 200
    assert json.loads(mesh.cluster.admin("svcb-1", "/certs").body) == {"certificates": []}


def test_strict_takes_sidecars_and_refuses_plain_text(mesh: Secured) -> None:
    assert mesh.peers("STRICT").in_force
    assert mesh.secured(lambda: mesh.call()) == 1
    assert mesh.call().status == 200
    assert mesh.plain() == 0
    refused = "listener.{}_8080.no_filter_chain_match".format(mesh.cluster.pods["svcb-1"][0])
    assert mesh.counter("svcb-1", refused) >= 1


def test_permissive_takes_both_and_sidecars_use_mutual_tls(mesh: Secured) -> None:
    assert mesh.peers("PERMISSIVE").in_force
    assert mesh.plain() == 200
    assert mesh.secured(lambda: mesh.call()) == 1


def test_disable_takes_plain_text_only_and_sidecars_know(mesh: Secured) -> None:
    mesh.peers("STRICT")
    assert mesh.peers("DISABLE", "svcb").in_force
    assert mesh.plain() == 200
    assert mesh.secured(lambda: mesh.call()) == 0
    assert mesh.plain("other-1") == 0


def test_a_port_may_differ_from_its_pod(mesh: Secured) -> None:
    assert mesh.peers("STRICT", "svcb", {"8080": "PERMISSIVE"}).in_force
    assert mesh.plain() == 200
    assert mesh.peers("PERMISSIVE", "svcb", {"8080": "STRICT"}).in_force
    assert mesh.plain() == 0


def test_the_mesh_wide_policy_is_overruled_by_a_namespace_and_by_a_pod(mesh: Secured) -> None:
    mesh.peers("STRICT", namespace="istio-system")
    assert mesh.plain() == 0
    mesh.store("PeerAuthentication", {"mtls": {"mode": "PERMISSIVE"}}, "space")
    assert mesh.plain() == 200
    mesh.peers("STRICT", "svcb")
    assert (mesh.plain(), mesh.plain("other-1")) == (0, 200)


def test_an_annotated_port_takes_mutual_tls_and_excluded_hosts_are_called_in_plain_text(mesh: Secured) -> None:
    services = mesh.cluster.services["svcb"]
    plain = {
        "metadata": {"name": "svcb"},
        "spec": {
            "clusterIP": services["ip"], "selector": {"app": "svcb"},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}],
        },
    }
    annotated = {**plain, "metadata": {"name": "svcb", "annotations": {"auth.istio.io/80": "MUTUAL_TLS"}}}
    mesh.cluster.in_force("services", mesh.cluster.put("services", annotated))
    try:
        assert mesh.secured(lambda: mesh.call()) == 1
        assert (mesh.plain(), mesh.plain("other-1")) == (0, 200)
    finally:
        mesh.cluster.in_force("services", mesh.cluster.put("services", plain))
    assert mesh.plain() == 200


def test_of_two_ports_that_lead_to_one_the_first_says_what_it_takes(mesh: Secured) -> None:
    services = mesh.cluster.services["svcb"]
    web = {"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}
    more = {"name": "tcp-x", "port": 8080, "targetPort": 8080, "protocol": "TCP"}
    plain = {"metadata": {"name": "svcb"}, "spec": {
        "clusterIP": services["ip"], "selector": {"app": "svcb"}, "ports": [web],
    }}
    meta = {"name": "svcb", "annotations": {"auth.istio.io/80": "NONE"}}
    mesh.peers("PERMISSIVE", "nobody")
    mesh.cluster.in_force("services", mesh.cluster.put("services", {
        "metadata": meta, "spec": {**plain["spec"], "ports": [web, more]},
    }))
    try:
        assert mesh.secured(lambda: mesh.call()) == 0
        assert mesh.plain() == 200
    finally:
        mesh.cluster.in_force("services", mesh.cluster.put("services", plain))


def test_auth_policy_of_0_4_is_for_the_whole_mesh_but_for_what_it_excludes(mesh: Secured) -> None:
    settings = {"mixerAddress": "", "accessLogFile": "", "enableTracing": "false"}
    try:
        revision = mesh.cluster.mesh(**settings, authPolicy="MUTUAL_TLS")
        assert mesh.cluster.in_force("configmaps", revision).in_force
        assert mesh.secured(lambda: mesh.call()) == 1
        assert mesh.plain() == mesh.plain("other-1") == 0
        revision = mesh.cluster.mesh(
            **settings, authPolicy="MUTUAL_TLS", mtlsExcludedServices="[svcb.default.svc.cluster.local]"
        )
        mesh.cluster.in_force("configmaps", revision)
        assert mesh.call().status == 503  # it comes in plain text, and nothing else was asked of svcb
    finally:
        mesh.cluster.in_force("configmaps", mesh.cluster.mesh(**settings))
    assert mesh.plain() == 200


@pytest.mark.parametrize(("server", "client", "status", "handshakes"), [
    ("STRICT", "DISABLE", 503, 0),
    ("STRICT", "ISTIO_MUTUAL", 200, 1),
    ("PERMISSIVE", "DISABLE", 200, 0),
    ("DISABLE", "ISTIO_MUTUAL", 503, 0),
])
def test_a_destination_rule_says_how_callers_come(
    mesh: Secured, server: str, client: str, status: int, handshakes: int
) -> None:
    mesh.peers(server)
    mesh.store("DestinationRule", {"host": "svcb", "trafficPolicy": {"tls": {"mode": client}}})
    answers: list[Answer] = []
    assert mesh.secured(lambda: answers.append(mesh.call())) == handshakes
    assert answers[0].status == status


def test_connections_are_secured_like_requests(mesh: Secured) -> None:
    mesh.peers("STRICT", "db")
    with mesh.cluster.connect("svca-1", mesh.cluster.services["db"]["ip"], 5432) as raw:
        raw.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.")
    assert mesh.plain("db-1") == 0


def test_an_impostor_is_refused_by_its_caller(mesh: Secured) -> None:
    """Secure naming: whoever answers for svcb must be of an account that runs svcb."""
    mesh.peers("STRICT")
    mesh.cluster.put("endpoints", {
        "metadata": {"name": "svcb"},
        "subsets": [{
            "addresses": [{"ip": mesh.cluster.pods["other-1"][0],
                           "targetRef": {"kind": "Pod", "namespace": "default", "name": "svcb-1"}}],
            "ports": [{"name": "http", "port": 8080}],
        }],
    })
    try:
        mesh.cluster.eventually(lambda: mesh.call().status == 503, "svca refuses the impostor")
        assert mesh.counter("svca-1", "cluster.out.svcb.default.svc.cluster.local|http.ssl.fail_verify_san") >= 1
    finally:
        mesh.cluster._endpoints("svcb")
    mesh.cluster.eventually(lambda: mesh.call().status == 200, "svcb is itself again")


# Certificates


def test_a_proxy_gets_its_own_certificate_and_pilot_shows_no_key(mesh: Secured) -> None:
    mesh.peers("PERMISSIVE")
    for pod, account in (("svca-1", "svca"), ("svcb-1", "svcb")):
        certs = json.loads(mesh.cluster.admin(pod, "/certs").body)["certificates"]
        names = {name["uri"] for each in certs for chain in each.get("cert_chain", ())
                 for name in chain["subject_alt_names"]}
        assert names == {f"spiffe://cluster.local/ns/default/sa/{account}"}
    _, dump = mesh.cluster.pilot("/debug/config_dump?proxy=svca-1.default")
    assert {each["name"] for each in dump["sds"]} == {"default", "ROOTCA"}
    assert "PRIVATE KEY" not in json.dumps(dump)
    for path in mesh.cluster.home.rglob("*"):
        if path.is_file():
            assert b"PRIVATE KEY" not in path.read_bytes(), path


def test_a_proxy_with_a_bad_token_gets_nothing_and_one_without_gets_no_certificate(mesh: Secured) -> None:
    cluster = mesh.cluster
    mesh.peers("PERMISSIVE")
    cluster.pod("thief-1", "thief")
    cluster.accounts["thief-1"] = ""  # "token-of-default/": no account
    cluster.pod("nobody-1", "nobody")
    with pytest.raises(AssertionError, match="thief-1 is live"):
        cluster.sidecar("thief-1", patience=1.0)
    cluster.kill("thief-1")
    cluster.sidecar("nobody-1")
    assert cluster.get("nobody-1", "http://svcb/").status == 200  # in plain text
    assert b"BEGIN CERT" not in cluster.admin("nobody-1", "/config_dump").body
    cluster.kill("nobody-1")


def test_a_deleted_secret_takes_no_certificate_away(mesh: Secured) -> None:
    mesh.peers("STRICT")
    revision = mesh.cluster.put("secrets", {"metadata": {"name": "istio.svcb"}}, "DELETED")
    assert mesh.cluster.in_force("secrets", revision).in_force
    assert (mesh.call().status, mesh.plain()) == (200, 0)


def test_certificates_are_rotated_under_traffic_without_a_failed_request(mesh: Secured) -> None:
    mesh.peers("STRICT")
    serials: set[str] = set()
    failed: list[object] = []
    done = threading.Event()
    sent = 0

    def traffic() -> None:
        nonlocal sent
        while not done.is_set():
            try:
                status = mesh.call().status
                if status != 200:
                    failed.append(status)
            except OSError as error:
                failed.append(error)
            sent += 1

    def serial(pod: str) -> str:
        certs = json.loads(mesh.cluster.admin(pod, "/certs").body)["certificates"]
        return str(next(c["cert_chain"][0]["serial_number"] for c in certs if c.get("cert_chain")))

    # A request that goes on across rotations: old connections are not dropped.
    held = mesh.cluster.connect("svca-1", mesh.cluster.services["svcb"]["ip"], 80)
    held.sendall(b"POST / HTTP/1.1\r\nHost: svcb\r\nContent-Length: 10\r\nConnection: close\r\n\r\n12345")
    threads = [threading.Thread(target=traffic) for _ in range(2)]
    for each in threads:
        each.start()
    try:
        for _ in range(3):
            before = serial("svca-1"), serial("svcb-1")
            serials.update(before)
            mesh.certify("svca", lifetime=3)
            mesh.certify("svcb", lifetime=3)
            mesh.cluster.eventually(
                lambda b=before: serial("svca-1") != b[0] and serial("svcb-1") != b[1],  # type: ignore[misc]
                "new certificates are in use",
            )
        mesh.certify("svca")
        mesh.certify("svcb")
        done.wait(3.2)  # the short ones have ended by now
    finally:
        done.set()
        for each in threads:
            each.join(60)
    held.sendall(b"67890")
    assert held.recv(15).startswith(b"HTTP/1.1 200")
    held.close()
    assert len(serials) >= 6
    assert sent > 10
    assert failed == []


def test_from_plain_to_strict_and_back_under_traffic_without_a_failed_request(mesh: Secured) -> None:
    failed: list[object] = []
    done = threading.Event()

    def traffic() -> None:
        while not done.is_set():
            try:
                if (status := mesh.call().status) != 200:
                    failed.append(status)
            except OSError as error:
                failed.append(error)

    threads = [threading.Thread(target=traffic) for _ in range(2)]
    for each in threads:
        each.start()
    try:
        for mode in ("PERMISSIVE", "STRICT", "DISABLE", "STRICT"):
            assert mesh.peers(mode).in_force
        mesh.clear()
    finally:
        done.set()
        for each in threads:
            each.join(60)
    assert failed == []
