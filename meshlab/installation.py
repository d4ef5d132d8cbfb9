"""Installing the control plane: as the tutorial does, with mutual TLS, or with what today's Istio brings along.

Every file is one that a learner may apply by hand; what is added here is the order, and waiting until it works.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import tutorial
from .access import Access
from .errors import WaitTimeout
from .states import Report, wait_ready

__all__ = ["WEBHOOKS", "install", "wait_webhooks"]

#: Today's kinds; the webhooks that judge them and inject sidecars; how a mesh of today treats what it knows nothing
#: about, and how its sidecars speak with each other.
KINDS, HOOKS, SETTINGS = "crds.yaml", "webhooks.yaml", "mesh.yaml"
_GROUP = "/apis/admissionregistration.k8s.io/v1"
#: Kind and name of the webhooks' configurations.
WEBHOOKS = (
    ("mutatingwebhookconfigurations", "istio-sidecar-injector"),
    ("validatingwebhookconfigurations", "istio-validator-istio-system"),
)
#: Seconds after which Pilot is asked again although nothing has changed.
AGAIN = 0.2


def install(
    access: Access,
    kubectl: Callable[[str], str],
    files: Path,
    *,
    auth: bool,
    today: bool,
    timeout: float,
    report: Report,
) -> float:
    """Applies the files and waits until what they bring up works; returns the seconds.

    `auth`: istio-auth.yaml instead of istio.yaml. `today`: the kinds, webhooks and settings of today's Istio as well;
    with `auth` the settings stay those of istio-auth.yaml.
    """
    start = time.monotonic()
    said = kubectl(f"apply -f {shlex.quote(str(tutorial.install_file(files, auth=auth)))}")
    for name in (KINDS, HOOKS, *(() if auth else (SETTINGS,))) if today else ():
        how = "apply --server-side" if name == KINDS else "apply"
        said += kubectl(f"{how} -f {shlex.quote(str(files / 'istio-today' / name))}")
    report(f"control plane: {len(said.splitlines())} objects applied")
    wait_ready(access, tutorial.CONTROL_PLANE, timeout=timeout, report=report)
    if today:
        wait_webhooks(access, timeout=timeout - (time.monotonic() - start))
        report(f"  admission webhooks answer after {time.monotonic() - start:.1f} s")
    return time.monotonic() - start


def wait_webhooks(access: Access, *, timeout: float) -> float:
    """Until Pilot answers for its webhooks and has written into each of them whom to believe; the seconds.

    Raises `WaitTimeout`.
    """
    start = time.monotonic()
    for plural, name in WEBHOOKS:
        _wait(access, plural, name, _believed, start + timeout)
    # That Pilot is believed, or was once, does not say that it listens: it is asked.
    _wait(access, *WEBHOOKS[-1], lambda hooks: _answers(access), start + timeout)
    return time.monotonic() - start


def _believed(hooks: Sequence[Mapping[str, Any]]) -> bool:
    return bool(hooks) and all(hook["clientConfig"].get("caBundle") for hook in hooks)


def _answers(access: Access) -> bool:
    """Whether a rule that makes no sense is refused by a webhook; nothing is stored."""
    path = access.path("config.istio.io/v1alpha2", "RouteRule", "default")
    rule = {"apiVersion": "config.istio.io/v1alpha2", "kind": "RouteRule", "metadata": {"name": "tried"}, "spec": {}}
    reply = access.request("POST", path, query={"dryRun": "All"}, body=rule, check=False)
    return reply.status == 400 and "denied the request" in reply.text


def _wait(
    access: Access, plural: str, name: str, holds: Callable[[Sequence[Mapping[str, Any]]], bool], end: float
) -> None:
    """Until something holds of the webhooks of a configuration, which is looked at again whenever it changes."""
    path = f"{_GROUP}/{plural}"
    start = time.monotonic()
    while True:
        listed = access.request("GET", path, query={"fieldSelector": f"metadata.name={name}"}).json()
        if holds([hook for each in listed["items"] for hook in each.get("webhooks") or ()]):
            return
        left = end - time.monotonic()
        if left <= 0:
            raise WaitTimeout(
                f"{name} is not in force after {end - start:.0f} s",
                why="Pilot has not written the CA by which it is believed (caBundle), or does not answer",
                then="kubectl -n istio-system logs deployment/istio-pilot -c discovery",
            )
        for event in access.watch(path, listed["metadata"]["resourceVersion"], timeout=min(left, AGAIN)):
            if (event["object"].get("metadata") or {}).get("name") == name or event["type"] == "ERROR":
                break
