"""Taking everything of meshlab's off a cluster again, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ..access import Access
from ..autoscalers import AUTOSCALER, autoscalers
from ..errors import Rejected
from ..follow import follow
from ..helm import release_of
from . import istio
from .found import look
from .owned import SELECTOR, Owned
from .places import SYSTEM
from .rules import GROUP

__all__ = ["remove_all"]

Object = dict[str, Any]
#: Kinds of which we make objects, in the order in which they go: rules, then what runs, then what it needed.
_KINDS = (
    *(("networking.istio.io/v1", kind) for kind in ("VirtualService", "DestinationRule", "ServiceEntry", "Gateway")),
    ("security.istio.io/v1", "PeerAuthentication"),
    ("security.istio.io/v1", "AuthorizationPolicy"),
    ("security.istio.io/v1", "RequestAuthentication"),
    ("telemetry.istio.io/v1", "Telemetry"),
    ("networking.k8s.io/v1", "Ingress"),
    AUTOSCALER,
    ("apps/v1", "Deployment"),
    ("v1", "Service"),
    ("v1", "ConfigMap"),
    ("v1", "Secret"),
    ("v1", "ServiceAccount"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
)
_DEFINITION = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
#: ConfigMaps that istiod puts into every namespace: the mesh's root, and (seen with 1.30) what is revoked.
_EVERYWHERE = ("istio-ca-root-cert", "istio-ca-crl")
#: What Kubernetes and istiod put into every namespace by themselves.
_OF_ITSELF = ("kube-root-ca.crt", *_EVERYWHERE)
#: What somebody may have put into a namespace of ours, and would miss.
_GUESTS = (("v1", "Pod"), ("v1", "Service"), ("v1", "ConfigMap"), ("v1", "Secret"), ("v1", "PersistentVolumeClaim"))


def remove_all(access: Access, *, timeout: float) -> list[str]:
    """Deletes what carries our label and our Helm releases; returns a line for each thing, and for what stays why."""
    end = time.monotonic() + timeout
    owned = Owned(access)
    done = _delete(owned, autoscalers(access, owned.items([("apps/v1", "Deployment")])))
    done += _delete(owned, owned.items(_KINDS))
    for release in istio.installed(access):
        if release.release == "istio-base":
            # Before the release itself, which says that they are ours: whoever is killed here can begin again.
            if others := look(access).istios:
                done.append(f"kept Istio's definitions and root certificates: {others[0]} uses them")
            else:
                done += _definitions(access)
                done += _root_certificates(access)
        done += istio.uninstall(access, release, timeout=max(1.0, end - time.monotonic()))
    done += _delete(owned, [d for d in owned.items([_DEFINITION]) if d["spec"]["group"] == GROUP])
    for namespace in owned.items([("v1", "Namespace")]):
        name = namespace["metadata"]["name"]
        if guests := _guests(access, name):
            done.append(f"kept Namespace {name}: not known as meshlab's are {', '.join(guests[:5])}")
        elif owned.delete(namespace):
            done.append(f"Namespace {name}")
    _gone(access, max(1.0, end - time.monotonic()))
    return done


def _delete(owned: Owned, found: list[Object]) -> list[str]:
    return [_name(each) for each in found if owned.delete(each)]


def _name(found: Mapping[str, Any]) -> str:
    metadata = found["metadata"]
    place = f"{metadata['namespace']}/" if metadata.get("namespace") else ""
    return f"{found['kind']} {place}{metadata['name']}"


def _definitions(access: Access) -> list[str]:
    """Istio's CRDs, which Helm keeps: they go if they came with our release and hold nothing of anybody."""
    done = []
    for each in access.items(*_DEFINITION):
        metadata = each["metadata"]
        if release_of(each) != ("istio-base", SYSTEM):
            continue
        names, group = each["spec"]["names"], each["spec"]["group"]
        version = next(v["name"] for v in each["spec"]["versions"] if v["served"])
        reply = access.request("GET", f"/apis/{group}/{version}/{names['plural']}", query={"limit": 1}, check=False)
        if reply.status == 200 and reply.json().get("items"):
            done.append(f"kept CustomResourceDefinition {metadata['name']}: somebody has {names['plural']}")
        elif access.request("DELETE", access.path(*_DEFINITION, None, metadata["name"]), check=False).status < 400:
            done.append(f"CustomResourceDefinition {metadata['name']}")
    return done


def _root_certificates(access: Access) -> list[str]:
    """The ConfigMaps that our istiod wrote into every namespace; it does not take them along."""
    done = []
    for each in access.items("v1", "ConfigMap", labelSelector="istio.io/config=true"):
        metadata = each["metadata"]
        if metadata["name"] in _EVERYWHERE:
            path = access.path("v1", "ConfigMap", metadata["namespace"], metadata["name"])
            if access.request("DELETE", path, check=False).status < 400:
                done.append(_name(each))
    return done


def _guests(access: Access, namespace: str) -> list[str]:
    """What is in a namespace of ours and would go with it, although it is, or may be, somebody else's."""
    found = []
    for version, kind in _GUESTS:
        try:
            objects = access.items(version, kind, namespace)
        except Rejected as error:
            if error.code != 403:
                raise
            found.append(f"{kind}s that may not be listed")  # what cannot be seen may be somebody's
            continue
        for each in objects:
            metadata = each["metadata"]
            labels = metadata.get("labels") or {}
            by_itself = (
                metadata["name"] in _OF_ITSELF
                or metadata["name"].startswith("istio-")
                or metadata.get("ownerReferences")
                or "deletionTimestamp" in metadata
                or str(each.get("type") or "").startswith(("kubernetes.io/service-account", "istio.io/", "helm.sh/"))
            )
            if labels.get("app.kubernetes.io/part-of") not in ("meshlab", "istio") and not by_itself:
                found.append(_name(each))
    return found


def _gone(access: Access, timeout: float) -> None:
    """Waits until namespaces of ours are gone, so that an installation right afterwards finds no dying ones."""
    path = f"/api/v1/namespaces?labelSelector={SELECTOR}"
    for states in follow(access, path, timeout):
        if all("deletionTimestamp" not in each["metadata"] for each in states.values()):
            return
