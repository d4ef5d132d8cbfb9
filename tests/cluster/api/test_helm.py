"""Helm 4 installs, upgrades, lists, rolls back and uninstalls a chart with a bit of everything in it.

Helm is the library of the package helm-python-sdk: Helm's own Go code, which finds the cluster by its kubeconfig and
speaks to it as `helm` does, by server-side apply.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
from webhook_lab import Hook

from meshlab.cluster import Cluster, Parts
from meshlab.errors import Rejected

CHART = str(Path(__file__).parent / "chart")
THING = ("demo.example.org/v1", "things", "demo", "demo")
#: Helm answers when everything is ready, or gone.
WAIT: dict[str, Any] = {"wait": "watcher", "timeout": 180}


@pytest.fixture(scope="module")
def whole() -> Iterator[Cluster]:
    with Cluster(parts=Parts.ALL) as running:
        yield running


@pytest.fixture
def config(whole: Cluster, monkeypatch: pytest.MonkeyPatch) -> helm.Config:
    monkeypatch.setenv("no_proxy", "*")
    return helm.Config(kubeconfig_path=str(whole.kubeconfig), namespace="demo")


def test_a_chart_lives_its_life(whole: Cluster, config: helm.Config, hook: Hook) -> None:
    config.install(CHART, "demo", {}, create_namespace=True, namespace="demo", **WAIT)
    assert [(r["name"], r["status"], r["revision"]) for r in config.list()] == [("demo", "deployed", 1)]
    assert whole.kube.get(("batch/v1", "jobs", "demo", "demo-before"))["status"]["succeeded"] == 1
    assert whole.kube.get(THING)["spec"] == {"name": "hello", "size": 1}
    assert may_list_config_maps(whole)

    values = {"replicas": 2, "greeting": "servus", "webhook": hook.client()}
    config.upgrade(CHART, "demo", values, namespace="demo", **WAIT)
    assert whole.kube.get(("apps/v1", "deployments", "demo", "demo"))["status"]["readyReplicas"] == 2
    assert whole.kube.get(("v1", "configmaps", "demo", "demo"))["data"]["greeting"] == "servus"

    with pytest.raises(helm.HelmReleaseError, match="must be greater than or equal to 0"):
        config.upgrade(CHART, "demo", {**values, "replicas": -2}, namespace="demo", **WAIT)
    hook.answer = lambda request: {"allowed": False, "status": {"message": "no more greetings"}}
    with pytest.raises(helm.HelmReleaseError, match="no more greetings"):
        config.upgrade(CHART, "demo", {**values, "greeting": "moin"}, namespace="demo", **WAIT)
    hook.answer = lambda request: {"allowed": True}

    config.rollback("demo", version=1, **WAIT)
    assert whole.kube.get(THING)["spec"] == {"name": "hello", "size": 1}
    assert [r["status"] for r in config.history("demo")] == [
        "superseded", "superseded", "failed", "failed", "deployed",
    ]  # fmt: skip

    config.uninstall("demo", **WAIT)
    assert config.list() == []
    for gone in (THING, ("apps/v1", "deployments", "demo", "demo"), ("v1", "services", "demo", "demo")):
        with pytest.raises(Rejected, match="not found"):
            whole.kube.get(gone)
    # What Helm leaves on every cluster: definitions, and with them what others made of them.
    assert whole.kube.get(("apiextensions.k8s.io/v1", "customresourcedefinitions", None, "things.demo.example.org"))


def may_list_config_maps(cluster: Cluster) -> bool:
    review = {
        "kind": "SubjectAccessReview",
        "apiVersion": "authorization.k8s.io/v1",
        "spec": {
            "user": "system:serviceaccount:demo:demo",
            "resourceAttributes": {"verb": "list", "resource": "configmaps", "namespace": "demo"},
        },
    }
    answer = cluster.kube.create(("authorization.k8s.io/v1", "subjectaccessreviews"), review)
    return bool(answer["status"]["allowed"])
