"""An Ingress of 2018 in the only version that clusters serve since Kubernetes 1.22, networking.k8s.io/v1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..cluster.api.convert import convert, stored_version
from ..errors import ManifestError

__all__ = ["modern"]


def modern(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document; of an Ingress in a version that is gone, what a server made of it that still had both.

    Paths are of type ImplementationSpecific, the older versions' default, which istiod reads as 0.4 read paths: `/pay`
    is exact, `/pay.*` a prefix.
    https://kubernetes.io/docs/reference/using-api/deprecation-guide/#ingress-v122
    Raises `ManifestError` where the document has not the form of its kind.
    """
    kind, version = str(document.get("kind")), str(document.get("apiVersion"))
    if kind != "Ingress" or stored_version(version, kind) == version:
        return dict(document)
    try:
        made = convert(document, stored_version(version, kind))
        for rule in made["spec"].get("rules") or ():
            for path in (rule.get("http") or {}).get("paths") or ():
                path.setdefault("pathType", "ImplementationSpecific")
    except (AttributeError, KeyError, TypeError):
        raise ManifestError(
            f"an Ingress of {version} that cannot be read",
            why="spec.rules is a list of {host, http: {paths: [{path, backend: {serviceName, servicePort}}]}}",
            then="kubectl explain ingress.spec",
        ) from None
    return made
