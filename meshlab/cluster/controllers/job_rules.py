"""What a Job makes of its pods' ends: indexes, failure policy, success policy. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from meshlab.cluster.controllers.objects import Obj, key_of, parse_time, phase_of

__all__ = ["INDEX", "Verdict", "Weight", "ended_at", "index_of", "indexed_pod", "indexes", "ranges", "success",
           "weigh"]  # fmt: skip

#: Annotation and label of a pod of an Indexed job.
INDEX = "batch.kubernetes.io/job-completion-index"


def index_of(pod: Mapping[str, Any]) -> int:
    """The pod's index; -1 for one without."""
    text = (pod["metadata"].get("annotations") or {}).get(INDEX, "")
    return int(text) if text.isdecimal() else -1


def ranges(numbers: Iterable[int]) -> str:
    """As the status writes indexes.

    >>> ranges([5, 0, 1, 2, 7, 8])
    '0-2,5,7,8'
    """
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ",".join(str(p[0]) if len(p) == 1 else f"{p[0]}{',' if len(p) == 2 else '-'}{p[-1]}" for p in parts)


def indexes(text: str) -> set[int]:
    """The other way.

    >>> sorted(indexes("0-2,5"))
    [0, 1, 2, 5]
    """
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def indexed_pod(pod: Obj, job: Mapping[str, Any], number: int) -> Obj:
    """A pod of an Indexed job: it knows its index by annotation, label, host name and variable."""
    meta, name = pod["metadata"], job["metadata"]["name"]
    variable = {"name": "JOB_COMPLETION_INDEX",
                "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{INDEX}']"}}}

    def told(container: Mapping[str, Any]) -> Obj:
        given = container.get("env") or []
        known = any(each["name"] == variable["name"] for each in given)
        return {**container, "env": [*given, *([] if known else [variable])]}

    spec = dict(pod["spec"])
    for field in ("containers", "initContainers"):
        if spec.get(field):
            spec[field] = [told(container) for container in spec[field]]
    spec["hostname"] = f"{name}-{number}"
    return {**pod, "spec": spec, "metadata": {
        **meta, "generateName": f"{name}-{number}-",
        "annotations": {**(meta.get("annotations") or {}), INDEX: str(number)},
        "labels": {**meta["labels"], INDEX: str(number)},
    }}


class Weight(Enum):
    """What a failed pod means to its job."""

    COUNT = "Count"
    IGNORE = "Ignore"
    FAIL_JOB = "FailJob"
    FAIL_INDEX = "FailIndex"


@dataclass(frozen=True)
class Verdict:
    """The end of a job: condition type, reason and message."""

    kind: str
    reason: str
    message: str


def weigh(policy: Mapping[str, Any] | None, pod: Mapping[str, Any]) -> tuple[Weight, str]:
    """What the first matching rule of a podFailurePolicy makes of a failed pod, and in which words."""
    for number, rule in enumerate((policy or {}).get("rules") or []):
        action = Weight(rule["action"])
        if (codes := rule.get("onExitCodes")) and (found := _by_code(codes, pod)):
            return action, (f"Container {found[0]} for pod {'/'.join(key_of(pod))} failed with exit code {found[1]} "
                            f"matching {action.value} rule at index {number}")
        for pattern in rule.get("onPodConditions") or []:
            for condition in (pod.get("status") or {}).get("conditions") or []:
                if (condition["type"], condition["status"]) == (pattern["type"], pattern.get("status", "True")):
                    return action, (f"Pod {'/'.join(key_of(pod))} has condition {pattern['type']} matching "
                                    f"{action.value} rule at index {number}")
    return Weight.COUNT, ""


def _by_code(codes: Mapping[str, Any], pod: Mapping[str, Any]) -> tuple[str, int] | None:
    status = pod.get("status") or {}
    for container in [*(status.get("containerStatuses") or []), *(status.get("initContainerStatuses") or [])]:
        ended = (container.get("state") or {}).get("terminated")
        if ended is None or ended["exitCode"] == 0:
            continue
        if codes.get("containerName", container["name"]) != container["name"]:
            continue
        if (ended["exitCode"] in codes["values"]) is (codes["operator"] == "In"):
            return container["name"], ended["exitCode"]
    return None


def success(policy: Mapping[str, Any] | None, done: set[int]) -> Verdict | None:
    """The end that a successPolicy finds in the indexes that have succeeded."""
    for number, rule in enumerate((policy or {}).get("rules") or []):
        within = indexes(rule["succeededIndexes"]) if rule.get("succeededIndexes") else None
        hits = done if within is None else done & within
        wanted = rule.get("succeededCount")
        if len(hits) >= int(wanted) if wanted is not None else within is not None and hits == within:
            return Verdict("Complete", "SuccessPolicy", f"Matched rules at index {number}")
    return None


def ended_at(pods: Sequence[Mapping[str, Any]]) -> datetime | None:
    """When the last of these failed pods ended."""
    ends = [container["state"]["terminated"].get("finishedAt") for pod in pods if phase_of(pod) == "Failed"
            for container in pod["status"].get("containerStatuses") or [] if "terminated" in container["state"]]
    return max((parse_time(end) for end in ends if end), default=None)
