"""The answer of Pilot's validating webhook: whether an object of the mesh makes sense, and why not.

Today's kinds are judged as istiod judges them. Rules of 0.4 are judged with the verdicts of its istioctl, which had to
do it: Kubernetes of its day stored whatever kubectl sent, and so does this lab as long as nobody stores the webhook's
configuration (manifests/istio-today/webhooks.yaml).

Pure: whoever serves the webhook passes an AdmissionReview (v1) in and sends what comes out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshlab.mesh.config import kinds as legacy
from meshlab.mesh.config.protojson import DecodeError
from meshlab.mesh.config.today import kinds as today
from meshlab.mesh.config.today import validate
from meshlab.mesh.config.unheeded import warnings
from meshlab.mesh.config.v1alpha2 import decode_spec, spec_from_fields
from meshlab.mesh.config.validate import validate as verdict

__all__ = ["answer", "refusal", "review", "rules"]


def rules() -> list[dict[str, Any]]:
    """The `rules` of a ValidatingWebhookConfiguration: creates and updates of everything that is judged here."""
    groups = {group: {k.plural for k in today.kinds().values() if k.group == group} for group in today.GROUPS}
    groups[legacy.GROUP] = {kind.plural for kind in legacy.PILOT_KINDS if kind.kind in _DEFINED}
    return [
        {
            "apiGroups": [group],
            "apiVersions": ["*"],
            "operations": ["CREATE", "UPDATE"],
            "resources": sorted(plurals),
            "scope": "*",
        }
        for group, plurals in groups.items()
    ]


#: Of the kinds of 0.4, those that istio.yaml defines.
_DEFINED = ("RouteRule", "EgressRule", "DestinationPolicy")


def review(request: Mapping[str, Any]) -> dict[str, Any]:
    """An AdmissionReview with its response. What is not ours to judge is allowed."""
    asked = request.get("request")
    obj = asked.get("object") if isinstance(asked, Mapping) else None
    found = _problems(obj) if isinstance(obj, Mapping) else []
    if not found:
        told = warnings(obj) if isinstance(obj, Mapping) else []
        return answer(request, {"warnings": told} if told else None)
    more = "" if len(found) == 1 else f"{len(found)} errors occurred:\n\t* "
    return answer(request, refusal(f"configuration is invalid: {more}" + "\n\t* ".join(found)))


def _problems(obj: Mapping[str, Any]) -> list[str]:
    """Why an object is refused; [] where it is not, or is nobody's here."""
    if str(obj.get("apiVersion") or "").partition("/")[0] != legacy.GROUP:
        try:
            return validate.problems(obj)
        except KeyError:
            return []
    kind = legacy.kind_of_type(legacy.hyphenated(str(obj.get("kind") or "")))
    if kind is None:
        return []
    try:
        return verdict(kind.type, spec_from_fields(kind.type, decode_spec(kind.type, obj.get("spec"))))
    except DecodeError as error:
        return [str(error)]


def refusal(reason: str) -> dict[str, Any]:
    """Fields of a response that refuses: a message and no more, as istiod's, and kubectl shows it whole."""
    return {"allowed": False, "status": {"message": reason}}


def answer(request: Mapping[str, Any], said: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The AdmissionReview that answers `request`; without more it allows."""
    asked = request.get("request")
    uid = asked.get("uid") if isinstance(asked, Mapping) else None
    version = request.get("apiVersion")
    return {
        "apiVersion": version if isinstance(version, str) and version else "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {"uid": uid if isinstance(uid, str) else "", "allowed": True, **(said or {})},
    }
