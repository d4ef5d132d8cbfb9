"""Every kind that is offered can be made, listed, shown and deleted with kubectl."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest

Kubectl = Callable[..., subprocess.CompletedProcess[str]]

POD = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "python:3.12"}]}}
SELECTOR = {"matchLabels": {"a": "b"}}

CSR = (
    "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIUU1IZ0NBUUF3RmpFVU1CSUdBMVVFQXd3TGMzbHpkR1Z0T25S"
    "bGMzUXdXVEFUQmdjcWhrak9QUUlCQmdncQpoa2pPUFFNQkJ3TkNBQVNCMzk1RDBmVmllK0hnVjhrZDNTWWpGa2NDL3NCejc1cGwr"
    "cTRYc0pkeXVBUjROU0xXCmRwczc0VlBJMzJLZkt2UEpVazZLZWRSYm4xVksvRjJvN1dqWW9BQXdDZ1lJS29aSXpqMEVBd0lEU0FB"
    "d1JRSWgKQUpMVGMxM0hrMzNJTHRmbThJQjN0NU8xVHlkWHJ2Q2VFajJISHJOT0ZnY21BaUFqRERFanNUbWlBeFNpQ3F3Vwp0d2x2"
    "Nm9ZbGVjWlNhQXJJeTIzZkgyb3RSZz09Ci0tLS0tRU5EIENFUlRJRklDQVRFIFJFUVVFU1QtLS0tLQo="
)

#: kind, apiVersion, spec or other top-level fields, something that `kubectl get` shows
KINDS = [
    ("StatefulSet", "apps/v1", {"spec": {"serviceName": "s", "selector": SELECTOR, "template": POD}}, "READY"),
    ("DaemonSet", "apps/v1", {"spec": {"selector": SELECTOR, "template": POD}}, "NODE SELECTOR"),
    ("DaemonSet", "extensions/v1beta1", {"spec": {"template": POD}}, "NODE SELECTOR"),
    ("ReplicationController", "v1", {"spec": {"replicas": 0, "template": POD}}, "DESIRED"),
    ("PodTemplate", "v1", {"template": POD}, "POD LABELS"),
    (
        "CronJob", "batch/v1",
        {"spec": {"schedule": "0 * * * *", "jobTemplate": {"spec": {"template": {
            **POD, "spec": {**POD["spec"], "restartPolicy": "Never"}}}}}},
        "0 * * * *",
    ),
    (
        "HorizontalPodAutoscaler", "autoscaling/v1",
        {"spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 50,
                  "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}}},
        "cpu: <unknown>/50%",
    ),
    ("PodDisruptionBudget", "policy/v1", {"spec": {"minAvailable": 1, "selector": SELECTOR}}, "MIN AVAILABLE"),
    ("NetworkPolicy", "networking.k8s.io/v1", {"spec": {"podSelector": SELECTOR}}, "a=b"),
    ("StorageClass", "storage.k8s.io/v1", {"provisioner": "x.io/p"}, "x.io/p"),
    ("PriorityClass", "scheduling.k8s.io/v1", {"value": 7}, "7"),
    ("RuntimeClass", "node.k8s.io/v1", {"handler": "runc"}, "runc"),
    (
        "ValidatingWebhookConfiguration", "admissionregistration.k8s.io/v1",
        {"webhooks": [{"name": "a.b.io", "clientConfig": {"url": "https://127.0.0.1:1/x"}, "sideEffects": "None",
                       "admissionReviewVersions": ["v1"]}]},
        "WEBHOOKS",
    ),
    ("MutatingWebhookConfiguration", "admissionregistration.k8s.io/v1", {}, "WEBHOOKS"),
]


@pytest.mark.parametrize(("kind", "version", "rest", "shown"), KINDS, ids=[f"{k}-{v}" for k, v, *_ in KINDS])
def test_a_kind_is_made_shown_explained_and_deleted(
    kubectl: Kubectl, namespace: str, kind: str, version: str, rest: dict[str, object], shown: str
) -> None:
    name = f"x-{namespace}"
    obj = {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **rest}
    kubectl("create", "-f", "-", input=json.dumps(obj))
    group, _, number = version.rpartition("/")
    typed = f"{kind.lower()}s.{number}.{group}".rstrip(".") if group else kind
    typed = typed.replace("policys", "policies").replace("classs", "classes")
    assert shown in kubectl("get", typed, name, "-o", "wide").stdout
    assert name in kubectl("describe", typed, name).stdout
    assert kubectl("apply", "-f", "-", input=json.dumps({**obj, "metadata": {"name": name, "labels": {"l": "1"}}}))
    kubectl("delete", typed, name)


def test_signing_requests_are_approved(kubectl: Kubectl) -> None:
    request = {
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "csr-1"},
        "spec": {"request": CSR, "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]},
    }
    kubectl("create", "-f", "-", input=json.dumps(request))
    assert "Pending" in kubectl("get", "csr").stdout
    assert kubectl("get", "csr", "csr-1", "-o", "jsonpath={.spec.username}").stdout == "kubernetes-admin"
    kubectl("certificate", "approve", "csr-1")
    assert "Approved" in kubectl("get", "csr").stdout
    kubectl("delete", "csr", "csr-1")


def test_fields_of_custom_resources_are_explained(kubectl: Kubectl) -> None:
    fields: dict[str, object] = {
        "radius": {"type": "integer", "description": "How far it is from the hub to the road."}
    }
    kubectl("apply", "-f", "-", input=json.dumps(wheels(fields)))
    shown = kubectl("explain", "wheels.spec.radius").stdout
    assert "How far it is" in shown and "<integer>" in shown
    fields["colour"] = {"type": "string", "description": "As painted."}
    kubectl("apply", "-f", "-", input=json.dumps(wheels(fields)))
    assert "As painted" in kubectl("explain", "wheels.spec.colour").stdout
    assert "metadata" in kubectl("explain", "wheels").stdout
    kubectl("delete", "crd", "wheels.x.example.com")


def wheels(fields: dict[str, object]) -> dict[str, object]:
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": fields}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "wheels.x.example.com"},
        "spec": {
            "group": "x.example.com", "scope": "Namespaced",
            "names": {"plural": "wheels", "singular": "wheel", "kind": "Wheel", "listKind": "WheelList"},
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}},
            ],
        },
    }
