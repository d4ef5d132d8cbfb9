"""Rules of quotas and limit ranges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from meshlab.cluster.api import formats
from meshlab.cluster.api.causes import Cause, duplicate, forbidden, invalid, required
from meshlab.cluster.api.quantity import parse

__all__ = ["limit_range", "quota"]

Object = Mapping[str, Any]
#: What is counted in whole numbers.
COUNTED = frozenset((
    "configmaps", "persistentvolumeclaims", "pods", "replicationcontrollers", "resourcequotas", "secrets", "services",
    "services.loadbalancers", "services.nodeports",
))  # fmt: skip
#: What may be limited without a domain in its name; huge pages of any size may, too.
MEASURED = frozenset((
    "cpu", "ephemeral-storage", "limits.cpu", "limits.ephemeral-storage", "limits.memory", "memory", "requests.cpu",
    "requests.ephemeral-storage", "requests.memory", "requests.storage",
))  # fmt: skip
HUGE = ("hugepages-", "requests.hugepages-")
#: What a quota may be for, and what of pods all scopes can be about.
SCOPES = ("Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity",
          "VolumeAttributesClass")  # fmt: skip
OF_PODS = frozenset(
    (
        "pods",
        "cpu",
        "memory",
        "ephemeral-storage",
        *(f"{kind}.{name}" for kind in ("limits", "requests") for name in ("cpu", "memory", "ephemeral-storage")),
    )
)
#: Which amount of a limit range may not be above which, whose field is named, whose value is shown, and how both are
#: called.
ORDER = (
    ("min", "max", "min", "min", "min", "max"),
    ("min", "defaultRequest", "defaultRequest", "defaultRequest", "min", "default request"),
    ("defaultRequest", "max", "defaultRequest", "defaultRequest", "default request", "max"),
    ("defaultRequest", "default", "defaultRequest", "defaultRequest", "default request", "default limit"),
    ("min", "default", "default", "min", "min", "default"),
    ("default", "max", "default", "max", "default", "max"),
)


def quota(obj: Object, old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    hard, scopes = spec.get("hard") or {}, list(spec.get("scopes") or ())
    causes: list[Cause] = []
    for name, value in sorted(hard.items()):
        path = f"spec.hard[{name}]"
        reasons = formats.label_key(name)
        if not reasons and "/" not in name and name not in COUNTED | MEASURED and not name.startswith(HUGE):
            reasons = ["must be a standard resource for quota"]
        causes += [invalid(path, name, why) for why in reasons]
        amount = parse(value)[0]
        if amount < 0:
            causes.append(invalid(path, value, "must be greater than or equal to 0"))
        if name in COUNTED and amount % 1:
            causes.append(invalid(path, value, "must be an integer"))
    causes += _scopes(scopes, hard)
    before = list(((old or {}).get("spec") or {}).get("scopes") or ())
    if old is not None and set(scopes) != set(before):
        causes.append(invalid("spec.scopes", scopes, "field is immutable"))
    return causes


def _scopes(scopes: list[str], hard: Mapping[str, Any]) -> list[Cause]:
    causes: list[Cause] = []
    standard = {name for name in hard if name in COUNTED | MEASURED}
    for scope in scopes:
        if scope not in SCOPES:
            causes.append(invalid("spec.scopes", scopes, "unsupported scope"))
        elif scope != "VolumeAttributesClass" and standard - ({"pods"} if scope == "BestEffort" else OF_PODS):
            causes.append(invalid("spec.scopes", scopes, "unsupported scope applied to resource"))
    for pair in (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")):
        if set(pair) <= set(scopes):
            causes.append(invalid("spec.scopes", scopes, "conflicting scopes"))
    return causes


def limit_range(obj: Object, _old: Object | None) -> list[Cause]:
    causes: list[Cause] = []
    kinds: set[str] = set()
    for i, item in enumerate((obj.get("spec") or {}).get("limits") or ()):
        path, kind = f"spec.limits[{i}]", item.get("type") or ""
        if kind in kinds:
            causes.append(duplicate(f"{path}.type", kind))
        kinds.add(kind)
        if kind == "Pod":
            causes += [
                forbidden(f"{path}.{key}", "may not be specified when `type` is 'Pod'")
                for key in ("default", "defaultRequest")
                if item.get(key)
            ]
        if kind == "PersistentVolumeClaim" and not any("storage" in item.get(key, {}) for key in ("min", "max")):
            why = "either minimum or maximum storage value is required, but neither was provided"
            causes.append(required(f"{path}.limits", why))
        causes += _disorder(path, item)
    return causes


def _disorder(path: str, item: Object) -> Iterator[Cause]:
    amounts = {key: item.get(key) or {} for key in ("min", "max", "default", "defaultRequest", "maxLimitRequestRatio")}
    for name in sorted({name for values in amounts.values() for name in values}):
        at = {key: values[name] for key, values in amounts.items() if name in values}
        for low, high, field, shown, lower, higher in ORDER:
            if low in at and high in at and parse(at[low])[0] > parse(at[high])[0]:
                why = f"{lower} value {at[low]} is greater than {higher} value {at[high]}"
                yield invalid(f"{path}.{field}[{name}]", at[shown], why)
        if (ratio := at.get("maxLimitRequestRatio")) is not None and parse(ratio)[0] < 1:
            yield invalid(f"{path}.maxLimitRequestRatio[{name}]", ratio, f"ratio {ratio} is less than 1")
