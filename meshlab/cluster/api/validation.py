"""Whether an object may be stored: the reasons why not, as a real server words and orders them.

`validate` expects an object that was decoded (`strict`) and defaulted (`defaults`). Rules are written for the version
in which a kind is stored, as a real server validates one internal version. The schemas of custom resources are the
matter of `structural`; their metadata is checked here (`validate_metadata`).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from meshlab.cluster.api.causes import Cause, duplicate, forbidden, required
from meshlab.cluster.api.convert import convert, stored_version
from meshlab.cluster.api.validate_meta import built_in_finalizers, metadata, metadata_update, name_shape

__all__ = ["Cause", "ResourceLike", "validate", "validate_metadata"]

Object = Mapping[str, Any]
Rule = Callable[[Object, Object | None], list[Cause]]


class ResourceLike(Protocol):
    """What these functions need to know of a kind."""

    @property
    def group(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def plural(self) -> str: ...
    @property
    def namespaced(self) -> bool: ...


#: Module and function with a kind's own rules, by group and kind.
RULES: dict[tuple[str, str], tuple[str, str]] = {
    ("", "ConfigMap"): ("other", "config_map"),
    ("", "Secret"): ("other", "secret"),
    ("", "PersistentVolume"): ("storage", "volume"),
    ("", "PersistentVolumeClaim"): ("storage", "claim"),
    ("", "ResourceQuota"): ("limits", "quota"),
    ("", "LimitRange"): ("limits", "limit_range"),
    ("", "Event"): ("other", "event"),
    ("", "Service"): ("services", "service"),
    ("", "Endpoints"): ("network", "endpoints"),
    ("", "PodTemplate"): ("workloads", "pod_template"),
    ("", "ReplicationController"): ("workloads", "replication_controller"),
    ("apps", "Deployment"): ("workloads", "deployment"),
    ("apps", "ReplicaSet"): ("workloads", "replicaset"),
    ("apps", "DaemonSet"): ("workloads", "daemonset"),
    ("apps", "StatefulSet"): ("workloads", "statefulset"),
    ("batch", "Job"): ("jobs", "job"),
    ("batch", "CronJob"): ("jobs", "cronjob"),
    ("autoscaling", "HorizontalPodAutoscaler"): ("autoscaling", "autoscaler"),
    ("policy", "PodDisruptionBudget"): ("other", "disruption_budget"),
    ("coordination.k8s.io", "Lease"): ("other", "lease"),
    ("discovery.k8s.io", "EndpointSlice"): ("network", "endpointslice"),
    ("networking.k8s.io", "Ingress"): ("network", "ingress"),
    ("networking.k8s.io", "IngressClass"): ("network", "ingress_class"),
    ("networking.k8s.io", "NetworkPolicy"): ("network", "network_policy"),
    ("rbac.authorization.k8s.io", "Role"): ("access", "role"),
    ("rbac.authorization.k8s.io", "ClusterRole"): ("access", "role"),
    ("rbac.authorization.k8s.io", "RoleBinding"): ("access", "role_binding"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): ("access", "role_binding"),
    ("storage.k8s.io", "StorageClass"): ("storage", "storage_class"),
    ("node.k8s.io", "RuntimeClass"): ("other", "runtime_class"),
    ("scheduling.k8s.io", "PriorityClass"): ("other", "priority_class"),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"): ("other", "webhooks"),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): ("other", "webhooks"),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"): ("policies", "policy"),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"): ("policies", "binding"),
    ("certificates.k8s.io", "CertificateSigningRequest"): ("certificates", "request"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"): ("definition", "definition"),
}
#: Ends of the groups by which the API is extended: their objects may have any finalizers.
EXTENDING = ("extensions.k8s.io", "registration.k8s.io")


def validate_metadata(obj: Object, resource: ResourceLike, *, old: Object | None = None) -> list[Cause]:
    """What may be wrong with any kind's metadata."""
    meta = obj.get("metadata") or {}
    if old is not None:
        return metadata_update(meta, old.get("metadata") or {})
    group = stored_version(f"{resource.group}/{resource.version}", resource.kind).rpartition("/")[0]
    return metadata(meta, name_shape(group, resource.kind), namespaced=resource.namespaced)


def validate(
    obj: Object, resource: ResourceLike, *, old: Object | None = None, subresource: str | None = None
) -> list[Cause]:
    """Every reason why `obj` may not be stored; with `old`, why it may not replace that. Empty where it may.

    Metadata's reasons come first. A write to `status` or `scale` is checked for its metadata only: the rest of the
    object is the stored one.
    """
    causes = validate_metadata(obj, resource, old=old)
    if not resource.group.endswith(EXTENDING):
        causes += built_in_finalizers((obj.get("metadata") or {}).get("finalizers") or ())
    if subresource == "ephemeralcontainers" and old is not None:
        return causes + _guests(obj, old)
    if subresource == "status" and (resource.group, resource.kind) == ("", "Service"):
        from meshlab.cluster.api.validate_services import service_status

        return causes + service_status(obj)
    if subresource is not None:
        return causes
    stored = stored_version(f"{resource.group}/{resource.version}".removeprefix("/"), resource.kind)
    obj, old = _in(obj, stored), None if old is None else _in(old, stored)
    group, kind = stored.rpartition("/")[0], resource.kind
    if (group, kind) == ("", "Pod"):
        return causes + _pod(obj, old)
    if found := RULES.get((group, kind)):
        module = importlib.import_module(f"meshlab.cluster.api.validate_{found[0]}")
        rule: Rule = getattr(module, found[1])
        causes += rule(obj, old)
    return causes


def _guests(obj: Object, old: Object) -> list[Cause]:
    """Containers are added to a pod that runs; those that were added stay as they are."""
    path = "spec.ephemeralContainers"
    before = (old.get("spec") or {}).get("ephemeralContainers") or ()
    now = (obj.get("spec") or {}).get("ephemeralContainers") or ()
    causes: list[Cause] = []
    by_name = {guest.get("name"): guest for guest in now}
    for i, guest in enumerate(before):
        if by_name.get(guest["name"]) != guest:
            why = "existing ephemeral containers \"" + guest["name"] + "\" may not be " + (
                "changed" if guest["name"] in by_name else "removed")
            causes.append(forbidden(f"{path}[{i}]" if guest["name"] in by_name else path, why))
    spec = obj.get("spec") or {}
    others = {c.get("name") for key in ("containers", "initContainers") for c in spec.get(key) or ()}
    for i, guest in enumerate(now):
        name = guest.get("name") or ""
        if not name:
            causes.append(required(f"{path}[{i}].name"))
        elif name in others or len([each for each in now if each.get("name") == name]) > 1:
            causes.append(duplicate(f"{path}[{i}].name", name))
        if not guest.get("image"):
            causes.append(required(f"{path}[{i}].image"))
        refused = ("ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resources")
        causes += [forbidden(f"{path}[{i}].{key}", "cannot be set for an Ephemeral Container")
                   for key in refused if guest.get(key)]
    return causes


def _in(obj: Object, api_version: str) -> Object:
    if obj.get("apiVersion") in (None, api_version):
        return obj
    return convert(obj, api_version)


def _pod(obj: Object, old: Object | None) -> list[Cause]:
    from meshlab.cluster.api.validate_pod import pod
    from meshlab.cluster.api.validate_pod_update import pod_update

    if old is None:
        return pod(obj, new=True)
    return pod(obj, new=False) + pod_update(obj.get("spec") or {}, old.get("spec") or {})
