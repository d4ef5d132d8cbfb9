"""The Node object: what this machine is, in the words of the API."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from meshlab.cluster.controllers.objects import now
from meshlab.cluster.node.host import NODE_NAME
from meshlab.settings import Network

__all__ = ["MAX_PODS", "node_object", "node_status"]

#: A kubelet's default.
MAX_PODS = 110


def _memory() -> int:
    """Installed memory in KiB."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1])
    raise OSError("/proc/meminfo has no MemTotal")


def _release() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"


def node_object(network: Network) -> dict[str, Any]:
    """The node without its status."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": NODE_NAME,
            "labels": {
                "kubernetes.io/hostname": NODE_NAME,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": machine,
                "beta.kubernetes.io/os": "linux",
                "beta.kubernetes.io/arch": machine,
                "node-role.kubernetes.io/control-plane": "",
            },
        },
        "spec": {"podCIDR": f"{network.pods}.0.0/16", "podCIDRs": [f"{network.pods}.0.0/16"]},
    }


def node_status(network: Network, images: list[str], previous: dict[str, Any] | None = None, *,
                disk: int = 0) -> dict[str, Any]:
    """Capacity, conditions, addresses and the machine's identity. Transition times of `previous` are kept.

    `disk` is the size in bytes of what pods write to.
    """
    at = now()
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    before = {c["type"]: c for c in (previous or {}).get("conditions") or []}

    def condition(kind: str, status: str, reason: str, message: str) -> dict[str, Any]:
        old = before.get(kind, {})
        moved = old["lastTransitionTime"] if old.get("status") == status else at
        return {"type": kind, "status": status, "lastHeartbeatTime": at, "lastTransitionTime": moved,
                "reason": reason, "message": message}

    resources = {"cpu": str(os.cpu_count() or 1), "ephemeral-storage": f"{disk // 1024}Ki",
                 "memory": f"{_memory()}Ki", "pods": str(MAX_PODS)}
    return {
        "capacity": resources,
        "allocatable": dict(resources),
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory",
                      "kubelet has sufficient memory available"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        ],
        "addresses": [{"type": "InternalIP", "address": network.node}, {"type": "Hostname", "address": NODE_NAME}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "nodeInfo": {
            "machineID": "",
            "systemUUID": "",
            "bootID": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            "kernelVersion": platform.release(),
            "osImage": _release(),
            "containerRuntimeVersion": "meshlab://0.1.0",
            "kubeletVersion": "v1.37.0",
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": machine,
        },
        "images": [{"names": [name], "sizeBytes": 0} for name in images],
    }
