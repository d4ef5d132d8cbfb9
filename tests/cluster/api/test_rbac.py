"""Who may do what: roles, bindings, and the words of a refusal."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from meshlab.cluster import Cluster
from meshlab.errors import Rejected
from meshlab.kube import Kube

Object = dict[str, Any]
Kubectl = Callable[..., subprocess.CompletedProcess[str]]
RBAC = "rbac.authorization.k8s.io/v1"
PODS = {"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list", "watch"]}


@pytest.fixture
def account(cluster: Cluster, kube: Kube, namespace: str) -> Kube:
    """A client with the token of the service account `robot` of this test's namespace."""
    kube.create(
        ("v1", "ServiceAccount", namespace),
        {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "robot"}},
    )
    token = kube.create(
        ("v1", "serviceaccounts", namespace, "robot", "token"),
        {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {}},
    )["status"]["token"]
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    ca = base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"])
    return Kube(kube.server, token=token, ca=ca)


def role(kube: Kube, namespace: str, *rules: Object, name: str = "reader") -> None:
    kube.create(
        (RBAC, "Role", namespace),
        {"kind": "Role", "apiVersion": RBAC, "metadata": {"name": name}, "rules": list(rules)},
    )


def binding(kube: Kube, namespace: str, role: str = "reader", kind: str = "Role", **subject: str) -> None:
    subject = subject or {"kind": "ServiceAccount", "name": "robot", "namespace": namespace}
    kube.create(
        (RBAC, "RoleBinding", namespace),
        {
            "kind": "RoleBinding",
            "apiVersion": RBAC,
            "metadata": {"name": f"{role}-binding"},
            "subjects": [subject],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        },
    )


def refused(call: Callable[..., Any], *args: Any) -> Object:
    with pytest.raises(Rejected) as error:
        call(*args)
    assert error.value.status["code"] == 403 and error.value.status["reason"] == "Forbidden"
    return dict(error.value.status)


def test_an_account_without_a_binding_may_do_nothing(account: Kube, namespace: str) -> None:
    who = f'User "system:serviceaccount:{namespace}:robot"'
    status = refused(account.list, ("v1", "pods", namespace))
    assert status["message"] == (
        f'pods is forbidden: {who} cannot list resource "pods" in API group "" in the namespace "{namespace}"'
    )
    assert status["details"] == {"kind": "pods"}
    status = refused(account.get, ("apps/v1", "deployments", namespace, "web"))
    assert status["message"] == (
        f'deployments.apps "web" is forbidden: {who} cannot get resource "deployments" in API group "apps" in the '
        f'namespace "{namespace}"'
    )
    assert status["details"] == {"name": "web", "group": "apps", "kind": "deployments"}
    status = refused(account.list, ("v1", "nodes"))
    assert status["message"].endswith('cannot list resource "nodes" in API group "" at the cluster scope')
    assert account.raw("GET", "/metrics").status == 403
    assert account.raw("GET", "/api/v1").status == 200, "discovery is for everybody"


def test_a_binding_grants_what_its_role_says_and_no_more(account: Kube, kube: Kube, namespace: str) -> None:
    role(kube, namespace, PODS)
    binding(kube, namespace)
    assert account.list(("v1", "pods", namespace))["items"] == []
    refused(account.list, ("v1", "pods", "default"))
    refused(account.list, ("v1", "pods"))
    refused(account.list, ("v1", "services", namespace))
    status = refused(account.delete, ("v1", "pods", namespace, "x"))
    assert 'pods "x" is forbidden' in status["message"] and "cannot delete resource" in status["message"]
    assert account.raw("GET", f"/api/v1/namespaces/{namespace}/pods/x/log").status == 404, "allowed, and not there"
    kube.delete((RBAC, "RoleBinding", namespace, "reader-binding"))
    refused(account.list, ("v1", "pods", namespace))


def test_names_limit_a_rule_to_objects(account: Kube, kube: Kube, namespace: str) -> None:
    role(kube, namespace, {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"],
                           "resourceNames": ["mine"]})  # fmt: skip
    binding(kube, namespace)
    for name in ("mine", "yours"):
        kube.create(
            ("v1", "ConfigMap", namespace), {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}}
        )
    assert account.get(("v1", "ConfigMap", namespace, "mine"))["metadata"]["name"] == "mine"
    refused(account.get, ("v1", "ConfigMap", namespace, "yours"))
    refused(account.list, ("v1", "ConfigMap", namespace))
    assert len(account.list(("v1", "ConfigMap", namespace), fieldSelector="metadata.name=mine")["items"]) == 1


def test_who_may_only_patch_does_not_create_by_applying(account: Kube, kube: Kube, namespace: str) -> None:
    role(kube, namespace, {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "patch"]})
    binding(kube, namespace)
    body = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "m"}, "data": {"a": "1"}}
    path = f"/api/v1/namespaces/{namespace}/configmaps/m?fieldManager=me"
    type_ = {"Content-Type": "application/apply-patch+yaml"}
    answer = account.raw("PATCH", path, json.dumps(body), type_)
    assert answer.status == 403 and "cannot create resource" in answer.text
    kube.create(("v1", "ConfigMap", namespace), body)
    assert account.raw("PATCH", path + "&force=true", json.dumps(body), type_).status == 200


