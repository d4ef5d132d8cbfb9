"""Questions to Prometheus' HTTP API, for the add-ons' own pages."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from meshlab.errors import MeshlabError
from meshlab.mesh.web import fetch

__all__ = ["Prometheus", "PrometheusError"]


class PrometheusError(MeshlabError):
    """Prometheus does not answer, or not with a result."""


class Prometheus:
    """A Prometheus at `url`, such as http://prometheus:9090."""

    def __init__(self, url: str, *, timeout: float = 10.0) -> None:
        self.url, self._timeout = url.rstrip("/"), timeout

    def query(self, promql: str) -> list[dict[str, Any]]:
        """Result vector of an instant query: `{"metric": {…}, "value": [time, text]}` each."""
        result: list[dict[str, Any]] = self._ask("query", {"query": promql})["result"]
        return result

    def query_range(self, promql: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """Matrix: `{"metric": {…}, "values": [[time, text], …]}` each; times in seconds."""
        asked = {"query": promql, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"}
        result: list[dict[str, Any]] = self._ask("query_range", asked)["result"]
        return result

    def label_values(self, metric: str, label: str) -> list[str]:
        """Values that a label of a metric has, sorted."""
        found: list[str] = self._ask(f"label/{label}/values", {"match[]": metric})
        return found

    def _ask(self, path: str, query: dict[str, str]) -> Any:
        try:
            status, body = fetch(f"{self.url}/api/v1/{path}?{urlencode(query)}", timeout=self._timeout)
        except OSError as error:
            raise PrometheusError(f"Prometheus at {self.url} does not answer", why=str(error),
                                  then="kubectl get pods -n istio-system -l app=prometheus") from error
        try:
            answer = json.loads(body)
        except ValueError:
            raise PrometheusError(f"Prometheus at {self.url} answered {status} without JSON") from None
        if answer.get("status") != "success":
            raise PrometheusError(f"Prometheus refused {query.get('query', path)}",
                                  why=str(answer.get("error", status)))
        return answer["data"]
