"""The daemon with real kubectl, and what is left of a rollout when the daemon is killed in the middle of it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshlab.cluster import daemon
from meshlab.cluster.node.process import leftovers
from meshlab.settings import Settings

MANIFEST = """
apiVersion: v1
kind: ConfigMap
metadata: {name: web}
data:
  server.py: |
    import http.server, os
    print("hello from", os.environ["HOSTNAME"], flush=True)
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
        def log_message(self, *_): pass
    http.server.HTTPServer((os.environ["POD_IP"], 8080), Handler).serve_forever()
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
      - name: web
        image: python:3.12
        command: [python, /app/server.py]
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: 8080}}
        volumeMounts: [{name: app, mountPath: /app}]
      volumes:
      - {name: app, configMap: {name: web}}
"""

Kubectl = Callable[..., str]


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """A running lab of its own; nothing of it is left afterwards."""
    running = daemon.start(Settings.load({"MESHLAB_HOME": str(tmp_path / "home")}))
    yield running.settings
    assert daemon.stop(running.settings) == []
    assert marked(running.settings) == 0
    assert not running.settings.sockets.exists()


@pytest.fixture
def kubectl(settings: Settings, tmp_path: Path) -> Kubectl:
    program = Path(sys.executable).with_name("kubectl")
    environ = {**os.environ, "KUBECONFIG": str(settings.kubeconfig), "KUBECACHEDIR": str(tmp_path / "cache")}

    def call(*args: str, stdin: str = "") -> str:
        done = subprocess.run([program, *args], input=stdin, capture_output=True, text=True, env=environ, timeout=180)
        assert done.returncode == 0, f"kubectl {' '.join(args)}: {done.stderr}"
        return done.stdout

    return call


def marked(settings: Settings) -> int:
    """How many processes of the lab's pods live."""
    found = [pidfd for _, pidfd in leftovers(f"{settings.home}|")]
    for pidfd in found:
        os.close(pidfd)
    return len(found)


def kill_daemon(settings: Settings) -> None:
    pid = daemon.status(settings).pid
    assert pid is not None
    pidfd = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    os.close(pidfd)


def pods(kubectl: Kubectl) -> dict[str, dict]:
    return {pod["metadata"]["name"]: pod for pod in json.loads(kubectl("get", "pods", "-o", "json"))["items"]}


def test_what_a_learner_types_works(settings: Settings, kubectl: Kubectl):
    kubectl("apply", "-f", "-", stdin=MANIFEST)
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/web", "--timeout=120s")
    name = next(iter(pods(kubectl)))
    assert kubectl("logs", name) == f"hello from {name}\n"
    kubectl("scale", "deployment/web", "--replicas=3")
    kubectl("wait", "--for=jsonpath={.status.readyReplicas}=3", "deployment/web", "--timeout=120s")
    kubectl("rollout", "restart", "deployment/web")
    kubectl("rollout", "status", "deployment/web", "--timeout=120s")
    kubectl("wait", "--for=delete", f"pod/{name}", "--timeout=120s")  # it may still be taking its leave
    kubectl("rollout", "undo", "deployment/web")
    kubectl("rollout", "status", "deployment/web", "--timeout=120s")
    assert "ScalingReplicaSet" in kubectl("describe", "deployment/web")
    kubectl("delete", "deployment/web")
    kubectl("wait", "--for=delete", "pod", "-l", "app=web", "--timeout=120s")
    assert marked(settings) == 0


def test_running_pods_do_not_notice_that_the_daemon_was_killed(settings: Settings, kubectl: Kubectl):
    kubectl("apply", "-f", "-", stdin=MANIFEST)
    kubectl("rollout", "status", "deployment/web", "--timeout=120s")
    before = pods(kubectl)
    kill_daemon(settings)
    assert marked(settings) == 2
    daemon.start(settings)
    kubectl("rollout", "status", "deployment/web", "--timeout=120s")
    after = pods(kubectl)
    assert {name: pod["metadata"]["uid"] for name, pod in after.items()} == {
        name: pod["metadata"]["uid"] for name, pod in before.items()}
    assert [pod["status"]["containerStatuses"][0]["restartCount"] for pod in after.values()] == [0, 0]


def test_a_dead_daemons_addresses_are_kept_for_it_while_its_pods_live(
    settings: Settings, kubectl: Kubectl, tmp_path: Path
) -> None:
    kubectl("apply", "-f", "-", stdin=MANIFEST)
    kubectl("rollout", "status", "deployment/web", "--timeout=120s")
    kill_daemon(settings)
    other = Settings.load({"MESHLAB_HOME": str(tmp_path / "other")})
    try:
        assert daemon.start(other).settings.network.slot != settings.network.slot
    finally:
        assert daemon.stop(Settings.load({"MESHLAB_HOME": str(other.home)})) == []
    assert daemon.start(settings).settings.network.slot == settings.network.slot


def test_stopping_what_a_killed_daemon_left_ends_processes_without_a_record_too(
    settings: Settings, kubectl: Kubectl
) -> None:
    kubectl("apply", "-f", "-", stdin=MANIFEST)
    kubectl("rollout", "status", "deployment/web", "--timeout=120s")
    kill_daemon(settings)
    next(settings.pods.glob("*/containers/*/process.json")).unlink()
    assert daemon.stop(settings) == []
    assert marked(settings) == 0


def test_a_rollout_survives_the_daemons_death_at_any_moment(settings: Settings, kubectl: Kubectl):
    kubectl("apply", "-f", "-", stdin=MANIFEST)
    chance = random.Random(2018)  # noqa: S311 - chosen moments, the same in every run
    for turn, wanted in enumerate((3, 1, 4, 0, 2)):
        kubectl("scale", "deployment/web", f"--replicas={wanted}")
        # As `rollout restart`, which refuses to do it twice in one second.
        kubectl("set", "env", "deployment/web", f"TURN={turn}")
        # What is being done just now is different each time, because so much is: no two kills hit the same step.
        for _ in range(chance.randrange(3)):
            kubectl("get", "pods")
        kill_daemon(settings)
        daemon.start(settings)
        kubectl("rollout", "status", "deployment/web", "--timeout=120s")
        live = {name for name, pod in pods(kubectl).items() if not pod["metadata"].get("deletionTimestamp")}
        assert len(live) == wanted
    # Two of those wanted live, and nothing else does once the last old pods have ended.
    for name in set(pods(kubectl)) - live:
        kubectl("wait", "--for=delete", f"pod/{name}", "--timeout=120s")
    assert marked(settings) == 2
    assert len(list(settings.pods.iterdir())) == 2
