"""Certificates on request, and tokens: who may ask for one, whom it is for, and what it is good for."""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from meshlab.cluster import Cluster, Parts
from meshlab.errors import Rejected
from meshlab.kube import Kube

Object = dict[str, Any]
REQUESTS = ("certificates.k8s.io/v1", "certificatesigningrequests")
CLIENTS = "kubernetes.io/kube-apiserver-client"
TOKENS = ("authentication.k8s.io/v1", "tokenreviews")


@pytest.fixture(scope="module")
def signing() -> Iterator[Cluster]:
    with Cluster(parts=Parts.CONTROLLERS) as running:
        yield running


def request_of(name: str, group: str) -> tuple[bytes, str]:
    """(PEM of a new key, base64 of the PEM of a request for it)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, group), x509.NameAttribute(NameOID.COMMON_NAME, name),
    ])  # fmt: skip
    asked = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem, base64.b64encode(asked.public_bytes(serialization.Encoding.PEM)).decode()


def signing_request(name: str, asked: str, **spec: Any) -> Object:
    given = {"request": asked, "signerName": CLIENTS, "usages": ["client auth"], **spec}
    return {"kind": "CertificateSigningRequest", "apiVersion": REQUESTS[0], "metadata": {"name": name}, "spec": given}


def settled(kube: Kube, name: str, has: Callable[[Object], bool]) -> Object:
    """The request's status once it is as it should be."""
    status = kube.get((*REQUESTS, None, name))["status"]
    if has(status):
        return dict(status)
    for _, obj in kube.watch((*REQUESTS, None), 0, fieldSelector=f"metadata.name={name}", timeoutSeconds=120):
        if has(obj["status"]):
            return dict(obj["status"])
    raise AssertionError(f"{name} did not settle")


