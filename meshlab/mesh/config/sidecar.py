"""What a sidecar is made of: the containers and volumes that a pod gets, whoever adds them.

`istioctl kube-inject` adds them to documents, Pilot's webhook to pods as they are created. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from meshlab.mesh.config.meshconfig import MeshConfig

__all__ = ["POLICY_ANNOTATION", "PROXY", "STATUS_ANNOTATION", "Policy", "SidecarParams", "add_sidecar", "objects"]

POLICY_ANNOTATION = "sidecar.istio.io/inject"
STATUS_ANNOTATION = "sidecar.istio.io/status"
#: Name of the container.
PROXY = "istio-proxy"
CERTIFICATES = "/etc/certs/"


class Policy(Enum):
    """Whether workloads that say nothing get a sidecar."""

    ENABLED = "enabled"
    DISABLED = "disabled"


@dataclass(frozen=True)
class SidecarParams:
    """What the sidecar looks like. `include_ranges`: CIDRs, comma separated, whose traffic is captured; "" for all."""

    init_image: str
    proxy_image: str
    version: str
    mesh: MeshConfig = field(default_factory=MeshConfig)
    verbosity: int = 2
    proxy_uid: int = 1337
    pull_policy: str = "IfNotPresent"
    core_dump: bool = True
    debug: bool = True
    include_ranges: str = ""
    policy: Policy = Policy.ENABLED
    #: "" stands for every namespace.
    include_namespaces: tuple[str, ...] = ("",)
    exclude_namespaces: tuple[str, ...] = ()


def add_sidecar(pod: dict[str, Any], labels: Mapping[str, str], params: SidecarParams) -> None:
    """Adds to a pod's spec, in place, the init container that captures, the proxy and its volumes.

    `labels` are the pod's: `app` names the cluster that the proxy says it belongs to. Raises TypeError for a spec of
    the wrong shape.
    """
    proxy = params.mesh.default_config
    pull = params.pull_policy if params.pull_policy in ("Always", "IfNotPresent", "Never") else "IfNotPresent"
    capture = ["-p", str(params.mesh.proxy_listen_port), "-u", str(params.proxy_uid)]
    if params.include_ranges:
        capture += ["-i", params.include_ranges]
    init = [
        {
            "name": "istio-init",
            "image": params.init_image,
            "args": capture,
            "imagePullPolicy": pull,
            "resources": {},
            "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}, "privileged": True},
        }
    ]
    if params.core_dump:
        pattern = f"{proxy.config_path}/core.%e.%p.%t"
        init.append(
            {
                "name": "enable-core-dump",
                "image": "alpine",
                "command": ["/bin/sh"],
                "args": ["-c", f"sysctl -w kernel.core_pattern={pattern} && ulimit -c unlimited"],
                "imagePullPolicy": pull,
                "resources": {},
                "securityContext": {"privileged": True},
            }
        )
    pod["initContainers"] = [*objects(pod, "initContainers"), *init]
    cluster = labels.get("app", proxy.service_cluster)
    pod["containers"] = [*objects(pod, "containers"), _sidecar(params, cluster, pull)]
    account = pod.get("serviceAccountName") or "default"
    pod["volumes"] = [
        *objects(pod, "volumes"),
        {"name": "istio-envoy", "emptyDir": {"medium": "Memory", "sizeLimit": "0"}},
        {"name": "istio-certs", "secret": {"secretName": f"istio.{account}", "optional": True}},
    ]


def _sidecar(params: SidecarParams, service_cluster: str, pull_policy: str) -> dict[str, Any]:
    proxy = params.mesh.default_config
    flags = {
        "--configPath": proxy.config_path,
        "--binaryPath": proxy.binary_path,
        "--serviceCluster": service_cluster,
        "--drainDuration": proxy.drain_duration,
        "--parentShutdownDuration": proxy.parent_shutdown_duration,
        "--discoveryAddress": proxy.discovery_address,
        "--discoveryRefreshDelay": proxy.discovery_refresh_delay,
        "--zipkinAddress": proxy.zipkin_address,
        "--connectTimeout": proxy.connect_timeout,
        "--statsdUdpAddress": proxy.statsd_udp_address,
        "--proxyAdminPort": proxy.proxy_admin_port,
        "--controlPlaneAuthPolicy": proxy.control_plane_auth_policy,
    }
    args = ["proxy", "sidecar"]
    if params.verbosity > 0:
        args += ["-v", str(params.verbosity)]
    for flag, value in flags.items():
        args += [flag, str(value)]
    sources = {"POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace", "INSTANCE_IP": "status.podIP"}
    return {
        "name": PROXY,
        "image": params.proxy_image,
        "args": args,
        "env": [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in sources.items()],
        "imagePullPolicy": pull_policy,
        "resources": {},
        "securityContext": {
            "privileged": params.debug,
            "readOnlyRootFilesystem": not params.debug,
            "runAsUser": params.proxy_uid,
        },
        "volumeMounts": [
            {"name": "istio-envoy", "mountPath": proxy.config_path},
            {"name": "istio-certs", "mountPath": CERTIFICATES, "readOnly": True},
        ],
    }


def objects(parent: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """The list of objects under a key, [] where there is none. Raises TypeError for anything else."""
    value = parent.get(key) or []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise TypeError(f"{key} is not a list of objects")
    return value
