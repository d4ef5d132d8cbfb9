"""The answer of istiod's validating webhook: whether an object of today's API makes sense, and why not.

Pure: whoever serves the webhook passes an AdmissionReview (v1) in and sends what comes out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshlab.mesh.config.today.kinds import GROUPS, kinds
from meshlab.mesh.config.today.validate import problems

__all__ = ["review", "rules"]


def rules() -> list[dict[str, Any]]:
    """The `rules` of a ValidatingWebhookConfiguration: creates and updates of everything that is judged here."""
    return [
        {
            "apiGroups": [group],
            "apiVersions": ["*"],
            "operations": ["CREATE", "UPDATE"],
            "resources": sorted(kind.plural for kind in kinds().values() if kind.group == group),
            "scope": "*",
        }
        for group in GROUPS
    ]


def review(request: Mapping[str, Any]) -> dict[str, Any]:
    """An AdmissionReview with its response. What is not ours to judge is allowed."""
    asked = request.get("request") or {}
    response: dict[str, Any] = {"uid": asked.get("uid") or "", "allowed": True}
    obj = asked.get("object")
    if isinstance(obj, Mapping):
        try:
            found = problems(obj)
        except KeyError:
            found = []
        if found:
            more = "" if len(found) == 1 else f"{len(found)} errors occurred:\n\t* "
            text = f"configuration is invalid: {more}" + "\n\t* ".join(found)
            response |= {"allowed": False, "status": {"message": text, "reason": "Invalid", "code": 400}}
    version = request.get("apiVersion") or "admission.k8s.io/v1"
    return {"apiVersion": version, "kind": "AdmissionReview", "response": response}
