"""Rules of configuration, disruption budgets, classes of pods, leases, webhooks and events."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from meshlab.cluster.api import formats
from meshlab.cluster.api.causes import Cause, duplicate, forbidden, go_struct, invalid, required, too_long, unsupported
from meshlab.cluster.api.quantity import parse
from meshlab.cluster.api.validate_client import client_config
from meshlab.cluster.api.validate_meta import immutable, labels, non_negative, selector
from meshlab.cluster.api.validate_placement import tolerations

__all__ = ["config_map", "disruption_budget", "event", "lease", "priority_class", "runtime_class", "secret", "webhooks"]

Object = Mapping[str, Any]
#: ConfigMaps and Secrets hold at most a mebibyte.
DATA_LIMIT = 1024 * 1024
EVICTION_POLICIES = ("AlwaysAllow", "IfHealthyBudget")
PREEMPTION = ("PreemptLowerPriority", "Never")
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
        causes.append(too_long("[]", DATA_LIMIT))
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


def priority_class(obj: Object, old: Object | None) -> list[Cause]:
    name, value = (obj.get("metadata") or {}).get("name") or "", obj.get("value", 0)
    causes: list[Cause] = []
    if name.startswith("system-") and name not in ("system-cluster-critical", "system-node-critical"):
        why = "priority class names with 'system-' prefix are reserved for system use only. error: "
        causes.append(forbidden("metadata.name", f"{why}{name} is not a known system priority class"))
    if value > 1_000_000_000 and not name.startswith("system-"):
        causes.append(forbidden("value", "maximum allowed value of a user defined priority is 1000000000"))
    if (preemption := obj.get("preemptionPolicy")) not in PREEMPTION:
        causes.append(unsupported("preemptionPolicy", preemption, PREEMPTION))
    if old is not None:
        if value != old.get("value", 0):
            causes.append(forbidden("value", "may not be changed in an update."))
        causes += immutable("preemptionPolicy", preemption, old.get("preemptionPolicy"))
    return causes


def runtime_class(obj: Object, old: Object | None) -> list[Cause]:
    handler, place = obj.get("handler") or "", obj.get("scheduling") or {}
    if old is not None:
        return immutable("handler", handler, old.get("handler"))
    causes = [invalid("handler", handler, why) for why in formats.dns_label(handler)]
    for name, value in sorted(((obj.get("overhead") or {}).get("podFixed") or {}).items()):
        if parse(value)[0] < 0:
            causes.append(invalid(f"overhead.podFixed[{name}]", value, "must be greater than or equal to 0"))
    causes += labels("scheduling.nodeSelector", place.get("nodeSelector") or {})
    return causes + tolerations("scheduling.tolerations", place.get("tolerations") or ())


def disruption_budget(obj: Object, _old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        why = "minAvailable and maxUnavailable cannot be both set"
        shown = go_struct(spec, "MinAvailable", "Selector", "MaxUnavailable", "UnhealthyPodEvictionPolicy")
        causes.append(invalid("spec", shown, why))
    for key in ("minAvailable", "maxUnavailable"):
        value = spec.get(key)
        if isinstance(value, int):
            causes += non_negative(f"spec.{key}", value)
        elif value is not None:
            digits = value[:-1].lstrip("0")
            over = len(digits) > 3 or (digits.isdigit() and int(digits) > 100)
            reasons = formats.percent(value) or (["must not be greater than 100%"] if over else [])
            causes += [invalid(f"spec.{key}", value, why) for why in reasons]
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None and policy not in EVICTION_POLICIES:
        causes.append(unsupported("spec.unhealthyPodEvictionPolicy", policy, EVICTION_POLICIES))
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
