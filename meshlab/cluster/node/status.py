"""A pod's status from the states of its containers, as a kubelet derives it. Pure functions on plain dicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["EVICTED", "ContainerState", "conditions", "container_status", "phase", "pod_status", "quality"]


#: The reason of a pod that its node could not bear.
EVICTED = "Evicted"


@dataclass
class ContainerState:
    """What the node knows of one container; `state` and `last` have the shape of the API's ContainerState."""

    name: str
    image: str
    state: dict[str, Any] = field(default_factory=lambda: {"waiting": {"reason": "ContainerCreating"}})
    last: dict[str, Any] = field(default_factory=dict)
    restarts: int = 0
    ready: bool = False
    started: bool = False
    container_id: str = ""
    #: An init container with restartPolicy Always: it counts for readiness like an ordinary one.
    sidecar: bool = False

    @property
    def running(self) -> bool:
        return "running" in self.state

    @property
    def terminated(self) -> Mapping[str, Any] | None:
        return self.state.get("terminated")

    @property
    def succeeded(self) -> bool:
        return self.terminated is not None and self.terminated["exitCode"] == 0


def container_status(container: ContainerState) -> dict[str, Any]:
    """One entry of containerStatuses."""
    return {
        "name": container.name,
        "state": dict(container.state),
        "lastState": dict(container.last),
        "ready": container.ready,
        "restartCount": container.restarts,
        "image": container.image,
        "imageID": f"meshlab://{container.image}" if container.container_id else "",
        **({"containerID": container.container_id} if container.container_id else {}),
        "started": container.started,
    }


def initialized(inits: Iterable[ContainerState]) -> bool:
    """Whether every init container has done its work: ended well, or is a sidecar that has started (once)."""
    return all((init.started or init.terminated or init.last) if init.sidecar else init.succeeded for init in inits)


def phase(policy: str, inits: Sequence[ContainerState], containers: Sequence[ContainerState]) -> str:
    """Pending, Running, Succeeded or Failed. `policy` is the pod's restartPolicy."""
    if policy == "Never" and any(i.terminated and not i.succeeded for i in inits if not i.sidecar):
        return "Failed"
    if any(not c.running and not c.terminated and "terminated" not in c.last for c in containers):
        return "Pending"
    if not initialized(inits) and not any(c.running for c in containers):
        return "Pending"
    if any(c.running for c in containers):
        return "Running"
    if policy == "Always" or any(not c.terminated for c in containers):
        return "Running"
    if all(c.succeeded for c in containers):
        return "Succeeded"
    return "Failed" if policy == "Never" else "Running"


def conditions(inits: Sequence[ContainerState], containers: Sequence[ContainerState], *, current: str,
               previous: Iterable[Mapping[str, Any]], gates: Iterable[str], set_up: bool,
               now: str) -> list[dict[str, Any]]:
    """The pod's conditions; those that others own (PodScheduled, readiness gates) are kept as they are.

    `current` is the phase, `previous` the conditions so far, `gates` the condition types of spec.readinessGates,
    `set_up` whether address and volumes are there.
    """
    before = {str(condition["type"]): dict(condition) for condition in previous}
    done = current in ("Succeeded", "Failed")

    ready_to_start = ("True" if set_up and not done else "False", "", "")
    if initialized(inits):
        init = ("True", "PodCompleted" if current == "Succeeded" else "", "")
    else:
        waiting = [i.name for i in inits if not (i.started if i.sidecar else i.succeeded)]
        init = ("False", "ContainersNotInitialized", f"containers with incomplete status: [{' '.join(waiting)}]")
    unready = [c.name for c in [*(i for i in inits if i.sidecar), *containers] if not c.ready]
    if done:
        ready = ("False", "PodCompleted" if current == "Succeeded" else "PodFailed", "")
    elif unready:
        ready = ("False", "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")
    else:
        ready = ("True", "", "")
    closed = [gate for gate in gates if before.get(gate, {}).get("status") != "True"]
    pod_ready = ready
    if ready[0] == "True" and closed:
        pod_ready = ("False", "ReadinessGatesNotReady", "the status of pod readiness gate "
                     + ", ".join(f'"{gate}" is not "True"' for gate in closed))

    ours = {"PodReadyToStartContainers": ready_to_start, "Initialized": init, "Ready": pod_ready,
            "ContainersReady": ready}
    result = []
    for kind, (status, reason, message) in ours.items():
        old = before.pop(kind, {})
        condition: dict[str, Any] = {
            "type": kind,
            "status": status,
            "lastProbeTime": None,
            "lastTransitionTime": old["lastTransitionTime"] if old.get("status") == status else now,
        }
        if reason:
            condition["reason"] = reason
        if message:
            condition["message"] = message
        result.append(condition)
    return result + list(before.values())


def quality(pod: Mapping[str, Any]) -> str:
    """The pod's quality-of-service class: Guaranteed, Burstable or BestEffort."""
    containers = [*(pod["spec"].get("initContainers") or []), *(pod["spec"].get("containers") or [])]
    resources = [container.get("resources") or {} for container in containers]
    if not any(entry.get("requests") or entry.get("limits") for entry in resources):
        return "BestEffort"
    for entry in resources:
        limits, requests = entry.get("limits") or {}, entry.get("requests") or {}
        for kind in ("cpu", "memory"):
            if kind not in limits or requests.get(kind, limits[kind]) != limits[kind]:
                return "Burstable"
    return "Guaranteed"


def pod_status(pod: Mapping[str, Any], inits: Sequence[ContainerState], containers: Sequence[ContainerState],
               guests: Sequence[ContainerState] = (), *,
               address: str, host: str, started: str, set_up: bool, now: str, reason: str = "",
               message: str = "", failed: bool = False) -> dict[str, Any]:
    """The whole status object. `failed` with `reason` and `message` is the node's own verdict (deadline, eviction)."""
    spec, before = pod["spec"], pod.get("status") or {}
    current = "Failed" if failed else phase(str(spec.get("restartPolicy") or "Always"), inits, containers)
    status: dict[str, Any] = {
        "phase": current,
        "conditions": conditions(
            inits, containers, current=current, previous=before.get("conditions") or [],
            gates=[str(gate["conditionType"]) for gate in spec.get("readinessGates") or []], set_up=set_up, now=now),
        "hostIP": host,
        "hostIPs": [{"ip": host}],
        "startTime": started,
        "qosClass": before.get("qosClass") or quality(pod),
    }
    if address:
        status |= {"podIP": address, "podIPs": [{"ip": address}]}
    if reason:
        status["reason"] = reason
    if message:
        status["message"] = message
    if reason == EVICTED:
        return status  # what became of its containers is not told of a pod that was evicted, so that this is
    if inits:
        status["initContainerStatuses"] = [container_status(init) for init in inits]
    status["containerStatuses"] = [container_status(container) for container in containers]
    if guests:
        # They say nothing of the pod, only of themselves.
        status["ephemeralContainerStatuses"] = [
            {key: value for key, value in container_status(guest).items() if key != "started"} for guest in guests]
    return status
