"""May we do what an installation and the lessons need? The API server is asked, right by right."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from ..access import Access
from .found import Istio
from .places import INGRESS, MESHLAB, SYSTEM

__all__ = ["Refused", "Right", "needed", "refused"]


@dataclass(frozen=True)
class Right:
    """A verb on a resource of a group; `namespace` "" is the whole cluster. `for_` says who needs it."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    for_: str = "install"
    #: Another right that does as well.
    instead: Right | None = None

    def __str__(self) -> str:
        what = f"{self.resource}.{self.group}" if self.group else self.resource
        where = f" in {self.namespace}" if self.namespace else ""
        return f"{self.verb} {what}{where} (for {self.for_})"


class Refused(NamedTuple):
    """Rights that we do not have: those that are missed, and those in whose place another one does."""

    lacking: list[Right]
    replaced: list[Right]


def needed(istio: Istio | None) -> tuple[Right, ...]:
    """What is asked for on a cluster with this mesh. One of somebody else's is not installed, so less is."""
    rbac, hooks = "rbac.authorization.k8s.io", "admissionregistration.k8s.io"
    own = istio is None or istio.ours
    addons = SYSTEM if own else MESHLAB
    out = [
        Right("create", "", "namespaces"),
        Right("create", "apiextensions.k8s.io", "customresourcedefinitions"),
        Right("create", rbac, "clusterroles"),
        Right("create", rbac, "clusterrolebindings"),
    ]
    if own:
        out += [
            # Whoever makes a role with rights that he lacks must be allowed to.
            Right("escalate", rbac, "clusterroles"),
            Right("create", hooks, "mutatingwebhookconfigurations"),
            Right("create", hooks, "validatingwebhookconfigurations"),
            Right("create", "autoscaling", "horizontalpodautoscalers", INGRESS),
            # Helm keeps its releases in them.
            *(Right(verb, "", "secrets", SYSTEM) for verb in ("create", "list")),
        ]
    out += [Right(verb, "apps", "deployments", addons) for verb in ("create", "patch", "delete")]
    out += [Right("create", "", resource, addons) for resource in ("services", "configmaps")]
    lessons = "lessons"
    out += [Right(verb, "apps", "deployments", "default", lessons) for verb in ("create", "patch", "delete")]
    out += [Right("watch", "apps", "deployments", "", lessons), Right("list", "", "pods", "", lessons)]
    out += [Right("patch", "", "services", "default", lessons)]
    for namespace, verb, for_ in (
        ("client", "get", "requests by the client pod"),
        ("client", "create", "requests by the client pod"),
        (addons, "get", "Prometheus, Zipkin, ServiceGraph"),
    ):
        out.append(Right(verb, "", "services/proxy", namespace, for_, _forward(namespace, for_)))
    said = "what istiod and sidecars say of themselves"
    out += [Right("create", "", "pods/exec", "", said, _forward("", said))]
    for kind in ("virtualservices", "destinationrules", "serviceentries"):
        out += [Right(verb, "networking.istio.io", kind, "default", "rules") for verb in ("create", "patch", "delete")]
    return tuple(out)


def _forward(namespace: str, for_: str) -> Right:
    return Right("create", "", "pods/portforward", namespace, for_)


#: Questions at a time: an API server far away takes tens of milliseconds for each.
_AT_A_TIME = 6


def refused(access: Access, wanted: Sequence[Right]) -> Refused:
    """Those that we do not have. One small request for each; nothing is changed by them.

    `escalate` is wanted of those only who do not already hold every right: cluster administrators have it.
    """
    _ = access.client  # made once, before several threads want it
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        allowed = pool.map(lambda right: _allowed(access, right), wanted)
        missed = [right for right, yes in zip(wanted, allowed, strict=True) if not yes]
        others = pool.map(lambda right: right.instead is not None and _allowed(access, right.instead), missed)
        replaced = [right for right, yes in zip(missed, others, strict=True) if yes]
    return Refused([right for right in missed if right not in replaced], replaced)


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
