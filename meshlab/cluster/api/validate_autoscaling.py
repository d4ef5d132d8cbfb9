"""Rules of HorizontalPodAutoscalers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshlab.cluster.api import formats
from meshlab.cluster.api.causes import Cause, forbidden, invalid, required, unsupported
from meshlab.cluster.api.quantity import canonical, parse

__all__ = ["autoscaler"]

Object = Mapping[str, Any]
SOURCES = ("ContainerResource", "External", "Object", "Pods", "Resource")
#: Their fields, in the order in which a real server looks for them.
KEYS = ("object", "external", "pods", "resource", "containerResource")
#: Seconds.
LONGEST_WINDOW, LONGEST_PERIOD = 3600, 1800


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
        causes += _metric(f"spec.metrics[{i}]", metric)
    for key in ("scaleUp", "scaleDown"):
        if (rules := (spec.get("behavior") or {}).get(key)) is not None:
            causes += _pace(f"spec.behavior.{key}", rules)
    return causes


def _metric(path: str, metric: Object) -> list[Cause]:
    kind = metric.get("type") or ""
    causes: list[Cause] = []
    if not kind:
        causes.append(required(f"{path}.type", "must specify a metric source type"))
    if kind not in SOURCES:
        causes.append(unsupported(f"{path}.type", kind, SOURCES))
    present = [key for key in KEYS if metric.get(key) is not None]
    if present:
        causes += _source(f"{path}.{present[0]}", present[0], metric[present[0]])
    expected = kind[:1].lower() + kind[1:]
    if kind in SOURCES and expected not in present:
        causes.append(required(f"{path}.{expected}", "must populate information for the given metric source"))
    if len(present) != 1:
        why = "must populate the given metric source only"
        causes += [forbidden(f"{path}.{key}", why) for key in present if key != expected]
    return causes


def _source(path: str, kind: str, source: Object) -> list[Cause]:
    target = source.get("target") or {}
    causes: list[Cause] = []
    if kind == "object":
        described = source.get("describedObject") or {}
        causes += [required(f"{path}.describedObject.{key}") for key in ("kind", "name") if not described.get(key)]
    if kind in ("resource", "containerResource"):
        if not source.get("name"):
            causes.append(required(f"{path}.name", "must specify a resource name"))
        if kind == "containerResource" and not source.get("container"):
            causes.append(required(f"{path}.container", "must specify a container"))
    else:
        name = (source.get("metric") or {}).get("name") or ""
        if not name:
            causes.append(required(f"{path}.metric.name", "must specify a metric name"))
        causes += [invalid(f"{path}.metric.name", name, why) for why in formats.path_segment(name)]
    path += ".target"
    causes += _target(path, target)
    given = {key for key in ("value", "averageValue", "averageUtilization") if target.get(key) is not None}
    if kind in ("resource", "containerResource"):
        if not given & {"averageValue", "averageUtilization"}:
            why = "must set either a target raw value or a target utilization"
            causes.append(required(f"{path}.averageUtilization", why))
        if {"averageValue", "averageUtilization"} <= given:
            why = "may not set both a target raw value and a target utilization"
            causes.append(forbidden(f"{path}.averageValue", why))
    elif kind == "pods":
        if "averageValue" not in given:
            causes.append(required(f"{path}.averageValue", "must specify a positive target averageValue"))
    elif not given & {"value", "averageValue"}:
        why = "must set either a target value for metric or a per-pod target"
        causes.append(required(f"{path}.averageValue", why))
    elif kind == "external" and {"value", "averageValue"} <= given:
        why = "may not set both a target value for metric and a per-pod target"
        causes.append(forbidden(f"{path}.value", why))
    return causes


def _target(path: str, target: Object) -> list[Cause]:
    kind = target.get("type") or ""
    causes: list[Cause] = []
    if not kind:
        causes.append(required(f"{path}.type", "must specify a metric target type"))
    if kind not in ("Utilization", "Value", "AverageValue"):
        causes.append(invalid(f"{path}.type", kind, "must be either Utilization, Value, or AverageValue"))
    for key in ("value", "averageValue"):
        if (value := target.get(key)) is not None and parse(value)[0] <= 0:
            causes.append(invalid(f"{path}.{key}", canonical(value), "must be positive"))
    if (percent := target.get("averageUtilization")) is not None and percent < 1:
        causes.append(invalid(f"{path}.averageUtilization", percent, "must be greater than 0"))
    return causes


def _pace(path: str, rules: Object) -> list[Cause]:
    """How fast one direction may go."""
    window, chosen = rules.get("stabilizationWindowSeconds"), rules.get("selectPolicy")
    causes: list[Cause] = []
    if window is not None and window < 0:
        why = "must be greater than or equal to zero"
        causes.append(invalid(f"{path}.stabilizationWindowSeconds", window, why))
    if window is not None and window > LONGEST_WINDOW:
        why = f"must be less than or equal to {LONGEST_WINDOW}"
        causes.append(invalid(f"{path}.stabilizationWindowSeconds", window, why))
    if chosen is not None and chosen not in ("Disabled", "Max", "Min"):
        causes.append(unsupported(f"{path}.selectPolicy", chosen, ("Disabled", "Max", "Min")))
    if not rules.get("policies"):
        causes.append(required(f"{path}.policies", "must specify at least one Policy"))
    for i, policy in enumerate(rules.get("policies") or ()):
        here, seconds = f"{path}.policies[{i}]", policy.get("periodSeconds", 0)
        if (kind := policy.get("type") or "") not in ("Percent", "Pods"):
            causes.append(unsupported(f"{here}.type", kind, ("Percent", "Pods")))
        for key in ("value", "periodSeconds"):
            if policy.get(key, 0) <= 0:
                causes.append(invalid(f"{here}.{key}", policy.get(key, 0), "must be greater than zero"))
        if seconds > LONGEST_PERIOD:
            causes.append(invalid(f"{here}.periodSeconds", seconds, f"must be less than or equal to {LONGEST_PERIOD}"))
    return causes
