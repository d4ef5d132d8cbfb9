"""ValidatingAdmissionPolicies: rules in CEL that writes must keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from meshlab.errors import Rejected
from meshlab.kube import Kube, Raw

Object = dict[str, Any]
Send = Callable[..., Raw]
GROUP = "admissionregistration.k8s.io/v1"
RULE = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]}


@pytest.fixture
def bind(kube: Kube, namespace: str) -> Iterator[Callable[..., None]]:
    """bind(policy's spec, **binding's spec): in force for ConfigMaps of this test's namespace."""
    here = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}

    def create(spec: Object, **binding: Any) -> None:
        constraints = {"resourceRules": [RULE], "namespaceSelector": here}
        policy = {"matchConstraints": constraints, **spec}
        bound = {"policyName": namespace, "validationActions": ["Deny"], **binding}
        for plural, kind, content in (
            ("validatingadmissionpolicies", "ValidatingAdmissionPolicy", policy),
            ("validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", bound),
        ):
            kube.create((GROUP, plural), {
                "kind": kind, "apiVersion": GROUP, "metadata": {"name": namespace}, "spec": content,
            })  # fmt: skip

    yield create
    for plural in ("validatingadmissionpolicybindings", "validatingadmissionpolicies"):
        kube.delete((GROUP, plural, None, namespace))


def config_map(name: str = "m", **data: str) -> Object:
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": data}


def refused(kube: Kube, namespace: str, obj: Object) -> Object:
    with pytest.raises(Rejected) as error:
        kube.create(("v1", "configmaps", namespace), obj)
    return error.value.status


def test_what_breaks_a_rule_is_refused(kube: Kube, namespace: str, bind: Callable[..., None]) -> None:
    bind({"validations": [{"expression": "object.data.size != 'huge'", "message": "too big"}]})
    status = refused(kube, namespace, config_map(size="huge"))
    said = f"ValidatingAdmissionPolicy '{namespace}' with binding '{namespace}' denied request: too big"
    assert status["message"] == f'configmaps "m" is forbidden: {said}'
    assert (status["code"], status["reason"]) == (422, "Invalid")
    assert status["details"]["causes"] == [{"message": said}]
    kube.create(("v1", "configmaps", namespace), config_map(size="small"))
    with pytest.raises(Rejected, match="too big"):
        kube.patch(("v1", "configmaps", namespace, "m"), {"data": {"size": "huge"}})


@pytest.mark.parametrize(("spec", "message"), [
    ({"validations": [{"expression": "object.data.a == 'b'"}]}, "failed expression: object.data.a == 'b'"),
    ({"variables": [{"name": "a", "expression": "object.data.a"}],
      "validations": [{"expression": "variables.a == 'b'", "messageExpression": "'not b but ' + variables.a"}]},
     "not b but c"),
    ({"variables": [{"name": "z", "expression": "object.data.z"}],
      "validations": [{"expression": "variables.z == 'b'"}]},
     """expression 'variables.z == 'b'' resulted in error: composited variable "z" fails to """
     "evaluate: no such key: z"),
    ({"validations": [{"expression": "request.operation == 'UPDATE'", "reason": "Forbidden"}]},
     "failed expression: request.operation == 'UPDATE'"),
    ({"validations": [{"expression": "namespaceObject.metadata.name == 'else'", "message": "not here"}]}, "not here"),
    ({"validations": [{"expression": "oldObject != null", "message": "new"}]}, "new"),
])  # fmt: skip
def test_expressions_and_messages(
    kube: Kube, namespace: str, bind: Callable[..., None], spec: Object, message: str
) -> None:
    bind(spec)
    assert refused(kube, namespace, config_map(a="c"))["message"].endswith(f"denied request: {message}")


@pytest.mark.parametrize("spec", [
    {"validations": [{"expression": "false"}], "matchConditions": [{"name": "n", "expression": "has(object.data.b)"}]},
    {"validations": [{"expression": "object.data.b == 'c'"}], "failurePolicy": "Ignore"},
    {"validations": [{"expression": "oldObject == null || object.data == oldObject.data"}]},
])  # fmt: skip
def test_what_is_of_no_concern_to_a_policy(kube: Kube, namespace: str, bind: Callable[..., None], spec: Object) -> None:
    bind(spec)
    kube.create(("v1", "configmaps", namespace), config_map(a="c"))


def test_parameters_are_objects_of_any_kind(kube: Kube, namespace: str, bind: Callable[..., None]) -> None:
    bind(
        {
            "validations": [{"expression": "object.data.n in params.data"}],
            "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        },
        paramRef={"name": namespace, "namespace": "default", "parameterNotFoundAction": "Deny"},
    )
    assert "no params found for policy binding" in refused(kube, namespace, config_map(n="one"))["message"]
    kube.create(("v1", "configmaps", "default"), config_map(namespace, one="yes"))
    kube.create(("v1", "configmaps", namespace), config_map(n="one"))
    assert "failed expression" in refused(kube, namespace, config_map("other", n="two"))["message"]


def test_a_warning_lets_it_pass(send: Send, namespace: str, bind: Callable[..., None]) -> None:
    bind({"validations": [{"expression": "false", "message": "think again"}]}, validationActions=["Warn", "Audit"])
    answer = send("POST", "/api/v1/namespaces/{ns}/configmaps", config_map())
    assert answer.status == 201
    assert answer.headers["warning"] == (
        f"299 - \"Validation failed for ValidatingAdmissionPolicy '{namespace}' with binding '{namespace}': "
        'think again"'
    )


def test_a_policy_selects_by_selectors_that_are_some(send: Send) -> None:
    constraints = {"resourceRules": [RULE], "objectSelector": {"matchExpressions": [{"operator": "Near"}]}}
    spec = {"matchConstraints": constraints, "validations": [{"expression": "true"}]}
    body = {"kind": "ValidatingAdmissionPolicy", "apiVersion": GROUP, "metadata": {"name": "p"}, "spec": spec}
    answer = send("POST", f"/apis/{GROUP}/validatingadmissionpolicies", body)
    assert answer.status == 422 and "objectSelector.matchExpressions[0].operator" in answer.text


def test_a_policy_that_is_none(send: Send) -> None:
    spec = {"matchConstraints": {"resourceRules": [RULE]}, "validations": [{"expression": "object."}]}
    body = {"kind": "ValidatingAdmissionPolicy", "apiVersion": GROUP, "metadata": {"name": "p"}, "spec": spec}
    answer = send("POST", f"/apis/{GROUP}/validatingadmissionpolicies", body)
    assert answer.status == 422 and "spec.validations[0].expression" in answer.text
