"""New pods in place of old ones: what a program holds open (a connection, a cache) goes with its pod."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from .access import Access
from .errors import WaitTimeout
from .follow import follow
from .states import Deployment

__all__ = ["renew", "replace_pods"]


def renew(access: Access, wanted: Deployment, *, timeout: float = 120.0) -> float:
    """Deletes a Deployment's pods and waits until as many new ones as it asks for are Ready and the Services that led
    to the old ones lead to them; returns the seconds.

    The old ones are not waited for: no Service leads to a pod that is going. Raises `WaitTimeout`.
    """
    began = time.monotonic()
    services = access.items("v1", "Endpoints", wanted.namespace)
    found, replaced = replace_pods(access, wanted)
    path, selector = _pods(wanted, found)
    replicas, ready = int(found["spec"].get("replicas", 1)), frozenset[str]()
    for states in follow(access, f"{path}?{urlencode({'labelSelector': selector})}", timeout):
        ready = frozenset(str(pod["metadata"]["uid"]) for pod in states.values() if _ready(pod)) - replaced
        if len(ready) >= replicas:
            break
    else:
        raise WaitTimeout(
            f"{len(ready)} new pods of {wanted} are ready after {timeout:g} s, of {replicas}",
            then=f"kubectl get pods -n {wanted.namespace} -l {selector}",
        )
    behind = {str(each["metadata"]["name"]) for each in services if _led_to(each) & replaced}
    if behind:
        _wait_led(access, wanted.namespace, behind, ready, timeout - (time.monotonic() - began))
    return time.monotonic() - began


def _wait_led(access: Access, namespace: str, services: set[str], pods: frozenset[str], timeout: float) -> None:
    """Waits until Services (names) lead to these pods (uids). Raises `WaitTimeout`.

    A pod is Ready a moment before its Services know: without old ones, requests in between are refused.
    """
    behind = sorted(services)
    for states in follow(access, access.path("v1", "Endpoints", namespace), max(timeout, 0.001)):
        # One that is gone leads nowhere, and nobody waits for it.
        there = [states[namespace, name] for name in services if (namespace, name) in states]
        behind = sorted(str(each["metadata"]["name"]) for each in there if not pods <= _led_to(each))
        if not behind:
            return
    raise WaitTimeout(
        f"the new pods are ready, and {', '.join(behind)} in {namespace} does not lead to them",
        then=f"kubectl get endpoints -n {namespace}",
    )


def _led_to(endpoints: Mapping[str, Any]) -> frozenset[str]:
    """The uids of the pods that an Endpoints object gives as ready."""
    return frozenset(
        str((address.get("targetRef") or {}).get("uid") or "")
        for subset in endpoints.get("subsets") or ()
        for address in subset.get("addresses") or ()
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
