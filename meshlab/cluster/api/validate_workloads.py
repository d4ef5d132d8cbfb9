"""Rules of what makes pods: Deployments, ReplicaSets, StatefulSets, DaemonSets, Jobs and CronJobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from meshlab.cluster.api import formats
from meshlab.cluster.api.causes import Cause, forbidden, invalid, required, unsupported
from meshlab.cluster.api.cron import Schedule, ScheduleError
from meshlab.cluster.api.validate_meta import immutable, non_negative, selector, selects
from meshlab.cluster.api.validate_pod import template

__all__ = ["cronjob", "daemonset", "deployment", "job", "replicaset", "replication_controller", "statefulset"]

Object = Mapping[str, Any]
#: Names of CronJobs leave room for the 11 characters that their Jobs' names add.
CRONJOB_NAME_LIMIT = 52


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
        causes.append(invalid("spec.template.metadata.labels", dict(labels), why))
    causes += template("spec.template", spec.get("template") or {})
    causes += _restart_policy("spec.template.spec", spec, ("Always",))
    causes += non_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    kind = (spec.get("updateStrategy") or {}).get("type")
    if kind not in ("RollingUpdate", "OnDelete"):
        known = ("RollingUpdate", "OnDelete")
        causes.append(unsupported("spec.updateStrategy", dict(spec.get("updateStrategy") or {}), known))
    return causes + _same_selector(spec, old)


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
    if strategy.get("type") not in ("RollingUpdate", "OnDelete"):
        why = "must be 'RollingUpdate' or 'OnDelete'"
        causes.append(invalid("spec.updateStrategy", dict(strategy), why))
    causes += non_negative("spec.replicas", spec.get("replicas"))
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


def _with_claims(spec: Object) -> Object:
    """A StatefulSet's template with the volumes that its claims will be."""
    template = spec.get("template") or {}
    pod = template.get("spec") or {}
    volumes = list(pod.get("volumes") or ())
    known = {volume.get("name") for volume in volumes}
    claims = [(claim.get("metadata") or {}).get("name") for claim in spec.get("volumeClaimTemplates") or ()]
    made = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims if name not in known]
    return {**template, "spec": {**pod, "volumes": [*volumes, *made]}} if made else template


def job(obj: Object, old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = _job_spec("spec", spec)
    if old is not None:
        before = old.get("spec") or {}
        for key in ("completions", "selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex"):
            if key == "completions" and spec.get("completionMode") == "Indexed":
                continue
            causes += immutable(f"spec.{key}", spec.get(key), before.get(key))
        if not (before.get("suspend") and not (old.get("status") or {}).get("startTime")):
            causes += immutable("spec.template", spec.get("template"), before.get("template"))
    return causes


def _job_spec(path: str, spec: Object) -> list[Cause]:
    causes: list[Cause] = []
    for key in ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"):
        causes += non_negative(f"{path}.{key}", spec.get(key))
    if chosen := spec.get("selector"):
        causes += selector(f"{path}.selector", chosen)
        labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
        if not selects(chosen, labels):
            why = "`selector` does not match template `labels`"
            causes.append(invalid(f"{path}.template.metadata.labels", dict(labels), why))
    causes += template(f"{path}.template", spec.get("template") or {})
    pod = (spec.get("template") or {}).get("spec") or {}
    policy = pod.get("restartPolicy")
    indexed = spec.get("completionMode") == "Indexed"
    if indexed and spec.get("completions") is None:
        causes.append(required(f"{path}.completions", "when completion mode is Indexed"))
    for key in ("backoffLimitPerIndex", "maxFailedIndexes", "successPolicy"):
        if spec.get(key) is not None and not indexed:
            value = spec[key] if isinstance(spec[key], int) else dict(spec[key])
            causes.append(invalid(f"{path}.{key}", value, "requires indexed completion mode"))
    if spec.get("podFailurePolicy") is not None and policy != "Never":
        why = 'only "Never" is supported when podFailurePolicy is specified'
        causes.append(invalid(f"{path}.template.spec.restartPolicy", policy, why))
    if policy == "Always" or policy not in ("OnFailure", "Never"):
        why = 'valid values: "OnFailure", "Never"'
        if policy == "Always":
            causes.append(required(f"{path}.template.spec.restartPolicy", why))
    return causes


def cronjob(obj: Object, old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    name = (obj.get("metadata") or {}).get("name") or ""
    if len(name) > CRONJOB_NAME_LIMIT:
        why = f"must be no more than {CRONJOB_NAME_LIMIT} characters"
        causes.append(invalid("metadata.name", name, why))
    if not spec.get("schedule"):
        causes.append(required("spec.schedule"))
    elif why := _schedule(spec["schedule"]):
        causes.append(invalid("spec.schedule", spec["schedule"], why))
    if (zone := spec.get("timeZone")) is not None:
        causes += [invalid("spec.timeZone", zone, why) for why in _zone(zone)]
    causes += non_negative("spec.startingDeadlineSeconds", spec.get("startingDeadlineSeconds"))
    policy = spec.get("concurrencyPolicy")
    if policy not in ("Allow", "Forbid", "Replace"):
        causes.append(unsupported("spec.concurrencyPolicy", policy, ("Allow", "Forbid", "Replace")))
    for key in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        causes += non_negative(f"spec.{key}", spec.get(key))
    return causes + _job_spec("spec.jobTemplate.spec", (spec.get("jobTemplate") or {}).get("spec") or {})


def _schedule(text: str) -> str:
    """Why this is no schedule; empty where it is one."""
    try:
        Schedule.parse(text)
    except ScheduleError as error:
        return str(error)
    return ""


def _zone(name: str) -> list[str]:
    """Why this is no time zone."""
    if not name:
        return ["timeZone must be nil or non-empty string"]
    if name.lower() == "local":
        return ["timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"]
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return [f"unknown time zone {name}"]
    return []


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
        causes.append(invalid("spec.template.metadata.labels", dict(labels) or None, why))
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
        return [unsupported(path, dict(strategy), ("Recreate", "RollingUpdate"))]
    if rolling is None:
        return [required(f"{path}.rollingUpdate", "this should be defaulted and never be nil")]
    path += ".rollingUpdate"
    most, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    causes = [*_int_or_percent(f"{path}.maxUnavailable", most), *_int_or_percent(f"{path}.maxSurge", surge)]
    if _number(most) == 0 and _number(surge) == 0:
        causes.append(invalid(f"{path}.maxUnavailable", most, "may not be 0 when `maxSurge` is 0"))
    if isinstance(most, str) and _number(most) > 100:
        causes.append(invalid(f"{path}.maxUnavailable", most, "must not be greater than 100%"))
    return causes


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
