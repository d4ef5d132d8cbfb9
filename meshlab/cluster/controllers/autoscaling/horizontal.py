"""HorizontalPodAutoscalers: every 15 seconds, as many replicas as the metrics ask for and the rules allow."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from meshlab.cluster.api import scale
from meshlab.cluster.api.quantity import parse
from meshlab.cluster.api.status import ApiError, NotFound
from meshlab.cluster.api.streams import Usage
from meshlab.cluster.api.webhooks import admitted
from meshlab.cluster.controllers.autoscaling.metrics import FAILURES, Fetch, Found, Reader
from meshlab.cluster.controllers.autoscaling.pace import Pace, Step
from meshlab.cluster.controllers.autoscaling.ratios import NoMetric, Tolerance
from meshlab.cluster.controllers.events import Recorder
from meshlab.cluster.controllers.follow import follow
from meshlab.cluster.controllers.objects import Key, Obj, key_of, now, with_condition

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api
    from meshlab.cluster.api.registry import Resource

__all__ = ["HorizontalController"]

log = logging.getLogger(__name__)

#: Seconds between looks; a real controller's number.
PERIOD = 15.0


@dataclass
class Outcome:
    """What one look has found: replicas, conditions, events."""

    autoscaler: Obj
    conditions: list[Obj]
    current: int = 0
    wanted: int | None = None
    metrics: list[Obj] | None = None
    why: str = ""
    #: reason → message of warnings.
    warnings: dict[str, str] | None = None

    def say(self, kind: str, good: bool, reason: str, message: str) -> None:
        self.conditions = with_condition(self.conditions, kind, str(good), reason, message, now())

    def warn(self, reason: str, message: str) -> None:
        self.warnings = {**(self.warnings or {}), reason: message}


class HorizontalController:
    """`usage` knows what pods use, `fetch` asks the servers of other metrics; None where there is none."""

    name = "horizontal-pod-autoscaler"

    def __init__(self, api: Api, usage: Usage | None, fetch: Fetch | None, *, period: float = PERIOD) -> None:
        self._api, self._usage, self._fetch, self._period = api, usage, fetch, period
        self._resource, self._pods = api.kinds("HorizontalPodAutoscaler"), api.kinds("Pod")
        self._events = Recorder(api, self.name)
        self._paces: dict[str, Pace] = {}
        self._specs: dict[str, Any] = {}
        self._fresh: dict[Key, None] = {}
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(follow(self._api, self._resource, self._note), name="autoscaler: kinds")
            group.create_task(self._look_at_changed(), name="autoscaler: changes")
            while True:
                await asyncio.sleep(self._period)
                for autoscaler in self._api.list(self._resource)[0]:
                    await self.look(key_of(autoscaler))

    def _note(self, kind: str, autoscaler: Obj) -> None:
        """A new or changed specification is looked at without waiting for the next period."""
        uid = autoscaler["metadata"]["uid"]
        if kind == "DELETED":
            self._specs.pop(uid, None)
            self._paces.pop(uid, None)
        elif self._specs.get(uid) != autoscaler["spec"]:
            self._specs[uid] = autoscaler["spec"]
            self._fresh[key_of(autoscaler)] = None
            self._changed.set()

    async def _look_at_changed(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            while self._fresh:
                key = next(iter(self._fresh))
                del self._fresh[key]
                await self.look(key)

    async def look(self, key: Key) -> None:
        """One look at one autoscaler."""
        autoscaler = self._api.find(self._resource, *key)
        if autoscaler is None:
            return
        try:
            outcome = await self._consider(autoscaler)
            user = {"username": f"system:serviceaccount:kube-system:{self.name}", "groups": ["system:serviceaccounts"]}
            await admitted(self._api, lambda: self._act(outcome), user=user)
        except ApiError as error:
            log.info("%s %s: %s", self.name, "/".join(key), error)
        except Exception:
            # A defect of ours in one object must not stop the controller for all others.
            log.exception("%s %s", self.name, "/".join(key))

    # Considering: nothing is written

    async def _consider(self, autoscaler: Obj) -> Outcome:
        outcome = Outcome(autoscaler, list((autoscaler.get("status") or {}).get("conditions") or []))
        spec, namespace = autoscaler["spec"], autoscaler["metadata"]["namespace"]
        try:
            target = self._target(spec["scaleTargetRef"])
            sized = scale.get(self._api, target, namespace, spec["scaleTargetRef"]["name"])
        except ApiError as error:
            message = f"the HPA controller was unable to get the target's current scale: {error.message}"
            outcome.say("AbleToScale", False, "FailedGetScale", message)
            outcome.warn("FailedGetScale", error.message)
            return outcome
        outcome.say("AbleToScale", True, "SucceededGetScale",
                    "the HPA controller was able to get the target's current scale")
        current = outcome.current = int((sized.get("spec") or {}).get("replicas") or 0)
        low, high = int(spec.get("minReplicas") or 1), int(spec["maxReplicas"])
        if current == 0 and low != 0:
            outcome.say("ScalingActive", False, "ScalingDisabled",
                        "scaling is disabled since the replica count of the target is zero")
            return outcome
        if current > high:
            outcome.wanted, outcome.why = high, "Current number of replicas above Spec.MaxReplicas"
            return outcome
        if current < low:
            outcome.wanted, outcome.why = low, "Current number of replicas below Spec.MinReplicas"
            return outcome
        chosen = str((sized.get("status") or {}).get("selector") or "")
        pods = self._api.list(self._pods, namespace, label_selector=chosen)[0] if chosen else []
        reader = Reader(self._usage, self._fetch, namespace, pods, current, chosen, _tolerance(spec),
                        datetime.now(UTC))
        best = await self._asked(outcome, reader, spec.get("metrics") or [])
        if best is not None:
            self._follow(outcome, best)
        return outcome

    async def _asked(self, outcome: Outcome, reader: Reader, metrics: Sequence[Mapping[str, Any]]) -> Found | None:
        """The metric that asks for most. None if that cannot be said: nothing is scaled then."""
        found: list[Found] = []
        failures: list[tuple[str, str]] = []
        for metric in metrics:
            try:
                found.append(await reader.read(metric))
            except NoMetric as failure:
                failures.append((FAILURES[metric["type"]], _words(metric, str(failure))))
        outcome.metrics = [each.status for each in found]
        best = max(found, key=lambda each: each.replicas, default=None)
        for reason, message in failures:
            outcome.warn(reason, message)
        if best is None or (failures and best.replicas < outcome.current):
            reason, message = failures[0]
            outcome.say("ScalingActive", False, reason, f"the HPA was unable to compute the replica count: {message}")
            outcome.warn("FailedComputeMetricsReplicas", f"invalid metrics ({len(failures)} invalid out of "
                         f"{len(metrics)}), first error is: failed to get {_value_of(metrics[0])}: {message}")
            return None
        outcome.say("ScalingActive", True, "ValidMetricFound",
                    f"the HPA was able to successfully calculate a replica count from {best.name}")
        return best

    def _follow(self, outcome: Outcome, best: Found) -> None:
        meta, spec = outcome.autoscaler["metadata"], outcome.autoscaler["spec"]
        pace = self._paces.setdefault(meta["uid"], Pace())
        step: Step = pace.step(spec, outcome.current, best.replicas, time.monotonic())
        outcome.say("AbleToScale", True, *step.able)
        outcome.say("ScalingLimited", step.is_limited, *step.limited)
        if step.replicas != outcome.current:
            outcome.wanted = step.replicas
            outcome.why = f"{best.name} above target" if best.replicas > outcome.current else "All metrics below target"

    # Acting

    def _act(self, outcome: Outcome) -> None:
        autoscaler, current = outcome.autoscaler, outcome.current
        meta, spec = autoscaler["metadata"], autoscaler["spec"]
        wanted = outcome.wanted
        rescaled = wanted is not None and wanted != current
        if rescaled and wanted is not None:
            target = self._target(spec["scaleTargetRef"])
            name = spec["scaleTargetRef"]["name"]
            sized = scale.get(self._api, target, meta["namespace"], name)
            scale.update(self._api, target, meta["namespace"], name, {**sized, "spec": {"replicas": wanted}},
                         user="kube-controller-manager", dry_run=False)
            outcome.say("AbleToScale", True, "SucceededRescale",
                        f"the HPA controller was able to update the target scale to {wanted}")
            self._paces.setdefault(meta["uid"], Pace()).note(wanted - current, time.monotonic())
            self._event(autoscaler, "SuccessfulRescale", f"New size: {wanted}; reason: {outcome.why}")
        for reason, message in (outcome.warnings or {}).items():
            self._event(autoscaler, reason, message, warning=True)
        before = autoscaler.get("status") or {}
        conditions = [{k: v for k, v in c.items() if k != "lastUpdateTime"} for c in outcome.conditions]
        order = ("AbleToScale", "ScalingActive", "ScalingLimited")
        conditions.sort(key=lambda c: order.index(c["type"]))
        metrics = before.get("currentMetrics") if outcome.metrics is None else outcome.metrics or None
        status: Obj = {
            **({"lastScaleTime": now()} if rescaled else
               {"lastScaleTime": before["lastScaleTime"]} if before.get("lastScaleTime") else {}),
            "currentReplicas": current,
            "desiredReplicas": current if wanted is None else wanted,
            "currentMetrics": metrics,
            "conditions": conditions,
        }
        if status != before:
            self._api.update(self._resource, *key_of(autoscaler), {**autoscaler, "status": status},
                             subresource="status", user=self.name)

    def _target(self, reference: Mapping[str, Any]) -> Resource:
        """The kind that is scaled. NotFound if it is not served, or has no scale."""
        api_version, kind = reference.get("apiVersion") or "v1", reference["kind"]
        resource = self._api.registry.by_kind(api_version, kind)
        if resource is None or "scale" not in resource.subresources:
            raise NotFound(f'no matches for kind "{kind}" in group "{api_version.rpartition("/")[0]}"', details={})
        return resource

    def _event(self, autoscaler: Obj, reason: str, message: str, *, warning: bool = False) -> None:
        self._events.event(autoscaler, "HorizontalPodAutoscaler", "autoscaling/v2", reason, message, warning=warning)


def _tolerance(spec: Mapping[str, Any]) -> Tolerance:
    behavior = spec.get("behavior") or {}
    given = {name: (behavior.get(field) or {}).get("tolerance") for name, field in
             (("up", "scaleUp"), ("down", "scaleDown"))}
    return Tolerance(**{name: float(parse(value)[0]) for name, value in given.items() if value is not None})


def _value_of(metric: Mapping[str, Any]) -> str:
    """`cpu resource metric value`."""
    kind = metric["type"]
    source = metric[kind[:1].lower() + kind[1:]]
    if kind in ("Resource", "ContainerResource"):
        return f"{source['name']} {'resource' if kind == 'Resource' else 'container resource'} metric value"
    return f"{kind.lower()} metric value"


def _words(metric: Mapping[str, Any], why: str) -> str:
    """A failure as conditions and events tell it."""
    kind = metric["type"]
    source = metric[kind[:1].lower() + kind[1:]]
    if kind in ("Resource", "ContainerResource"):
        used = "utilization" if source["target"].get("averageUtilization") is not None else "usage"
        return f"failed to get {source['name']} {used}: {why}"
    return f"unable to get metric {source['metric']['name']}: {why}"
