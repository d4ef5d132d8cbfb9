"""All parts together: what kubectl shows of pods that really run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshlab.cluster import Cluster, Parts

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: python:3.12-slim
        command: [python, -u, -m, http.server, "8080"]
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
"""


@pytest.fixture(scope="module")
def whole() -> Iterator[Cluster]:
    with Cluster(parts=Parts.ALL) as cluster:
        yield cluster


def kubectl(cluster: Cluster, *args: str, input: str | None = None) -> str:
    program = str(Path(sys.executable).parent / "kubectl")
    done = subprocess.run(
        [program, *args], input=input, capture_output=True, text=True, timeout=180, env=cluster.environ, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_deployment_comes_up_answers_rolls_and_goes(whole: Cluster) -> None:
    kubectl(whole, "apply", "-f", "-", input=WEB)
    assert "successfully rolled out" in kubectl(whole, "rollout", "status", "deploy/web", "--timeout=120s")
    kubectl(whole, "wait", "--for=condition=Ready", "pod", "-l", "app=web", "--timeout=120s")
    rows = kubectl(whole, "get", "pods", "-l", "app=web", "--no-headers").splitlines()
    assert [row.split()[1:3] for row in rows] == [["1/1", "Running"]] * 2
    page = kubectl(whole, "get", "--raw", "/api/v1/namespaces/default/services/web/proxy/")
    assert "Directory listing" in page
    assert "GET / HTTP/1.1" in "".join(kubectl(whole, "logs", "-l", "app=web", "--tail=-1"))
    kubectl(whole, "rollout", "restart", "deploy/web")
    kubectl(whole, "rollout", "status", "deploy/web", "--timeout=120s")
    described = kubectl(whole, "describe", "deploy", "web")
    assert "ScalingReplicaSet" in described and "2 desired | 2 updated | 2 total | 2 available" in described
    kubectl(whole, "delete", "-f", "-", "--timeout=120s", input=WEB)
    kubectl(whole, "wait", "--for=delete", "pod", "-l", "app=web", "--timeout=120s")


def test_a_namespace_goes_with_all_that_is_in_it(whole: Cluster) -> None:
    kubectl(whole, "create", "namespace", "brief")
    kubectl(whole, "-n", "brief", "apply", "-f", "-", input=WEB)
    kubectl(whole, "-n", "brief", "rollout", "status", "deploy/web", "--timeout=120s")
    kubectl(whole, "delete", "namespace", "brief", "--timeout=120s")
    left = json.loads(kubectl(whole, "get", "namespaces", "-o", "json"))
    assert "brief" not in [n["metadata"]["name"] for n in left["items"]]


def test_a_pod_that_ends_shows_its_output(whole: Cluster) -> None:
    kubectl(whole, "run", "once", "--image=python:3.12", "--restart=Never", "--", "python", "-c", "print('said')")
    kubectl(whole, "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/once", "--timeout=120s")
    assert kubectl(whole, "logs", "once") == "said\n"
    kubectl(whole, "delete", "pod", "once")


def test_housekeeping_lets_go_of_pods_whose_node_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshlab.cluster.assembly.COMPACTION", 0.1)
    with Cluster(parts=Parts.ALL) as cluster:
        cluster.kube.create(("v1", "pods", "default"), {
            "kind": "Pod", "apiVersion": "v1", "metadata": {"name": "lost"},
            "spec": {"nodeName": "nowhere", "containers": [{"name": "c", "image": "x"}]},
        })
        kubectl(cluster, "delete", "pod", "lost", "--timeout=120s")
