"""What a sidecar says in TLS to those it calls: as istiod 1.30.3 has it for the same documents."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from translating import HTTP, IP, put, registry

from meshlab.mesh.certificates import issue, root
from meshlab.mesh.config.traffic import ClientTls
from meshlab.mesh.pilot.build import Builder
from meshlab.mesh.pilot.proxy import Proxy, Role
from meshlab.mesh.pilot.registry import Registry
from meshlab.mesh.pilot.tls import upstream_tls
from meshlab.mesh.pilot.world import Mesh

READY = [{"type": "Ready", "status": "True"}]


@pytest.mark.parametrize(("http2", "wanted"), [(True, ["h2"]), (False, None)])
def test_http2_is_offered_to_servers_that_are_to_speak_it(http2: bool, wanted: list[str] | None) -> None:
    context = upstream_tls(ClientTls("SIMPLE"), Mesh(), "a.test", http2=http2)
    assert context is not None
    assert context["common_tls_context"].get("alpn_protocols") == wanted


@pytest.mark.parametrize(("said", "file"), [("system", "/etc/own.pem"), ("", "/etc/own.pem"), ("/ca.pem", "/ca.pem")])
def test_authorities_are_the_machines_own_unless_a_file_is_named(said: str, file: str) -> None:
    context = upstream_tls(ClientTls("SIMPLE", ca_certificates=said), Mesh(authorities="/etc/own.pem"), "a.test")
    assert context is not None
    assert context["common_tls_context"]["validation_context"]["trusted_ca"] == {"filename": file}


def secured(*with_sidecar: str) -> Registry:
    """The demo, every account with a certificate, where mutual TLS is used as far as it is taken."""
    target, authority = registry(), root()
    pair = issue(authority, "spiffe://cluster.local/ns/default/sa/default", 3600)
    parts = {"cert-chain.pem": pair.certificate, "key.pem": pair.key, "root-cert.pem": authority.certificate}
    data = {name: base64.b64encode(text.encode()).decode() for name, text in parts.items()}
    put(target, "secrets", "istio.default", type="istio.io/key-and-cert", data=data)
    mesh = {"mesh": "enableAutoMtls: true"}
    put(target, "configmaps", "istio", meta={"namespace": "istio-system"}, data=mesh)
    for pod in with_sidecar:
        labels = {"app": pod.split("-")[0], "version": f"v0.{pod[-1]}"}
        put(target, "pods", pod, meta={"labels": labels}, spec={"containers": [{"args": ["proxy", "sidecar"]}]},
            status={"podIP": IP[pod], "phase": "Running", "conditions": READY})
    return target


@pytest.mark.parametrize(("pods", "expected"), [
    (("svcb-1", "svcb-2"), "envoy.transport_sockets.tls"), (("svcb-1",), None),
], ids=["all take it", "one does not"])
def test_addresses_that_the_application_chose_are_called_as_all_pods_take_it(
    pods: tuple[str, ...], expected: str | None
) -> None:
    target = secured("svca-1", *pods)
    spec: dict[str, Any] = {"host": "svcb", "trafficPolicy": {"loadBalancer": {"simple": "PASSTHROUGH"}}}
    put(target, "destinationrules", "r", apiVersion="networking.istio.io/v1", kind="DestinationRule", spec=spec)
    proxy = Proxy(Role.SIDECAR, IP["svca-1"], "svca-1.default", "default.svc.cluster.local", account="default/default")
    found = Builder().snapshot(target.world(), proxy).json()["cds"]
    (cluster,) = (each for each in found if each["name"] == HTTP)
    assert "transport_socket_matches" not in cluster
    assert cluster.get("transport_socket", {}).get("name") == expected
