"""The mutating webhook's answer: which pods get a sidecar, and what the API server is told to change."""

from __future__ import annotations

import base64
import json
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonpatch import apply_patch

from meshlab.mesh.config.injection import review
from meshlab.mesh.config.meshconfig import MeshConfig
from meshlab.mesh.config.sidecar import SidecarParams
from meshlab.mesh.pilot.admission import respond
from meshlab.mesh.web import Request

Object = dict[str, Any]
PARAMS = SidecarParams("init", "proxy", "0", core_dump=False)
INJECT = "sidecar.istio.io/inject"


def pod(labels: Object | None = None, annotations: Object | None = None, **spec: Any) -> Object:
    meta: Object = {"generateName": "a-", "labels": {"app": "a", "version": "v1", **(labels or {})}}
    if annotations is not None:
        meta["annotations"] = annotations
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta,
            "spec": {"containers": [{"name": "a", "image": "a"}], **spec}}  # fmt: skip


def ask(obj: Any, namespace: str = "default") -> Object:
    request = {"apiVersion": "admission.k8s.io/v1", "request": {"uid": "u", "namespace": namespace, "object": obj}}
    before = deepcopy(request)
    answer = review(request, PARAMS)
    assert request == before
    assert answer["response"]["uid"] == "u"
    found: Object = answer["response"]
    return found


def made(obj: Object, namespace: str = "default") -> Object:
    """The pod after the patch."""
    response = ask(obj, namespace)
    assert response["allowed"]
    if "patch" not in response:
        return obj
    assert response["patchType"] == "JSONPatch"
    found: Object = apply_patch(obj, json.loads(base64.b64decode(response["patch"])))
    return found


def names(obj: Object, key: str = "containers") -> list[str]:
    return [each["name"] for each in obj["spec"].get(key) or ()]


def test_a_pod_gets_what_captures_what_carries_and_their_volumes() -> None:
    found = made(pod(initContainers=[{"name": "first", "image": "a"}], volumes=[{"name": "own", "emptyDir": {}}]))
    assert names(found) == ["a", "istio-proxy"]
    assert names(found, "initContainers") == ["first", "istio-init"]
    assert names(found, "volumes") == ["own", "istio-envoy", "istio-certs"]
    status = json.loads(found["metadata"]["annotations"]["sidecar.istio.io/status"])
    assert status == {
        "initContainers": ["istio-init"], "containers": ["istio-proxy"], "volumes": ["istio-envoy", "istio-certs"],
        "imagePullSecrets": None, "revision": "default",
    }  # fmt: skip
    assert found["metadata"]["labels"] == {
        "app": "a", "version": "v1", "security.istio.io/tlsMode": "istio",
        "service.istio.io/canonical-name": "a", "service.istio.io/canonical-revision": "v1",
    }  # fmt: skip
    proxy = found["spec"]["containers"][1]
    assert proxy["args"][:2] == ["proxy", "sidecar"]
    assert proxy["args"][proxy["args"].index("--serviceCluster") + 1] == "a"


@pytest.mark.parametrize("more", [{}, {"restartPolicy": "Never"}])
def test_asked_again_it_changes_nothing(more: Object) -> None:
    once = made(pod(**more))
    assert made(once) == once


@pytest.mark.parametrize("policy", ["Never", "OnFailure"])
def test_a_pod_that_comes_to_an_end_is_not_kept_alive_by_its_proxy(policy: str) -> None:
    found = made(pod(restartPolicy=policy))
    assert (names(found), names(found, "initContainers")) == (["a"], ["istio-init", "istio-proxy"])
    assert [each.get("restartPolicy") for each in found["spec"]["initContainers"]] == [None, "Always"]
    status = json.loads(found["metadata"]["annotations"]["sidecar.istio.io/status"])
    assert (status["initContainers"], status["containers"]) == (["istio-init", "istio-proxy"], [])


@pytest.mark.parametrize(
    ("obj", "namespace", "expected"),
    [
        (pod(), "default", True),
        (pod(labels={INJECT: "true"}), "default", True),
        (pod(labels={INJECT: "false"}), "default", False),
        (pod(annotations={INJECT: "false"}), "default", False),
        (pod(labels={INJECT: "true"}, annotations={INJECT: "false"}), "default", True),
        (pod(labels={INJECT: "yes"}), "default", False),
        (pod(annotations={"sidecar.istio.io/status": "injected-version-x"}), "default", False),
        (pod(containers=[{"name": "a"}, {"name": "istio-proxy"}]), "default", False),
        (pod(hostNetwork=True), "default", False),
        (pod(), "kube-system", False),
        (pod(), "istio-system", False),
        ({"kind": "ConfigMap", "metadata": {}}, "default", False),
        (None, "default", False),
    ],
)
def test_who_gets_a_sidecar(obj: Any, namespace: str, expected: bool) -> None:
    assert ("patch" in ask(obj, namespace)) is expected


@pytest.mark.parametrize(("wish", "captured"), [("10.0.0.0/8", ["-i", "10.0.0.0/8"]), ("*", []), ("", [])])
def test_a_pod_may_say_which_connections_are_captured(wish: str, captured: list[str]) -> None:
    found = made(pod(annotations={"traffic.sidecar.istio.io/includeOutboundIPRanges": wish}))
    assert found["spec"]["initContainers"][0]["args"] == ["-p", "15001", "-u", "1337", *captured]