def certificate(cluster: Cluster, verb: str, name: str) -> None:
    """`kubectl certificate approve` or `deny`."""
    program = str(Path(sys.executable).parent / "kubectl")
    command = [program, "certificate", verb, name]
    done = subprocess.run(command, env=cluster.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_who_is_approved_speaks_to_the_server_by_certificate(signing: Cluster, tmp_path: Path) -> None:
    key, asked = request_of("ann", "readers")
    signing.kube.create(REQUESTS, signing_request("ann", asked, expirationSeconds=3600))
    certificate(signing, "approve", "ann")
    status = settled(signing.kube, "ann", lambda status: "certificate" in status)
    assert [c["type"] for c in status["conditions"]] == ["Approved"]
    issued = base64.b64decode(status["certificate"])
    made = x509.load_pem_x509_certificate(issued)
    assert (made.not_valid_after_utc - made.not_valid_before_utc).total_seconds() == 3900
    (tmp_path / "ann.pem").write_bytes(key + issued)
    context = ssl.create_default_context(cafile=str(signing.settings.pki / "ca.pem"))
    context.load_cert_chain(tmp_path / "ann.pem")
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    body = {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}
    asking = urllib.request.Request(  # noqa: S310 (our own server)
        signing.server + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    with opener.open(asking, timeout=60) as answer:
        who = json.load(answer)["status"]["userInfo"]
    assert who == {"username": "ann", "groups": ["readers", "system:authenticated"]}


@pytest.mark.parametrize(("verb", "spec", "outcome"), [
    ("deny", {}, ("Denied", "")),
    ("approve", {"usages": ["server auth"]}, ("Failed", "invalid usage for client certificate: server auth")),
    ("approve", {"usages": ["key encipherment"]}, ("Failed", "missing required usage for client certificate")),
])  # fmt: skip
def test_who_gets_none(signing: Cluster, namespace: str, verb: str, spec: Object, outcome: tuple[str, str]) -> None:
    _, asked = request_of("bob", "readers")
    signing.kube.create(REQUESTS, signing_request(namespace, asked, **spec))
    certificate(signing, verb, namespace)
    kind, message = outcome
    status = settled(signing.kube, namespace, lambda s: any(c["type"] == kind for c in s.get("conditions", ())))
    assert "certificate" not in status
    assert message in next(c for c in status["conditions"] if c["type"] == kind).get("message", "")


def test_nobody_becomes_a_master_by_certificate(signing: Cluster) -> None:
    _, asked = request_of("eve", "system:masters")
    signing.kube.create(REQUESTS, signing_request("eve", asked))
    certificate(signing, "approve", "eve")
    status = settled(signing.kube, "eve", lambda s: any(c["type"] == "Failed" for c in s.get("conditions", ())))
    assert "with system:masters group is not allowed" in status["conditions"][-1]["message"]


@pytest.mark.parametrize(("spec", "message"), [
    ({"request": "bm90IFBFTQ=="}, "PEM block type must be CERTIFICATE REQUEST"),
    ({"usages": []}, "usages must contain at least one usage"),
    ({"usages": ["flying"]}, 'Unsupported value: "flying"'),
    ({"signerName": "kubernetes.io/legacy-unknown"}, "the legacy signerName is not allowed via this API version"),
    ({"signerName": "mine"}, "must be a fully qualified domain and path"),
    ({"expirationSeconds": 10}, "may not specify a duration less than 600 seconds"),
])  # fmt: skip
def test_requests_that_are_none(kube: Kube, spec: Object, message: str) -> None:
    _, asked = request_of("bob", "readers")
    with pytest.raises(Rejected) as refused:
        kube.create(REQUESTS, signing_request("none", asked, **spec))
    assert message in refused.value.status["message"]


def account(kube: Kube, namespace: str, name: str) -> None:
    obj = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": name}}
    kube.create(("v1", "serviceaccounts", namespace), obj)


def token_for(kube: Kube, account: str, namespace: str, **spec: Any) -> str:
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
    body = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": spec}
    answer = kube.raw("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    assert answer.status == 201, answer.text
    return str(json.loads(answer.data)["status"]["token"])


def review(kube: Kube, token: str, *audiences: str) -> Object:
    spec = {"token": token, "audiences": list(audiences)} if audiences else {"token": token}
    body = {"kind": "TokenReview", "apiVersion": TOKENS[0], "spec": spec}
    return dict(kube.create(TOKENS, body)["status"])


def test_a_token_is_for_whom_it_was_asked_for(kube: Kube, namespace: str) -> None:
    account(kube, namespace, "app")
    token = token_for(kube, "app", namespace, audiences=["istio-ca", "other"], expirationSeconds=600)
    seen = review(kube, token, "istio-ca", "third")
    assert seen["authenticated"] and seen["audiences"] == ["istio-ca"]
    assert seen["user"]["username"] == f"system:serviceaccount:{namespace}:app"
    assert "system:serviceaccounts" in seen["user"]["groups"]
    assert review(kube, token) == {"user": {}, "error": "invalid bearer token"}  # it is not for the API server
    assert review(kube, token, "third") == {"user": {}, "error": "invalid bearer token"}
    with pytest.raises(AssertionError, match="may not specify a duration less than 10 minutes"):
        token_for(kube, "app", namespace, expirationSeconds=10)


def test_a_token_that_is_bound_to_a_pod_ends_with_it(kube: Kube, namespace: str) -> None:
    account(kube, namespace, "app")
    kube.create(("v1", "pods", namespace), {
        "kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"},
        "spec": {"serviceAccountName": "app", "containers": [{"name": "c", "image": "x"}]},
    })  # fmt: skip
    bound = {"kind": "Pod", "apiVersion": "v1", "name": "p"}
    token = token_for(kube, "app", namespace, boundObjectRef=bound)
    account(kube, namespace, "other")
    seen = review(kube, token)
    assert seen["user"]["extra"]["authentication.kubernetes.io/pod-name"] == ["p"]
    with pytest.raises(AssertionError, match="pod running with different serviceaccount name"):
        token_for(kube, "other", namespace, boundObjectRef=bound)
    kube.delete(("v1", "pods", namespace, "p"))
    assert review(kube, token) == {"user": {}, "error": "invalid bearer token"}
