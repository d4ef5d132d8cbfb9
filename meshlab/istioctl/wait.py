"""`--wait`: returns when every sidecar that a change concerns has acknowledged it, and says how long that took.

Pilot knows; it is asked on its debug port, through the API server. Where Istio is not ours there is nobody to ask.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from meshlab.errors import NotInForce, Rejected
from meshlab.kube import Kube

__all__ = ["TIMEOUT", "in_force"]

#: Seconds.
TIMEOUT = 30.0
NAMESPACE, PORT = "istio-system", 15014


def in_force(kube: Kube, changes: Mapping[str, int], timeout: float = TIMEOUT) -> str:
    """A line that says when the changes (plural → resourceVersion) were in force. Raises NotInForce, Rejected."""
    pod = _pilot(kube)
    asked = ",".join(f"{plural}@{revision}" for plural, revision in sorted(changes.items()))
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}:{PORT}/proxy/debug/inforce"
    query = {"changes": asked, "timeout": f"{timeout:g}"}
    answer = kube.raw("GET", path, timeout=timeout + 5, query=query)
    if answer.status != 200:
        raise NotInForce("stored, but Pilot does not say whether it is in force", why=answer.text.strip()[:300])
    found = json.loads(answer.data)
    if rejected := found.get("rejected"):
        why = "; ".join(f"{who}: {reason}" for who, reason in rejected.items())
        seen = "stored, but rejected; what was in force before stays"
        raise NotInForce(seen, why=why, then="istioctl replace -f with a correct rule")
    if missing := found.get("missing"):
        why = "; ".join(f"{what}: {reason}" for what, reason in missing.items())
        raise NotInForce("stored, but it waits for something that is not there", why=why)
    if not found.get("inForce"):
        reached = ", ".join(sorted(found.get("proxies") or {})) or "none"
        seen = f"stored, but not acknowledged by every sidecar within {timeout:g} s"
        raise NotInForce(seen, why=f"reached: {reached}")
    proxies = found.get("proxies") or {}
    number = "1 sidecar" if len(proxies) == 1 else f"{len(proxies)} sidecars"
    return f"In force in {number} after {float(found.get('ms') or 0):.1f} ms"


def _pilot(kube: Kube) -> str:
    """The name of Pilot's running pod."""
    try:
        pods = kube.list(("v1", "pods", NAMESPACE), label_selector="istio=pilot")["items"]
    except Rejected:
        pods = []
    for pod in pods:
        if (pod.get("status") or {}).get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp"):
            return str(pod["metadata"]["name"])
    seen = "stored, but no Pilot runs that could say whether it is in force"
    raise NotInForce(seen, then=f"kubectl -n {NAMESPACE} get pods")
