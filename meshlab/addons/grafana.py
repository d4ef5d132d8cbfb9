"""`python -m meshlab.addons.grafana`: the dashboards on a page (docker.io/istio/grafana:0.4.0), port 3000.

Not Grafana, which is 300 MB: the same dashboards, drawn from Prometheus as plain HTML and SVG. The JSON that
it draws from is Grafana's, at /api/dashboards/uid/<uid>, to be imported into a real one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from meshlab.addons.panels import Source, dashboard, dashboards, draw, variables
from meshlab.addons.prom import Prometheus, PrometheusError
from meshlab.addons.svg import escape
from meshlab.mesh.web import Answer, Request, Server, html, plain, to_json

__all__ = ["Grafana", "main"]

PERIODS = {"5m": 5, "15m": 15, "1h": 60, "6h": 360}


class Grafana:
    """The handler: `Grafana(Prometheus(url)).handle`."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def handle(self, request: Request) -> Answer:
        parts = [part for part in request.path.split("/") if part]
        boards = {dashboard(name)["uid"]: name for name in dashboards()}
        if not parts:
            rows = "".join(f'<li><a href="d/{escape(uid)}">{escape(dashboard(name)["title"])}</a></li>'
                           for uid, name in boards.items())
            return html(_frame("Dashboards", f"<h1>Dashboards</h1><ul>{rows}</ul>"))
        if parts == ["api", "health"]:
            return to_json({"database": "ok", "version": "meshlab"})
        if parts == ["api", "search"]:
            return to_json([{"uid": uid, "title": dashboard(name)["title"], "type": "dash-db"}
                            for uid, name in boards.items()])
        if parts[:3] == ["api", "dashboards", "uid"] and len(parts) == 4 and parts[3] in boards:
            return to_json({"dashboard": dashboard(boards[parts[3]]), "meta": {"type": "db"}})
        if parts[0] == "d" and len(parts) >= 2 and parts[1] in boards:
            return self._board(boards[parts[1]], request.query)
        return plain("not found\n", 404)

    def _board(self, name: str, query: Mapping[str, str]) -> Answer:
        board = dashboard(name)
        period = query.get("period", "5m")
        chosen = {key[4:]: [value] for key, value in query.items() if key.startswith("var-") and value}
        try:
            values = variables(board, self._source)
            panels = list(draw(board, self._source, minutes=PERIODS.get(period, 5), chosen=chosen))
        except PrometheusError as error:
            body = f"<h1>{escape(board['title'])}</h1><pre>{escape(error)}</pre>"
            return html(_frame(board["title"], body, refresh=True), 502)
        shown = [v for v in board["templating"]["list"] if v["name"] in values and not v["hide"]]
        selects = "".join(
            f'<label>{escape(v["label"])} <select name="var-{v["name"]}" onchange="form.submit()">'
            + "".join(f'<option value="{escape(x)}"{" selected" if chosen.get(v["name"]) == [x] else ""}>'
                      f'{escape(x or "All")}</option>' for x in ["", *values[v["name"]]])
            + "</select></label>" for v in shown)
        kept = {key: value for key, value in query.items() if key != "period"}
        periods = " ".join(
            f'<a href="?{escape(urlencode({**kept, "period": each}))}">{each}</a>' for each in PERIODS)
        grid = "".join(
            f"<h2>{escape(p.title)}</h2>" if p.kind == "row" else
            f'<figure style="grid-column:span {p.width}">{p.markup}</figure>' for p in panels)
        body = (f"<header><h1>{escape(board['title'])}</h1><form>{selects}<noscript><button>Show</button>"
                f"</noscript></form><nav>Last {periods}</nav></header><main>{grid}</main>")
        return html(_frame(board["title"], body, refresh=True))


def _frame(title: str, body: str, *, refresh: bool = False) -> str:
    again = '<meta http-equiv="refresh" content="5">' if refresh else ""
    return (f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">{again}<title>{escape(title)}</title>'
            f"{_STYLE}</head><body>{body}</body></html>")


_STYLE = """<style>
body{font:14px system-ui,sans-serif;margin:1rem;background:#f4f5f5;color:#222;max-width:72rem}
main{display:grid;grid-template-columns:repeat(24,1fr);gap:8px} h2{grid-column:span 24;font-size:1rem;margin:.6rem 0 0}
figure{margin:0;background:#fff;border:1px solid #ddd;border-radius:3px;overflow:hidden}
label{margin-right:1rem} header{margin-bottom:.5rem}
@media(prefers-color-scheme:dark){body{background:#111;color:#ddd} figure{background:#1c1c1f;border-color:#333}
a{color:#56b4e9}}
</style>"""


def main(argv: Sequence[str] | None = None) -> int:
    address = (os.environ.get("POD_IP", "127.0.0.1"), int(os.environ.get("GRAFANA_PORT", "3000")))
    prometheus = Prometheus(os.environ.get("PROMETHEUS_URL", "http://prometheus:9090"))
    try:
        server = Server(address, Grafana(prometheus).handle)
    except OSError as error:
        print(f"grafana: cannot listen on {address[0]}:{address[1]}: {error}", file=sys.stderr)
        return 1
    server.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
