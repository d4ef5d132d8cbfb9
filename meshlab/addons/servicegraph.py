"""`python -m meshlab.addons.servicegraph`: who calls whom (docker.io/istio/servicegraph:0.4.0), port 8088.

/graph (JSON), /dotgraph (DOT), /dotviz (a picture); `time_horizon` (default 5m) and `filter_empty=true` as in
0.4. The original's page loads a renderer from the network and draws in the browser; here the picture comes
drawn, so that it works offline and without JavaScript.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Sequence

from meshlab.addons.graph import Graph, build, check_horizon, queries
from meshlab.addons.prom import Prometheus, PrometheusError
from meshlab.mesh.web import Answer, Request, Server, html, plain, to_json

__all__ = ["ServiceGraph", "main"]

#: Static nodes that may be added, so that a loop of a client cannot fill the memory.
MAX_NODES = 1000


class ServiceGraph:
    """The handler: `ServiceGraph(Prometheus(url)).handle`."""

    def __init__(self, prometheus: Prometheus) -> None:
        self._prometheus = prometheus
        self._lock = threading.Lock()
        self._nodes: dict[str, None] = {}

    def handle(self, request: Request) -> Answer:
        if request.path == "/node":
            return self._node(request)
        if request.path not in ("/graph", "/dotgraph", "/dotviz"):
            return plain("404 page not found\n", 404)
        try:
            graph = self.graph(request.query.get("time_horizon") or "5m",
                               filter_empty=request.query.get("filter_empty") == "true")
        except (ValueError, PrometheusError) as error:
            return plain(f"{error}\n", 500)
        if request.path == "/graph":
            return to_json(graph.to_json())
        if request.path == "/dotgraph":
            return plain(graph.to_dot())
        from meshlab.addons.dot import draw  # loads subprocess, which the other two never need
        from meshlab.addons.svg import escape

        calls = "; ".join(f"{edge['source']} calls {edge['target']}" for edge in graph.to_json()["edges"])
        return html(_PAGE.format(picture=draw(graph.to_dot()), words=escape(calls) or "no calls"))

    def graph(self, horizon: str, *, filter_empty: bool) -> Graph:
        """Raises ValueError for a bad horizon, PrometheusError."""
        asked = queries(check_horizon(horizon), filter_empty=filter_empty)
        graph = build([(label, self._prometheus.query(promql)) for label, promql in asked])
        with self._lock:
            return graph.with_nodes(list(self._nodes))

    def _node(self, request: Request) -> Answer:
        if request.method != "POST":
            return plain("requests of this type not supported at this time\n", 501)
        name = request.query.get("name")
        if not name:
            return plain("missing argument 'name'\n", 400)
        with self._lock:
            if len(self._nodes) < MAX_NODES:
                self._nodes[name] = None
        return plain("")


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Istio ServiceGraph</title>
<meta http-equiv="refresh" content="5"></head>
<body><figure role="img" aria-label="{words}">{picture}</figure></body></html>
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="servicegraph", allow_abbrev=False)
    parser.add_argument("--prometheusAddr", default="http://prometheus:9090")
    parser.add_argument("--bindAddr", default=":8088")
    options = parser.parse_known_args(sys.argv[1:] if argv is None else argv)[0]
    host, _, port = options.bindAddr.rpartition(":")
    try:
        server = Server((host or os.environ.get("POD_IP", "127.0.0.1"), int(port)),
                        ServiceGraph(Prometheus(options.prometheusAddr)).handle)
    except OSError as error:
        print(f"servicegraph: cannot listen on {options.bindAddr}: {error}", file=sys.stderr)
        return 1
    server.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
