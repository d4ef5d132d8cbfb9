"""Real kubectl against the API server alone."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest

Kubectl = Callable[..., subprocess.CompletedProcess[str]]

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: main, image: "python:3.12", ports: [{containerPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}]
"""

TUTORIAL = """
apiVersion: extensions/v1beta1
kind: Deployment
metadata: {name: svca-v0.1}
spec:
  replicas: 1
  template:
    metadata: {labels: {app: svca}}
    spec:
      containers: [{name: svca, image: "docker.io/bigwhite/istio-demo-svca:v0.1"}]
"""


def value(kubectl: Kubectl, *args: str) -> str:
    return kubectl("get", *args).stdout


def test_apply_creates_changes_and_leaves_alone(kubectl: Kubectl) -> None:
    assert kubectl("apply", "-f", "-", input=DEPLOYMENT).stdout == (
        "deployment.apps/web created\nservice/web created\n"
    )
    assert kubectl("apply", "-f", "-", input=DEPLOYMENT).stdout == (
        "deployment.apps/web unchanged\nservice/web unchanged\n"
    )
    changed = DEPLOYMENT.replace("replicas: 1", "replicas: 2").replace("containerPort: 8080", "containerPort: 9090")
    assert kubectl("apply", "-f", "-", input=changed).stdout == (
        "deployment.apps/web configured\nservice/web unchanged\n"
    )
    ports = value(kubectl, "deploy", "web", "-o", "jsonpath={.spec.template.spec.containers[0].ports[*].containerPort}")
    assert ports == "9090"
    assert kubectl("delete", "-f", "-", input=DEPLOYMENT).returncode == 0


DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: carts.applied.test}
spec:
  group: applied.test
  names: {plural: carts, singular: cart, kind: Cart, listKind: CartList}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}
