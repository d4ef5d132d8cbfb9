"""Which pod is behind an address or a UID, and which service it counts for.

As the `kubernetesenv` adapter of 0.4.0 does it: the service is derived from the pod's labels (`app`, for
Istio's own parts `istio`), never from a Service object. So a service whose pods carry no such label is
"unknown", and two Services over the same pods count as one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["CLUSTER_DOMAIN", "INGRESS_SERVICE", "Workload", "Workloads", "derive", "service_name"]

CLUSTER_DOMAIN = "svc.cluster.local"
#: For reports about it the source is not looked up: it is a host of the world outside, or a node's address.
INGRESS_SERVICE = "ingress.istio-system.svc.cluster.local"
#: Deleted pods that still have a name.
REMEMBERED = 1000


@dataclass(frozen=True)
class Workload:
    """What is kept of a pod."""

    name: str
    namespace: str
    ip: str
    labels: Mapping[str, str]
    service_account: str = ""
    host_ip: str = ""

    @property
    def service(self) -> str:
        """Full name of the service that it counts for, "" where no label tells."""
        return service_name(self.labels.get("app") or self.labels.get("istio") or "", self.namespace)

    def attributes(self, role: str) -> dict[str, Any]:
        """Attributes of this pod as `source`, `destination` or `origin`; empty ones are absent."""
        found = {
            f"{role}.ip": self.ip, f"{role}.name": self.name, f"{role}.namespace": self.namespace,
            f"{role}.labels": self.labels, f"{role}.service": self.service,
            f"{role}.serviceAccount": self.service_account, f"{role}.hostIp": self.host_ip,
        }
        return {name: value for name, value in found.items() if value}


class Workloads:
    """The pods of the cluster by UID and address. One thread writes; others read.

    `generation` grows with every change that could alter an answer.
    """

    def __init__(self) -> None:
        self.generation = 0
        self._by_uid: dict[str, Workload] = {}
        self._by_ip: dict[str, str] = {}
        self._gone: dict[str, None] = {}

    def change(self, type_: str, pod: Mapping[str, Any]) -> None:
        """Takes a watch event of a pod (ADDED, MODIFIED, DELETED)."""
        meta, status = pod["metadata"], pod.get("status") or {}
        uid = f"kubernetes://{meta['name']}.{meta['namespace']}"
        before = self._by_uid.get(uid)
        if type_ == "DELETED":
            if before is not None:
                self._forget_later(uid)
            return
        now = Workload(meta["name"], meta["namespace"], status.get("podIP") or "", meta.get("labels") or {},
                       (pod.get("spec") or {}).get("serviceAccountName") or "", status.get("hostIP") or "")
        if now == before:
            return
        self._gone.pop(uid, None)
        self._by_uid[uid] = now
        if now.ip:
            other = self._by_ip.get(now.ip)
            if other is not None and other != uid:
                self._by_uid.pop(other, None)
            self._by_ip[now.ip] = uid
        self.generation += 1

    def _forget_later(self, uid: str) -> None:
        """Keeps a deleted pod for a while: the report of its last connections comes after it is gone.

        Its address is somebody else's as soon as a new pod has it.
        """
        self._gone[uid] = None
        if len(self._gone) > REMEMBERED:
            oldest = next(iter(self._gone))
            del self._gone[oldest]
            workload = self._by_uid.pop(oldest, None)
            if workload is not None and self._by_ip.get(workload.ip) == oldest:
                del self._by_ip[workload.ip]

    def find(self, uid: str | None, ip: str | None) -> Workload | None:
        """By UID `kubernetes://<pod>.<namespace>` first, else by address."""
        if uid and (found := self._by_uid.get(uid)):
            return found
        return self._by_uid.get(self._by_ip.get(_normal(ip), "")) if ip else None


def derive(workloads: Workloads, inputs: Mapping[str, Any], *, look_up_ingress_source: bool = False
           ) -> dict[str, Any]:
    """Attributes that the instance `kubernetes` adds; `inputs` are its evaluated fields (source_uid, …)."""
    found: dict[str, Any] = {}
    for role in ("destination", "source", "origin"):
        if found.get("destination.service") == INGRESS_SERVICE and not look_up_ingress_source:
            break
        workload = workloads.find(inputs.get(f"{role}_uid"), inputs.get(f"{role}_ip"))
        if workload is not None:
            found.update(workload.attributes(role))
    return found


def service_name(service: str, namespace: str) -> str:
    """The full name that a label stands for; "" for an empty one and for an IP address.

    >>> service_name("svcb", "default"), service_name("a.b.svc.cluster:80", "x"), service_name("10.1.1.1", "x")
    ('svcb.default.svc.cluster.local', 'a.b.svc.cluster.local', '')
    """
    name = service.split(":", 1)[0]
    if not name or _is_ip(name):
        return ""
    parts = name.split(".", 2)
    if len(parts) == 1:
        return f"{name}.{namespace}.{CLUSTER_DOMAIN}"
    if len(parts) == 2:
        return f"{name}.{CLUSTER_DOMAIN}"
    return f"{parts[0]}.{parts[1]}.{CLUSTER_DOMAIN}" if CLUSTER_DOMAIN.startswith(parts[2]) else name


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _normal(ip: str) -> str:
    """IPv4 mapped into IPv6 is that IPv4."""
    return ip[7:] if ip.startswith("::ffff:") else ip
