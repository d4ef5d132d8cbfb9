"""The service graph, from ServiceGraph's own endpoints."""

from __future__ import annotations

from functools import cached_property
from html import escape
from typing import Any

from ..access import Access
from ..errors import LabError

__all__ = ["Graph", "servicegraph"]


class Graph:
    """Who calls whom. `edges` are `(source, target, {"reqs/sec": "0.500000"})`, `nodes` their names."""

    def __init__(self, data: dict[str, Any], dot: str) -> None:
        self.dot = dot
        self.nodes: list[str] = sorted(data.get("nodes") or {})
        self.edges: list[tuple[str, str, dict[str, str]]] = [
            (e["source"], e["target"], dict(e.get("labels") or {})) for e in data.get("edges") or []
        ]

    @cached_property
    def svg(self) -> str:
        from ..addons.dot import draw

        return draw(self.dot)

    def __str__(self) -> str:
        if not self.edges:
            return "no calls seen in this period"
        return "\n".join(
            f"{s} -> {t}  {', '.join(f'{k} {v}' for k, v in labels.items())}" for s, t, labels in self.edges
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        if not self.edges:
            return f'<p role="status">{self}</p>'
        return f'<figure role="img" aria-label="{escape(str(self), quote=True)}">{self.svg}</figure>'


def servicegraph(
    access: Access, horizon: str = "5m", *, filter_empty: bool = True, namespace: str = "istio-system"
) -> Graph:
    """The calls of the last `horizon` (a Prometheus duration)."""
    query: dict[str, object] = {"time_horizon": horizon}
    if filter_empty:
        query["filter_empty"] = "true"
    replies = [
        access.service(namespace, "servicegraph", 8088, path, query=query, check=False)
        for path in ("/graph", "/dotgraph")
    ]
    for reply in replies:
        if reply.status != 200:
            raise LabError(
                "ServiceGraph did not answer",
                why=reply.text.strip()[:300],
                then=f"kubectl get pods -n {namespace} -l app=servicegraph",
            )
    return Graph(replies[0].json(), replies[1].text)
