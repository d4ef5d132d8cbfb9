"""The kinds of a cluster as kubectl shows and moves them, in a lab of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshlab.cluster import daemon
from meshlab.settings import Settings

Kubectl = Callable[..., str]

SLEEPER = """
      terminationGracePeriodSeconds: 0
      containers: [{name: c, image: "busybox:1", command: [sleep, "600"]}]
"""
STATEFUL = f"""
apiVersion: v1
kind: Service
metadata: {{name: db}}
spec: {{clusterIP: None, selector: {{app: db}}, ports: [{{port: 80}}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db}}
spec:
  serviceName: db
  replicas: 2
  selector: {{matchLabels: {{app: db}}}}
  template:
    metadata: {{labels: {{app: db}}}}
    spec: {SLEEPER}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: agent}}
spec:
  selector: {{matchLabels: {{app: agent}}}}
  template:
    metadata: {{labels: {{app: agent}}}}
    spec: {SLEEPER}
"""
BUDGET = """
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 2, selector: {matchLabels: {app: web}}}
"""
#: A server of metrics that says the same of every pod, behind an APIService.
METRICS = """
import http.server, json, os, ssl, tempfile, trustme
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        items = [{"describedObject": {"kind": "Service", "name": "web"}, "value": "30"}]
        body = json.dumps({"kind": "MetricValueList", "items": items, "asked": self.headers["X-Remote-User"]}).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
trustme.CA().issue_cert("metrics.default.svc").configure_cert(context)
server = http.server.HTTPServer((os.environ["POD_IP"], 6443), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""
AGGREGATED = [
    {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "metrics", "labels": {"app": "metrics"}}, "spec": {
        "terminationGracePeriodSeconds": 0, "containers": [{
            "name": "c", "image": "python:3", "command": ["python", "-c", METRICS],
            "ports": [{"containerPort": 6443}]}]}},
    {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "metrics"}, "spec": {
        "selector": {"app": "metrics"}, "ports": [{"port": 443, "targetPort": 6443}]}},
    {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
     "metadata": {"name": "v1beta2.custom.metrics.k8s.io"}, "spec": {
         "group": "custom.metrics.k8s.io", "version": "v1beta2", "groupPriorityMinimum": 100, "versionPriority": 100,
         "insecureSkipTLSVerify": True, "service": {"name": "metrics", "namespace": "default"}}},
]
SCALER = {
    "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"}, "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "app"}, "maxReplicas": 5, "metrics": [
            {"type": "Object", "object": {
                "describedObject": {"apiVersion": "v1", "kind": "Service", "name": "web"},
                "metric": {"name": "requests_per_second"},
                "target": {"type": "AverageValue", "averageValue": "10"}}}]}}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A running lab of this module's own."""
    home = tmp_path_factory.mktemp("kinds") / "home"
    running = daemon.start(Settings.load({"MESHLAB_HOME": str(home)}))
    yield running.settings
    assert daemon.stop(running.settings) == []


@pytest.fixture(scope="module")
def try_kubectl(settings: Settings) -> Callable[..., subprocess.CompletedProcess[str]]:
    program = Path(sys.executable).with_name("kubectl")
    environ = {**os.environ, "KUBECONFIG": str(settings.kubeconfig), "KUBECACHEDIR": str(settings.home / "cache")}

    def call(*args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, *args], input=stdin, capture_output=True, text=True, env=environ, timeout=180)

    return call


@pytest.fixture(scope="module")
def kubectl(try_kubectl: Callable[..., subprocess.CompletedProcess[str]]) -> Kubectl:
    def call(*args: str, stdin: str = "") -> str:
        done = try_kubectl(*args, stdin=stdin)
        assert done.returncode == 0, f"kubectl {' '.join(args)}: {done.stderr}"
        return done.stdout

    return call


