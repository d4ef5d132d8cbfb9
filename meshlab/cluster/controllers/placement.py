"""Whether a pod may run on a node: taints, selectors, affinities, room. Pure functions, in a scheduler's words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from meshlab.cluster.api.quantity import parse as quantity
from meshlab.cluster.api.selectors import selector_object

__all__ = ["FINAL", "chooses", "requests", "tolerates", "unfit", "untolerated"]

UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
#: Reasons that no removal of other pods would cure.
FINAL = ("node(s) were unschedulable", "node(s) had untolerated taint", "node(s) didn't match Pod's node affinity")


def requests(pod: Mapping[str, Any]) -> dict[str, float]:
    """What a pod asks of its node, cpu in cores and memory in bytes.

    Its containers and sidecars together; or, where that is more, an init container beside the sidecars before it.
    """
    total: dict[str, float] = {}
    for container in pod["spec"].get("containers") or []:
        _add(total, container)
    sidecars: dict[str, float] = {}
    largest: dict[str, float] = {}
    for container in pod["spec"].get("initContainers") or []:
        alone = dict(sidecars)
        _add(alone, container)
        largest = {name: max(largest.get(name, 0), alone.get(name, 0)) for name in largest.keys() | alone.keys()}
        if container.get("restartPolicy") == "Always":
            sidecars = alone
    for name, amount in sidecars.items():
        total[name] = total.get(name, 0) + amount
    return {name: max(total.get(name, 0), largest.get(name, 0)) for name in {**total, **largest}}


def _add(total: dict[str, float], container: Mapping[str, Any]) -> None:
    for name, amount in ((container.get("resources") or {}).get("requests") or {}).items():
        total[name] = total.get(name, 0) + float(quantity(amount)[0])


def tolerates(tolerations: Iterable[Mapping[str, Any]], taint: Mapping[str, Any]) -> bool:
    """Whether one of the tolerations covers the taint."""
    for toleration in tolerations:
        if toleration.get("effect") not in (None, "", taint.get("effect")):
            continue
        if toleration.get("operator") == "Exists":
            if toleration.get("key") in (None, "", taint["key"]):
                return True
        elif (toleration.get("key"), toleration.get("value") or "") == (taint["key"], taint.get("value") or ""):
            return True
    return False


def untolerated(spec: Mapping[str, Any], node: Mapping[str, Any], effects: Sequence[str]) -> Mapping[str, Any] | None:
    """The node's first taint with one of these effects that a pod of this spec does not tolerate."""
    tolerations = spec.get("tolerations") or []
    taints = (node.get("spec") or {}).get("taints") or []
    return next((t for t in taints if t.get("effect") in effects and not tolerates(tolerations, t)), None)


def chooses(spec: Mapping[str, Any], node: Mapping[str, Any]) -> bool:
    """Whether nodeSelector and the required node affinity of a pod's spec take the node."""
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    fields = {"metadata.name": node["metadata"]["name"]}
    return any(
        (term.get("matchExpressions") or term.get("matchFields"))
        and all(_matches(each, labels) for each in term.get("matchExpressions") or [])
        and all(_matches(each, fields) for each in term.get("matchFields") or [])
        for term in required.get("nodeSelectorTerms") or []
    )


def _matches(requirement: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value, values = labels.get(requirement["key"]), requirement.get("values") or []
    match requirement["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt" as operator:
            if value is None or not value.lstrip("-").isdecimal():
                return False
            return int(value) > int(values[0]) if operator == "Gt" else int(value) < int(values[0])
    return False


def unfit(pod: Mapping[str, Any], node: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> str:
    """Why the pod cannot run on the node beside `others`; "" if it can."""
    spec, node_spec = pod["spec"], node.get("spec") or {}
    cordon = {"key": UNSCHEDULABLE, "effect": "NoSchedule"}
    if node_spec.get("unschedulable") and not tolerates(spec.get("tolerations") or [], cordon):
        return FINAL[0]
    if taint := untolerated(spec, node, ("NoSchedule", "NoExecute")):
        return f"{FINAL[1]} {{{taint['key']}: {taint.get('value') or ''}}}"
    if not chooses(spec, node):
        return "node(s) didn't match Pod's node affinity/selector"
    present = list(others)
    if why := _crowded(pod, node, present):
        return why
    if why := _affinity(pod, node, present):
        return why
    capacity = {name: float(quantity(amount)[0]) for name, amount in
                ((node.get("status") or {}).get("allocatable") or {}).items()}
    if len(present) + 1 > capacity.get("pods", 110):
        return "Too many pods"
    wanted = requests(pod)
    used: dict[str, float] = {}
    for other in present if wanted else []:
        for name, amount in requests(other).items():
            used[name] = used.get(name, 0) + amount
    short = [name for name, amount in wanted.items() if amount and used.get(name, 0) + amount > capacity.get(name, 0)]
    return ", 1 ".join(f"Insufficient {name}" for name in sorted(short))


def _crowded(pod: Mapping[str, Any], node: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> str:
    """Two pods cannot have the same port of the host."""
    del node
    taken = {port for other in others for port in _host_ports(other)}
    return "node(s) didn't have free ports for the requested pod ports" if taken & set(_host_ports(pod)) else ""


def _host_ports(pod: Mapping[str, Any]) -> list[tuple[str, int]]:
    return [(port.get("protocol") or "TCP", int(port["hostPort"]))
            for container in pod["spec"].get("containers") or []
            for port in container.get("ports") or [] if port.get("hostPort")]


def _affinity(pod: Mapping[str, Any], node: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> str:
    """Required (anti-)affinity between pods. On one node, every topology that the node is labelled with holds all."""
    labels = node["metadata"].get("labels") or {}

    def terms(of: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
        rules = (of["spec"].get("affinity") or {}).get(kind) or {}
        return list(rules.get("requiredDuringSchedulingIgnoredDuringExecution") or [])

    def near(of: Mapping[str, Any], term: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        spaces = term.get("namespaces") or [of["metadata"].get("namespace")]
        everywhere = term.get("namespaceSelector") == {}
        return (term["topologyKey"] in labels and (everywhere or other["metadata"].get("namespace") in spaces)
                and selector_object(term.get("labelSelector"))(other))

    for term in terms(pod, "podAffinity"):
        # The first pod of a group that wants to be together may begin anywhere.
        if not any(near(pod, term, other) for other in [*others, pod]):
            return "node(s) didn't match pod affinity rules"
    for term in terms(pod, "podAntiAffinity"):
        if any(near(pod, term, other) for other in others):
            return "node(s) didn't match pod anti-affinity rules"
    if any(near(other, term, pod) for other in others for term in terms(other, "podAntiAffinity")):
        return "node(s) didn't satisfy existing pods anti-affinity rules"
    return ""
