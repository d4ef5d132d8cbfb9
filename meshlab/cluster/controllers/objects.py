"""Small questions that every controller asks of objects: who owns this, is it ready, what time is it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

__all__ = [
    "Key",
    "Obj",
    "condition_of",
    "controller_of",
    "is_active",
    "is_available",
    "is_ready",
    "key_of",
    "now",
    "owner_reference",
    "parse_time",
    "phase_of",
    "timestamp",
    "with_condition",
]

#: An object of the API, as plain JSON. Those that the Api hands out are shared: copy before changing.
Obj = dict[str, Any]
#: (namespace, name); the namespace is "" for what has none.
Key = tuple[str, str]


def timestamp(when: datetime) -> str:
    """RFC 3339 in UTC, whole seconds, as metav1.Time has it."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def now() -> str:
    return timestamp(datetime.now(UTC))


def parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def key_of(obj: Mapping[str, Any]) -> Key:
    meta = obj["metadata"]
    return meta.get("namespace") or "", meta["name"]


def controller_of(obj: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The ownerReference that has `controller: true`."""
    references: Iterable[Mapping[str, Any]] = obj["metadata"].get("ownerReferences") or []
    return next((reference for reference in references if reference.get("controller")), None)


def owner_reference(owner: Mapping[str, Any], api_version: str, kind: str) -> Obj:
    """The reference that a controller writes into what it makes for `owner`."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def condition_of(obj: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    """The condition of this type in the object's status."""
    conditions: Iterable[Mapping[str, Any]] = (obj.get("status") or {}).get("conditions") or []
    return next((condition for condition in conditions if condition["type"] == kind), None)


def with_condition(conditions: Iterable[Mapping[str, Any]], kind: str, status: str, reason: str, message: str,
                   at: str) -> list[Obj]:
    """`conditions` with that one set: its times move only when its status or its words change."""
    result: list[Obj] = []
    fresh: Obj = {"type": kind, "status": status, "lastUpdateTime": at, "lastTransitionTime": at, "reason": reason,
                  "message": message}
    for condition in conditions:
        if condition["type"] != kind:
            result.append(dict(condition))
        elif (condition["status"], condition.get("reason")) == (status, reason):
            fresh = {**condition, "message": message}
            if condition.get("message") != message:
                fresh["lastUpdateTime"] = at
        elif condition["status"] == status:
            fresh["lastTransitionTime"] = condition.get("lastTransitionTime", at)
    return [*result, fresh]


def phase_of(pod: Mapping[str, Any]) -> str:
    """Pending, Running, Succeeded or Failed; "" before anybody has said."""
    return str((pod.get("status") or {}).get("phase") or "")


def is_active(pod: Mapping[str, Any]) -> bool:
    """Neither finished nor being deleted: it counts as a replica."""
    return phase_of(pod) not in ("Succeeded", "Failed") and not pod["metadata"].get("deletionTimestamp")


def is_ready(pod: Mapping[str, Any]) -> bool:
    ready = condition_of(pod, "Ready")
    return ready is not None and ready["status"] == "True"


def is_available(pod: Mapping[str, Any], seconds: float, at: datetime) -> bool:
    """Ready for at least `seconds` (minReadySeconds)."""
    ready = condition_of(pod, "Ready")
    if ready is None or ready["status"] != "True":
        return False
    return seconds <= 0 or (at - parse_time(ready["lastTransitionTime"])).total_seconds() >= seconds
