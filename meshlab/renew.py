"""New pods in place of old ones: what a program holds open (a connection, a cache) goes with its pod."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlencode

from .access import Access
from .errors import WaitTimeout
from .follow import follow
from .states import Deployment

__all__ = ["renew"]


def renew(access: Access, wanted: Deployment, *, timeout: float = 60.0) -> float:
    """Deletes a Deployment's pods and waits until as many new ones as it asks for are Ready; returns the seconds.

    The old ones are not waited for: no Service leads to a pod that is going. Raises `WaitTimeout`.
    """
    began = time.monotonic()
    found = access.request("GET", f"/apis/apps/v1/namespaces/{wanted.namespace}/deployments/{wanted.name}").json()
    path = f"/api/v1/namespaces/{wanted.namespace}/pods"
    selector = ",".join(f"{key}={value}" for key, value in found["spec"]["selector"]["matchLabels"].items())
    old = access.request("GET", path, query={"labelSelector": selector}).json()["items"]
    for pod in old:
        access.request("DELETE", f"{path}/{pod['metadata']['name']}", check=False)  # it may be going already
    replaced = {pod["metadata"]["uid"] for pod in old}
    replicas, ready = int(found["spec"].get("replicas", 1)), 0
    for states in follow(access, f"{path}?{urlencode({'labelSelector': selector})}", timeout):
        ready = sum(1 for pod in states.values() if pod["metadata"]["uid"] not in replaced and _ready(pod))
        if ready >= replicas:
            return time.monotonic() - began
    raise WaitTimeout(
        f"{ready} new pods of {wanted} are ready after {timeout:g} s, of {replicas}",
        then=f"kubectl get pods -n {wanted.namespace} -l {selector}",
    )


def _ready(pod: dict[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
