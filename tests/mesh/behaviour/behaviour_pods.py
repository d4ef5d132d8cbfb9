"""Pods from which the tests look: they run what they are told (see behaviour_program)."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from meshlab.lab import Lab

PROGRAM = Path(__file__).with_name("behaviour_program.py")


@dataclass(frozen=True)
class Viewpoint:
    """A pod that runs what it is told."""

    lab: Lab
    namespace: str
    name: str

    def run(self, code: str) -> Any:
        """What `code`, run in the pod, leaves in `found`. It has all that behaviour_program has."""
        reply = self.lab.access.service(
            self.namespace, self.name, 8080, "/", method="POST", body={"code": code}, check=False
        )
        assert reply.status == 200, reply.text
        return reply.json()

    def ask(self, *words: object, **more: object) -> Any:
        """One GET from the pod; see `behaviour_program.ask`."""
        given = [repr(word) for word in words] + [f"{key}={value!r}" for key, value in more.items()]
        return self.run(f"found = ask({', '.join(given)})")

    @property
    def pod(self) -> dict[str, Any]:
        (found,) = self.lab.access.items("v1", "Pod", self.namespace, labelSelector=f"app={self.name}")
        return found

    @property
    def ip(self) -> str:
        return str(self.pod["status"]["podIP"])


def objects(name: str, namespace: str) -> list[dict[str, Any]]:
    meta: dict[str, Any] = {"name": name, "namespace": namespace}
    container = {
        "name": name,
        "image": "python:3.12-slim",
        "command": ["python", f"/program/{PROGRAM.name}"],
        "ports": [{"containerPort": 8080}],
        "volumeMounts": [{"name": "program", "mountPath": "/program"}],
        "readinessProbe": {"tcpSocket": {"port": 8080}},
    }
    volumes = [{"name": "program", "configMap": {"name": name}}]
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {PROGRAM.name: PROGRAM.read_text()}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {
                "selector": {"app": name},
                "ports": [
                    {"name": "tcp-orders", "port": 8080},
                    {"name": "http", "port": 80, "targetPort": 8080},
                    {"name": "udp", "port": 8080, "protocol": "UDP"},
                ],
            },
        },
        # Of this age: kube-inject of 0.4.0 leaves younger ones as they are.
        {
            "apiVersion": "extensions/v1beta1",
            "kind": "Deployment",
            "metadata": meta,
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": {"app": name}},
                    "spec": {"containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": 1},
                },
            },
        },
    ]


def viewpoint(lab: Lab, namespace: str, name: str, folder: Path, *, sidecar: bool) -> Viewpoint:
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump_all(objects(name, namespace)))
    text = str(lab.istioctl(f"kube-inject -f {file}")) if sidecar else file.read_text()
    lab.kubectl("apply -f -", stdin=text)
    lab.wait(f"{namespace}/{name}")
    lab.settled()
    return Viewpoint(lab, namespace, name)


def process_of(lab: Lab, pod: dict[str, Any], container: str) -> int:
    """The process group of a container."""
    (folder,) = lab.settings.pods.glob(f"*_{pod['metadata']['uid']}")
    found = json.loads((folder / "containers" / container / "process.json").read_text())
    return int(found["pid"])


def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until a condition holds; it is looked at every 50 ms."""
    end, pause = time.monotonic() + seconds, threading.Event()
    while not true():
        assert time.monotonic() < end, "the condition did not come true in time"
        pause.wait(0.05)
