"""APIServices: a list of what is served, as every cluster keeps one. Each group and version has its object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["AUTOMANAGED", "api_service", "ensure_api_services"]

Object = dict[str, Any]

AUTOMANAGED = "kube-aggregator.kubernetes.io/automanaged"
#: What a real server gives each group: who has more comes first in discovery.
PRIORITIES = {
    "": 18000, "apps": 17800, "extensions": 17790, "events.k8s.io": 17750, "authentication.k8s.io": 17700,
    "authorization.k8s.io": 17600, "autoscaling": 17500, "batch": 17400, "certificates.k8s.io": 17300,
    "networking.k8s.io": 17200, "policy": 17100, "rbac.authorization.k8s.io": 17000, "storage.k8s.io": 16800,
    "apiextensions.k8s.io": 16700, "admissionregistration.k8s.io": 16700, "scheduling.k8s.io": 16600,
    "coordination.k8s.io": 16500, "node.k8s.io": 16300, "discovery.k8s.io": 16200,
}  # fmt: skip
#: Those of the groups that custom kinds make.
CUSTOM = (1000, 100)


def api_service(group: str, version: str, *, custom: bool = False) -> Object:
    """The object that says that this server itself serves a version of a group."""
    priority = CUSTOM if custom else (PRIORITIES.get(group, 100), {"v2": 30, "v1": 15}.get(version, 9))
    spec = {"groupPriorityMinimum": priority[0], "version": version, "versionPriority": priority[1] if group else 1}
    return {
        "kind": "APIService", "apiVersion": "apiregistration.k8s.io/v1",
        "metadata": {"name": f"{version}.{group}", "labels": {AUTOMANAGED: "true" if custom else "onstart"}},
        "spec": {"group": group, **spec} if group else spec,
    }  # fmt: skip


def ensure_api_services(api: Api) -> None:
    """Creates what is missing for the built-in groups; that they are available, a controller says. Idempotent."""
    services = api.kinds("APIService")
    for group, version in dict.fromkeys((r.group, r.version) for r in api.registry.all() if not r.custom):
        if group == services.group or api.find(services, None, f"{version}.{group}") is not None:
            continue  # the aggregator does not list itself
        api.create(services, None, api_service(group, version))
