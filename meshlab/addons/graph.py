"""The graph of who calls whom, from Prometheus, in the three forms of Istio 0.4's ServiceGraph.

It asks by the names of 0.4. Under them a cluster's Prometheus records today's istio_requests_total and
istio_tcp_received_bytes_total (manifests/cluster/addons/prometheus.yaml).

`Graph` is a value; `build` makes one from the two queries' results. Nodes are versions of services, edges
carry `reqs/sec` or `bytes/sec` with six decimals. HTTP edges come before TCP edges, and one pair of nodes may
have both.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["BYTES", "REQUESTS", "Edge", "Graph", "build", "check_horizon", "queries"]

REQUESTS, BYTES = "reqs/sec", "bytes/sec"
_BY = "(source_service, destination_service, source_version, destination_version)"
_HORIZON = re.compile(r"^\d+(\.\d+)?(ns|us|µs|ms|s|m|h)(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))*$")
_SUFFIX = ".svc.cluster.local"


@dataclass(frozen=True)
class Edge:
    source: str
    target: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    nodes: tuple[str, ...] = ()
    edges: tuple[Edge, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The body of /graph."""
        return {
            "nodes": {node: {} for node in self.nodes},
            "edges": [{"source": e.source, "target": e.target, "labels": dict(e.labels)} for e in self.edges],
        }

    def to_dot(self) -> str:
        """The body of /dotgraph. Identifiers are the text with `/`, `.` and space replaced."""
        lines = ['digraph "istio-servicegraph" {']
        for edge in self.edges:
            label = "\\n".join(f"{key}: {value}" for key, value in edge.labels.items())
            lines.append(f'"{_identifier(edge.source)}" -> "{_identifier(edge.target)}" [label="{label}"];')
        lines += [f'"{_identifier(node)}" [label="{_quoted(node)}"];' for node in self.nodes]
        return "\n".join([*lines, "}"]) + "\n"

    def with_nodes(self, names: Sequence[str]) -> Graph:
        """The same with further, unconnected nodes."""
        return Graph(tuple(dict.fromkeys([*self.nodes, *names])), self.edges)


def queries(horizon: str, *, filter_empty: bool) -> tuple[tuple[str, str], ...]:
    """(edge label, PromQL) of the two instant queries."""
    tail = " > 0" if filter_empty else ""
    return tuple((label, f"sum(rate({metric}[{horizon}])) by {_BY}{tail}") for label, metric in (
        (REQUESTS, "istio_request_count"), (BYTES, "istio_tcp_bytes_received")))


def check_horizon(text: str) -> str:
    """A time horizon as Prometheus takes it. Raises ValueError in the words of the original."""
    if not _HORIZON.match(text):
        raise ValueError(f"could not parse time_horizon: time: invalid duration {text}")
    return text


def build(results: Sequence[tuple[str, Sequence[Mapping[str, Any]]]]) -> Graph:
    """A graph from (edge label, result vector of Prometheus) pairs, in that order."""
    nodes: dict[str, None] = {}
    edges = []
    for label, vector in results:
        for sample in vector:
            metric, value = sample["metric"], float(sample["value"][1])
            source = _node(metric.get("source_service", ""), metric.get("source_version", ""))
            target = _node(metric.get("destination_service", ""), metric.get("destination_version", ""))
            nodes[source] = nodes[target] = None
            text = "NaN" if math.isnan(value) else f"{value:.6f}"
            edges.append(Edge(source, target, {label: text}))
    return Graph(tuple(sorted(nodes)), tuple(edges))


def _node(service: str, version: str) -> str:
    return f"{service.replace(_SUFFIX, '')} ({version})"


def _identifier(text: str) -> str:
    return _quoted(text).replace("/", "_").replace(".", "_").replace(" ", "_")


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
