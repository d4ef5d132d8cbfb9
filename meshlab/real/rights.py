"""May we do what an installation and the lessons need? The API server is asked, right by right."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ..access import Access

__all__ = ["NEEDED", "Right", "refused"]


@dataclass(frozen=True)
class Right:
    """A verb on a resource of a group; `namespace` "" is the whole cluster. `for_` says who needs it."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    for_: str = "install"

    def __str__(self) -> str:
        what = f"{self.resource}.{self.group}" if self.group else self.resource
        where = f" in {self.namespace}" if self.namespace else ""
        return f"{self.verb} {what}{where} (for {self.for_})"


def _rights() -> tuple[Right, ...]:
    rbac, hooks = "rbac.authorization.k8s.io", "admissionregistration.k8s.io"
    out = [
        Right("create", "", "namespaces"),
        Right("create", "apiextensions.k8s.io", "customresourcedefinitions"),
        Right("create", rbac, "clusterroles"),
        # Whoever makes a role with rights that he lacks must be allowed to.
        Right("escalate", rbac, "clusterroles"),
        Right("create", rbac, "clusterrolebindings"),
        Right("create", hooks, "mutatingwebhookconfigurations"),
        Right("create", hooks, "validatingwebhookconfigurations"),
    ]
    out += [Right(verb, "apps", "deployments", "istio-system") for verb in ("create", "patch", "delete")]
    out += [Right("create", "", resource, "istio-system") for resource in ("services", "configmaps", "secrets")]
    out += [Right("create", "autoscaling", "horizontalpodautoscalers", "istio-system")]
    lessons = "lessons"
    out += [Right(verb, "apps", "deployments", "default", lessons) for verb in ("create", "patch", "delete", "watch")]
    out += [Right("patch", "", "services", "default", lessons), Right("list", "", "pods", "", lessons)]
    out += [Right("get", "", "services/proxy", "client", "requests by the client pod")]
    out += [Right("create", "", "services/proxy", "client", "requests by the client pod")]
    out += [Right("get", "", "services/proxy", "istio-system", "Prometheus, Zipkin, ServiceGraph")]
    out += [Right("create", "", "pods/exec", "", "what istiod and sidecars say of themselves")]
    for kind in ("virtualservices", "destinationrules", "serviceentries"):
        out += [Right(verb, "networking.istio.io", kind, "default", "rules") for verb in ("create", "patch", "delete")]
    return tuple(out)


NEEDED = _rights()
#: Questions at a time: an API server far away takes tens of milliseconds for each.
_AT_A_TIME = 6


def refused(access: Access, needed: tuple[Right, ...] = NEEDED) -> list[Right]:
    """Those that we do not have. One small request for each; nothing is changed by them.

    `escalate` is wanted of those only who do not already hold every right: cluster administrators have it.
    """
    _ = access.client  # made once, before several threads want it
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        allowed = pool.map(lambda right: _allowed(access, right), needed)
        return [right for right, yes in zip(needed, allowed, strict=True) if not yes]


def _allowed(access: Access, right: Right) -> bool:
    resource, _, subresource = right.resource.partition("/")
    attributes = {"verb": right.verb, "group": right.group, "resource": resource, "namespace": right.namespace}
    if subresource:
        attributes["subresource"] = subresource
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    reply = access.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=body)
    return bool((reply.json().get("status") or {}).get("allowed"))