"""


def test_a_custom_resource_is_changed_by_apply_too(kubectl: Kubectl) -> None:
    cart = "{apiVersion: applied.test/v1, kind: Cart, metadata: {name: mine}, spec: {size: %d}}"
    kubectl("apply", "-f", "-", input=DEFINITION)
    try:
        for size, done in ((1, "created"), (1, "unchanged"), (2, "configured")):
            assert kubectl("apply", "-f", "-", input=cart % size).stdout == f"cart.applied.test/mine {done}\n"
        assert value(kubectl, "cart", "mine", "-o", "jsonpath={.spec.size}") == "2"
    finally:
        kubectl("delete", "-f", "-", input=DEFINITION)


def test_server_side_apply_migrates_from_client_side(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", input=DEPLOYMENT)
    changed = DEPLOYMENT.replace("python:3.12", "python:3.13")
    assert "serverside-applied" in kubectl("apply", "--server-side", "-f", "-", input=changed).stdout
    fields = json.loads(value(kubectl, "deploy", "web", "-o", "json", "--show-managed-fields"))
    managers = {(m["manager"], m["operation"]) for m in fields["metadata"]["managedFields"]}
    assert ("kubectl", "Apply") in managers
    other = kubectl(
        "apply", "--server-side", "--field-manager=other", "-f", "-", input=changed.replace("3.13", "3.14"), ok=False
    )
    assert 'conflict with "kubectl": .spec.template.spec.containers[name="main"].image' in other.stderr


def test_create_replace_and_what_they_refuse(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", input=DEPLOYMENT)
    assert 'deployments.apps "web" already exists' in kubectl("create", "-f", "-", input=DEPLOYMENT, ok=False).stderr
    assert kubectl("replace", "-f", "-", input=DEPLOYMENT).stdout.startswith("deployment.apps/web replaced")
    missing = DEPLOYMENT.replace("name: web}", "name: other}")
    assert "not found" in kubectl("replace", "-f", "-", input=missing, ok=False).stderr


@pytest.mark.parametrize(("text", "message"), [
    (DEPLOYMENT.replace("port: 80,", "port: 80000,"), "spec.ports[0].port: Invalid value: 80000"),
    (DEPLOYMENT.replace("replicas", "replicass"), 'unknown field "spec.replicass"'),
    (DEPLOYMENT.replace("replicas: 1", "replicas: one"), "json: cannot unmarshal string into Go struct field"),
    (DEPLOYMENT.replace("labels: {app: web}", "labels: {app: other}"), "`selector` does not match template `labels`"),
    (DEPLOYMENT.replace("kind: Deployment", "kind: Deploi"), 'no matches for kind "Deploi" in version "apps/v1"'),
    (DEPLOYMENT.replace("name: web}", "name: Web}"), "a lowercase RFC 1123 subdomain must consist of"),
], ids=["port", "unknown field", "type", "selector", "kind", "name"])
def test_what_is_wrong_is_named(kubectl: Kubectl, text: str, message: str) -> None:
    assert message in kubectl("apply", "-f", "-", input=text, ok=False).stderr


def test_the_deployment_of_the_tutorial_is_taken_as_written(kubectl: Kubectl) -> None:
    assert "svca-v0.1 created" in kubectl("apply", "-f", "-", input=TUTORIAL).stdout
    selector = value(kubectl, "deploy", "svca-v0.1", "-o", "jsonpath={.spec.selector.matchLabels}")
    assert json.loads(selector) == {"app": "svca"}
    assert "svca-v0.1" in value(kubectl, "deployments.v1beta1.extensions")


def test_label_annotate_scale_patch_and_set(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", input=DEPLOYMENT)
    kubectl("label", "svc/web", "tier=front")
    kubectl("annotate", "svc/web", "note=here")
    kubectl("scale", "deploy/web", "--replicas=3", "--current-replicas=1")
    kubectl("set", "image", "deploy/web", "main=python:3.11")
    kubectl("patch", "svc", "web", "-p", '{"spec":{"ports":[{"port":80,"targetPort":9}]}}')
    kubectl("patch", "svc", "web", "--type=merge", "-p", '{"metadata":{"labels":{"x":"y"}}}')
    kubectl("patch", "svc", "web", "--type=json", "-p", '[{"op":"remove","path":"/metadata/labels/x"}]')
    service = json.loads(value(kubectl, "svc", "web", "-o", "json"))
    assert service["metadata"]["labels"] == {"tier": "front"}
    assert service["metadata"]["annotations"]["note"] == "here"
    assert [(p["name"], p["targetPort"]) for p in service["spec"]["ports"]] == [("http", 9)]
    deployment = json.loads(value(kubectl, "deploy", "web", "-o", "json"))
    assert deployment["spec"]["replicas"] == 3
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "python:3.11"


def test_tables_show_the_columns_of_each_kind(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", input=DEPLOYMENT)
    header, row = value(kubectl, "svc", "web", "-o", "wide").splitlines()
    assert header.split() == ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE", "SELECTOR"]
    assert row.split()[0:2] == ["web", "ClusterIP"] and row.split()[4] == "80/TCP"
    assert value(kubectl, "deploy", "--sort-by=.metadata.name", "-o", "name") == "deployment.apps/web\n"


def test_wait_and_delete_watch_to_the_end(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", input=DEPLOYMENT)
    kubectl("wait", "--for=jsonpath={.spec.replicas}=1", "deploy/web", "--timeout=120s")
    assert 'service "web" deleted' in kubectl("delete", "svc/web", "--timeout=120s").stdout
    late = kubectl("wait", "--for=condition=Available", "deploy/web", "--timeout=1s", ok=False)
    assert "timed out waiting for the condition" in late.stderr


def test_generators_send_protobuf(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "m", "--from-literal=a=b")
    kubectl("create", "secret", "generic", "s", "--from-literal=user=admin")
    kubectl("create", "serviceaccount", "robot")
    kubectl("create", "deployment", "d", "--image=python:3.12", "--port=8080")
    kubectl("create", "service", "clusterip", "c", "--tcp=80:8080")
    assert value(kubectl, "configmap", "m", "-o", "jsonpath={.data.a}") == "b"
    assert value(kubectl, "secret", "s", "-o", "jsonpath={.data.user}") == "YWRtaW4="
    assert value(kubectl, "deploy", "d", "-o", "jsonpath={.spec.template.spec.containers[0].image}") == "python:3.12"
    assert value(kubectl, "svc", "c", "-o", "jsonpath={.spec.ports[0].targetPort}") == "8080"
    assert kubectl("create", "token", "robot").stdout.count(".") == 2


def test_explain_and_api_resources(kubectl: Kubectl) -> None:
    assert "Container image name" in kubectl("explain", "deployment.spec.template.spec.containers.image").stdout
    rows = [line.split() for line in kubectl("api-resources", "--no-headers").stdout.splitlines()]
    assert ["pods", "po", "v1", "true", "Pod"] in rows
    assert ["deployments", "deploy", "apps/v1", "true", "Deployment"] in rows


@pytest.mark.parametrize(("said", "meant"), [
    ("quota", "resourcequota/some"),
    ("ingress", "ingress.networking.k8s.io/some"),
    ("deploy", "deployment.apps/some"),
])
def test_short_names_mean_what_they_mean_on_a_cluster(kubectl: Kubectl, said: str, meant: str) -> None:
    kubectl("create", "quota", "some", "--hard=pods=9")
    kubectl("create", "ingress", "some", "--rule=example.com/=web:80")
    kubectl("create", "deployment", "some", "--image=nginx", "--replicas=0")
    assert kubectl("get", said, "-o", "name").stdout.split() == [meant]


def test_who_am_i_and_what_may_i_do(kubectl: Kubectl) -> None:
    assert "kubernetes-admin" in kubectl("auth", "whoami").stdout
    assert kubectl("auth", "can-i", "delete", "pods").stdout == "yes\n"
    assert "Server Version: v1." in kubectl("version").stdout


def test_diff_says_what_an_apply_would_change(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", input=DEPLOYMENT)
    assert kubectl("diff", "-f", "-", input=DEPLOYMENT).stdout == ""
    changed = kubectl("diff", "-f", "-", input=DEPLOYMENT.replace("replicas: 1", "replicas: 5"), ok=False)
    assert "+  replicas: 5" in changed.stdout


def test_unknown_things_are_named(kubectl: Kubectl) -> None:
    assert "the server doesn't have a resource type" in kubectl("get", "gizmos", ok=False).stderr
    assert 'pods "nope" not found' in kubectl("get", "pod", "nope", ok=False).stderr
    assert "No resources found" in kubectl("get", "pods").stderr
