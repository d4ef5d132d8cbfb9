"""New pods in place of old ones: what a program holds open (a connection, a cache) goes with its pod."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlencode

from .access import Access
from .errors import WaitTimeout
from .follow import follow
from .states import Deployment

__all__ = ["renew", "replace_pods"]


def renew(access: Access, wanted: Deployment, *, timeout: float = 60.0) -> float:
    """Deletes a Deployment's pods and waits until as many new ones as it asks for are Ready; returns the seconds.

    The old ones are not waited for: no Service leads to a pod that is going. Raises `WaitTimeout`.
    """
    began = time.monotonic()
    found, replaced = replace_pods(access, wanted)
    path, selector = _pods(wanted, found)
    replicas, ready = int(found["spec"].get("replicas", 1)), 0
    for states in follow(access, f"{path}?{urlencode({'labelSelector': selector})}", timeout):
        ready = sum(1 for pod in states.values() if pod["metadata"]["uid"] not in replaced and _ready(pod))
        if ready >= replicas:
            return time.monotonic() - began
    raise WaitTimeout(
        f"{ready} new pods of {wanted} are ready after {timeout:g} s, of {replicas}",
        then=f"kubectl get pods -n {wanted.namespace} -l {selector}",
    )


def replace_pods(access: Access, wanted: Deployment) -> tuple[dict[str, Any], frozenset[str]]:
    """Deletes a Deployment's pods, for which others come; returns the Deployment and the uids of those that go."""
    found = access.request("GET", f"/apis/apps/v1/namespaces/{wanted.namespace}/deployments/{wanted.name}").json()
    path, selector = _pods(wanted, found)
    old = access.request("GET", path, query={"labelSelector": selector}).json()["items"]
    for pod in old:
        access.request("DELETE", f"{path}/{pod['metadata']['name']}", check=False)  # it may be going already
    return found, frozenset(str(pod["metadata"]["uid"]) for pod in old)


def _pods(wanted: Deployment, found: dict[str, Any]) -> tuple[str, str]:
    """Path of the collection that the Deployment's pods are in, and their selector."""
    labels = found["spec"]["selector"]["matchLabels"]
    return f"/api/v1/namespaces/{wanted.namespace}/pods", ",".join(f"{key}={value}" for key, value in labels.items())


def _ready(pod: dict[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
