"""istio-ca finds what an earlier one left: what it would not have issued itself is issued anew."""

from __future__ import annotations

import base64
import threading

from cryptography import x509

from meshlab.cluster import Cluster
from meshlab.mesh.ca import CA_SECRET, CertificateAuthority, secret_name
from meshlab.mesh.certificates import Pair, Signer, issue, root

ISTIO, PILOT = "istio-system", "istio-pilot-service-account"
NAMES = ["istio-pilot.istio-system.svc", "istio-pilot.istio-system"]


def encoded(**texts: str) -> dict[str, str]:
    return {name.replace("_", "-") + ".pem": base64.b64encode(text.encode()).decode() for name, text in texts.items()}


def names(certificate: str) -> list[str]:
    found = x509.load_pem_x509_certificate(certificate.encode()).extensions
    return found.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)


def test_a_certificate_without_the_names_that_it_would_have_today_is_replaced() -> None:
    """A lab of an earlier version: webhooks are called by a name that its certificate for Pilot did not have."""
    ca = root()
    left = issue(ca, f"spiffe://cluster.local/ns/{ISTIO}/sa/{PILOT}")
    with Cluster() as cluster:
        kube = cluster.kube

        def secret(name: str, kind: str, data: dict[str, str]) -> None:
            kube.create(("v1", "secrets", ISTIO), {
                "kind": "Secret", "apiVersion": "v1", "type": kind, "metadata": {"name": name}, "data": data,
            })  # fmt: skip

        kube.create(("v1", "namespaces"), {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": ISTIO}})
        secret(CA_SECRET, "istio.io/ca-root", encoded(ca_cert=ca.certificate, ca_key=ca.key))
        stored = encoded(cert_chain=left.certificate, key=left.key, root_cert=ca.certificate)
        secret(secret_name(PILOT), "istio.io/key-and-cert", stored)
        kube.create(("v1", "serviceaccounts", ISTIO), {
            "kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": PILOT},
        })  # fmt: skip
        authority = CertificateAuthority(kube, Signer())
        thread = threading.Thread(target=authority.run)
        thread.start()
        try:
            new = _replaced(cluster, left)
        finally:
            authority.stop()
            thread.join(60)
    assert names(left.certificate) == []
    assert names(new) == NAMES


def _replaced(cluster: Cluster, left: Pair) -> str:
    pause = threading.Event()
    for _ in range(6000):
        data = cluster.kube.get(("v1", "secrets", ISTIO, secret_name(PILOT)))["data"]
        found = base64.b64decode(data["cert-chain.pem"]).decode()
        if found != left.certificate:
            return found
        pause.wait(0.01)
    raise AssertionError("the certificate stays")
