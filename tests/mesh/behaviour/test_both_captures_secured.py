"""Mutual TLS and injection are the same, whichever way connections come to the sidecar."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from behaviour_pods import Viewpoint, until

from meshlab.installation import wait_webhooks
from meshlab.lab import Lab

pytestmark = pytest.mark.both_captures


@pytest.fixture(autouse=True)
def as_found(lab: Lab, inside: Viewpoint) -> Iterator[None]:
    del inside  # there before the state is looked at
    lab.kubectl("apply --server-side -f istio-today/crds.yaml")
    with lab.leave_as_found():
        yield


def peers(mode: str) -> dict[str, Any]:
    spec = {"selector": {"matchLabels": {"app": "svcb"}}, "mtls": {"mode": mode}}
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": "it"},
        "spec": spec,
    }


def test_a_strict_port_takes_members_and_refuses_the_others_and_says_why(
    lab: Lab, inside: Viewpoint, outside: Viewpoint
) -> None:
    lab.apply("svcb-http.yaml")
    for mode, others in (("PERMISSIVE", {"status": 404}), ("STRICT", {"error": "closed"})):
        lab.apply(peers(mode))
        assert inside.ask("svcb")["headers"]["x-served-by"].startswith("svcb-")
        found = outside.ask("svcb.default")
        assert others.items() <= found.items(), found
    said = f"refused {outside.ip}"
    until(lambda: said in lab.logs("svcb", container="istio-proxy"))
    (line,) = {each for each in lab.logs("svcb", container="istio-proxy").splitlines() if said in each}
    assert "this port takes mutual TLS only" in line


def test_a_pod_gets_its_sidecar_by_the_webhook(lab: Lab, outside: Viewpoint) -> None:
    """The API server reaches Pilot, and what is injected captures."""
    lab.kubectl("apply -f istio-today/webhooks.yaml")
    try:
        wait_webhooks(lab.access, timeout=60)
        pod = {**outside.pod, "metadata": {
            "name": "hooked", "namespace": "client",
            "labels": {"app": "hooked", "sidecar.istio.io/inject": "true"},
        }}  # fmt: skip
        pod["spec"] = {"containers": outside.pod["spec"]["containers"], "volumes": outside.pod["spec"]["volumes"]}
        pod.pop("status")
        lab.kubectl("apply -f -", stdin=json.dumps(pod))
        lab.kubectl("wait pod/hooked -n client --for=condition=Ready --timeout=60s")
        hooked = lab.access.pod(
            "client", "hooked", 8080, "/", method="POST",
            body={"code": f"found = ask({lab.network.external!r}, 9997)"},
        )  # fmt: skip
        assert hooked.json() == {"error": "closed"}, "by a sidecar: no rule allows it"
    finally:
        lab.kubectl("delete pod hooked -n client --ignore-not-found --wait=false")
        lab.kubectl("delete -f istio-today/webhooks.yaml")
