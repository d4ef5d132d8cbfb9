"""Why a Deployment is not ready, in the cluster's own words.

The reason stands in a different place for each kind of trouble:

    no pod was made            the Deployment's condition ReplicaFailure: a quota, a webhook that refused or is down
    a pod is nowhere           the pod's condition PodScheduled: too little CPU or memory, taints, volumes
    a container does not start its state `waiting`: image pull, configuration, crash loop
    a container is not ready   nothing but an event says why: a failing probe
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .access import Access
from .errors import MeshlabError

__all__ = ["causes"]

Object = Mapping[str, Any]
#: Waiting that is nothing but the ordinary course of things.
_ORDINARY = (None, "PodInitializing", "ContainerCreating")
#: Characters of a message that are shown: a pull's error repeats itself over lines.
_LONGEST = 300


def causes(access: Access, namespace: str, name: str) -> list[str]:
    """Lines such as `istiod-…/discovery: ImagePullBackOff: …`; empty where nobody says anything."""
    deployment = access.find("apps/v1", "Deployment", namespace, name)
    if deployment is None:
        return [f"{namespace}/{name} does not exist"]
    wanted = (deployment["spec"].get("selector") or {}).get("matchLabels") or {}
    pods = [
        pod
        for pod in access.items("v1", "Pod", namespace)
        if wanted.items() <= (pod["metadata"].get("labels") or {}).items()
    ]
    found = list(dict.fromkeys([*_unmade(deployment), *(line for pod in pods for line in _pod(pod))]))
    return found or _events(access, namespace, {name, *(str(pod["metadata"]["name"]) for pod in pods)})


def _unmade(deployment: Object) -> Iterator[str]:
    for condition in (deployment.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            yield f"no pod could be made: {_short(condition.get('message'))}"


def _pod(pod: Object) -> Iterator[str]:
    status = pod.get("status") or {}
    name = pod["metadata"]["name"]
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            yield f"{name}: {condition.get('reason') or 'not scheduled'}: {_short(condition.get('message'))}"
    for each in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        waiting = (each.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") not in _ORDINARY:
            text = f"{waiting['reason']}: {_short(waiting.get('message'))}".strip(": ")
            ended = (each.get("lastState") or {}).get("terminated") or {}
            if ended.get("message") or ended.get("exitCode"):
                text += f" (it ended with {ended.get('exitCode')}: {_short(ended.get('message'))})"
            yield f"{name}/{each['name']}: {text}"


def _events(access: Access, namespace: str, names: set[str]) -> list[str]:
    """The newest warning about each of these objects, probes' failures among them."""
    try:
        events = access.items("v1", "Event", namespace, fieldSelector="type=Warning")
    except MeshlabError as error:
        return [f"events cannot be read: {error}"]
    newest: dict[str, str] = {}
    for event in sorted(events, key=lambda e: str(e.get("lastTimestamp") or e.get("eventTime") or "")):
        about = (event.get("involvedObject") or {}).get("name", "")
        # A ReplicaSet is called as its Deployment and a hash.
        if about in names or any(about.startswith(f"{name}-") for name in names):
            newest[about] = f"{about}: {event.get('reason')}: {_short(event.get('message'))}"
    return list(newest.values())


def _short(message: object) -> str:
    text = " ".join(str(message or "").split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
