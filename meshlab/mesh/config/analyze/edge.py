"""Checks of the way in: certificates that are not there, and paths whose backend nobody serves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from meshlab.mesh.config.analyze.messages import Message, message
from meshlab.mesh.config.analyze.scene import Scene
from meshlab.mesh.config.analyze.subject import Path, Subject
from meshlab.mesh.config.ingress import CLASS_ANNOTATION, ingress_rules
from meshlab.mesh.config.model import Config, IngressRule
from meshlab.mesh.config.names import resolve_hostname
from meshlab.mesh.config.outside import MeshGateway
from meshlab.mesh.config.today.kinds import GATEWAY_API

__all__ = ["backends", "credentials"]

#: What an Ingress of 0.4 shows instead of a secret of its own: see mesh.pilot.ingress.
MOUNTED = "istio-system/istio-ingress-certs"


def credentials(scene: Scene) -> Iterator[Message]:
    """Certificates that Gateways and Ingresses name and that are not there."""
    if scene.secrets is None:
        return
    for each in scene.objects("Gateway"):
        if not isinstance(each.value, MeshGateway):
            continue
        theirs = each.stored.group == GATEWAY_API
        homes = [pods.namespace for pods in scene.workloads if each.value.chooses(pods.labels)]
        for number, server in enumerate(each.value.servers):
            name = server.tls.credential if server.tls is not None else ""
            full = name if theirs else f"{homes[0]}/{name}" if homes else ""
            if name and full and full not in scene.secrets:
                listed: Path = ("listeners", number, "tls", "certificateRefs") if theirs else (
                    "servers", number, "tls", "credentialName"
                )  # fmt: skip
                yield message("IST0101", each.subject, _missing(full), "spec", *listed)
    for about, _ in _ingresses(scene):
        for number, tls in enumerate(about.spec.get("tls") or ()):
            full = f"{about.namespace}/{tls.get('secretName') or ''}"
            if full not in scene.secrets and MOUNTED not in scene.secrets:
                yield message("IST0101", about, _missing(full), "spec", "tls", number, "secretName")


def _missing(name: str) -> str:
    return f'Referenced credentialName not found: "{name}"'


def backends(scene: Scene) -> Iterator[Message]:
    """Paths of Ingresses that Pilot leaves out without a word: no such service or port, or not HTTP by its name."""
    for each, rules in _ingresses(scene):
        for path, rule in zip(_paths(each.spec), rules, strict=True):
            host = resolve_hostname(rule.meta, rule.spec.destination) if rule.spec.destination else ""
            if not scene.knows(host):
                yield message("IST0101", each, f'Referenced host not found: "{host}"', "spec", *path)
                continue
            if (known := scene.services.get(host)) is None:
                continue
            number, name = rule.spec.destination_port, rule.spec.destination_port_name
            port = known.service.port(number) if number is not None else known.service.port_named(name or "")
            wanted = number if number is not None else name
            if port is None:
                yield message("IST0101", each, f'Referenced port of {host} not found: "{wanted}"', "spec", *path)
            elif not port.protocol.is_http:
                text = f"Port {wanted} of {host} is not HTTP by its name: this path of the Ingress is left out."
                yield message("ML0006", each, text, "spec", *path)


def _paths(spec: Any) -> Iterator[Path]:
    """Where the backends stand, in the order of the rules that are made of them."""
    for name in ("backend", "defaultBackend"):
        if spec.get(name):
            yield (name,)
            break
    for number, rule in enumerate(spec.get("rules") or ()):
        for position in range(len((rule.get("http") or {}).get("paths") or ())):
            yield ("rules", number, "http", "paths", position, "backend")


def _ingresses(scene: Scene) -> Iterator[tuple[Subject, list[Config[IngressRule]]]]:
    """Those of the mesh's class and what Pilot makes of them."""
    for each in scene.ingresses:
        meta = {**(each.obj.get("metadata") or {}), "namespace": each.namespace}
        if (meta.get("annotations") or {}).get(CLASS_ANNOTATION) != "istio":
            continue
        try:
            yield each, ingress_rules({**each.obj, "metadata": meta}, scene.domain)
        except (KeyError, TypeError, AttributeError):
            continue  # the API server refuses it with a better reason than ours
