"""metrics.k8s.io: what `kubectl top` shows, as metrics-server would have it."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from meshlab.cluster.api.metadata import timestamp
from meshlab.cluster.api.quantity import written
from meshlab.cluster.api.registry import Resource
from meshlab.cluster.api.request import Target
from meshlab.cluster.api.status import NotFound, ServiceUnavailable
from meshlab.cluster.api.streams import Sample, Usage

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["GROUP", "answer"]

Object = dict[str, Any]

GROUP = "metrics.k8s.io"
API_VERSION = f"{GROUP}/v1beta1"


def answer(api: Api, usage: Usage | None, target: Target, label_selector: str, field_selector: str) -> Object:
    """The answer to a GET of one of the two kinds. NotFound, or ServiceUnavailable where there is no node."""
    if usage is None:
        raise ServiceUnavailable("the server is currently unable to handle the request")
    of_nodes = target.resource.kind == "NodeMetrics"
    subject = api.kinds("Node" if of_nodes else "Pod")
    if target.name is not None:
        found = [api.find(subject, target.namespace, target.name)]
    else:
        found = list(api.list(subject, target.namespace, label_selector=label_selector,
                              field_selector=field_selector)[0])  # fmt: skip
    samples = {} if of_nodes else usage.pods()
    items = []
    for obj in found:
        item = None if obj is None else _node(obj, usage.node()) if of_nodes else _pod(obj, samples)
        if item is not None:
            items.append(item)
    if target.name is None:
        return {"kind": target.resource.list_kind, "apiVersion": API_VERSION, "metadata": {}, "items": items}
    if not items:
        raise _missing(target.resource, target)
    return items[0]


def _missing(resource: Resource, target: Target) -> NotFound:
    name = "/".join(filter(None, (target.namespace, target.name)))
    kind = "nodemetrics" if resource.kind == "NodeMetrics" else "podmetrics"
    details = {"name": name, "group": GROUP, "kind": kind}
    return NotFound(f'{kind}.{GROUP} "{name}" not found', details=details)


def _pod(pod: Mapping[str, Any], samples: Mapping[str, Mapping[str, Sample]]) -> Object | None:
    """None where nothing is known of it: it does not run."""
    own = samples.get(pod["metadata"]["uid"]) or {}
    names = [c["name"] for key in ("containers", "initContainers") for c in pod["spec"].get(key) or ()]
    containers = [{"name": name, "usage": _used(own[name])} for name in names if name in own]
    if not containers:
        return None
    first = next(iter(own.values()))
    return {**_head("PodMetrics", pod, first), "containers": containers}


def _node(node: Mapping[str, Any], sample: Sample) -> Object:
    return {**_head("NodeMetrics", node, sample), "usage": _used(sample)}


def _head(kind: str, obj: Mapping[str, Any], sample: Sample) -> Object:
    meta = obj["metadata"]
    kept = {key: meta[key] for key in ("name", "namespace", "labels") if meta.get(key)}
    return {
        "kind": kind, "apiVersion": API_VERSION, "metadata": {**kept, "creationTimestamp": timestamp()},
        "timestamp": timestamp(sample.at), "window": f"{sample.window:.3f}".rstrip("0").rstrip(".") + "s",
    }


def _used(sample: Sample) -> Object:
    return {"cpu": f"{int(sample.cpu * 10**9)}n" if sample.cpu else "0",
            "memory": written(Fraction(sample.memory // 1024 * 1024), "binary")}  # fmt: skip
