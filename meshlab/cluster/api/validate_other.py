"""Rules of configuration, accounts, RBAC, storage, autoscaling, webhooks and events."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from meshlab.cluster.api import formats
from meshlab.cluster.api.causes import Cause, duplicate, forbidden, invalid, required, too_long, unsupported
from meshlab.cluster.api.quantity import parse
from meshlab.cluster.api.validate_client import client_config
from meshlab.cluster.api.validate_meta import immutable, non_negative, selector

__all__ = [
    "autoscaler", "claim", "config_map", "disruption_budget", "event", "lease", "priority_class", "role",
    "role_binding", "secret", "storage_class", "volume", "webhooks",
]  # fmt: skip

Object = Mapping[str, Any]
#: ConfigMaps and Secrets hold at most a mebibyte.
DATA_LIMIT = 1024 * 1024
RBAC = "rbac.authorization.k8s.io"
ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
#: Fields of structs that a real server shows by their names in Go, in its order.
REFERENCE = (("APIGroup", "apiGroup"), ("Kind", "kind"), ("Name", "name"))
BUDGET = (("MinAvailable", "minAvailable"), ("Selector", "selector"), ("MaxUnavailable", "maxUnavailable"),
          ("UnhealthyPodEvictionPolicy", "unhealthyPodEvictionPolicy"))  # fmt: skip
#: What Secrets of a type must hold.
SECRET_KEYS = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}


def _unchanged(obj: Object, old: Object | None, keys: tuple[str, ...]) -> list[Cause]:
    """An object marked immutable stays so, with its data."""
    if old is None or not old.get("immutable"):
        return []
    if not obj.get("immutable"):
        return [forbidden("immutable", "field is immutable when `immutable` is set")]
    return [
        forbidden(key, "field is immutable when `immutable` is set")
        for key in keys
        if (obj.get(key) or {}) != (old.get(key) or {})
    ]


def config_map(obj: Object, old: Object | None) -> list[Cause]:
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    causes = _unchanged(obj, old, ("data", "binaryData"))
    size = 0
    for key, value in sorted(data.items()):
        causes += [invalid(f"data[{key}]", key, why) for why in formats.config_key(key)]
        if key in binary:
            causes.append(invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
        size += len(value.encode())
    for key, value in sorted(binary.items()):
        causes += [invalid(f"binaryData[{key}]", key, why) for why in formats.config_key(key)]
        size += len(_decoded(value))
    if size > DATA_LIMIT:
        causes.append(too_long("", DATA_LIMIT))
    return causes


def _decoded(value: str) -> bytes:
    try:
        return base64.b64decode(value)
    except binascii.Error:  # the decoder refused it before
        return b""


def secret(obj: Object, old: Object | None) -> list[Cause]:
    data, kind = obj.get("data") or {}, obj.get("type") or "Opaque"
    causes: list[Cause] = []
    if old is not None:
        causes += immutable("type", kind, old.get("type") or "Opaque")
        causes += _unchanged(obj, old, ("data",))
    size = 0
    for key, value in sorted(data.items()):
        causes += [invalid(f"data[{key}]", key, why) for why in formats.config_key(key)]
        size += len(_decoded(value))
    if size > DATA_LIMIT:
        causes.append(too_long("data", DATA_LIMIT))
    if kind == "kubernetes.io/service-account-token":
        name = "kubernetes.io/service-account.name"
        if not ((obj.get("metadata") or {}).get("annotations") or {}).get(name):
            causes.append(required(f"metadata.annotations[{name}]"))
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & set(data):
        causes += [required(f"data[%s][{key}]") for key in ("username", "password")]
    for key in SECRET_KEYS.get(kind, ()):
        if key not in data:
            path = f"data[%s][{key}]" if kind == "kubernetes.io/ssh-auth" else f"data[{key}]"
            causes.append(required(path))
        elif key.startswith(".docker"):
            try:
                json.loads(_decoded(data[key]))
            except ValueError:
                why = "invalid character 'x' looking for beginning of value"
                causes.append(invalid(f"data[{key}]", "<secret contents redacted>", why))
    return causes


def role(obj: Object, _old: Object | None) -> list[Cause]:
    causes: list[Cause] = []
    for i, rule in enumerate(obj.get("rules") or ()):
        path = f"rules[{i}]"
        if not rule.get("verbs"):
            causes.append(required(f"{path}.verbs", "verbs must contain at least one value"))
        if rule.get("nonResourceURLs"):
            if obj.get("kind") == "Role":
                why = "namespaced rules cannot apply to non-resource URLs"
                causes.append(invalid(f"{path}.nonResourceURLs", rule["nonResourceURLs"], why))
            if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
                why = "rules cannot apply to both regular resources and non-resource URLs"
                causes.append(invalid(f"{path}.nonResourceURLs", rule["nonResourceURLs"], why))
            continue
        if not rule.get("apiGroups"):
            causes.append(required(f"{path}.apiGroups", "resource rules must supply at least one api group"))
        if not rule.get("resources"):
            causes.append(required(f"{path}.resources", "resource rules must supply at least one resource"))
    return causes


def role_binding(obj: Object, old: Object | None) -> list[Cause]:
    reference = obj.get("roleRef") or {}
    causes: list[Cause] = []
    if reference.get("apiGroup") != RBAC:
        causes.append(unsupported("roleRef.apiGroup", reference.get("apiGroup") or "", (RBAC,)))
    kinds = ("Role", "ClusterRole") if obj.get("kind") == "RoleBinding" else ("ClusterRole",)
    if reference.get("kind") not in kinds:
        causes.append(unsupported("roleRef.kind", reference.get("kind") or "", kinds))
    if not reference.get("name"):
        causes.append(required("roleRef.name"))
    for i, subject in enumerate(obj.get("subjects") or ()):
        causes += _subject(f"subjects[{i}]", subject, namespaced=obj.get("kind") == "RoleBinding")
    if old is not None and reference != (old.get("roleRef") or {}):
        shown = {name: reference.get(key) or "" for name, key in REFERENCE}
        causes.append(invalid("roleRef", shown, "cannot change roleRef"))
    return causes


def _subject(path: str, subject: Object, *, namespaced: bool) -> list[Cause]:
    kind, group = subject.get("kind") or "", subject.get("apiGroup") or ""
    causes: list[Cause] = []
    if not subject.get("name"):
        causes.append(required(f"{path}.name"))
    if kind == "ServiceAccount":
        if name := subject.get("name"):
            causes += [invalid(f"{path}.name", name, why) for why in formats.dns_subdomain(name)]
        if group:
            causes.append(unsupported(f"{path}.apiGroup", group, ("",)))
        if not namespaced and not subject.get("namespace"):
            causes.append(required(f"{path}.namespace"))
    elif kind in ("User", "Group"):
        if group != RBAC:
            causes.append(unsupported(f"{path}.apiGroup", group, (RBAC,)))
    else:
        causes.append(unsupported(f"{path}.kind", kind, ("ServiceAccount", "User", "Group")))
    return causes


def claim(obj: Object, old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    modes = spec.get("accessModes") or ()
    if not modes:
        causes.append(required("spec.accessModes", "at least 1 access mode is required"))
    if chosen := spec.get("selector"):
        causes += selector("spec.selector", chosen)
    causes += [unsupported("spec.accessModes", m, ACCESS_MODES) for m in modes if m not in ACCESS_MODES]
    size = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if size is None:
        causes.append(required("spec.resources[storage]"))
    elif parse(size)[0] <= 0:
        causes.append(invalid("spec.resources[storage]", size, "must be greater than zero"))
    if name := spec.get("storageClassName"):
        causes += [invalid("spec.storageClassName", name, why) for why in formats.dns_subdomain(name)]
    if old is not None:
        free = ("resources", "volumeAttributesClassName", "volumeName", "storageClassName")
        before = old.get("spec") or {}
        kept = {k: v for k, v in spec.items() if k not in free}
        changed = kept != {k: v for k, v in before.items() if k not in free}
        for key in ("volumeName", "storageClassName"):
            changed = changed or (bool(before.get(key)) and spec.get(key) != before.get(key))
        if changed:
            why = (
                "spec is immutable after creation except resources.requests and volumeAttributesClassName for "
                "bound claims"
            )
            causes.append(forbidden("spec", why))
    return causes


def volume(obj: Object, _old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    modes = spec.get("accessModes") or ()
    if not modes:
        causes.append(required("spec.accessModes"))
    causes += [unsupported("spec.accessModes", m, ACCESS_MODES) for m in modes if m not in ACCESS_MODES]
    capacity = spec.get("capacity") or {}
    if not capacity:
        causes.append(required("spec.capacity"))
    elif "storage" not in capacity or len(capacity) > 1:
        causes.append(unsupported("spec.capacity", dict(capacity), ("storage",)))
    policy, known = spec.get("persistentVolumeReclaimPolicy"), ("Delete", "Recycle", "Retain")
    if policy and policy not in known:
        causes.append(unsupported("spec.persistentVolumeReclaimPolicy", policy, known))
    return causes


def storage_class(obj: Object, old: Object | None) -> list[Cause]:
    causes: list[Cause] = []
    provisioner = obj.get("provisioner") or ""
    if not provisioner:
        causes.append(required("provisioner"))
    policy = obj.get("reclaimPolicy")
    if policy and policy not in ("Delete", "Retain"):
        causes.append(unsupported("reclaimPolicy", policy, ("Delete", "Retain")))
    mode = obj.get("volumeBindingMode")
    if mode not in ("Immediate", "WaitForFirstConsumer"):
        causes.append(unsupported("volumeBindingMode", mode, ("Immediate", "WaitForFirstConsumer")))
    if old is not None:
        if (obj.get("parameters") or {}) != (old.get("parameters") or {}):
            causes.append(forbidden("parameters", "updates to parameters are forbidden."))
        if provisioner != old.get("provisioner"):
            causes.append(forbidden("provisioner", "updates to provisioner are forbidden."))
        if policy != old.get("reclaimPolicy"):
            causes.append(forbidden("reclaimPolicy", "updates to reclaimPolicy are forbidden."))
        causes += immutable("volumeBindingMode", mode, old.get("volumeBindingMode"))
    return causes


def priority_class(obj: Object, old: Object | None) -> list[Cause]:
    name, value = (obj.get("metadata") or {}).get("name") or "", obj.get("value", 0)
    causes: list[Cause] = []
    if name.startswith("system-") and name not in ("system-cluster-critical", "system-node-critical"):
        why = "priority class names with 'system-' prefix are reserved for system use only. error: "
        causes.append(forbidden("metadata.name", f"{why}{name} is not a known system priority class"))
    if value > 1_000_000_000 and not name.startswith("system-"):
        causes.append(forbidden("value", "maximum allowed value of a user defined priority is 1000000000"))
    if old is not None:
        if value != old.get("value", 0):
            causes.append(forbidden("value", "may not be changed in an update."))
        causes += immutable("preemptionPolicy", obj.get("preemptionPolicy"), old.get("preemptionPolicy"))
    return causes


def autoscaler(obj: Object, _old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    low, high = spec.get("minReplicas"), spec.get("maxReplicas", 0)
    causes: list[Cause] = []
    if low is not None and low < 1:
        causes.append(invalid("spec.minReplicas", low, "must be greater than or equal to 1"))
    if high < 1:
        causes.append(invalid("spec.maxReplicas", high, "must be greater than 0"))
    if low is not None and high < low:
        why = "must be greater than or equal to `minReplicas`"
        causes.append(invalid("spec.maxReplicas", high, why))
    target = spec.get("scaleTargetRef") or {}
    for key in ("kind", "name"):
        if not target.get(key):
            causes.append(required(f"spec.scaleTargetRef.{key}"))
        else:
            reasons = formats.path_segment(target[key])
            causes += [invalid(f"spec.scaleTargetRef.{key}", target[key], why) for why in reasons]
    for i, metric in enumerate(spec.get("metrics") or ()):
        kind = metric.get("type") or ""
        known = ("ContainerResource", "External", "Object", "Pods", "Resource")
        if not kind:
            causes.append(required(f"spec.metrics[{i}].type", "must specify a metric source type"))
        elif kind not in known:
            causes.append(unsupported(f"spec.metrics[{i}].type", kind, known))
    return causes


def disruption_budget(obj: Object, _old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        why = "minAvailable and maxUnavailable cannot be both set"
        causes.append(invalid("spec", {name: spec.get(key) for name, key in BUDGET}, why))
    for key in ("minAvailable", "maxUnavailable"):
        value = spec.get(key)
        if isinstance(value, int):
            causes += non_negative(f"spec.{key}", value)
        elif value is not None:
            digits = value[:-1].lstrip("0")
            over = len(digits) > 3 or (digits.isdigit() and int(digits) > 100)
            reasons = formats.percent(value) or (["must not be greater than 100%"] if over else [])
            causes += [invalid(f"spec.{key}", value, why) for why in reasons]
    return causes + selector("spec.selector", spec.get("selector") or {})


def lease(obj: Object, _old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    seconds, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if seconds is not None and seconds <= 0:
        causes.append(invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0"))
    if transitions is not None and transitions < 0:
        causes.append(invalid("spec.leaseTransitions", transitions, "must be greater than or equal to 0"))
    return causes


def event(obj: Object, _old: Object | None) -> list[Cause]:
    involved = (obj.get("involvedObject") or {}).get("namespace") or ""
    here = (obj.get("metadata") or {}).get("namespace") or ""
    if involved and here != involved:
        return [invalid("involvedObject.namespace", involved, "does not match event.namespace")]
    if not involved and here not in ("", "default", "kube-system"):
        return [invalid("involvedObject.namespace", involved, "does not match event.namespace")]
    return []


def webhooks(obj: Object, _old: Object | None) -> list[Cause]:
    causes: list[Cause] = []
    names: set[str] = set()
    for i, hook in enumerate(obj.get("webhooks") or ()):
        path, name = f"webhooks[{i}]", hook.get("name") or ""
        if not name:
            causes.append(required(f"{path}.name"))
        elif reasons := formats.dns_subdomain(name):
            causes.append(invalid(f"{path}.name", name, ",".join(reasons)))
        elif name.count(".") < 2:
            why = "should be a domain with at least three segments separated by dots"
            causes.append(invalid(f"{path}.name", name, why))
        if name in names:
            causes.append(duplicate(f"{path}.name", name))
        names.add(name)
        for key, known in (("failurePolicy", ("Fail", "Ignore")), ("matchPolicy", ("Equivalent", "Exact"))):
            if hook.get(key) not in known:
                causes.append(unsupported(f"{path}.{key}", hook.get(key), known))
        effects = hook.get("sideEffects")
        if effects is None:
            why = "must specify one of None, NoneOnDryRun"
            causes.append(required(f"{path}.sideEffects", why))
        elif effects not in ("None", "NoneOnDryRun"):
            causes.append(unsupported(f"{path}.sideEffects", effects, ("None", "NoneOnDryRun")))
        seconds = hook.get("timeoutSeconds", 10)
        if not 1 <= seconds <= 30:
            why = "the timeout value must be between 1 and 30 seconds"
            causes.append(invalid(f"{path}.timeoutSeconds", seconds, why))
        causes += client_config(f"{path}.clientConfig", hook.get("clientConfig") or {})
        for chosen in ("namespaceSelector", "objectSelector"):
            causes += selector(f"{path}.{chosen}", hook.get(chosen) or {})
        if not hook.get("admissionReviewVersions"):
            why = "must specify one of v1, v1beta1"
            causes.append(required(f"{path}.admissionReviewVersions", why))
        for j, rule in enumerate(hook.get("rules") or ()):
            for key in ("operations", "apiGroups", "apiVersions", "resources"):
                if not rule.get(key):
                    causes.append(required(f"{path}.rules[{j}].{key}"))
    return causes
