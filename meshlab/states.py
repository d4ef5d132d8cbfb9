"""States that a lesson can ask for, and how to reach them.

A state is a name, a question (does it hold?) and a repair. A lesson names what it needs; what already holds
costs one request.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .access import Access
from .errors import LabError, WaitTimeout

__all__ = ["Deployment", "Report", "not_ready", "wait_ready"]

Report = Callable[[str], None]


@dataclass(frozen=True)
class Deployment:
    """A Deployment by name, `istio-system/istio-pilot`."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def _lack(found: dict[str, Any] | None) -> str:
    """Why a Deployment is not ready, empty if it is."""
    if found is None:
        return "does not exist"
    want = found["spec"].get("replicas", 1)
    status = found.get("status") or {}
    if status.get("observedGeneration", 0) < found["metadata"].get("generation", 1):
        return "not yet seen by the controller"
    if status.get("updatedReplicas", 0) < want or status.get("availableReplicas", 0) < want:
        return f"{status.get('availableReplicas', 0)}/{want} available"
    if status.get("replicas", 0) > want:
        return f"{status['replicas'] - want} old pods still going"
    return ""


def not_ready(access: Access, wanted: Iterable[Deployment]) -> dict[Deployment, str]:
    """The Deployments that are not ready, with the reason."""
    found = {
        Deployment(d["metadata"]["namespace"], d["metadata"]["name"]): d for d in access.items("apps/v1", "Deployment")
    }
    return {w: lack for w in wanted if (lack := _lack(found.get(w)))}


def wait_ready(access: Access, wanted: Iterable[Deployment], *, timeout: float, report: Report) -> float:
    """Waits until all are available; returns the seconds it took. Reports each as it comes.

    Raises `WaitTimeout` with the cause from the pods' own words.
    """
    start = time.monotonic()
    pending = set(wanted)
    listed = access.request("GET", "/apis/apps/v1/deployments").json()
    state = {(d["metadata"]["namespace"], d["metadata"]["name"]): d for d in listed["items"]}
    revision = listed["metadata"]["resourceVersion"]
    while True:
        for deployment in sorted(pending, key=str):
            if not _lack(state.get((deployment.namespace, deployment.name))):
                pending.discard(deployment)
                report(f"  {deployment} ready after {time.monotonic() - start:.1f} s")
        left = timeout - (time.monotonic() - start)
        if not pending:
            return time.monotonic() - start
        if left <= 0:
            names = ", ".join(map(str, sorted(pending, key=str)))
            raise WaitTimeout(
                f"not ready after {timeout:g} s: {names}",
                why=_pod_reasons(access, pending),
                then=f"kubectl get pods -n {next(iter(pending)).namespace}",
            )
        for event in access.watch("/apis/apps/v1/deployments", revision, timeout=left):
            found = event["object"]
            if event["type"] == "ERROR":
                raise LabError("the watch on deployments broke off", why=str(found.get("message")))
            revision = found["metadata"]["resourceVersion"]
            key = found["metadata"]["namespace"], found["metadata"]["name"]
            state[key] = found
            if event["type"] == "DELETED":
                del state[key]
            if any(key == (p.namespace, p.name) for p in pending):
                break


def _pod_reasons(access: Access, pending: Iterable[Deployment]) -> str:
    """What the containers of unready pods say: `istio-pilot-…/discovery: CrashLoopBackOff: …`."""
    reasons = []
    for namespace in sorted({p.namespace for p in pending}):
        for pod in access.items("v1", "Pod", namespace):
            status = pod.get("status") or {}
            for c in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
                waiting = (c.get("state") or {}).get("waiting")
                if waiting and waiting.get("reason") not in (None, "PodInitializing", "ContainerCreating"):
                    text = f"{waiting['reason']}: {waiting.get('message', '')}".strip(": ")
                    reasons.append(f"{pod['metadata']['name']}/{c['name']}: {text}")
    return "; ".join(reasons) or "no container says why: kubectl describe pods says more"
