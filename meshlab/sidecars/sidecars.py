"""Pods with a proxy, and the ways to ask it: its admin interface and its log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from meshlab.errors import LabError
from meshlab.kube import Kube
from meshlab.sidecars.asked import AGENT, asked
from meshlab.sidecars.dump import ConfigDump
from meshlab.sidecars.remote import upgrade

__all__ = ["Pod", "Sidecars", "in_parallel"]

#: Names of containers that are Envoys configured by the mesh, today's first.
PROXIES = ("istio-proxy", "istio-ingress")
#: Sidecars asked at the same time; each costs the node a process.
AT_ONCE = 4
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Pod:
    """A pod; `proxy` is the name of its proxy's container, "" if it has none."""

    namespace: str
    name: str
    ip: str
    labels: Mapping[str, str] = field(default_factory=dict, compare=False)
    proxy: str = ""
    #: Names of its other containers.
    programs: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """As Pilot and istioctl name it: `pod.namespace`."""
        return f"{self.name}.{self.namespace}"

    @property
    def app(self) -> str:
        """What a person calls it."""
        for label in ("app", "app.kubernetes.io/name"):
            if self.labels.get(label):
                return self.labels[label]
        return f"istio-{self.labels['istio']}" if self.labels.get("istio") else self.name

    @property
    def version(self) -> str:
        return self.labels.get("version") or self.labels.get("app.kubernetes.io/version") or ""

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Pod:
        """From the API's object. A sidecar may be an init container that keeps running."""
        spec = stored.get("spec") or {}
        running = [str(each["name"]) for each in spec.get("containers") or ()]
        kept = [str(each["name"]) for each in spec.get("initContainers") or () if each.get("restartPolicy") == "Always"]
        proxy = next((name for name in PROXIES if name in (*running, *kept)), "")
        return cls(
            str(stored["metadata"].get("namespace") or "default"),
            str(stored["metadata"]["name"]),
            str((stored.get("status") or {}).get("podIP") or ""),
            dict(stored["metadata"].get("labels") or {}),
            proxy,
            tuple(name for name in running if name != proxy),
        )


class Sidecars:
    """The proxies of one cluster."""

    def __init__(self, kube: Kube) -> None:
        self.kube = kube

    @cached_property
    def pods(self) -> tuple[Pod, ...]:
        """All pods that run, read once."""
        listed = self.kube.list(("v1", "pods"))["items"]
        return tuple(
            Pod.of(each)
            for each in listed
            if (each.get("status") or {}).get("phase") == "Running" and "deletionTimestamp" not in each["metadata"]
        )

    def at(self, address: str) -> Pod | None:
        """The pod with this IP."""
        wanted = address.strip("[]")
        return next((each for each in self.pods if wanted and each.ip == wanted), None)

    def find(self, name: str, namespace: str) -> Pod:
        """By `pod`, `pod.namespace`, or `deployment/name[.namespace]` (its first pod). Raises LabError."""
        kind, _, rest = name.rpartition("/")
        parts = rest.split(".")
        wanted, space = (parts[0], ".".join(parts[1:])) if len(parts) > 1 else (rest, namespace)
        there = [each for each in self.pods if each.namespace == space]
        if kind in ("", "pod", "pods"):
            found = [each for each in there if each.name == wanted]
            if not found and not kind:  # a pod's name may hold dots
                found = [each for each in self.pods if each.namespace == namespace and each.name == rest]
        elif kind in ("deploy", "deployment", "deployments"):
            found = [
                each
                for each in there
                if each.name.startswith(wanted + "-") and each.name.count("-") == wanted.count("-") + 2
            ]
        elif kind in ("svc", "service", "services"):
            selector = self.kube.get(("v1", "services", space, wanted)).get("spec", {}).get("selector") or {}
            found = [each for each in there if selector and selector.items() <= each.labels.items()]
        else:
            raise LabError(f"a proxy is not found by {kind}", why="a pod, deployment/NAME or service/NAME is known")
        if not found:
            known = ", ".join(sorted(each.id for each in self.pods if each.proxy)) or "none"
            raise LabError(
                f'no running pod "{name}" in namespace {space}',
                why=f"pods with a proxy: {known}",
                then="kubectl get pods --all-namespaces",
            )
        if not found[0].proxy:
            raise LabError(
                f"pod {found[0].id} has no proxy",
                why=f"its containers are {', '.join(found[0].programs)}",
                then="kubectl apply -f <(istioctl kube-inject -f FILE)",
            )
        return found[0]

    def admin(self, pod: Pod, path: str, method: str = "GET") -> str:
        """What the admin interface of a pod's Envoy answers to `path`. Raises LabError."""
        to = upgrade(self.kube)
        said = asked(to, pod.namespace, pod.name, pod.proxy, AGENT, path, method=method)
        return said.decode("utf-8", "replace")

    def dump(self, pod: Pod, query: str = "?include_eds=true") -> ConfigDump:
        """The configuration that a pod's Envoy has."""
        return ConfigDump.of(self.admin(pod, f"config_dump{query}"))

    def log(self, pod: Pod, *, seconds: int) -> str:
        """What a pod's proxy logged in the last `seconds`, to the moment: Envoy is made to write out what it holds."""
        self.admin(pod, "reopen_logs", "POST")
        path = self.kube.path(("v1", "pods", pod.namespace, pod.name, "log"))
        answer = self.kube.raw("GET", path, query={"container": pod.proxy, "sinceSeconds": seconds})
        if answer.status != 200:
            raise LabError(
                f"the log of {pod.id} cannot be read",
                why=answer.text.strip()[:300],
                then=f"kubectl -n {pod.namespace} logs {pod.name} -c {pod.proxy}",
            )
        return answer.text


def in_parallel(work: Callable[[T], R], things: Iterable[T]) -> dict[T, R]:
    """`work` of each thing, a few at a time. The first exception is raised."""
    from concurrent.futures import ThreadPoolExecutor

    listed = list(things)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(listed, pool.map(work, listed), strict=True))
