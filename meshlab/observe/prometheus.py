"""Prometheus' answers as DataFrames."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..access import Access
from ..errors import LabError

if TYPE_CHECKING:
    import pandas

__all__ = ["Prometheus"]


class Prometheus:
    """The Prometheus of the mesh, through the API server's service proxy."""

    def __init__(self, access: Access, namespace: Callable[[], str] = lambda: "istio-system") -> None:
        self._access, self._namespace = access, namespace

    def _ask(self, path: str, **query: object) -> Any:
        reply = self._access.service(self._namespace(), "prometheus", 9090, path, query=query, check=False)
        try:
            answer = reply.json()
        except ValueError:
            answer = {"error": reply.text.strip()[:300]}
        if reply.status != 200 or answer.get("status") != "success":
            raise LabError(
                f"Prometheus refused {query.get('query', path)!r}",
                why=str(answer.get("error") or answer.get("message")),
                then=f"kubectl get pods -n {self._namespace()} -l app=prometheus",
            )
        return answer["data"]

    def query(self, promql: str) -> pandas.DataFrame:
        """An instant query: one row per series, its labels as columns, the last column `value` (float)."""
        import pandas

        rows = [{**labels, "value": value} for labels, value in self.vector(promql)]
        return pandas.DataFrame(rows) if rows else pandas.DataFrame(columns=["value"])

    def vector(self, promql: str) -> list[tuple[dict[str, str], float]]:
        """An instant query: (labels, value) of each series. Costs no pandas, for those who ask once a second."""
        data = self._ask("/api/v1/query", query=promql)
        if data["resultType"] in ("scalar", "string"):
            return [({}, float(data["result"][1]))]
        return [(dict(r["metric"]), float(r["value"][1])) for r in data["result"]]

    def value(self, promql: str) -> float:
        """The single number of an instant query, the sum of its series but NaN; 0.0 where there is none."""
        return sum((value for _, value in self.vector(promql) if not math.isnan(value)), 0.0)

    def query_range(self, promql: str, minutes: float = 5.0, step: str = "5s") -> pandas.DataFrame:
        """The last `minutes` of a query: index UTC time, one column per series named by its labels."""
        import pandas

        end = time.time()
        data = self._ask("/api/v1/query_range", query=promql, start=end - 60 * minutes, end=end, step=step)
        columns = {}
        for series in data["result"]:
            labels = {k: v for k, v in series["metric"].items() if k != "__name__"}
            name = ", ".join(f"{k}={v}" for k, v in sorted(labels.items())) or promql
            times = pandas.to_datetime([t for t, _ in series["values"]], unit="s", utc=True)
            columns[name] = pandas.Series([float(v) for _, v in series["values"]], index=times)
        return pandas.DataFrame(columns)

    def targets(self) -> pandas.DataFrame:
        """Status → Targets: job, url, health (up, down, unknown), error."""
        import pandas

        rows = [
            {"job": t["labels"]["job"], "url": t["scrapeUrl"], "health": t["health"], "error": t["lastError"]}
            for t in self._ask("/api/v1/targets")["activeTargets"]
        ]
        return pandas.DataFrame(rows, columns=["job", "url", "health", "error"]).sort_values("job", ignore_index=True)
