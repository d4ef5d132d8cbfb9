"""Would a pod of the lessons be let in? The API server is asked to try, and to store nothing (`dryRun=All`).

So whatever there is decides, as it will later: Pod Security Standards, quotas, policies by webhooks; and istiod's own
webhook, of which the pod that comes back shows whether it gives it a sidecar.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .. import tutorial
from ..access import Access
from ..errors import Rejected
from ..phrases import tr
from .checks import Check, Level
from .found import Istio
from .inject import inject
from .manifests import demo

__all__ = ["trial"]

_PATH = "/api/v1/namespaces/default/pods"
#: The demo's name in the tutorial, and the address of the host outside, which this pod does not call.
_NAME, _ANYWHERE = "svca-v0.1", "127.0.0.1"


def trial(access: Access, istio: Istio | None) -> Iterator[Check]:
    """Nothing is said where we may make no pods ourselves: those of Deployments are made by somebody else."""
    reply = access.request("POST", _PATH, query={"dryRun": "All"}, body=_pod(istio), check=False)
    if reply.status < 400:
        spec = reply.json()["spec"]
        if istio is None or _has_sidecar(spec):
            seen = tr("one of the lessons would be let into default")
            if istio is not None:
                seen = tr("one of the lessons would be let into default, with a sidecar")
            yield Check(Level.OK, "pods", seen)
        elif istio.injectors:
            seen = tr("a pod that asks for a sidecar would get none in default")
            then = "kubectl get namespace default --show-labels; kubectl get mutatingwebhookconfigurations"
            yield Check(Level.MISSING, "injection", seen, then)
        return
    error = Rejected.answer(reply.status, reply.body)
    if 'cannot create resource "pods"' in error.seen:
        return
    seen = tr("one of the lessons would not be let into default: {error}", error=error.seen)
    yield Check(Level.MISSING, "pods", seen, _next(error))


def _next(error: Rejected) -> str:
    if "violates PodSecurity" in error.seen:
        return "kubectl get namespace default --show-labels; with Istio's CNI plug-in sidecars need no privileges"
    if "exceeded quota" in error.seen or "failed quota" in error.seen:
        return "kubectl describe quota -n default"
    if "webhook" in error.seen:
        return "kubectl get mutatingwebhookconfigurations,validatingwebhookconfigurations"
    return "kubectl get events -n default"


def _has_sidecar(spec: dict[str, Any]) -> bool:
    containers = [*spec["containers"], *(spec.get("initContainers") or [])]
    return any(each["name"] == "istio-proxy" for each in containers)


def _pod(istio: Istio | None) -> dict[str, Any]:
    import yaml

    text = tutorial.demo_file(tutorial.plain(), _NAME).read_text()
    documents = demo([each for each in yaml.safe_load_all(text) if each], _ANYWHERE)
    (deployment,) = [each for each in documents if each["kind"] == "Deployment"]
    template = inject(deployment, istio.revision if istio else "default")["spec"]["template"]
    metadata = {**template["metadata"], "name": "meshlab-preflight", "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
