"""A lab installed with `auth` and `today`: mutual TLS everywhere, also to the control plane, and what keeps it alive.

Certificates live eight seconds here, not an hour: everything that must happen within the hour happens in the test.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509

from meshlab.errors import LabError
from meshlab.lab import Lab, connect
from meshlab.notebook.waiting import until

TTL = 8
ISTIO = "istio-system"
URL = "http://svcb.default/notify?msg=1"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Its own lab; svcb, msgd, and the client as a member of the mesh: the label of its namespace is all it takes."""
    from meshlab.cluster.daemon import stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MESHLAB_HOME", str(tmp_path_factory.mktemp("auth") / "home"))
        patch.delenv("KUBECONFIG", raising=False)
        patch.setenv("PATH", os.environ["PATH"])
        lab = connect(report=lambda line: None)
        try:
            lab.install(auth=True, today=True)
            _short_lives(lab)
            lab.kubectl("create namespace client")
            lab.kubectl("label namespace client default istio-injection=enabled")
            for name in ("svcb-v0.1", "msgd", "client"):
                lab.kubectl(f"apply -f demo/{name}.yaml")
            # The orders come from the API server, which is no member.
            lab.kubectl("annotate service client -n client auth.istio.io/8080=NONE")
            lab.wait("default/svcb", "external/msgd", "client/client")
            for name in ("svcb-http.yaml", "enable-svcb-engress-rule.yaml"):
                lab.apply(name)
            yield lab
        finally:
            left = stop(lab.settings)
        assert left == []


def _short_lives(lab: Lab) -> None:
    """The CA anew, with another lifetime; it issues again whatever is deleted."""
    patch = [{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": f"--cert-ttl={TTL}s"}]
    lab.kubectl(f"patch deployment istio-ca -n {ISTIO} --type=json -p '{json.dumps(patch)}'")
    lab.wait(f"{ISTIO}/istio-ca")
    lab.kubectl("delete secrets -A --field-selector type=istio.io/key-and-cert")


def ends(lab: Lab, namespace: str, account: str) -> datetime:
    """When an account's certificate ends, as it is stored."""
    secret = lab.access.find("v1", "Secret", namespace, f"istio.{account}")
    assert secret is not None
    chain = base64.b64decode(secret["data"]["cert-chain.pem"])
    return x509.load_pem_x509_certificate(chain).not_valid_after_utc


def members(lab: Lab) -> list[dict[str, Any]]:
    """The pods with a sidecar that are not about to go."""
    pods = lab.access.items("v1", "Pod", "default") + lab.access.items("v1", "Pod", "client")
    return [p for p in pods if len(p["spec"]["containers"]) > 1 and "deletionTimestamp" not in p["metadata"]]


def names(pods: list[dict[str, Any]]) -> set[str]:
    return {f"{pod['metadata']['name']}.{pod['metadata']['namespace']}" for pod in pods}


def connected(lab: Lab) -> set[str]:
    """The sidecars that Pilot serves, `pod.namespace` each."""
    (pilot,) = (p for p in lab.access.items("v1", "Pod", ISTIO, labelSelector="istio=pilot"))
    found: dict[str, Any] = lab.access.pod(ISTIO, pilot["metadata"]["name"], 15014, "/debug/syncz").json()
    return {name.split("~")[2] for name in found["proxies"]}


def test_injected_sidecars_speak_mutual_tls_with_the_control_plane_and_each_other(secured: Lab) -> None:
    pods = members(secured)
    for pod in pods:
        args = pod["spec"]["containers"][1]["args"]
        assert args[args.index("--controlPlaneAuthPolicy") + 1] == "MUTUAL_TLS"
    assert secured.curl(URL).by_status() == {"200": 1}
    assert names(pods) <= connected(secured)


def test_who_is_no_member_is_refused(secured: Lab) -> None:
    """A pod that did not want a sidecar."""
    meta = {"name": "out", "labels": {"sidecar.istio.io/inject": "false"}}
    container = {"name": "out", "image": "docker.io/meshlab/client:v0.1", "ports": [{"containerPort": 8080}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [container]}}
    secured.kubectl("apply -f -", stdin=json.dumps(pod))
    secured.kubectl("wait pod/out --for=condition=Ready --timeout=120s")
    answer = secured.access.pod("default", "out", 8080, "/curl", method="POST", body={"url": URL, "n": 1}).json()
    assert "Empty reply" in answer["answers"][0]["error"]


def test_certificates_of_workloads_and_control_plane_are_renewed_without_a_failed_request(secured: Lab) -> None:
    watched = (("default", "default"), (ISTIO, "istio-pilot-service-account"), (ISTIO, "istio-mixer-service-account"))
    first = {each: ends(secured, *each) for each in watched}
    with secured.load(URL, rps=30, seconds=60) as load:
        while datetime.now(UTC) < max(first.values()) + timedelta(seconds=1):
            # New connections to Pilot: the API server's for a pod's sidecar, each verified.
            said = secured.kubectl("run tried --image=python:3 --dry-run=server -o jsonpath={.spec.containers[*].name}")
            assert said == "tried istio-proxy"
    counted = load.progress()
    assert counted["by_status"] == {"200": counted["sent"]}, counted
    assert all(ends(secured, *each) > end for each, end in first.items())


def test_while_pilot_is_away_no_pod_comes_without_its_sidecar_and_says_why(secured: Lab) -> None:
    """Where nobody asked for sidecars all goes on."""
    tried = "run tried --image=python:3 --dry-run=server -o name"
    secured.kubectl(f"scale deployment istio-pilot -n {ISTIO} --replicas=0")
    secured.kubectl(f"wait pod -l istio=pilot -n {ISTIO} --for=delete --timeout=60s")
    with pytest.raises(LabError, match=r'failed calling webhook "namespace\.sidecar-injector\.istio\.io"'):
        secured.kubectl(tried)
    assert secured.kubectl(f"{tried} -n external") == "pod/tried\n"
    assert secured.curl(URL).by_status() == {"200": 1}
    secured.kubectl(f"scale deployment istio-pilot -n {ISTIO} --replicas=1")
    secured.wait(f"{ISTIO}/istio-pilot")
    assert secured.kubectl(tried) == "pod/tried\n"


def test_after_that_a_new_sidecar_finds_its_way_and_rules_come_into_force(secured: Lab) -> None:
    secured.kubectl("rollout restart deployment/svcb")
    secured.wait("default/svcb")
    # The client's sidecar lost Pilot, and tries again after a pause: until then it knows the old svcb.
    until(lambda: names(members(secured)) <= connected(secured), timeout=30)
    secured.settled()
    assert secured.curl(URL).by_status() == {"200": 1}
    denied = {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"name": "nobody"},
              "spec": {"selector": {"matchLabels": {"app": "svcb"}}}}  # fmt: skip
    assert secured.apply(denied).proxies
    assert secured.curl(URL).by_status() == {"403": 1}
    secured.delete(denied)
    assert secured.curl(URL).by_status() == {"200": 1}
