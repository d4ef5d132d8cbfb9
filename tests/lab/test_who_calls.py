"""Identity in a whole lab: istio-ca, Pilot and the sidecars of the tutorial."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from meshlab.lab import Lab
from meshlab.notebook.waiting import until

PEERS: dict[str, Any] = {
    "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
    "metadata": {"name": "default", "namespace": "default"}, "spec": {"mtls": {"mode": "STRICT"}},
}
SVCA: dict[str, Any] = {
    **PEERS, "metadata": {"name": "svca", "namespace": "default"},
    "spec": {"selector": {"matchLabels": {"app": "svca"}}, "mtls": {"mode": "PERMISSIVE"}},
}


@pytest.fixture
def secured(lab: Lab) -> Iterator[Lab]:
    lab.kubectl("apply -f istio-today/crds.yaml")
    with lab.leave_as_found():
        for name in ("svca-http", "svcb-http"):
            lab.apply(lab.files / "demo" / f"{name}.yaml")
        yield lab


def serial(lab: Lab, app: str) -> str:
    """Of the certificate that a pod's sidecar uses now, "" for none."""
    listed = json.loads(lab.kubectl(f"get pods -l app={app} -o json"))["items"]
    (pod,) = (each for each in listed if "deletionTimestamp" not in each["metadata"])  # tests before may have left some
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(60)
        raw.connect(str(lab.settings.sockets / f"{pod['metadata']['uid'][:8]}.sock"))
        raw.sendall(b"GET /certs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        response = http.client.HTTPResponse(raw)
        response.begin()
        known = json.loads(response.read())["certificates"]
    return next((str(each["cert_chain"][0]["serial_number"]) for each in known if each.get("cert_chain")), "")


def test_strict_pods_know_their_callers_and_refuse_strangers(secured: Lab) -> None:
    lab = secured
    lab.apply(PEERS)
    lab.apply(SVCA)
    (answer,) = lab.curl("http://svca/pay")
    assert (answer.status, bool(answer.upstream)) == (200, True)  # svca takes both, and calls svcb by mutual TLS
    (refused,) = lab.curl("http://svcb/notify")
    assert (refused.status, "Empty reply" in refused.error) == (0, True)
    until(
        lambda: "takes mutual TLS only" in lab.kubectl("logs -l app=svcb -c istio-proxy --tail=20"),
        what="the refusal in the sidecar's log",
    )
    until(
        lambda: '"sourceUser":"spiffe://cluster.local/ns/default/sa/default"' in lab.kubectl(
            "-n istio-system logs -l istio=mixer -c mixer --tail=20"
        ),
        what="Mixer to know who called",
    )


def test_who_has_no_role_reads_no_certificate_of_others(secured: Lab) -> None:
    said = subprocess.run(
        [str(secured.settings.bin / "kubectl"), "--kubeconfig", str(secured.settings.kubeconfig), "auth", "can-i",
         "get", "secrets/istio.default", "-n", "istio-system", "--as=system:serviceaccount:default:default"],
        capture_output=True, text=True, check=False,
    )
    assert said.stdout.strip() == "no"


def test_certificates_are_replaced_before_they_end(secured: Lab) -> None:
    lab = secured
    lab.apply(PEERS)
    lab.apply(SVCA)
    ca = json.loads(lab.kubectl("-n istio-system get deployment istio-ca -o json"))
    arguments = ca["spec"]["template"]["spec"]["containers"][0]["args"]

    def lifetime(*more: str) -> None:
        patch = [{"op": "replace", "path": "/spec/template/spec/containers/0/args", "value": [*arguments, *more]}]
        lab.kubectl(f"-n istio-system patch deployment istio-ca --type=json -p '{json.dumps(patch)}'")
        lab.wait("istio-system/istio-ca")

    lifetime("--cert-ttl=6s")
    # That of the other CA would be good for an hour.
    lab.kubectl("delete secret istio.default")
    try:
        seen: set[str] = set()

        def two_more() -> bool:
            seen.add(serial(lab, "svcb"))
            assert lab.curl("http://svca/pay")[0].upstream
            return len(seen - {""}) >= 3

        until(two_more, what="new certificates to be in use, twice")
    finally:
        lifetime()
        until(lambda: serial(lab, "svcb") not in seen, what="certificates of an hour to be back")
