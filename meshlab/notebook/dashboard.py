"""The Istio Dashboard inside a notebook: drawn from its Grafana JSON and the lab's Prometheus, as one picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from meshlab.addons.panels import Drawn, dashboard, draw
from meshlab.addons.svg import escape
from meshlab.errors import LabError
from meshlab.phrases import tr

if TYPE_CHECKING:
    from meshlab.lab import Lab

__all__ = ["Dashboard"]


class _Source:
    """The three questions of a dashboard, asked through the API server's service proxy: works on any cluster."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def query(self, promql: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._ask("query", {"query": promql})["result"]
        return found

    def query_range(self, promql: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        asked = {"query": promql, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"}
        found: list[dict[str, Any]] = self._ask("query_range", asked)["result"]
        return found

    def label_values(self, metric: str, label: str) -> list[str]:
        found: list[str] = self._ask(f"label/{label}/values", {"match[]": metric})
        return found

    def _ask(self, path: str, query: Mapping[str, object]) -> Any:
        namespace = self._lab.engine.addons_namespace
        reply = self._lab.access.service(namespace, "prometheus", 9090, f"/api/v1/{path}", query=query, check=False)
        if reply.status != 200:
            raise LabError(
                f"Prometheus refused {query.get('query', path)!r}",
                why=reply.text.strip()[:300],
                then=f"kubectl get pods -n {namespace} -l app=prometheus",
            )
        return reply.json()["data"]


class Dashboard:
    """A dashboard as it is now, over the last `minutes`. `panels` are what it consists of.

    `chosen` restricts its variables, for example `{"http_destination": ["svcb.default.svc.cluster.local"]}`.
    """

    def __init__(
        self,
        lab: Lab,
        name: str = "istio",
        *,
        minutes: float = 5.0,
        chosen: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        board = dashboard(name)
        self.title = str(board["title"])
        self.panels: list[Drawn] = list(draw(board, _Source(lab), minutes=minutes, chosen=chosen, page=980))

    @property
    def titles(self) -> list[str]:
        """The panels' titles as the file has them, in order, without rows and texts."""
        return [panel.title for panel in self.panels if panel.kind not in ("row", "text")]

    def __repr__(self) -> str:
        return f"{self.title}\n" + "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        for panel in self.panels:
            yield f"{panel.title}:" if panel.kind == "row" else f"    {panel.title or panel.kind}"

    def _repr_html_(self) -> str:
        cells = "".join(
            f'<h4 style="grid-column:span 24;margin:8px 0 0">{escape(tr(panel.title))}</h4>'
            if panel.kind == "row"
            else f'<div style="grid-column:span {panel.width};overflow:hidden">{panel.markup}</div>'
            for panel in self.panels
        )
        title = escape(tr(self.title))
        return (
            f'<section aria-label="{title}"><h3>{title}</h3>'
            '<div style="display:grid;grid-template-columns:repeat(24,1fr);gap:6px;max-width:1000px">'
            f"{cells}</div></section>"
        )
