"""Is there room? What nodes can give, less what is asked of them already, against what the mesh will ask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..access import Access
from .found import maybe
from .quantities import amount, cpu, memory

__all__ = ["Need", "Room", "room", "too_big"]

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Need:
    """What one pod asks for: cores and bytes."""

    name: str
    cpu: float
    memory: float

    def __str__(self) -> str:
        return f"{self.name} ({cpu(self.cpu)}, {memory(self.memory)})"


@dataclass(frozen=True)
class Room:
    """What is left on one node that takes pods: cores, bytes and pods."""

    node: str
    cpu: float
    memory: float
    pods: float

    def __str__(self) -> str:
        return f"{self.node}: {cpu(max(self.cpu, 0))}, {memory(max(self.memory, 0))}, {self.pods:g} pods"


#: What the parts ask for: istiod 500m and 2 Gi, a proxy 100m and 128 Mi, as Istio's charts say; the rest as our
#: manifests do.
SIDECAR = (0.1, 128 * 2.0**20)
ISTIOD = Need("istiod", 0.5, 2 * 2.0**30)
GATEWAY = Need("istio-ingress", *SIDECAR)
ADDONS = (
    Need("prometheus", 0.1, 512 * 2.0**20),
    Need("grafana", 0.05, 128 * 2.0**20),
    Need("zipkin", 0.1, 512 * 2.0**20),
    Need("servicegraph", 0.02, 64 * 2.0**20),
)
#: A demo pod asks for little; those of the mesh have a sidecar beside it. Lesson 04 runs 2 + 2 of svcb.
_DEMO = (0.01, 32 * 2.0**20)
DEMO = (
    *(Need(name, _DEMO[0] + SIDECAR[0], _DEMO[1] + SIDECAR[1]) for name in ("svca", *("svcb",) * 4)),
    Need("msgd", *_DEMO),
    Need("client", *_DEMO),
)


def room(access: Access, denied: list[str]) -> list[Room]:
    """Per node that takes pods, what is not asked for yet."""
    nodes = {str(n["metadata"]["name"]): n for n in maybe(access, "v1", "Node", denied) if _takes_pods(n)}
    asked = {name: [0.0, 0.0, 0] for name in nodes}
    for pod in maybe(access, "v1", "Pod", denied):
        where = pod["spec"].get("nodeName")
        if where in asked and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
            used = asked[where]
            used[0], used[1], used[2] = used[0] + _asks(pod, "cpu"), used[1] + _asks(pod, "memory"), used[2] + 1
    out = []
    for name, node in nodes.items():
        gives = (node.get("status") or {}).get("allocatable") or {}
        cores, size, count = asked[name]
        left = amount(gives.get("cpu")) - cores, amount(gives.get("memory")) - size
        out.append(Room(name, *left, amount(gives.get("pods") or 110) - count))
    return out


def too_big(needs: Iterable[Need], rooms: Iterable[Room]) -> list[Need]:
    """Those that find no place, the biggest placed first, each on the node with most memory left."""
    left = [[r.cpu, r.memory, r.pods] for r in rooms]
    out = []
    for need in sorted(needs, key=lambda n: (-n.memory, -n.cpu, n.name)):
        fits = [each for each in left if each[0] >= need.cpu and each[1] >= need.memory and each[2] >= 1]
        if not fits:
            out.append(need)
            continue
        best = max(fits, key=lambda each: (each[1], each[0]))
        best[0], best[1], best[2] = best[0] - need.cpu, best[1] - need.memory, best[2] - 1
    return out


def _takes_pods(node: Object) -> bool:
    spec = node.get("spec") or {}
    if spec.get("unschedulable"):
        return False
    if any(taint.get("effect") in ("NoSchedule", "NoExecute") for taint in spec.get("taints") or ()):
        return False
    conditions = {c["type"]: c["status"] for c in (node.get("status") or {}).get("conditions") or ()}
    return conditions.get("Ready") == "True"


def _asks(pod: Object, what: str) -> float:
    """A pod's request: the sum of its containers, or its largest init container if that is more."""

    def of(container: Object) -> float:
        return amount(((container.get("resources") or {}).get("requests") or {}).get(what))

    spec = pod["spec"]
    first = spec.get("initContainers") or ()
    lasting = [each for each in first if each.get("restartPolicy") == "Always"]
    together = sum(map(of, [*spec["containers"], *lasting]))
    return max([together, *(of(each) for each in first if each not in lasting)])
