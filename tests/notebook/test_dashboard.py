from __future__ import annotations

import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from meshlab.errors import LabError
from meshlab.notebook.dashboard import Dashboard
from meshlab.notebook.picture import Picture

SERVICE = "svcb.default.svc.cluster.local"


class Access:
    """Answers as Prometheus does; `broken` makes it refuse."""

    broken = False

    def service(
        self, namespace: str, name: str, port: int, path: str, *, query: Mapping[str, Any], check: bool
    ) -> SimpleNamespace:
        assert (namespace, name, port) == ("istio-system", "prometheus", 9090)
        if self.broken:
            return SimpleNamespace(status=503, text="no endpoints available")
        if "/label/" in path:
            data: Any = [SERVICE]
        elif path.endswith("/query_range"):
            start, end = float(query["start"]), float(query["end"])
            data = {"result": [{"metric": {"response_code": "200"}, "values": [[start, "1"], [end, "2"]]}]}
        else:
            data = {"result": [{"metric": {}, "value": [0, "12.5"]}]}
        return SimpleNamespace(status=200, json=lambda: json.loads(json.dumps({"data": data})))


def test_the_dashboard_is_drawn_from_prometheus_and_reads_as_text_too() -> None:
    board = Dashboard(SimpleNamespace(access=Access(), engine=SimpleNamespace(addons_namespace="istio-system")))  # type: ignore[arg-type]
    assert {"Global Request Volume", "4xxs", "5xxs"} <= set(board.titles)
    html = board._repr_html_()
    assert html.count("<svg") >= 8 and "Istio Dashboard" in html and "svcb.default" in html
    assert "Global Request Volume" in repr(board)


def test_a_prometheus_that_refuses_is_named_with_the_next_command() -> None:
    access = Access()
    access.broken = True
    with pytest.raises(LabError, match="Prometheus refused") as caught:
        Dashboard(SimpleNamespace(access=access, engine=SimpleNamespace(addons_namespace="istio-system")))  # type: ignore[arg-type]
    assert "no endpoints" in str(caught.value) and "kubectl get pods" in str(caught.value)


def test_a_picture_says_in_words_what_it_shows() -> None:
    picture = Picture("digraph { a -> b; }", alt='"a" calls b')
    assert repr(picture) == '"a" calls b'
    assert 'aria-label="&quot;a&quot; calls b"' in picture._repr_html_() and "<svg" in picture._repr_html_()
