"""What programs built on client-go ask of an API server beside its objects."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from meshlab.kube import Kube, Raw

Send = Callable[..., Raw]


@pytest.mark.parametrize(("path", "code", "text"), [
    ("/healthz", 200, "ok"),
    ("/livez/ping", 200, "ok"),
    ("/livez?verbose", 200, "[+]ping ok\n[+]log ok\n[+]etcd ok\n[+]informer-sync ok\nlivez check passed\n"),
    ("/readyz?verbose&exclude=etcd,log", 200,
     "[+]ping ok\n[+]log excluded: ok\n[+]etcd excluded: ok\n[+]informer-sync ok\nreadyz check passed\n"),
    ("/readyz/nothing", 404, "404 page not found\n"),
])
def test_probes_are_answered(kube: Kube, path: str, code: int, text: str) -> None:
    raw = kube.raw("GET", path)
    assert (raw.status, raw.text) == (code, text)


def test_metrics_are_in_prometheus_format(kube: Kube) -> None:
    raw = kube.raw("GET", "/metrics")
    assert raw.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'apiserver_storage_objects{resource="namespaces"}' in raw.text
    assert 'apiserver_request_total{verb="GET",code="200"}' in raw.text


@pytest.mark.parametrize(("path", "kind", "version"), [
    ("/apis/coordination.k8s.io/v1/namespaces/{ns}/leases", "Lease", "coordination.k8s.io/v1"),
    ("/api/v1/namespaces/{ns}/endpoints", "Endpoints", "v1"),
    ("/apis/rbac.authorization.k8s.io/v1/namespaces/{ns}/roles", "Role", "rbac.authorization.k8s.io/v1"),
])
def test_an_update_creates_where_a_real_server_does(send: Send, path: str, kind: str, version: str) -> None:
    body = {"kind": kind, "apiVersion": version, "metadata": {"name": "new"}}
    made = send("PUT", f"{path}/new", body)
    assert made.status == 201
    assert send("PUT", f"{path}/new", json.loads(made.data)).status == 200
    assert send("PUT", f"{path}/other", body).status == 400
    stale = {**body, "metadata": {"name": "gone", "resourceVersion": "1"}}
    assert send("PUT", f"{path}/gone", stale).status == 404


def test_an_update_of_other_kinds_needs_an_object(send: Send) -> None:
    body = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "new"}}
    assert send("PUT", "/api/v1/namespaces/{ns}/configmaps/new", body).status == 404


def test_leader_election_takes_a_lease_once(send: Send) -> None:
    path = "/apis/coordination.k8s.io/v1/namespaces/{ns}/leases"
    spec = {"holderIdentity": "one", "leaseDurationSeconds": 15, "acquireTime": "2026-01-01T00:00:00.000000Z",
            "renewTime": "2026-01-01T00:00:00.123456Z", "leaseTransitions": 0}
    lease = {"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": {"name": "leader"}, "spec": spec}
    made = json.loads(send("POST", path, lease).data)
    assert made["spec"]["renewTime"] == "2026-01-01T00:00:00.123456Z"
    first = {**made, "spec": {**spec, "holderIdentity": "two"}}
    assert send("PUT", f"{path}/leader", first).status == 200
    assert send("PUT", f"{path}/leader", first).status == 409


def test_a_tokens_owner_and_rights_are_told(send: Send, kube: Kube, namespace: str) -> None:
    token = json.loads(send("POST", "/api/v1/namespaces/{ns}/serviceaccounts", {
        "kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "robot"}}).data) and json.loads(
        send("POST", "/api/v1/namespaces/{ns}/serviceaccounts/robot/token", {
            "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {}}).data)["status"]["token"]
    review = json.loads(send("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {
        "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {"token": token}}).data)
    assert review["status"]["authenticated"] is True
    assert review["status"]["user"]["username"] == f"system:serviceaccount:{namespace}:robot"
    access = json.loads(send("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {
        "kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "spec": {
            "user": "kubernetes-admin", "groups": ["system:masters"],
            "resourceAttributes": {"verb": "get", "resource": "secrets", "namespace": namespace}}}).data)
    assert access["status"]["allowed"] is True
