"""Cells of pods, and of what makes pods, as `kubectl get` shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from meshlab.cluster.api.durations import age, human, moment

__all__ = ["CELLS", "label_selector", "label_text", "pod_conditions"]

Object = Mapping[str, Any]
Cells = list[Any]


def label_text(labels: Object | None) -> str:
    """`a=1,b=2`, sorted; `<none>` for none."""
    return ",".join(f"{k}={v}" for k, v in sorted((labels or {}).items())) or "<none>"


def label_selector(selector: Object | None) -> str:
    """A LabelSelector in the words of `-l`."""
    if selector is None:
        return "<none>"
    parts = [f"{k}={v}" for k, v in (selector.get("matchLabels") or {}).items()]
    words = {"In": "in", "NotIn": "notin"}
    for term in selector.get("matchExpressions") or ():
        operator, key = term.get("operator"), term.get("key", "")
        if operator in words:
            parts.append(f"{key} {words[operator]} ({','.join(sorted(term.get('values') or ()))})")
        else:
            parts.append(key if operator == "Exists" else "!" + key)
    return ",".join(sorted(parts)) or "<none>"


def _name(obj: Object) -> str:
    return str((obj.get("metadata") or {}).get("name") or "")


def _age(obj: Object, now: datetime) -> str:
    return age((obj.get("metadata") or {}).get("creationTimestamp"), now)


def _containers(template: Object | None) -> tuple[str, str]:
    listed = ((template or {}).get("spec") or {}).get("containers") or ()
    return ",".join(c.get("name", "") for c in listed), ",".join(c.get("image", "") for c in listed)


def _terminated(state: Object) -> str:
    """Why a container ended."""
    if reason := state.get("reason"):
        return str(reason)
    if signal := state.get("signal"):
        return f"Signal:{signal}"
    return f"ExitCode:{state.get('exitCode', 0)}"


class _Pod:
    """Walks a pod's container statuses in the order in which they decide its one-word status."""

    def __init__(self, pod: Object) -> None:
        self.spec, self.status = pod.get("spec") or {}, pod.get("status") or {}
        self.meta = pod.get("metadata") or {}
        self.reason = str(self.status.get("reason") or self.status.get("phase") or "")
        self.ready, self.restarts, self.sidecar_restarts = 0, 0, 0
        self.restarted = ""
        self.sidecars = [
            c.get("name") for c in self.spec.get("initContainers") or () if c.get("restartPolicy") == "Always"
        ]
        self.total = len(self.spec.get("containers") or ()) + len(self.sidecars)
        for condition in self.status.get("conditions") or ():
            if condition.get("type") == "PodScheduled" and condition.get("reason") == "SchedulingGated":
                self.reason = "SchedulingGated"
        if not self._initialize() or self._true("Initialized"):
            self.restarts = self.sidecar_restarts
            self._run()
        if self.meta.get("deletionTimestamp"):
            if self.status.get("reason") == "NodeLost":
                self.reason = "Unknown"
            elif self.status.get("phase") not in ("Succeeded", "Failed"):
                self.reason = "Terminating"

    def _true(self, kind: str) -> bool:
        conditions = self.status.get("conditions") or ()
        return any(c.get("type") == kind and c.get("status") == "True" for c in conditions)

    def _note_restart(self, container: Object) -> None:
        last = (container.get("lastState") or {}).get("terminated") or {}
        self.restarted = max(self.restarted, str(last.get("finishedAt") or ""))

    def _initialize(self) -> bool:
        """Whether init containers are still to do; then the reason says how far they are."""
        total = len(self.spec.get("initContainers") or ())
        for i, container in enumerate(self.status.get("initContainerStatuses") or ()):
            self.restarts += container.get("restartCount", 0)
            self._note_restart(container)
            sidecar = container.get("name") in self.sidecars
            if sidecar:
                self.sidecar_restarts += container.get("restartCount", 0)
            state = container.get("state") or {}
            ended, waiting = state.get("terminated"), state.get("waiting") or {}
            if ended is not None and ended.get("exitCode", 0) == 0:
                continue
            if sidecar and container.get("started"):
                self.ready += bool(container.get("ready"))
                continue
            if ended is not None:
                self.reason = "Init:" + _terminated(ended)
            elif waiting.get("reason") and waiting["reason"] != "PodInitializing":
                self.reason = "Init:" + waiting["reason"]
            else:
                self.reason = f"Init:{i}/{total}"
            return True
        return False

    def _run(self) -> None:
        running = False
        for container in reversed(self.status.get("containerStatuses") or ()):
            self.restarts += container.get("restartCount", 0)
            self._note_restart(container)
            state = container.get("state") or {}
            waiting = (state.get("waiting") or {}).get("reason")
            if waiting:
                self.reason = waiting
            elif state.get("terminated") is not None:
                self.reason = _terminated(state["terminated"])
            elif container.get("ready") and state.get("running") is not None:
                running = True
                self.ready += 1
        if self.reason == "Completed" and running:
            self.reason = "Running" if self._true("Ready") else "NotReady"


