"""PodDisruptionBudgets: how many of the chosen pods may be evicted now.

The budget's status is what an eviction is decided by; see the API server's `eviction`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from meshlab.cluster.api.selectors import selector_object
from meshlab.cluster.api.status import NotFound
from meshlab.cluster.controllers.events import Recorder
from meshlab.cluster.controllers.objects import (
    Key,
    Obj,
    controller_of,
    is_active,
    is_ready,
    key_of,
    now,
    parse_time,
    with_condition,
)
from meshlab.cluster.controllers.queue import Source
from meshlab.cluster.controllers.rollout import share

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["DisruptionController", "healthy_wanted"]

#: Seconds for which an eviction that was allowed is expected to show as a deletion; a real controller's number.
PATIENCE = 120.0


def healthy_wanted(spec: Mapping[str, Any], expected: int) -> int:
    """Pods that must stay healthy of `expected` ones.

    >>> healthy_wanted({"minAvailable": "50%"}, 3), healthy_wanted({"maxUnavailable": 1}, 3)
    (2, 2)
    """
    least = spec.get("minAvailable")
    if least is not None:
        return least if isinstance(least, int) else share(least, expected, up=True)
    most = spec.get("maxUnavailable")
    if most is None:
        return 0
    return max(0, expected - share(most, expected, up=True))


class DisruptionController:
    """Keeps the status of every budget."""

    name = "disruption-controller"
    kind = ("policy/v1", "PodDisruptionBudget")

    def __init__(self, api: Api) -> None:
        self._api = api
        self._resource, self._pods = api.kinds("PodDisruptionBudget"), api.kinds("Pod")
        self._events = Recorder(api, "controllermanager")

    @property
    def sources(self) -> Sequence[Source]:
        scaled = [Source(kind, lambda _, obj: self._in_namespace(obj))
                  for kind in ("Deployment", "ReplicaSet", "StatefulSet", "ReplicationController")]
        return [Source("PodDisruptionBudget", lambda _, obj: [key_of(obj)]),
                Source("Pod", lambda _, pod: self._of_pod(pod)), *scaled]

    def _in_namespace(self, obj: Obj) -> Iterable[Key]:
        return [key_of(budget) for budget in self._api.list(self._resource, obj["metadata"]["namespace"])[0]]

    def _of_pod(self, pod: Obj) -> Iterable[Key]:
        budgets, _ = self._api.list(self._resource, pod["metadata"]["namespace"])
        return [key_of(budget) for budget in budgets if selector_object(budget["spec"].get("selector"))(pod)]

    def reconcile(self, key: Key) -> float | None:
        budget = self._api.find(self._resource, *key)
        if budget is None:
            return None
        spec, before = budget["spec"], budget.get("status") or {}
        match = selector_object(spec.get("selector"))
        pods = [pod for pod in self._api.list(self._pods, key[0])[0] if match(pod) and is_active(pod)]
        if not pods:
            self._events.event(budget, "PodDisruptionBudget", "policy/v1", "NoPods", "No matching pods found")
        moment = datetime.now(UTC)
        disrupted = self._underway(before.get("disruptedPods") or {}, pods, moment)
        expected = self._expected(spec, pods)
        healthy = sum(1 for pod in pods if is_ready(pod) and pod["metadata"]["name"] not in disrupted)
        wanted = healthy_wanted(spec, expected)
        allowed = max(0, healthy - wanted) if expected > 0 else 0
        enough = allowed > 0
        conditions = with_condition(before.get("conditions") or [], "DisruptionAllowed", str(enough),
                                    "SufficientPods" if enough else "InsufficientPods", "", now())
        for condition in conditions:
            condition.pop("lastUpdateTime", None)
            condition["observedGeneration"] = budget["metadata"].get("generation", 1)
        status: Obj = {
            "conditions": conditions, "currentHealthy": healthy, "desiredHealthy": wanted,
            "disruptionsAllowed": allowed, "expectedPods": expected,
            "observedGeneration": budget["metadata"].get("generation", 1),
            **({"disruptedPods": disrupted} if disrupted else {}),
        }
        if status != before:
            self._api.update(self._resource, *key, {**budget, "status": status}, subresource="status", user=self.name)
        return PATIENCE if disrupted else None

    @staticmethod
    def _underway(noted: Mapping[str, str], pods: Sequence[Obj], moment: datetime) -> dict[str, str]:
        """Evictions that were allowed a moment ago and whose pods do not show it yet."""
        names = {pod["metadata"]["name"] for pod in pods}
        return {name: when for name, when in noted.items()
                if name in names and moment - parse_time(when) < timedelta(seconds=PATIENCE)}

    def _expected(self, spec: Mapping[str, Any], pods: Sequence[Obj]) -> int:
        """How many pods there should be: what their controllers want, where the budget is relative to that."""
        if isinstance(spec.get("minAvailable"), int):
            return len(pods)
        total, seen = 0, set[str]()
        for pod in pods:
            reference = controller_of(pod)
            owner = None if reference is None else self._owner(pod["metadata"]["namespace"], reference)
            if owner is None:
                total += 1  # nobody says how many there should be
            elif owner["metadata"]["uid"] not in seen:
                seen.add(owner["metadata"]["uid"])
                total += int(owner["spec"].get("replicas", 1))
        return total

    def _owner(self, namespace: str, reference: Mapping[str, Any]) -> Obj | None:
        """What says how many pods there should be: for a ReplicaSet of a Deployment that Deployment."""
        try:
            resource = self._api.resource(reference["apiVersion"], reference["kind"])
        except NotFound:
            return None
        if "scale" not in resource.subresources:
            return None
        owner = self._api.find(resource, namespace, reference["name"])
        if owner is None or owner["metadata"]["uid"] != reference["uid"]:
            return None
        above = controller_of(owner)
        return owner if above is None else self._owner(namespace, above) or owner
