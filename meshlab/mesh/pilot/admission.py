"""Pilot as the admission webhook of its cluster: pods get their sidecar, and what makes no sense is not stored.

    POST /inject      the sidecar for a pod                         (mesh.config.injection)
    POST /validate    whether an object of the mesh makes sense     (mesh.config.admission)

Over TLS on $POD_IP:443, with the certificate that istio-ca gives Pilot's own service account. Nobody has to tell the
API server whom to believe: Pilot writes the CA's certificate into every webhook configuration that names its service,
as istiod does, and listens as soon as there is one. A new CA is written beside the last before its certificate is used,
so that no call fails while both are under way.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from meshlab.errors import LabError, Rejected
from meshlab.kube import Informer, Kube
from meshlab.mesh.config import admission, injection
from meshlab.mesh.config.meshconfig import MeshConfig
from meshlab.mesh.config.sidecar import SidecarParams
from meshlab.mesh.pilot.secrets import Certificate
from meshlab.mesh.web import Answer, Request, Server, plain, to_json

__all__ = ["ACCOUNT", "AdmissionWebhook", "respond"]

log = logging.getLogger("meshlab.pilot")

VERSION = "admissionregistration.k8s.io/v1"
CONFIGURATIONS = ("mutatingwebhookconfigurations", "validatingwebhookconfigurations")
#: Whose certificate is shown.
ACCOUNT = "istio-pilot-service-account"
#: Of the sidecars: those of this control plane.
HUB, TAG = "docker.io/istio", "0.4.0"
#: Seconds before a configuration that could not be written is tried again.
RETRY = 2.0
#: Seconds that Pilot waits at its start for the configurations, which its account may not be allowed to read.
PATIENCE = 1.0


def respond(request: Request, mesh: MeshConfig) -> Answer:
    """The answer to one call. What is no AdmissionReview is a 400 that says so."""
    if request.path not in ("/inject", "/validate"):
        return plain(f"nothing at {request.path}\n", 404)
    if request.method != "POST":
        return plain("a webhook is asked by POST\n", 405)
    try:
        review = json.loads(request.body)
    except (ValueError, RecursionError) as error:
        return plain(f"no JSON: {error}\n", 400)
    if not isinstance(review, dict) or not isinstance(review.get("request"), dict):
        return plain("no AdmissionReview: an object with the object `request` is wanted\n", 400)
    try:
        if request.path == "/validate":
            return to_json(admission.review(review))
        return to_json(injection.review(review, _params(mesh)))
    except RecursionError:
        return to_json(admission.answer(review, admission.refusal("it is nested too deeply")))


def _params(mesh: MeshConfig) -> SidecarParams:
    return SidecarParams(
        f"{HUB}/proxy_init:{TAG}", f"{HUB}/proxy:{TAG}", TAG, mesh=mesh, core_dump=False, debug=False
    )


class AdmissionWebhook:
    """Follows the webhook configurations and Pilot's certificate. Everything but the answers runs on one event loop."""

    def __init__(
        self, kube: Kube, mesh: Callable[[], MeshConfig], *, host: str, port: int, service: str,
        namespace: str = "istio-system",
    ) -> None:
        self._kube, self._mesh, self._service = kube, mesh, (namespace, service)
        self._host, self._port = host, port
        self._server: Server | None = None
        self._wanted: Certificate | None = None
        self._shown: Certificate | None = None
        self._wake = asyncio.Event()
        #: Set when what was there at the start is served: before that Pilot is not ready.
        self.settled = asyncio.Event()

    def certified(self, certificate: Certificate | None) -> None:
        """What Pilot proves itself with from now on; None where nothing is known."""
        if certificate is not None and certificate != self._wanted:
            self._wanted = certificate
            self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()

        def changed(event: str, obj: Mapping[str, Any]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._wake.set)

        informers = [Informer(self._kube, (VERSION, plural)).start(changed) for plural in CONFIGURATIONS]
        try:
            for each in informers:
                await asyncio.to_thread(each.synced.wait, PATIENCE)
            while True:
                self._wake.clear()
                found = [(plural, obj) for plural, each in zip(CONFIGURATIONS, informers, strict=True)
                         for obj in list(each.objects.values()) if any(self._ours(obj))]
                done = await self._serve(found, self._wanted) if found and self._wanted is not None else True
                self.settled.set()
                try:
                    await asyncio.wait_for(self._wake.wait(), None if done else RETRY)
                except TimeoutError:
                    log.debug("webhook configurations are tried again")
        finally:
            for each in informers:
                await asyncio.to_thread(each.stop)
            if self._server is not None:
                await asyncio.to_thread(self._server.close)

    async def _serve(self, configurations: Sequence[tuple[str, Mapping[str, Any]]], wanted: Certificate) -> bool:
        """Believed first, then shown; whether all of it could be done."""
        roots = wanted.root
        if self._shown is not None and self._shown.root != wanted.root:
            roots = wanted.root.rstrip() + "\n" + self._shown.root
        bundle = base64.b64encode(roots.encode()).decode()
        # Also before the first is shown: the configurations may believe in the CA of a control plane that is gone.
        done = await asyncio.to_thread(self._write, configurations, bundle)
        if self._shown is not None and not done:
            return False
        return (self._shown == wanted or self._show(wanted)) and done

    def _show(self, certificate: Certificate) -> bool:
        """Every connection from now on sees this certificate; False where the port or the certificate is of no use."""
        try:
            context = _context(certificate)
            if self._server is None:
                self._server = Server((self._host, self._port), self._respond, context).start()
                log.info("admission webhooks on %s:%d", self._host, self._port)
        except OSError as error:
            log.warning("no admission webhooks on %s:%d: %s", self._host, self._port, error)
            return False
        self._server.tls, self._shown = context, certificate
        return True

    def _respond(self, request: Request) -> Answer:
        return respond(request, self._mesh())

    def _ours(self, configuration: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """Its webhooks that are to be asked of this service."""
        for each in configuration.get("webhooks") or ():
            service = (each.get("clientConfig") or {}).get("service") or {}
            if (service.get("namespace"), service.get("name")) == self._service:
                yield each

    def _write(self, configurations: Sequence[tuple[str, Mapping[str, Any]]], bundle: str) -> bool:
        """The CA into every webhook of ours that has another one."""
        done = True
        for plural, obj in configurations:
            stale = [each["name"] for each in self._ours(obj) if each["clientConfig"].get("caBundle") != bundle]
            if not stale:
                continue
            name = obj["metadata"]["name"]
            patch = {"webhooks": [{"name": each, "clientConfig": {"caBundle": bundle}} for each in stale]}
            try:
                self._kube.patch((VERSION, plural, None, name), patch, "strategic")
                log.info("%s %s: the CA of %s is written", plural, name, ", ".join(stale))
            except (Rejected, LabError) as error:
                log.warning("%s %s: the CA is not written: %s", plural, name, error)
                done = done and isinstance(error, Rejected) and error.code == 404
        return done


def _context(certificate: Certificate) -> ssl.SSLContext:
    """A server's, from memory: the key is in no file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    descriptor = os.memfd_create("certificate")
    try:
        with os.fdopen(os.dup(descriptor), "w") as file:
            file.write(certificate.chain.rstrip() + "\n" + certificate.key)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    return context
