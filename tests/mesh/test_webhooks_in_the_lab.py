"""Today's webhooks on the lab, through the real API server and Pilot: who gets a sidecar, and what is not stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from meshlab.errors import LabError, NotInForce, Rejected
from meshlab.installation import WEBHOOKS
from meshlab.lab import Lab

Object = dict[str, Any]
INJECT = "sidecar.istio.io/inject"


# First, as the others install them.


def test_without_the_webhooks_kubectl_stores_what_0_4_stored_and_pilot_says_why_it_is_not_in_force(lab: Lab) -> None:
    for plural, name in WEBHOOKS:
        assert lab.kubectl(f"get {plural} {name} --ignore-not-found") == ""
    bad = {"apiVersion": "config.istio.io/v1alpha2", "kind": "RouteRule", "metadata": {"name": "bad"},
           "spec": {"destination": {"name": "svcb"}, "route": [{"weight": 50}]}}  # fmt: skip
    assert "created" in lab.kubectl("create -f -", stdin=json.dumps(bad))
    try:
        with pytest.raises(NotInForce, match="route-rule/default/bad: invalid: route weights total 50"):
            lab.settled()
    finally:
        lab.kubectl("delete routerule bad")


@pytest.fixture(scope="module")
def hooked(lab: Lab) -> Iterator[Lab]:
    """The lab with what today's Istio brings along, and the namespace `shop`, whose pods get sidecars."""
    lab.install(today=True)
    lab.kubectl("create namespace shop")
    try:
        lab.kubectl("label namespace shop istio-injection=enabled")
        yield lab
    finally:
        lab.kubectl("delete -f istio-today/webhooks.yaml")
        lab.kubectl("delete namespace shop --wait=true")
        lab.install()


def names(pod: Object) -> list[str]:
    return [each["name"] for each in pod["spec"]["containers"]]


def tried(lab: Lab, namespace: str, **meta: Any) -> list[str]:
    """Containers of a pod as it would be created there."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tried", "namespace": namespace, **meta},
           "spec": {"containers": [{"name": "app", "image": "python:3"}]}}  # fmt: skip
    said = lab.kubectl("create --dry-run=server -o json -f -", stdin=json.dumps(pod))
    return names(json.loads(said))


@pytest.mark.parametrize(
    ("namespace", "meta", "expected"),
    [
        ("shop", {}, True),
        ("shop", {"labels": {INJECT: "false"}}, False),
        ("shop", {"annotations": {INJECT: "false"}}, False),
        ("default", {}, False),
        ("default", {"labels": {INJECT: "true"}}, True),
        ("default", {"annotations": {INJECT: "true"}}, False),
        ("istio-system", {"labels": {INJECT: "true"}}, False),
    ],
)
def test_who_gets_a_sidecar(hooked: Lab, namespace: str, meta: Object, expected: bool) -> None:
    assert tried(hooked, namespace, **meta) == (["app", "istio-proxy"] if expected else ["app"])


def test_who_stores_a_field_that_nothing_acts_on_is_warned(hooked: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(hooked, "report", said.append)
    rule = {"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "tried"},
            "spec": {"host": "svcb", "trafficPolicy": {"tunnel": {"targetHost": "a", "targetPort": 80}}}}  # fmt: skip
    hooked.kubectl("create --dry-run=server -f -", stdin=json.dumps(rule))
    assert said == ["Warning: spec.trafficPolicy.tunnel has no effect in this lab: sidecars do not tunnel"]


def test_a_labelled_namespace_gives_its_deployments_working_sidecars(hooked: Lab) -> None:
    """The tutorial's own files, without kube-inject; the namespace's label is all there is."""
    for name in ("svca-v0.1", "svcb-v0.1"):
        hooked.kubectl(f"apply -n shop -f demo/{name}.yaml")
    hooked.kubectl("apply -n shop -f demo/svcb-http.yaml -f demo/svca-http.yaml")
    hooked.wait("shop/svca", "shop/svcb")
    pods = hooked.access.items("v1", "Pod", "shop")
    assert [names(each) for each in pods] == [[each["metadata"]["labels"]["app"], "istio-proxy"] for each in pods]
    hooked.settled()
    (answer,) = hooked.curl("http://svca.shop/pay")
    assert (answer.status, answer.headers["server"]) == (200, "envoy")
    assert answer.upstream.endswith(";v0.1")
    assert "send msg ok" in hooked.logs("svcb", namespace="shop"), "a mesh of today lets out what it does not know"


def test_a_job_goes_through_its_sidecar_and_comes_to_an_end(hooked: Lab) -> None:
    program = (
        "import http.client; c = http.client.HTTPConnection('svcb'); c.request('GET', '/'); "
        "print(c.getresponse().headers['server'])"
    )
    container = {"name": "once", "image": "python:3", "command": ["python", "-c", program]}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once", "namespace": "shop"},
           "spec": {"template": {"spec": {"containers": [container], "restartPolicy": "Never"}}}}  # fmt: skip
    hooked.kubectl("apply -f -", stdin=json.dumps(job))
    hooked.kubectl("wait job/once -n shop --for=condition=Complete --timeout=60s")
    assert hooked.kubectl("logs -n shop job/once -c once") == "envoy\n"


def test_accounts_of_their_own_are_identities_that_policies_tell_apart(hooked: Lab) -> None:
    """By kubectl alone: the tutorial's files stay as they are."""
    hooked.kubectl("apply -n shop -f demo/accounts.yaml")
    for name in ("svca", "svcb"):
        hooked.kubectl(f"set serviceaccount deployment {name} {name} -n shop")
    hooked.wait("shop/svca", "shop/svcb")
    hooked.settled()  # svca's sidecar knows the new svcb
    answers = {}
    for account in ("default", "svca"):
        source = {"principals": [f"cluster.local/ns/shop/sa/{account}"]}
        hooked.apply({
            "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
            "metadata": {"name": "callers", "namespace": "shop"},
            "spec": {"selector": {"matchLabels": {"app": "svcb"}}, "rules": [{"from": [{"source": source}]}]},
        })  # fmt: skip
        answers[account] = hooked.curl("http://svca.shop/pay")[0].upstream
    assert answers["default"] == "" and answers["svca"].endswith(";v0.1")