def _pod(pod: Object, now: datetime) -> Cells:
    seen = _Pod(pod)
    restarts = str(seen.restarts)
    if seen.restarts and seen.restarted:
        restarts += f" ({age(seen.restarted, now)} ago)"
    gates = [g.get("conditionType") for g in seen.spec.get("readinessGates") or ()]
    passed = sum(seen._true(str(gate)) for gate in gates)
    ips = seen.status.get("podIPs") or ()
    return [
        _name(pod), f"{seen.ready}/{seen.total}", seen.reason, restarts, _age(pod, now),
        (ips[0].get("ip") if ips else None) or seen.status.get("podIP") or "<none>",
        seen.spec.get("nodeName") or "<none>",
        seen.status.get("nominatedNodeName") or "<none>",
        f"{passed}/{len(gates)}" if gates else "<none>",
    ]  # fmt: skip


def pod_conditions(pod: Object) -> list[dict[str, str]]:
    """Conditions of a pod's row: kubectl hides or marks what has completed."""
    phase = (pod.get("status") or {}).get("phase")
    messages = {"Succeeded": "The pod has completed successfully.", "Failed": "The pod failed."}
    if phase not in messages:
        return []
    return [{"type": "Completed", "status": "True", "reason": phase, "message": messages[phase]}]


def _pod_template(obj: Object, _now: datetime) -> Cells:
    template = obj.get("template") or {}
    return [_name(obj), *_containers(template), label_text((template.get("metadata") or {}).get("labels"))]


def _deployment(obj: Object, now: datetime) -> Cells:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return [
        _name(obj), f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 1)}",
        status.get("updatedReplicas", 0), status.get("availableReplicas", 0), _age(obj, now),
        *_containers(spec.get("template")), label_selector(spec.get("selector")),
    ]  # fmt: skip


def _replicas(obj: Object, now: datetime) -> Cells:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    selector = spec.get("selector")
    chosen = label_text(selector) if obj.get("kind") == "ReplicationController" else label_selector(selector)
    return [
        _name(obj), spec.get("replicas", 1), status.get("replicas", 0), status.get("readyReplicas", 0),
        _age(obj, now), *_containers(spec.get("template")), chosen,
    ]  # fmt: skip


def _statefulset(obj: Object, now: datetime) -> Cells:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    ready = f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 1)}"
    return [_name(obj), ready, _age(obj, now), *_containers(spec.get("template"))]


def _daemonset(obj: Object, now: datetime) -> Cells:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    counts = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled",
              "numberAvailable")  # fmt: skip
    pod = (spec.get("template") or {}).get("spec") or {}
    return [
        _name(obj), *(status.get(key, 0) for key in counts), label_text(pod.get("nodeSelector")), _age(obj, now),
        *_containers(spec.get("template")), label_selector(spec.get("selector")),
    ]  # fmt: skip


def _job(obj: Object, now: datetime) -> Cells:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    done = status.get("succeeded", 0)
    if (wanted := spec.get("completions")) is not None:
        completions = f"{done}/{wanted}"
    elif (parallel := spec.get("parallelism", 0)) > 1:
        completions = f"{done}/1 of {parallel}"
    else:
        completions = f"{done}/1"
    duration = ""
    if started := status.get("startTime"):
        ended = moment(status["completionTime"]) if status.get("completionTime") else now
        duration = human((ended - moment(started)).total_seconds())
    return [
        _name(obj), _job_status(obj, status.get("conditions") or ()), completions, duration, _age(obj, now),
        *_containers(spec.get("template")), label_selector(spec.get("selector")),
    ]  # fmt: skip


def _job_status(obj: Object, conditions: Sequence[Object]) -> str:
    true = {c.get("type") for c in conditions if c.get("status") == "True"}
    for kind in ("Complete", "Failed"):
        if kind in true:
            return kind
    if (obj.get("metadata") or {}).get("deletionTimestamp"):
        return "Terminating"
    for kind in ("Suspended", "FailureTarget", "SuccessCriteriaMet"):
        if kind in true:
            return kind
    return "Running"


def _cronjob(obj: Object, now: datetime) -> Cells:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    job = (spec.get("jobTemplate") or {}).get("spec") or {}
    last = status.get("lastScheduleTime")
    suspend = spec.get("suspend")
    return [
        _name(obj), spec.get("schedule", ""), spec.get("timeZone") or "<none>",
        "<unset>" if suspend is None else "True" if suspend else "False",
        len(status.get("active") or ()), age(last, now) if last else "<none>", _age(obj, now),
        *_containers(job.get("template")), label_selector(job.get("selector")),
    ]  # fmt: skip


def _scale(obj: Object, now: datetime) -> Cells:
    wanted, have = ((obj.get(part) or {}).get("replicas", 0) for part in ("spec", "status"))
    return [_name(obj), wanted, have, _age(obj, now)]


CELLS = {
    ("autoscaling", "Scale"): _scale,
    ("", "Pod"): _pod,
    ("", "PodTemplate"): _pod_template,
    ("", "ReplicationController"): _replicas,
    ("apps", "ReplicaSet"): _replicas,
    ("apps", "Deployment"): _deployment,
    ("apps", "StatefulSet"): _statefulset,
    ("apps", "DaemonSet"): _daemonset,
    ("batch", "Job"): _job,
    ("batch", "CronJob"): _cronjob,
}
