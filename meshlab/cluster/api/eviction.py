"""Evictions: deletions that a PodDisruptionBudget may refuse. `kubectl drain` asks for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from meshlab.cluster.api.metadata import timestamp
from meshlab.cluster.api.selectors import selector_object
from meshlab.cluster.api.status import InternalError, TooManyRequests

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["evict"]

Object = dict[str, Any]

REFUSED = "Cannot evict pod as it would violate the pod's disruption budget."


def evict(api: Api, namespace: str, name: str, options: Mapping[str, Any], dry_run: bool) -> None:
    """Delete a pod if its budget allows it. Raises TooManyRequests with the reason, NotFound, Conflict."""
    pods = api.kinds("Pod")
    pod = api.get(pods, namespace, name)
    conditions = options.get("preconditions") or {}
    if _counts(pod):
        _spend(api, pod, dry_run)
        if not dry_run:
            _tell(api, pod)
    api.delete(
        pods, namespace, name, grace=options.get("gracePeriodSeconds"), propagation=options.get("propagationPolicy"),
        uid=conditions.get("uid"), dry_run=dry_run,
    )


def _counts(pod: Mapping[str, Any]) -> bool:
    """Whether a budget has a say: not for pods that have ended, go anyway, or have not begun."""
    phase = (pod.get("status") or {}).get("phase")
    return phase not in ("Succeeded", "Failed", "Pending") and not pod["metadata"].get("deletionTimestamp")


def _spend(api: Api, pod: Mapping[str, Any], dry_run: bool) -> None:
    """Take one disruption from the pod's budget."""
    budgets, meta = api.kinds("PodDisruptionBudget"), pod["metadata"]
    mine = [b for b in api.list(budgets, meta["namespace"])[0] if selector_object(b["spec"].get("selector"))(pod)]
    if not mine:
        return
    if len(mine) > 1:
        raise InternalError(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        )
    budget = mine[0]
    spec, status, title = budget["spec"], budget.get("status") or {}, budget["metadata"]["name"]
    healthy, wanted = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions") or [])
    if not ready and (spec.get("unhealthyPodEvictionPolicy") == "AlwaysAllow" or healthy >= wanted > 0):
        return  # it serves nobody, and those who do are enough
    if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        raise _refused(f"The disruption budget {title} is still being processed by the server.", seconds=10)
    allowed = status.get("disruptionsAllowed", 0)
    if allowed <= 0:
        raise _refused(f"The disruption budget {title} needs {wanted} healthy pods and has {healthy} currently")
    if not dry_run:
        disrupted = {**(status.get("disruptedPods") or {}), meta["name"]: timestamp()}
        spent = {**status, "disruptionsAllowed": allowed - 1, "disruptedPods": disrupted}
        api.update(budgets, meta["namespace"], title, {**budget, "status": spent}, subresource="status")


def _refused(why: str, seconds: int = 0) -> TooManyRequests:
    details: Object = {"causes": [{"reason": "DisruptionBudget", "message": why}]}
    if seconds:
        details["retryAfterSeconds"] = seconds
    return TooManyRequests(REFUSED, details=details)


def _tell(api: Api, pod: Mapping[str, Any]) -> None:
    """The pod says why it goes."""
    at, status = timestamp(), pod.get("status") or {}
    condition = {
        "type": "DisruptionTarget", "status": "True", "lastProbeTime": None, "lastTransitionTime": at,
        "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
    }
    others = [c for c in status.get("conditions") or [] if c["type"] != condition["type"]]
    api.update(
        api.kinds("Pod"), pod["metadata"]["namespace"], pod["metadata"]["name"],
        {**pod, "status": {**status, "conditions": [*others, condition]}}, subresource="status",
    )
