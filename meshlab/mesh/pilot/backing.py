"""What Service and Endpoints objects say of the pods behind a service. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meshlab.mesh.config.labels import Labels

__all__ = ["Backing", "address", "backing_of", "first_label"]

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Backing:
    """What a Service object says of its pods, which `Service` has no field for."""

    selector: Labels
    #: Port name → targetPort, a number or a name.
    targets: Mapping[str, int | str]


def backing_of(service: Object) -> Backing:
    spec = service.get("spec") or {}
    return Backing(
        Labels(spec.get("selector") or {}),
        {p.get("name") or "": p.get("targetPort") or int(p["port"]) for p in spec.get("ports") or ()},
    )


def first_label(namespace: str, selector: Labels) -> tuple[str, str, str] | None:
    """What a selector is indexed by: its first label. None for a Service without selector."""
    for name, value in selector.items():
        return namespace, name, value
    return None


def address(of: Object) -> tuple[str, tuple[str, str] | None]:
    """One address of an Endpoints object, and (namespace, name) of its pod if it is one's."""
    ref = of.get("targetRef") or {}
    named = (ref.get("namespace") or "", ref.get("name") or "") if ref.get("kind") == "Pod" else None
    return str(of["ip"]), named
