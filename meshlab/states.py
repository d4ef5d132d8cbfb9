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
from .causes import causes
from .errors import WaitTimeout
from .follow import follow
from .phrases import tr

__all__ = ["COMING", "Deployment", "Report", "coming", "not_ready", "wait_gone", "wait_ready"]

#: Seconds that pods get which are about to come by themselves; in the embedded lab they need half a second.
COMING = 5.0

#: Why a Deployment that is not there is not ready.
ABSENT = "does not exist"
Report = Callable[[str], None]
#: Seconds without success after which it is said what holds things up.
_SILENCE = 10.0


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
        return ABSENT
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


def coming(access: Access, wanted: Iterable[Deployment], *, timeout: float = COMING) -> dict[Deployment, str]:
    """The Deployments that do not become ready by themselves within `timeout` seconds, with the reason.

    One whose pods were replaced a moment ago needs nobody's help. One that does not exist is not waited for.
    """
    lacking = not_ready(access, wanted)
    there = {each for each, why in lacking.items() if why != ABSENT}
    for states in follow(access, "/apis/apps/v1/deployments", timeout) if there else ():
        lacking = {each: why for each in lacking if (why := _lack(states.get((each.namespace, each.name))))}
        if not there & lacking.keys():
            break
    return lacking


def wait_ready(access: Access, wanted: Iterable[Deployment], *, timeout: float, report: Report) -> float:
    """Waits until all are available; returns the seconds it took. Reports each as it comes, and what holds one up.

    Raises `WaitTimeout` with the cause from the pods' own words.
    """
    start = time.monotonic()
    end = start + max(timeout, 0.001)
    pending, said = set(wanted), list[str]()
    while pending and (left := end - time.monotonic()) > 0:
        for states in follow(access, "/apis/apps/v1/deployments", min(left, _SILENCE)):
            for deployment in sorted(pending, key=str):
                if not _lack(states.get((deployment.namespace, deployment.name))):
                    pending.discard(deployment)
                    report(tr("{name} ready after {seconds:.1f} s", name=deployment, seconds=time.monotonic() - start))
            if not pending:
                return time.monotonic() - start
        before, said = said, _causes(access, pending)
        if time.monotonic() < end:
            for line in said:
                if line not in before:
                    report(f"waiting: {line}")
    if pending:
        names = ", ".join(map(str, sorted(pending, key=str)))
        raise WaitTimeout(
            f"not ready after {timeout:g} s: {names}",
            why="; ".join(said) or "nobody says why: kubectl describe pods says more",
            then=f"kubectl get pods -n {next(iter(pending)).namespace}",
        )
    return time.monotonic() - start


def _causes(access: Access, pending: Iterable[Deployment]) -> list[str]:
    return [line for each in sorted(pending, key=str) for line in causes(access, each.namespace, each.name)]


def wait_gone(access: Access, unwanted: Iterable[Deployment], *, timeout: float) -> float:
    """Waits until none of these is there any more; returns the seconds. Raises `WaitTimeout`."""
    start = time.monotonic()
    keys = {(each.namespace, each.name) for each in unwanted}
    left: list[str] = []
    for states in follow(access, "/apis/apps/v1/deployments", max(timeout, 0.001)):
        left = ["/".join(key) for key in sorted(keys & states.keys())]
        if not left:
            return time.monotonic() - start
    raise WaitTimeout(f"still there after {timeout:g} s: {', '.join(left)}", then="kubectl get deployments -A")
