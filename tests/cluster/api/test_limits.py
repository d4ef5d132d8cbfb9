"""Quotas and limits, enforced: kubectl's commands, and what they say."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from meshlab.cluster import Cluster, Parts
from meshlab.errors import Rejected
from meshlab.kube import Informer, Kube

Kubectl = Callable[..., subprocess.CompletedProcess[str]]


def pod(name: str, **resources: Any) -> dict[str, Any]:
    spec = {"containers": [{"name": "main", "image": "python:3.12", "resources": resources}]}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name}, "spec": spec}


def test_a_quota_is_kept(kubectl: Kubectl, kube: Kube, namespace: str) -> None:
    kubectl("create", "quota", "small", "--hard=pods=1,configmaps=1,count/deployments.apps=0")
    kube.create(("v1", "Pod", namespace), pod("a"))
    with pytest.raises(Rejected) as refused:
        kube.create(("v1", "Pod", namespace), pod("b"))
    assert refused.value.status["message"] == (
        'pods "b" is forbidden: exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1'
    )
    assert refused.value.status["code"] == 403
    said = kubectl("create", "deployment", "d", "--image=x", ok=False).stderr
    assert 'deployments.apps "d" is forbidden: exceeded quota: small' in said
    kube.delete(("v1", "Pod", namespace, "a"))
    kube.create(("v1", "Pod", namespace), pod("b"))


def test_limits_are_filled_in_and_kept(kubectl: Kubectl, kube: Kube, namespace: str) -> None:
    limits = {"type": "Container", "default": {"cpu": "500m"}, "max": {"cpu": "1"}}
    kubectl("create", "-f", "-", input=json.dumps({
        "kind": "LimitRange", "apiVersion": "v1", "metadata": {"name": "l"}, "spec": {"limits": [limits]}}))
    made = kube.create(("v1", "Pod", namespace), pod("a"))
    assert made["spec"]["containers"][0]["resources"] == {"limits": {"cpu": "500m"}, "requests": {"cpu": "500m"}}
    assert made["status"]["qosClass"] == "Burstable"
    with pytest.raises(Rejected) as refused:
        kube.create(("v1", "Pod", namespace), pod("b", limits={"cpu": "2"}))
    assert refused.value.status["message"] == (
        'pods "b" is forbidden: maximum cpu usage per Container is 1, but limit is 2'
    )
    assert "500m" in kubectl("describe", "limits", "l").stdout


def test_the_status_says_what_is_used() -> None:
    with Cluster(parts=Parts.CONTROLLERS) as cluster:
        kube = cluster.kube
        kube.create(("v1", "ResourceQuota", "default"), {
            "kind": "ResourceQuota", "apiVersion": "v1", "metadata": {"name": "q"},
            "spec": {"hard": {"pods": "3", "requests.cpu": "2"}}})
        kube.create(("v1", "Pod", "default"), pod("a", requests={"cpu": "250m"}))
        import threading

        seen: list[Any] = []
        counted = threading.Event()

        def note(_: str, quota: dict[str, Any]) -> None:
            seen.append(quota.get("status"))
            if (quota.get("status") or {}).get("used") == {"pods": "1", "requests.cpu": "250m"}:
                counted.set()

        with Informer(kube, ("v1", "ResourceQuota", "default")) as informer:
            informer.start(note)
            assert counted.wait(60), seen
        assert seen[-1]["hard"] == {"pods": "3", "requests.cpu": "2"}
