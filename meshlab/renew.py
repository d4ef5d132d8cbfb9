"""New pods in place of old ones: what a program holds open (a connection, a cache) goes with its pod."""

from __future__ import annotations

import time
from typing import Any

from .access import Access
from .errors import LabError, WaitTimeout
from .states import Deployment

__all__ = ["renew"]


def renew(access: Access, wanted: Deployment, *, timeout: float = 60.0) -> float:
    """Deletes a Deployment's pods and waits until as many new ones as it asks for are Ready; returns the seconds.

    The old ones are not waited for: no Service leads to a pod that is going. Raises `WaitTimeout`.
    """
    began = time.monotonic()
    found = access.request("GET", f"/apis/apps/v1/namespaces/{wanted.namespace}/deployments/{wanted.name}").json()
    labels = dict(found["spec"]["selector"]["matchLabels"])
    path = f"/api/v1/namespaces/{wanted.namespace}/pods"
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    listed = access.request("GET", path, query={"labelSelector": selector}).json()
    old = {str(pod["metadata"]["uid"]) for pod in listed["items"]}
    for pod in listed["items"]:
        access.request("DELETE", f"{path}/{pod['metadata']['name']}", check=False)  # it may be going already
    ready: set[str] = set()
    revision = str(listed["metadata"]["resourceVersion"])
    replicas = int(found["spec"].get("replicas", 1))
    while len(ready) < replicas:
        left = timeout - (time.monotonic() - began)
        if left <= 0:
            raise WaitTimeout(
                f"{len(ready)} new pods of {wanted} are ready after {timeout:g} s",
                then=f"kubectl get pods -n {wanted.namespace} -l {selector}",
            )
        for event in access.watch(path, revision, timeout=left):
            pod = event["object"]
            if event["type"] == "ERROR":
                raise LabError("the watch on pods broke off", why=str(pod.get("message")))
            revision, uid = pod["metadata"]["resourceVersion"], str(pod["metadata"]["uid"])
            if uid not in old and labels.items() <= pod["metadata"].get("labels", {}).items():
                (ready.add if event["type"] != "DELETED" and _ready(pod) else ready.discard)(uid)
                if len(ready) >= replicas:
                    break
    return time.monotonic() - began


def _ready(pod: dict[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