def test_stateful_and_daemon_sets_roll_out_and_back(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=STATEFUL)
    kubectl("rollout", "status", "sts/db", "ds/agent", "--timeout=120s")
    for kind in ("sts/db", "ds/agent"):
        kubectl("set", "image", kind, "c=busybox:2")
        kubectl("rollout", "status", kind, "--timeout=120s")
        assert [line.split()[0] for line in kubectl("rollout", "history", kind).splitlines()[2:] if line] == ["1", "2"]
        kubectl("rollout", "undo", kind)
        kubectl("rollout", "status", kind, "--timeout=120s")
        name = kind.rpartition("/")[2]
        images = kubectl("get", "pods", "-l", f"app={name}", "-o", "jsonpath={.items[*].spec.containers[0].image}")
        assert set(images.split()) == {"busybox:1"}
    assert kubectl("get", "sts", "db", "-o", "jsonpath={.status.readyReplicas}") == "2"
    kubectl("run", "ask", "--restart=Never", "--image=python:3", "--command", "--",
            "python", "-c", "import socket; print(socket.gethostbyname('db-1.db'))")
    kubectl("wait", "pod/ask", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=120s")
    assert kubectl("logs", "ask").strip() == kubectl("get", "pod", "db-1", "-o", "jsonpath={.status.podIP}")
    kubectl("delete", "pod/ask", "--wait=false")
    kubectl("delete", "sts/db", "ds/agent", "svc/db", "--wait=false")


def test_files_are_copied_into_a_pod_and_out_of_it(kubectl: Kubectl, tmp_path: Path) -> None:
    kubectl("run", "box", "--image=busybox", "--command", "--", "sleep", "600")
    kubectl("wait", "--for=condition=Ready", "pod/box", "--timeout=120s")
    (tmp_path / "note").write_text("brought\n")
    kubectl("cp", str(tmp_path / "note"), "box:/opt/note")
    assert kubectl("exec", "box", "--", "cat", "/opt/note") == "brought\n"
    kubectl("cp", "box:/opt/note", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "brought\n"
    assert not Path("/opt/note").exists()
    rows = [line.split() for line in kubectl("top", "pods", "--containers", "--no-headers").splitlines()]
    assert ["box", "box"] in [row[:2] for row in rows]
    assert kubectl("top", "nodes", "--no-headers").split()[0] == "meshlab"
    kubectl("delete", "pod", "box", "--now", "--wait=false")


def test_a_debugger_joins_a_pod_that_runs(
    kubectl: Kubectl, try_kubectl: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    kubectl("run", "subject", "--image=busybox", "--command", "--", "sleep", "600")
    kubectl("wait", "--for=condition=Ready", "pod/subject", "--timeout=120s")
    said = kubectl("debug", "-i", "subject", "--image=busybox", "--profile=general", "-c", "look", "--", "sh",
                   stdin="echo in $HOSTNAME; exit 3\n")
    assert "in subject" in said
    kubectl("wait", "--for=jsonpath={.status.ephemeralContainerStatuses[0].state.terminated.exitCode}=3", "pod/subject",
            "--timeout=120s")
    assert "in subject" in kubectl("logs", "subject", "-c", "look")
    assert kubectl("get", "pod", "subject", "--no-headers").split()[1:3] == ["1/1", "Running"]
    refused = try_kubectl("patch", "pod", "subject", "--subresource=ephemeralcontainers", "--type=merge",
                          "-p", '{"spec": {"ephemeralContainers": null}}')
    assert 'existing ephemeral containers "look" may not be removed' in refused.stderr
    kubectl("delete", "pod", "subject", "--now", "--wait=false")


def test_a_drain_waits_for_the_budget(
    kubectl: Kubectl, try_kubectl: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    kubectl("create", "deployment", "web", "--image=busybox", "--replicas=2", "--", "sleep", "600")
    kubectl("rollout", "status", "deploy/web", "--timeout=120s")
    kubectl("apply", "-f", "-", stdin=BUDGET)
    kubectl("wait", "--for=jsonpath={.status.currentHealthy}=2", "pdb/web", "--timeout=120s")
    drain = ("drain", "meshlab", "--ignore-daemonsets", "--pod-selector=app=web", "--grace-period=0")
    drained = try_kubectl(*drain, "--timeout=3s")
    assert drained.returncode == 1
    assert "Cannot evict pod as it would violate the pod's disruption budget." in drained.stderr
    kubectl("delete", "pdb", "web")
    kubectl(*drain, "--timeout=120s")
    kubectl("wait", "--for=create", "pod", "-l", "app=web", "--timeout=120s")
    kubectl("wait", "--for=jsonpath={.status.conditions[0].reason}=Unschedulable", "pod", "-l", "app=web",
            "--timeout=120s")
    kubectl("uncordon", "meshlab")
    kubectl("rollout", "status", "deploy/web", "--timeout=120s")


def test_an_autoscaler_acts_on_requests_that_somebody_else_counts(kubectl: Kubectl) -> None:
    kubectl("create", "deployment", "app", "--image=busybox", "--replicas=2", "--", "sleep", "600")
    kubectl("rollout", "status", "deploy/app", "--timeout=120s")
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": AGGREGATED}))
    kubectl("wait", "--for=condition=Available", "apiservice/v1beta2.custom.metrics.k8s.io", "--timeout=120s")
    assert "custom.metrics.k8s.io/v1beta2" in kubectl("api-versions").split()
    path = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/default/services/web/requests_per_second"
    assert json.loads(kubectl("get", "--raw", path))["asked"] == "kubernetes-admin"
    kubectl("apply", "-f", "-", stdin=json.dumps(SCALER))
    kubectl("wait", "--for=jsonpath={.spec.replicas}=3", "deploy/app", "--timeout=120s")
    shown = kubectl("get", "hpa", "web", "--no-headers").split()[2:4]
    assert shown in (["15/10", "(avg)"], ["10/10", "(avg)"]), "as it was measured for two pods, or for three"
