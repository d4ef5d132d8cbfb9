"""LimitRange: what containers, pods and claims get that state nothing, and between which bounds they must be. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any

from meshlab.cluster.api.filling import copied
from meshlab.cluster.api.limits.amounts import Amounts, amounts, of_pod
from meshlab.cluster.api.quantity import written

__all__ = ["refusals", "with_defaults"]

Object = dict[str, Any]
#: Where a pod says what a LimitRange gave it.
NOTE = "kubernetes.io/limit-ranger"


def with_defaults(pod: Object, ranges: Iterable[Mapping[str, Any]]) -> Object:
    """The pod with the default requests and limits of its namespace's LimitRanges; itself where there are none."""
    for limit_range in ranges:
        limits: Object = {}
        requests: Object = {}
        for item in _items(limit_range, "Container"):
            limits |= item.get("default") or {}
            requests |= item.get("defaultRequest") or {}
        if not limits and not requests:
            continue
        pod = copied(pod)
        notes: list[str] = []
        for kind, prefix in (("containers", ""), ("initContainers", "init ")):
            for container in (pod.get("spec") or {}).get(kind) or ():
                notes += _filled(container, requests, limits, prefix)
        if notes:
            annotations = pod["metadata"].setdefault("annotations", {})
            annotations[NOTE] = "LimitRanger plugin set: " + "; ".join(notes)
    return pod


def _items(limit_range: Mapping[str, Any], kind: str) -> Iterator[Mapping[str, Any]]:
    return (i for i in (limit_range.get("spec") or {}).get("limits") or () if i.get("type") == kind)


def _filled(container: Object, requests: Object, limits: Object, prefix: str) -> Iterator[str]:
    resources = container.setdefault("resources", {})
    for key, defaults in (("requests", requests), ("limits", limits)):
        stated = resources.get(key) or {}
        new = {name: value for name, value in defaults.items() if name not in stated}
        if new:
            resources[key] = {**stated, **new}
            yield f"{', '.join(sorted(new))} {key[:-1]} for {prefix}container {container['name']}"


def refusals(kind: str, obj: Mapping[str, Any], ranges: Iterable[Mapping[str, Any]]) -> list[str]:
    """Why an object (a Pod or PersistentVolumeClaim) is not within the bounds."""
    found: list[str] = []
    for limit_range in ranges:
        if kind == "Pod":
            spec = obj.get("spec") or {}
            for item in _items(limit_range, "Container"):
                for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
                    resources = container.get("resources") or {}
                    found += _outside(item, amounts(resources.get("requests")), amounts(resources.get("limits")))
            for item in _items(limit_range, "Pod"):
                found += _outside(item, of_pod(obj, "requests"), of_pod(obj, "limits"))
        elif kind == "PersistentVolumeClaim":
            resources = (obj.get("spec") or {}).get("resources") or {}
            for item in _items(limit_range, kind):
                found += _outside(item, amounts(resources.get("requests")), {}, limited=False)
    return found


def _outside(item: Mapping[str, Any], requests: Amounts, limits: Amounts, *, limited: bool = True) -> Iterator[str]:
    kind = item["type"]

    def value(of: Amounts, name: str) -> Fraction | None:
        return of[name][0] if name in of else None

    for name, (low, form) in sorted(amounts(item.get("min")).items()):
        request, limit = value(requests, name), value(limits, name)
        text = f"minimum {name} usage per {kind} is {written(low, form)}"
        if request is None:
            yield f"{text}.  No request is specified"
        elif request < low:
            yield f"{text}, but request is {written(*requests[name])}"
        elif limit is not None and limit < low:
            yield f"{text}, but limit is {written(*limits[name])}"
    for name, (high, form) in sorted(amounts(item.get("max")).items()):
        request, limit = value(requests, name), value(limits, name)
        text = f"maximum {name} usage per {kind} is {written(high, form)}"
        if limited and limit is None:
            yield f"{text}.  No limit is specified"
        elif limit is not None and limit > high:
            yield f"{text}, but limit is {written(*limits[name])}"
        elif request is not None and request > high:
            yield f"{text}, but request is {written(*requests[name])}"
    for name, (ratio, form) in sorted(amounts(item.get("maxLimitRequestRatio")).items()):
        request, limit = value(requests, name), value(limits, name)
        text = f"{name} max limit to request ratio per {kind} is {written(ratio, form)}"
        if not request:
            yield f"{text}, but no request is specified or request is 0"
        elif not limit:
            yield f"{text}, but no limit is specified or limit is 0"
        elif limit / request > ratio:
            yield f"{text}, but provided ratio is {float(limit / request):f}"