def test_ranges_that_are_none_are_refused() -> None:
    response = ask(pod(annotations={"traffic.sidecar.istio.io/includeOutboundIPRanges": "10.0.0.0/8,everything"}))
    assert "'everything' is no CIDR" in response["status"]["message"]


@pytest.mark.parametrize("path", ["/inject", "/validate"])
def test_what_is_nested_too_deeply_is_refused(path: str) -> None:
    deep: Any = {}
    for _ in range(900):
        deep = {"a": deep}
    for obj in (pod(volumes=[{"name": "v", "deep": deep}]), {
        "apiVersion": "networking.istio.io/v1", "kind": "EnvoyFilter", "spec": deep,
    }):  # fmt: skip
        body = json.dumps({"request": {"uid": "u", "object": obj}}).encode()
        assert respond(Request("POST", path, {}, {}, body), MeshConfig()).status == 200


@pytest.mark.parametrize("spec", [None, [], {"containers": "a"}, {"containers": [1]}, {"initContainers": {}}])
def test_a_pod_of_the_wrong_shape_is_refused_with_a_reason(spec: Any) -> None:
    response = ask({"kind": "Pod", "metadata": {}, "spec": spec})
    if not response["allowed"]:
        assert "the pod cannot be given a sidecar" in response["status"]["message"]


# Over HTTP


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/inject", b"", 405),
        ("POST", "/", b"{}", 404),
        ("POST", "/inject", b"", 400),
        ("POST", "/inject", b"[" * 100_000, 400),
        ("POST", "/validate", b"[]", 400),
        ("POST", "/validate", b'{"request": 1}', 400),
        ("POST", "/validate", b'{"request": {}}', 200),
        ("POST", "/inject", b'{"request": {"uid": 5, "object": NaN}}', 200),
    ],
)
def test_what_is_no_review_is_told_so(method: str, path: str, body: bytes, status: int) -> None:
    assert respond(Request(method, path, {}, {}, body), MeshConfig()).status == status


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = st.sampled_from(("name", "match", "route", "destination", "http", "app", INJECT, "sidecar.istio.io/status"))
ODD = st.recursive(
    JSON | st.sampled_from(("true", "Pod", "svcb")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBERS, inner, max_size=4),
    max_leaves=12,
)
MAP = st.dictionaries(MEMBERS, ODD, max_size=2) | ODD
LIST = st.lists(st.dictionaries(MEMBERS, ODD, max_size=2), max_size=2) | ODD
PODS = st.fixed_dictionaries(
    {
        "kind": st.just("Pod"),
        "metadata": st.fixed_dictionaries({}, optional={"labels": MAP, "annotations": MAP, "name": ODD}),
        "spec": ODD | st.fixed_dictionaries({}, optional={
            "containers": LIST, "initContainers": LIST, "volumes": LIST, "hostNetwork": ODD, "serviceAccountName": ODD,
        }),
    }
)  # fmt: skip
KINDS = st.sampled_from(
    (("config.istio.io/v1alpha2", "RouteRule"), ("config.istio.io/v1alpha2", "DestinationPolicy"),
     ("config.istio.io/v1alpha2", "EgressRule"), ("networking.istio.io/v1", "VirtualService"),
     ("networking.istio.io/v9", "Gateway"), ("security.istio.io/v1", "AuthorizationPolicy"),
     ("telemetry.istio.io/v1", "Telemetry"), ("gateway.networking.k8s.io/v1", "HTTPRoute"), ("", ""))
)  # fmt: skip
RULES = st.builds(
    lambda kind, spec, more: {**more, "apiVersion": kind[0], "kind": kind[1], "spec": spec},
    KINDS, MAP, st.dictionaries(st.sampled_from(("metadata", "status")), ODD),
)  # fmt: skip


def answered(asked: Any, path: str) -> None:
    answer = respond(Request("POST", path, {}, {}, json.dumps(asked).encode()), MeshConfig())
    assert answer.status in (200, 400)
    if answer.status == 200:
        response = json.loads(answer.body)["response"]
        assert isinstance(response["allowed"], bool) and isinstance(response["uid"], str)
        assert response["allowed"] or response["status"]["message"]


@settings(max_examples=120)
@given(PODS, st.just("default") | ODD)
def test_whatever_pod_is_asked_about_there_is_an_answer(obj: Any, namespace: Any) -> None:
    answered({"request": {"uid": "u", "namespace": namespace, "object": obj}}, "/inject")


@settings(max_examples=120)
@given(RULES)
def test_whatever_rule_is_asked_about_there_is_an_answer(obj: Any) -> None:
    answered({"request": {"uid": "u", "object": obj}}, "/validate")


@settings(max_examples=60)
@given(ODD | st.fixed_dictionaries({"request": ODD, "apiVersion": ODD}), st.sampled_from(("/inject", "/validate")))
def test_whatever_is_asked_there_is_an_answer(asked: Any, path: str) -> None:
    answered(asked, path)


@settings(max_examples=40)
@given(st.binary(max_size=64), st.sampled_from(("/inject", "/validate", "/")))
def test_any_bytes_are_answered(body: bytes, path: str) -> None:
    assert respond(Request("POST", path, {}, {}, body), MeshConfig()).status in (200, 400, 404)
