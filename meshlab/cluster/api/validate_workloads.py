"""Rules of what keeps pods: Deployments, ReplicaSets, ReplicationControllers, StatefulSets and DaemonSets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshlab.cluster.api import formats
from meshlab.cluster.api.causes import Cause, forbidden, go_struct, invalid, required, unsupported
from meshlab.cluster.api.validate_meta import immutable, non_negative, selector, selects
from meshlab.cluster.api.validate_pod import template

__all__ = ["daemonset", "deployment", "pod_template", "replicaset", "replication_controller", "statefulset"]

Object = Mapping[str, Any]


def deployment(obj: Object, old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = non_negative("spec.replicas", spec.get("replicas"))
    causes += _selector(spec, "deployment")
    causes += _template_of_selector(spec)
    causes += _deployment_strategy(spec.get("strategy") or {})
    for key in ("minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"):
        causes += non_negative(f"spec.{key}", spec.get(key))
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline >= 0 and deadline <= spec.get("minReadySeconds", 0):
        why = "must be greater than minReadySeconds"
        causes.append(invalid("spec.progressDeadlineSeconds", deadline, why))
    return causes + _same_selector(spec, old)


def pod_template(obj: Object, old: Object | None) -> list[Cause]:
    return template("template", obj.get("template") or {})


def replicaset(obj: Object, old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = [*non_negative("spec.replicas", spec.get("replicas")),
              *non_negative("spec.minReadySeconds", spec.get("minReadySeconds"))]  # fmt: skip
    causes += _selector(spec, "deployment")
    if not spec.get("template"):
        causes.append(required("spec.template"))
    else:
        causes += _template_of_selector(spec)
    return causes + _same_selector(spec, old)


def replication_controller(obj: Object, old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    chosen = spec.get("selector") or {}
    causes = non_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    if not chosen:
        causes.append(required("spec.selector"))
    causes += non_negative("spec.replicas", spec.get("replicas"))
    if not spec.get("template"):
        return [*causes, required("spec.template")]
    return causes + _template_of_selector({**spec, "selector": {"matchLabels": chosen}})


def daemonset(obj: Object, old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    chosen = spec.get("selector") or {}
    causes = selector("spec.selector", chosen)
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if not _selects_anything(chosen):
        causes.append(invalid("spec.selector", dict(chosen), "empty selector is invalid for daemonset"))
    elif not selects(chosen, labels):
        why = "`selector` does not match template `labels`"
        causes.append(invalid("spec.template.metadata.labels", dict(sorted(labels.items())), why))
    causes += template("spec.template", spec.get("template") or {})
    causes += _restart_policy("spec.template.spec", spec, ("Always",))
    causes += non_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    causes += _daemon_strategy("spec.updateStrategy", spec.get("updateStrategy") or {})
    causes += non_negative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"))
    return causes + _same_selector(spec, old)


def _daemon_strategy(path: str, strategy: Object) -> list[Cause]:
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    if kind == "OnDelete":
        return []
    if kind != "RollingUpdate":
        return [unsupported(path, go_struct(strategy, "Type", "RollingUpdate"), ("RollingUpdate", "OnDelete"))]
    if rolling is None:
        return [required(f"{path}.rollingUpdate")]
    path += ".rollingUpdate"
    causes: list[Cause] = []
    for key in ("maxUnavailable", "maxSurge"):
        causes += _int_or_percent(f"{path}.{key}", rolling.get(key, 0))
    for key in ("maxUnavailable", "maxSurge"):
        causes += _at_most_all(f"{path}.{key}", rolling.get(key, 0))
    most, surge = _number(rolling.get("maxUnavailable", 0)), _number(rolling.get("maxSurge", 0))
    if most and surge:
        causes.append(
            invalid(f"{path}.maxSurge", rolling["maxSurge"], "may not be set when maxUnavailable is non-zero")
        )
    elif not most and not surge:
        causes.append(required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0"))
    return causes


#: What may change in a StatefulSet.
STATEFUL = ("replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit",
            "persistentVolumeClaimRetentionPolicy", "minReadySeconds")  # fmt: skip


def statefulset(obj: Object, old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    policy = spec.get("podManagementPolicy")
    if policy not in ("OrderedReady", "Parallel"):
        why = "must be 'OrderedReady' or 'Parallel'"
        causes.append(invalid("spec.podManagementPolicy", policy, why))
    strategy = spec.get("updateStrategy") or {}
    causes += _stateful_strategy("spec.updateStrategy", strategy)
    kept = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for key in ("whenDeleted", "whenScaled"):
        if kept and kept.get(key) not in ("Retain", "Delete"):
            path = f"spec.persistentVolumeClaimRetentionPolicy.{key}"
            causes.append(unsupported(path, kept.get(key) or "", ("Retain", "Delete")))
    for key in ("replicas", "minReadySeconds", "revisionHistoryLimit"):
        causes += non_negative(f"spec.{key}", spec.get(key))
    causes += non_negative("spec.ordinals.start", (spec.get("ordinals") or {}).get("start"))
    if old is None and (name := spec.get("serviceName")):
        causes += [invalid("spec.serviceName", name, why) for why in formats.dns_subdomain(name)]
    causes += _selector(spec, "statefulset")
    causes += _template_of_selector({**spec, "template": _with_claims(spec)})
    if old is not None:
        before = {k: v for k, v in (old.get("spec") or {}).items() if k not in STATEFUL}
        if before != {k: v for k, v in spec.items() if k not in STATEFUL}:
            why = (
                "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
                "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and "
                "'minReadySeconds' are forbidden"
            )
            causes.append(forbidden("spec", why))
    return causes


def _stateful_strategy(path: str, strategy: Object) -> list[Cause]:
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    if kind not in ("RollingUpdate", "OnDelete"):
        shown = go_struct(strategy, "Type", "RollingUpdate")
        return [invalid(path, shown, "must be 'RollingUpdate' or 'OnDelete'")]
    if rolling is None:
        return []
    path += ".rollingUpdate"
    if kind == "OnDelete":
        shown = go_struct(rolling, "Partition", "MaxUnavailable", Partition=0)
        return [invalid(path, shown, "only allowed for updateStrategy 'RollingUpdate'")]
    causes = non_negative(f"{path}.partition", rolling.get("partition", 0))
    if (most := rolling.get("maxUnavailable")) is not None:
        causes += _int_or_percent(f"{path}.maxUnavailable", most)
        if _number(most) == 0:
            causes.append(invalid(f"{path}.maxUnavailable", most, "cannot be 0"))
        causes += _at_most_all(f"{path}.maxUnavailable", most)
    return causes


def _with_claims(spec: Object) -> Object:
    """A StatefulSet's template with the volumes that its claims will be."""
    template = spec.get("template") or {}
    pod = template.get("spec") or {}
    volumes = list(pod.get("volumes") or ())
    known = {volume.get("name") for volume in volumes}
    claims = [(claim.get("metadata") or {}).get("name") for claim in spec.get("volumeClaimTemplates") or ()]
    made = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims if name not in known]
    return {**template, "spec": {**pod, "volumes": [*volumes, *made]}} if made else template


