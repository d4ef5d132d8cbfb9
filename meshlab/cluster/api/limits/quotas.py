"""ResourceQuota: what each object counts for, and whether one more fits. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from meshlab.cluster.api.limits.amounts import Amounts, added, amounts, of_pod, shown

__all__ = ["counts", "refusal", "usage"]

Object = Mapping[str, Any]
ONE = (Fraction(1), "decimal")
#: Kinds that quotas count by their plain names; all others by `count/plural.group`.
PLAIN = {"configmaps", "persistentvolumeclaims", "pods", "replicationcontrollers", "resourcequotas", "secrets",
         "services"}  # fmt: skip
#: What pods use by requesting it.
COMPUTE = ("cpu", "memory", "ephemeral-storage")


def usage(group: str, plural: str, obj: Object) -> Amounts:
    """What one object counts for, of everything that a quota can name."""
    used: Amounts = {f"count/{plural}.{group}" if group else f"count/{plural}": ONE}
    if group:
        return used
    if plural == "pods":
        if (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            return used
        return {**used, **_of_pod(obj)}
    if plural in PLAIN:
        used[plural] = ONE
    spec = obj.get("spec") or {}
    if plural == "services":
        ports = spec.get("ports") or ()
        if spec.get("type") in ("NodePort", "LoadBalancer"):
            used["services.nodeports"] = (Fraction(len(ports)), "decimal")
        if spec.get("type") == "LoadBalancer":
            used["services.loadbalancers"] = ONE
    if plural == "persistentvolumeclaims":
        storage = amounts((spec.get("resources") or {}).get("requests")).get("storage")
        name = spec.get("storageClassName")
        prefix = f"{name}.storageclass.storage.k8s.io/"
        if name:
            used[prefix + "persistentvolumeclaims"] = ONE
        if storage:
            used["requests.storage"] = storage
            if name:
                used[prefix + "requests.storage"] = storage
    return used


def _of_pod(pod: Object) -> Amounts:
    requests, limits = of_pod(pod, "requests"), of_pod(pod, "limits")
    used = {"pods": ONE}
    for name, amount in requests.items():
        used[f"requests.{name}"] = amount
        if name in COMPUTE:
            used[name] = amount
    for name, amount in limits.items():
        used[f"limits.{name}"] = amount
    return used


def counts(quota: Object, group: str, plural: str, obj: Object) -> bool:
    """Whether a quota's scopes take an object in. Scopes mean pods only."""
    spec = quota.get("spec") or {}
    wanted = [{"scopeName": name, "operator": "Exists"} for name in spec.get("scopes") or ()]
    wanted += (spec.get("scopeSelector") or {}).get("matchExpressions") or ()
    if not wanted:
        return True
    return (group, plural) == ("", "pods") and all(_in_scope(scope, obj) for scope in wanted)


def _in_scope(scope: Mapping[str, Any], pod: Object) -> bool:
    spec = pod.get("spec") or {}
    best_effort = not any(
        (c.get("resources") or {}).get(key) for c in spec.get("containers") or () for key in ("requests", "limits")
    )
    match scope["scopeName"]:
        case "BestEffort":
            return best_effort
        case "NotBestEffort":
            return not best_effort
        case "Terminating":
            return spec.get("activeDeadlineSeconds") is not None
        case "NotTerminating":
            return spec.get("activeDeadlineSeconds") is None
        case "PriorityClass":
            name, values = spec.get("priorityClassName") or "", scope.get("values") or ()
            return {
                "In": name in values, "NotIn": name not in values, "Exists": bool(name), "DoesNotExist": not name,
            }.get(scope.get("operator", ""), False)
    return False


def refusal(quota: Object, group: str, plural: str, obj: Object, used: Amounts, before: Object | None) -> str:
    """Why an object does not fit into a quota of which `used` is taken; "" where it does.

    `before` is what the object was, where it is changed: only what it takes more counts.
    """
    name = quota["metadata"]["name"]
    hard = amounts((quota.get("spec") or {}).get("hard"))
    if (group, plural) == ("", "pods") and before is None and (missing := _unstated(hard, obj)):
        return f"failed quota: {name}: must specify {missing}"
    wanted = usage(group, plural, obj)
    had = usage(group, plural, before) if before is not None else {}
    more = added(wanted, {key: (-value, form) for key, (value, form) in had.items()})
    asked = {key: more[key] for key in hard if key in more and more[key][0] > 0}
    over = [key for key, (value, _) in asked.items() if used.get(key, (Fraction(0), ""))[0] + value > hard[key][0]]
    if not over:
        return ""
    taken = {key: used.get(key, (Fraction(0), hard[key][1])) for key in over}
    return (
        f"exceeded quota: {name}, requested: {shown(asked, over)}, used: {shown(taken, over)}, "
        f"limited: {shown(hard, over)}"
    )


def _unstated(hard: Iterable[str], pod: Object) -> str:
    """What a quota limits and some container does not state: `limits.cpu for: main; requests.memory for: main`."""
    spec = pod.get("spec") or {}
    found = []
    for key in sorted(hard):
        what, _, name = key.partition(".")
        if key in COMPUTE:
            what, name = "requests", key
        elif what not in ("requests", "limits") or name not in COMPUTE:
            continue
        lacking = [
            c["name"] for c in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
            if name not in ((c.get("resources") or {}).get(what) or {})
        ]
        if lacking:
            found.append(f"{key} for: {','.join(sorted(lacking))}")
    return "; ".join(found)