def test_cluster_roles_are_bound_in_a_namespace_and_gather_others(account: Kube, kube: Kube, namespace: str) -> None:
    binding(kube, namespace, "view", "ClusterRole")
    assert account.list(("v1", "services", namespace))["items"] == []
    refused(account.list, ("v1", "secrets", namespace))
    refused(account.list, ("coordination.k8s.io/v1", "leases", namespace))
    kube.create(
        (RBAC, "ClusterRole"),
        {
            "kind": "ClusterRole",
            "apiVersion": RBAC,
            "metadata": {
                "name": f"more-{namespace}",
                "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"},
            },
            "rules": [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["list"]}],
        },
    )
    assert account.list(("coordination.k8s.io/v1", "leases", namespace))["items"] == []
    kube.delete((RBAC, "ClusterRole", None, f"more-{namespace}"))


def test_a_role_that_is_missing_is_named(account: Kube, kube: Kube, namespace: str) -> None:
    binding(kube, namespace, "gone", "ClusterRole")
    status = refused(account.list, ("v1", "pods", namespace))
    assert status["message"].endswith(': RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found')


def test_nobody_grants_what_he_does_not_have(account: Kube, kube: Kube, namespace: str) -> None:
    granter = {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": ["*"]}
    role(kube, namespace, PODS, {**granter, "verbs": ["create", "patch", "get"]})
    binding(kube, namespace)
    role(account, namespace, PODS, name="same")
    secrets = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}
    with pytest.raises(Rejected) as error:
        role(account, namespace, secrets, name="more")
    assert error.value.status["message"] == (
        f'roles.rbac.authorization.k8s.io "more" is forbidden: user "system:serviceaccount:{namespace}:robot" '
        f'(groups=["system:serviceaccounts" "system:serviceaccounts:{namespace}" "system:authenticated"]) is '
        'attempting to grant RBAC permissions not currently held:\n'
        '{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}'
    )
    with pytest.raises(Rejected, match="not currently held"):
        account.patch((RBAC, "Role", namespace, "same"), {"rules": [secrets]}, "merge")
    with pytest.raises(Rejected, match="not currently held"):
        binding(account, namespace, "cluster-admin", "ClusterRole")


def test_kubectl_asks_who_and_what(kubectl: Kubectl, kube: Kube, account: Kube, namespace: str) -> None:
    role(kube, namespace, PODS)
    binding(kube, namespace)
    robot = f"--as=system:serviceaccount:{namespace}:robot"
    assert kubectl("auth", "can-i", "list", "pods", robot).stdout == "yes\n"
    assert kubectl("auth", "can-i", "delete", "pods", robot, ok=False).stdout == "no\n"
    assert kubectl("auth", "can-i", "delete", "nodes").stdout.endswith("yes\n")
    assert kubectl("auth", "can-i", "get", "/version", robot).stdout == "yes\n"
    listed = kubectl("auth", "can-i", "--list", robot).stdout
    assert any(line.split()[0] == "pods" and "[get list watch]" in line for line in listed.splitlines()), listed
    assert f"system:serviceaccounts:{namespace}" in kubectl("auth", "whoami", robot).stdout
    review = kube.create(("authorization.k8s.io/v1", "subjectaccessreviews"), {
        "kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1",
        "spec": {"user": f"system:serviceaccount:{namespace}:robot",
                 "resourceAttributes": {"verb": "list", "resource": "pods", "namespace": namespace}},
    })["status"]  # fmt: skip
    assert review == {
        "allowed": True,
        "reason": f'RBAC: allowed by RoleBinding "reader-binding/{namespace}" of Role "reader" to ServiceAccount '
        f'"robot/{namespace}"',
    }


def test_only_who_may_acts_as_others(account: Kube, namespace: str) -> None:
    answer = account.raw("GET", "/api/v1/nodes", headers={"Impersonate-User": "kubernetes-admin"})
    assert answer.status == 403
    assert "cannot impersonate resource" in json.loads(answer.text)["message"]


def test_kubectl_makes_roles_and_bindings(kubectl: Kubectl, namespace: str) -> None:
    kubectl("create", "role", "r", "--verb=get", "--resource=pods")
    kubectl("create", "rolebinding", "b", "--role=r", f"--serviceaccount={namespace}:x")
    kubectl("create", "clusterrole", f"c-{namespace}", "--verb=get", "--resource=nodes")
    assert "nodes" in kubectl("describe", "clusterrole", f"c-{namespace}").stdout
    assert "cluster-admin" in kubectl("get", "clusterroles").stdout
    kubectl(
        "auth",
        "reconcile",
        "-f",
        "-",
        input=json.dumps(
            {"kind": "ClusterRole", "apiVersion": RBAC, "metadata": {"name": f"c-{namespace}"}, "rules": [PODS]}
        ),
    )
    kubectl("delete", "clusterrole", f"c-{namespace}")
