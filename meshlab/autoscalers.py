"""Autoscalers by what they scale: `kubectl autoscale` gives them no label to be known by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .access import Access

__all__ = ["AUTOSCALER", "autoscalers"]

AUTOSCALER = ("autoscaling/v2", "HorizontalPodAutoscaler")


def autoscalers(
    access: Access, deployments: Iterable[Mapping[str, Any]], namespace: str = "default"
) -> list[dict[str, Any]]:
    """Those in this namespace of these Deployments; none where nobody serves the kind."""
    names = {each["metadata"]["name"] for each in deployments if each["metadata"].get("namespace") == namespace}
    found = access.served(*AUTOSCALER, namespace) or []
    targets = ((each, each["spec"]["scaleTargetRef"]) for each in found)
    return [each for each, target in targets if target["kind"] == "Deployment" and target["name"] in names]