def test_a_restart_picks_the_sidecar_up_and_a_pod_after_the_label_has_none(hooked: Lab) -> None:
    """The label counts when a pod is created; nothing happens to those that run."""

    def containers() -> list[int]:
        pods = hooked.access.items("v1", "Pod", "late")
        return [len(names(each)) for each in pods if "deletionTimestamp" not in each["metadata"]]

    hooked.kubectl("create namespace late")
    try:
        hooked.kubectl("create deployment plain -n late --image=docker.io/bigwhite/istio-demo-svca:v0.1")
        hooked.wait("late/plain")
        hooked.kubectl("label namespace late istio-injection=enabled")
        assert containers() == [1]
        hooked.kubectl("rollout restart deployment/plain -n late")
        hooked.kubectl("rollout status deployment/plain -n late")
        assert containers() == [2]
        hooked.kubectl("label namespace late istio-injection-")
        hooked.kubectl("delete pods --all -n late")
        hooked.wait("late/plain")
        assert containers() == [1]
    finally:
        hooked.kubectl("delete namespace late --wait=false")


def test_what_kube_inject_has_done_is_not_done_again(hooked: Lab) -> None:
    injected = str(hooked.istioctl("kube-inject -f demo/svca-v0.1.yaml")).partition("\n---\n")[0]
    template = json.loads(hooked.kubectl("create --dry-run=client -o json -f -", stdin=injected))["spec"]["template"]
    assert "istio-proxy" in names(template)
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {**template["metadata"], "name": "x", "namespace": "shop"},
           "spec": template["spec"]}  # fmt: skip
    said = hooked.kubectl("create --dry-run=server -o json -f -", stdin=json.dumps(pod))
    assert names(json.loads(said)) == names(template)


BAD = [
    ("config.istio.io/v1alpha2", "RouteRule",
     {"destination": {"name": "svcb"}, "route": [{"weight": 50}]}, "route weights total 50 (must total 100)"),
    ("config.istio.io/v1alpha2", "EgressRule",
     {"destination": {"service": "a.com"}, "ports": [{"port": 80, "protocol": "udp"}]}, "available only for"),
    ("config.istio.io/v1alpha2", "DestinationPolicy", {"destination": {"name": "a"}, "loadBalancing": {}}, "must set"),
    ("config.istio.io/v1alpha2", "RouteRule", {"destination": {"name": "svcb"}, "weight": 1}, "weight"),
    ("networking.istio.io/v1", "VirtualService",
     {"hosts": ["svcb"], "http": [{"route": [{"destination": {"host": "a"}, "weight": 0},
                                             {"destination": {"host": "b"}, "weight": 0}]}]}, "weight = 0"),
    ("security.istio.io/v1", "AuthorizationPolicy", {"action": "DENY"}, "meaningless"),
    ("security.istio.io/v1", "RequestAuthentication",
     {"jwtRules": [{"issuer": "a", "jwks": "{"}]}, "failed to parse jwks"),
]  # fmt: skip


@pytest.mark.parametrize(("version", "kind", "spec", "reason"), BAD, ids=lambda each: each if type(each) is str else "")
def test_what_makes_no_sense_is_refused_on_write_with_a_reason(
    hooked: Lab, version: str, kind: str, spec: Object, reason: str
) -> None:
    obj = {"apiVersion": version, "kind": kind, "metadata": {"name": "bad"}, "spec": spec}
    with pytest.raises(LabError, match="denied the request: configuration is invalid") as refused:
        hooked.kubectl("apply -f -", stdin=json.dumps(obj))
    assert reason in str(refused.value)
    assert hooked.access.find(version, kind, "default", "bad") is None


def test_the_reason_reaches_whoever_writes_through_the_lab(hooked: Lab) -> None:
    with pytest.raises(Rejected, match="meaningless"):
        hooked.apply({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
                      "metadata": {"name": "bad"}, "spec": {"action": "DENY"}})  # fmt: skip