def _selects_anything(value: Object) -> bool:
    return bool(value.get("matchLabels") or value.get("matchExpressions"))


def _selector(spec: Object, kind: str) -> list[Cause]:
    chosen = spec.get("selector")
    if chosen is None:
        return [required("spec.selector")]
    causes = selector("spec.selector", chosen)
    if not _selects_anything(chosen):
        causes.append(invalid("spec.selector", dict(chosen), f"empty selector is invalid for {kind}"))
    return causes


def _template_of_selector(spec: Object) -> list[Cause]:
    chosen, made = spec.get("selector"), spec.get("template") or {}
    causes: list[Cause] = []
    labels = (made.get("metadata") or {}).get("labels") or {}
    # No selector selects nothing, an empty one everything.
    if chosen is None or (_selects_anything(chosen) and not selects(chosen, labels)):
        why = "`selector` does not match template `labels`"
        causes.append(invalid("spec.template.metadata.labels", dict(sorted(labels.items())) or None, why))
    causes += template("spec.template", made)
    causes += _restart_policy("spec.template.spec", spec, ("Always",))
    if (made.get("spec") or {}).get("activeDeadlineSeconds") is not None:
        where = "spec.template.spec.activeDeadlineSeconds"
        causes.append(forbidden(where, "activeDeadlineSeconds in ReplicaSet is not Supported"))
    return causes


def _restart_policy(path: str, spec: Object, allowed: tuple[str, ...]) -> list[Cause]:
    policy = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy")
    return [] if policy in allowed else [unsupported(f"{path}.restartPolicy", policy, allowed)]


def _deployment_strategy(strategy: Object) -> list[Cause]:
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    path = "spec.strategy"
    if kind == "Recreate":
        if rolling is None:
            return []
        why = "may not be specified when strategy `type` is 'Recreate'"
        return [forbidden(f"{path}.rollingUpdate", why)]
    if kind != "RollingUpdate":
        return [unsupported(path, go_struct(strategy, "Type", "RollingUpdate"), ("Recreate", "RollingUpdate"))]
    if rolling is None:
        return [required(f"{path}.rollingUpdate", "this should be defaulted and never be nil")]
    path += ".rollingUpdate"
    most, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    causes = [*_int_or_percent(f"{path}.maxUnavailable", most), *_int_or_percent(f"{path}.maxSurge", surge)]
    if _number(most) == 0 and _number(surge) == 0:
        causes.append(invalid(f"{path}.maxUnavailable", most, "may not be 0 when `maxSurge` is 0"))
    return causes + _at_most_all(f"{path}.maxUnavailable", most)


def _at_most_all(path: str, value: Any) -> list[Cause]:
    much = isinstance(value, str) and _number(value) > 100
    return [invalid(path, value, "must not be greater than 100%")] if much else []


def _int_or_percent(path: str, value: Any) -> list[Cause]:
    if isinstance(value, int):
        return non_negative(path, value)
    return [invalid(path, value, why) for why in formats.percent(str(value))]


def _number(value: Any) -> int:
    if isinstance(value, int):
        return value
    digits = str(value).removesuffix("%")
    return int(digits) if digits.isdigit() else 0


def _same_selector(spec: Object, old: Object | None) -> list[Cause]:
    if old is None:
        return []
    return immutable("spec.selector", spec.get("selector"), (old.get("spec") or {}).get("selector"))
