"""What may change in a pod that exists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from meshlab.cluster.api.causes import Cause, forbidden

__all__ = ["pod_update"]

Object = Mapping[str, Any]
#: A real server's own words.
CHANGEABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def pod_update(new: Object, old: Object) -> list[Cause]:
    """What may not change in a pod's spec."""
    causes: list[Cause] = []
    for kind in ("containers", "initContainers"):
        if len(new.get(kind) or ()) != len(old.get(kind) or ()):
            causes.append(forbidden(f"spec.{kind}", "pod updates may not add or remove containers"))
    if causes:
        return causes
    tolerations = new.get("tolerations") or []
    if any(t not in tolerations for t in old.get("tolerations") or ()):
        why = "existing toleration can not be modified except its tolerationSeconds"
        if not all(_same_but_seconds(t, tolerations) for t in old.get("tolerations") or ()):
            causes.append(forbidden("spec.tolerations", why))
    # The node is set once, by the binding of the scheduler.
    ignored = ("activeDeadlineSeconds", "tolerations", "nodeName" if not old.get("nodeName") else "")
    if _fixed(new, ignored) != _fixed(old, ignored):
        causes.append(forbidden("spec", f"{CHANGEABLE}\n{_difference(new, old, ignored)}"))
    return causes


def _same_but_seconds(toleration: Object, others: Sequence[Object]) -> bool:
    def rest(item: Object) -> Object:
        return {k: v for k, v in item.items() if k != "tolerationSeconds"}

    return any(rest(toleration) == rest(other) for other in others)


def _fixed(spec: Object, ignored: Iterable[str]) -> Object:
    kept = {key: value for key, value in spec.items() if key not in ignored}
    for kind in ("containers", "initContainers"):
        if kind in kept:
            kept[kind] = [{k: v for k, v in c.items() if k not in ("image", "resources")} for c in kept[kind]]
    return kept


def _difference(new: Object, old: Object, ignored: Iterable[str]) -> str:
    """Which fields differ; a real server prints Go structs here."""
    before, after = _fixed(old, ignored), _fixed(new, ignored)
    changed = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
    return "".join(f"  - {key}: {before.get(key)!r}\n  + {key}: {after.get(key)!r}\n" for key in changed)
