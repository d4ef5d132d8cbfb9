"""Pilot as a webhook of a real API server: who is believed, and what happens while certificates and CAs change."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from meshlab.cluster import Cluster
from meshlab.errors import Rejected
from meshlab.mesh.certificates import Pair, issue, root
from meshlab.mesh.config.meshconfig import MeshConfig
from meshlab.mesh.pilot.admission import AdmissionWebhook
from meshlab.mesh.pilot.secrets import Certificate

HOST, PORT = f"127.66.{os.getpid() % 250}.1", 18443
NAMES = ("istio-pilot.istio-system.svc",)
ISTIO = "istio-system"


def certificate(ca: Pair, names: tuple[str, ...] = NAMES) -> Certificate:
    own = issue(ca, "spiffe://cluster.local/ns/istio-system/sa/istio-pilot-service-account", 60, names)
    return Certificate(own.certificate, own.key, ca.certificate)


class Pilot:
    """The webhook on a loop of its own, and the API server that asks it about every ConfigMap."""

    def __init__(self, cluster: Cluster) -> None:
        self.kube = cluster.kube
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.webhook: AdmissionWebhook = self.do(self._made())
        self.running = asyncio.run_coroutine_threadsafe(self.webhook.run(), self.loop)

    async def _made(self) -> AdmissionWebhook:
        return AdmissionWebhook(self.kube, MeshConfig, host=HOST, port=PORT, service="istio-pilot")

    def do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def certified(self, found: Certificate) -> None:
        self.loop.call_soon_threadsafe(self.webhook.certified, found)

    def close(self) -> None:
        self.running.cancel()
        self.do(self._over())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(60)
        self.loop.close()

    async def _over(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)

    def write(self) -> str:
        """Tries to store something; "" or why it was refused."""
        try:
            obj = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "tried"}}
            self.kube.create(("v1", "configmaps", "default"), obj, dryRun="All")
        except Rejected as error:
            return str(error)
        return ""

    def bundle(self) -> str:
        target = ("admissionregistration.k8s.io/v1", "validatingwebhookconfigurations", None, "it")
        (hook,) = self.kube.get(target)["webhooks"]
        return str(hook["clientConfig"].get("caBundle") or "")


def until(condition: Callable[[], bool], what: str) -> None:
    pause = threading.Event()
    for _ in range(6000):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError(what)


@pytest.fixture
def pilot() -> Iterator[Pilot]:
    with Cluster() as cluster:
        kube = cluster.kube
        kube.create(("v1", "namespaces"), {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": ISTIO}})
        meta = {"name": "istio-pilot", "namespace": ISTIO}
        kube.create(("v1", "services", ISTIO), {
            "kind": "Service", "apiVersion": "v1", "metadata": meta, "spec": {"ports": [{"port": 443}]},
        })  # fmt: skip
        kube.create(("v1", "endpoints", ISTIO), {
            "kind": "Endpoints", "apiVersion": "v1", "metadata": meta,
            "subsets": [{"addresses": [{"ip": HOST}], "ports": [{"port": PORT}]}],
        })  # fmt: skip
        made = Pilot(cluster)
        try:
            yield made
        finally:
            made.close()


def configure(pilot: Pilot) -> None:
    pilot.kube.create(("admissionregistration.k8s.io/v1", "validatingwebhookconfigurations"), {
        "kind": "ValidatingWebhookConfiguration", "apiVersion": "admissionregistration.k8s.io/v1",
        "metadata": {"name": "it"},
        "webhooks": [{
            "name": "it.istio.io", "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 5,
            "clientConfig": {"service": {"name": "istio-pilot", "namespace": ISTIO, "path": "/validate"}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["*"]}],
        }],
    })  # fmt: skip


def test_nobody_listens_until_there_is_something_to_answer_and_something_to_prove_it_by(pilot: Pilot) -> None:
    pilot.certified(certificate(root()))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, PORT))
    configure(pilot)
    until(lambda: pilot.write() == "", "the webhook answers")


def test_a_certificate_of_another_name_is_not_believed(pilot: Pilot) -> None:
    configure(pilot)
    pilot.certified(certificate(root(), ("somebody-else.istio-system.svc",)))
    until(lambda: "failed to verify certificate" in pilot.write(), "the certificate is not believed")


def test_no_call_fails_while_certificates_and_their_ca_change(pilot: Pilot) -> None:
    configure(pilot)
    assert "connection refused" in pilot.write(), "there is no certificate yet"
    ca = root()
    pilot.certified(certificate(ca))
    until(lambda: pilot.write() == "", "the webhook answers")
    for number in range(6):
        if number % 3 == 2:
            ca = root()
        before = pilot.bundle()
        pilot.certified(certificate(ca))
        for _ in range(10):
            assert pilot.write() == ""
        if number % 3 == 2:
            until(lambda b=before: pilot.bundle() != b, "the new CA is written")  # type: ignore[misc]
            assert pilot.write() == ""


def test_a_new_control_plane_is_believed_although_the_last_one_left_its_ca_behind(pilot: Pilot) -> None:
    configure(pilot)
    target = ("admissionregistration.k8s.io/v1", "validatingwebhookconfigurations", None, "it")
    left = base64.b64encode(root().certificate.encode()).decode()
    pilot.kube.patch(target, [{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": left}], "json")
    said: list[str] = []
    pilot.certified(certificate(root()))
    until(lambda: said.append(pilot.write()) or not said[-1], "the webhook answers")
    assert not [each for each in said if "verify" in each]


def test_who_connects_and_says_nothing_keeps_nobody_waiting(pilot: Pilot) -> None:
    configure(pilot)
    pilot.certified(certificate(root()))
    until(lambda: pilot.write() == "", "the webhook answers")
    with ExitStack() as silent:
        for _ in range(50):
            silent.enter_context(socket.create_connection((HOST, PORT)))
        assert pilot.write() == ""


def test_what_somebody_overwrites_is_written_again(pilot: Pilot) -> None:
    configure(pilot)
    pilot.certified(certificate(root()))
    until(lambda: pilot.write() == "", "the webhook answers")
    bundle = pilot.bundle()
    target = ("admissionregistration.k8s.io/v1", "validatingwebhookconfigurations", None, "it")
    pilot.kube.patch(target, [{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}], "json")
    until(lambda: pilot.bundle() == bundle, "the CA is back")
    assert pilot.write() == ""
