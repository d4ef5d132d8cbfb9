"""Rules of Jobs and CronJobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from meshlab.cluster.api import formats
from meshlab.cluster.api.causes import OMITTED, Cause, duplicate, invalid, required, unsupported
from meshlab.cluster.api.cron import Schedule, ScheduleError
from meshlab.cluster.api.validate_meta import immutable, non_negative, selector, selects
from meshlab.cluster.api.validate_pod import template

__all__ = ["cronjob", "job"]

Object = Mapping[str, Any]
#: Names of CronJobs leave room for the 11 characters that their Jobs' names add.
CRONJOB_NAME_LIMIT = 52
ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
#: What may change in the pods of a Job that has not begun: where they run, and what describes them.
BEFORE_START = (("metadata", ("annotations", "labels")),
                ("spec", ("affinity", "nodeSelector", "schedulingGates", "tolerations")))  # fmt: skip


def job(obj: Object, old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = _job_spec("spec", spec)
    if old is not None:
        before = old.get("spec") or {}
        for key in ("completions", "selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex"):
            if key == "completions" and spec.get("completionMode") == "Indexed":
                continue
            causes += immutable(f"spec.{key}", spec.get(key), before.get(key))
        made, had = spec.get("template"), before.get("template")
        waiting = before.get("suspend") and not (old.get("status") or {}).get("startTime")
        if (_fixed(made) != _fixed(had)) if waiting else made != had:
            causes.append(invalid("spec.template", made, "field is immutable"))
    return causes


def _fixed(made: Any) -> Object:
    """A template without what may change before its Job begins."""
    return {part: {k: v for k, v in ((made or {}).get(part) or {}).items() if k not in free}
            for part, free in BEFORE_START}  # fmt: skip


def _job_spec(path: str, spec: Object, *, in_cronjob: bool = False) -> list[Cause]:
    causes: list[Cause] = []
    for key in ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"):
        causes += non_negative(f"{path}.{key}", spec.get(key))
    chosen = spec.get("selector")
    if not in_cronjob and chosen is None:
        causes.append(required(f"{path}.selector"))
    if chosen and not in_cronjob:
        causes += selector(f"{path}.selector", chosen)
        labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
        if not selects(chosen, labels):
            why = "`selector` does not match template `labels`"
            causes.append(invalid(f"{path}.template.metadata.labels", dict(sorted(labels.items())), why))
    causes += template(f"{path}.template", spec.get("template") or {})
    pod = (spec.get("template") or {}).get("spec") or {}
    policy = pod.get("restartPolicy")
    if (mode := spec.get("completionMode")) is not None and mode not in ("NonIndexed", "Indexed"):
        causes.append(unsupported(f"{path}.completionMode", mode, ("NonIndexed", "Indexed")))
    indexed = mode == "Indexed"
    if indexed and spec.get("completions") is None:
        causes.append(required(f"{path}.completions", "when completion mode is Indexed"))
    for key in ("backoffLimitPerIndex", "maxFailedIndexes", "successPolicy"):
        if spec.get(key) is not None and not indexed:
            value = spec[key] if isinstance(spec[key], int) else dict(spec[key])
            causes.append(invalid(f"{path}.{key}", value, "requires indexed completion mode"))
    failing = spec.get("podFailurePolicy")
    if failing is not None:
        if policy != "Never":
            why = 'only "Never" is supported when podFailurePolicy is specified'
            causes.append(invalid(f"{path}.template.spec.restartPolicy", policy, why))
        names = {c.get("name") for kind in ("containers", "initContainers") for c in pod.get(kind) or ()}
        for i, rule in enumerate(failing.get("rules") or ()):
            causes += _failure_rule(f"{path}.podFailurePolicy.rules[{i}]", rule, names, spec)
    known = ("Failed",) if failing is not None else ("Failed", "TerminatingOrFailed")
    if (replacing := spec.get("podReplacementPolicy")) is not None and replacing not in known:
        causes.append(unsupported(f"{path}.podReplacementPolicy", replacing, known))
    if (manager := spec.get("managedBy")) is not None:
        domain, slash, rest = manager.partition("/")
        if not (domain and slash and rest) or formats.dns_subdomain(domain):
            why = 'must be a domain-prefixed path (such as "acme.io/foo")'
            causes.append(invalid(f"{path}.managedBy", manager, why))
    if policy == "Always":
        why = 'valid values: "OnFailure", "Never"'
        causes.append(required(f"{path}.template.spec.restartPolicy", why))
    elif policy not in ("OnFailure", "Never"):
        causes.append(unsupported(f"{path}.template.spec.restartPolicy", policy, ("OnFailure", "Never")))
    return causes


def _failure_rule(path: str, rule: Object, names: set[str], spec: Object) -> list[Cause]:
    action, codes, conditions = rule.get("action") or "", rule.get("onExitCodes"), rule.get("onPodConditions") or ()
    causes: list[Cause] = []
    if not action:
        listed = " ".join(f'"{each}"' for each in ACTIONS)
        causes.append(required(f"{path}.action", f"valid values: [{listed}]"))
    elif action not in ACTIONS:
        causes.append(unsupported(f"{path}.action", action, ACTIONS))
    elif action == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
        causes.append(invalid(f"{path}.action", action, "requires the backoffLimitPerIndex to be set"))
    if codes is not None:
        causes += _exit_codes(f"{path}.onExitCodes", codes, names)
    for i, condition in enumerate(conditions):
        here, kind = f"{path}.onPodConditions[{i}]", condition.get("type") or ""
        causes += [invalid(f"{here}.type", kind, why) for why in formats.label_key(kind)]
        if (status := condition.get("status") or "") not in ("False", "True", "Unknown"):
            causes.append(unsupported(f"{here}.status", status, ("False", "True", "Unknown")))
    if codes is not None and conditions:
        causes.append(invalid(path, OMITTED, "specifying both OnExitCodes and OnPodConditions is not supported"))
    if codes is None and not conditions:
        causes.append(invalid(path, OMITTED, "specifying one of OnExitCodes and OnPodConditions is required"))
    return causes


def _exit_codes(path: str, codes: Object, names: set[str]) -> list[Cause]:
    operator, values = codes.get("operator") or "", list(codes.get("values") or ())
    causes: list[Cause] = []
    if not operator:
        causes.append(required(f"{path}.operator", 'valid values: ["In" "NotIn"]'))
    elif operator not in ("In", "NotIn"):
        causes.append(unsupported(f"{path}.operator", operator, ("In", "NotIn")))
    if (name := codes.get("containerName")) is not None and name not in names:
        why = "must be one of the container or initContainer names in the pod template"
        causes.append(invalid(f"{path}.containerName", name, why))
    if not values:
        return [*causes, invalid(f"{path}.values", values, "at least one value is required")]
    return causes + _codes(f"{path}.values", values, operator)


def _codes(path: str, values: Sequence[int], operator: str) -> list[Cause]:
    causes: list[Cause] = []
    for i, value in enumerate(values):
        if operator == "In" and value == 0:
            causes.append(invalid(f"{path}[{i}]", value, "must not be 0 for the In operator"))
        if value in values[:i]:
            causes.append(duplicate(f"{path}[{i}]", value))
    if list(values) != sorted(values):
        causes.append(invalid(path, list(values), "must be ordered"))
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
    made, path = (spec.get("jobTemplate") or {}).get("spec") or {}, "spec.jobTemplate.spec"
    causes += _job_spec(path, made, in_cronjob=True)
    if (chosen := made.get("selector")) is not None:
        causes.append(invalid(f"{path}.selector", chosen, "`selector` will be auto-generated"))
    if made.get("manualSelector"):
        causes.append(unsupported(f"{path}.manualSelector", True, ("nil", "false")))
    return causes


def _schedule(text: str) -> str:
    """Why this is no schedule; empty where it is one."""
    if "TZ" in text:
        return "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
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
