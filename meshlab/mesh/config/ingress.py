"""Kubernetes Ingress objects as ingress rules: which ones are Istio's, and one rule for each path."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from meshlab.mesh.config.labels import Labels
from meshlab.mesh.config.meshconfig import IngressMode
from meshlab.mesh.config.model import Config, IngressRule, IstioService, Match, MatchKind, Meta, StringMatch

__all__ = ["CLASS_ANNOTATION", "ingress_rules", "is_ours", "parse_rule_name", "rule_name"]

CLASS_ANNOTATION = "kubernetes.io/ingress.class"


def is_ours(annotations: Mapping[str, str] | None, mode: IngressMode | None, mesh_class: str) -> bool:
    """Whether the mesh serves an Ingress with these annotations; an unknown mode serves none."""
    chosen = (annotations or {}).get(CLASS_ANNOTATION)
    if mode is IngressMode.STRICT:
        return chosen == mesh_class
    if mode is IngressMode.DEFAULT:
        return chosen is None or chosen == mesh_class
    return False


def rule_name(ingress: str, rule: int, path: int) -> str:
    """`<ingress>-<rule>-<path>`, both counted from 1; 0 and 0 for the default backend."""
    return f"{ingress}-{rule}-{path}"


def parse_rule_name(name: str) -> tuple[str, int, int]:
    """The inverse of `rule_name`. Raises ValueError."""
    found = re.fullmatch(r"(.*)-([0-9]+)-([0-9]+)", name, re.DOTALL)
    if found is None:
        raise ValueError(f"could not decode string into ingress rule name: {name}")
    return found[1], int(found[2]), int(found[3])


def ingress_rules(ingress: Mapping[str, Any], domain: str = "cluster.local") -> list[Config[IngressRule]]:
    """The rules of an Ingress, as extensions/v1beta1 (`serviceName`) or networking.k8s.io/v1 (`service.name`)."""
    spec = ingress.get("spec") or {}
    name = ingress["metadata"]["name"]
    tls = spec.get("tls") or []
    # Without SNI in the sidecar of the time there is one certificate for all hosts.
    namespace = ingress["metadata"].get("namespace", "")
    secret = f"{tls[0].get('secretName', '')}.{namespace}" if tls else ""
    out = []
    if backend := spec.get("backend") or spec.get("defaultBackend"):
        out.append(_rule(ingress, rule_name(name, 0, 0), "", {"backend": backend}, secret, domain))
    for number, rule in enumerate(spec.get("rules") or (), 1):
        paths = (rule.get("http") or {}).get("paths") or ()
        for position, path in enumerate(paths, 1):
            full = rule_name(name, number, position)
            out.append(_rule(ingress, full, rule.get("host") or "", path, secret, domain))
    return out


def _rule(
    ingress: Mapping[str, Any], name: str, host: str, path: Mapping[str, Any], secret: str, domain: str
) -> Config[IngressRule]:
    service, port = _backend(path["backend"])
    headers = {"uri": _path(path.get("path") or "", path.get("pathType") or "")}
    if host:
        headers["authority"] = StringMatch(MatchKind.EXACT, host)
    meta = ingress["metadata"]
    return Config(
        Meta(
            type="ingress-rule",
            name=name,
            namespace=meta.get("namespace", ""),
            domain=domain,
            labels=Labels(meta.get("labels") or {}),
            annotations=Labels(meta.get("annotations") or {}),
            resource_version=meta.get("resourceVersion", ""),
        ),
        IngressRule(
            destination=IstioService(name=service),
            tls_secret=secret,
            match=Match(headers=headers),
            destination_port=port if isinstance(port, int) else None,
            destination_port_name=None if isinstance(port, int) else port,
        ),
    )


def _backend(backend: Mapping[str, Any]) -> tuple[str, int | str]:
    if service := backend.get("service"):
        port = service.get("port") or {}
        return service.get("name") or "", port.get("number") or port.get("name") or 0
    return backend.get("serviceName") or "", backend.get("servicePort") or 0


def _path(path: str, kind: str) -> StringMatch:
    """A path is exact, and a prefix when it ends with `.*`; no path is every path.

    `pathType: Prefix` came years after 0.4 and says the same as a trailing `.*`.
    """
    if not path:
        return StringMatch(MatchKind.PREFIX, "/")
    if path.endswith(".*"):
        return StringMatch(MatchKind.PREFIX, path.removesuffix(".*"))
    return StringMatch(MatchKind.PREFIX if kind == "Prefix" else MatchKind.EXACT, path)
