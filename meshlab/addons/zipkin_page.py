"""The collector's pages: find traces by service, look at one. Plain HTML; every link is relative, because
they are read through proxies that put a prefix before the path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from meshlab.addons.scale import clock, human
from meshlab.addons.spans import bars, service_of, tree
from meshlab.addons.spanstore import Query, SpanStore
from meshlab.addons.svg import escape, waterfall
from meshlab.mesh.web import Answer, html

__all__ = ["index", "trace"]

_STYLE = """<style>
body{font:14px system-ui,sans-serif;margin:1.2rem;color:#222;max-width:60rem}
a{color:#0072b2;text-decoration:none} label{margin-right:1rem} input,select,button{font:inherit}
article{border:1px solid #ddd;border-radius:4px;padding:.5rem .8rem;margin:.6rem 0}
article a{display:flex;justify-content:space-between} .error{color:#c0262d}
table{border-collapse:collapse;margin:.3rem 0 1rem} td,th{border:1px solid #ddd;padding:.15rem .5rem;text-align:left}
@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd} a{color:#56b4e9}}
</style>"""


def index(store: SpanStore, query: Query, asked: Mapping[str, str]) -> Answer:
    """The search form and, once a service (or "all") is chosen, what was found."""
    services = store.services()
    chosen = asked.get("serviceName", "")
    options = "".join(
        f'<option value="{escape(name)}"{" selected" if name == chosen else ""}>{escape(name)}</option>'
        for name in ["all", *services])
    names = "".join(f'<option value="{escape(name)}">' for name in store.span_names(chosen))
    form = (
        '<form><label>Service Name <select name="serviceName">' + options + "</select></label>"
        f'<label>Span Name <input name="spanName" list="names" value="{escape(asked.get("spanName", ""))}"></label>'
        f'<datalist id="names">{names}</datalist>'
        f'<label>Annotations Query <input name="annotationQuery" placeholder="error and http.method=GET" '
        f'value="{escape(asked.get("annotationQuery", ""))}"></label>'
        f'<label>Limit <input name="limit" size="3" value="{query.limit}"></label>'
        "<button>Find Traces</button></form>")
    found = store.traces(query) if chosen else []
    if not chosen:
        body = "<p>Please select the criteria for your trace lookup.</p>"
    elif not found:
        body = "<p>No trace matches. Send some requests first; Envoy hands its spans over about every 5 s.</p>"
    else:
        body = f"<p>{len(found)} traces</p>" + "".join(map(_summary, found))
    return html(_frame("Zipkin", form + body))


def trace(spans: Sequence[dict[str, Any]], trace_id: str) -> Answer:
    """One trace: its waterfall, then each span's tags."""
    if not spans:
        return html(_frame("Zipkin", f"<p>Trace {escape(trace_id)} is not here (any more).</p>"), 404)
    parts = [f'<p><a href="../">Back</a> · <a href="../api/v2/trace/{escape(trace_id)}">JSON</a></p>',
             f"<p>{_figures(spans)}</p>", waterfall(bars(spans), title=f"Trace {trace_id}")]
    for _, span in tree(spans):
        facts = {"kind": span.get("kind"), "span": span["id"], "parent": span.get("parentId"),
                 **(span.get("tags") or {})}
        rows = "".join(f"<tr><th>{escape(key)}</th><td>{escape(value)}</td></tr>"
                       for key, value in facts.items() if value is not None)
        parts.append(f"<h3>{escape(service_of(span))}: {escape(span.get('name', ''))}</h3><table>{rows}</table>")
    return html(_frame(f"Trace {trace_id}", "".join(parts)))


def _summary(spans: Sequence[dict[str, Any]]) -> str:
    root = tree(spans)[0][1]
    bad = any("error" in (span.get("tags") or {}) for span in spans)
    when = clock((min((s["timestamp"] for s in spans if s.get("timestamp")), default=0)) / 1e6)
    title = f"{service_of(root)}: {root.get('name', '')}"
    return (f'<article><a href="traces/{escape(root["traceId"])}"><span{" class=error" if bad else ""}>'
            f"{escape(title)}</span><span>{_figures(spans)} · {escape(when)}</span></a>"
            f"{waterfall(bars(spans), width=680)}</article>")


def _figures(spans: Sequence[dict[str, Any]]) -> str:
    begins = [span["timestamp"] for span in spans if span.get("timestamp")]
    ends = [span["timestamp"] + (span.get("duration") or 0) for span in spans if span.get("timestamp")]
    length = (max(ends) - min(begins)) / 1000 if begins else 0.0
    per: dict[str, int] = {}
    for span in spans:
        per[service_of(span)] = per.get(service_of(span), 0) + 1
    who = ", ".join(f"{escape(name)} x{count}" for name, count in sorted(per.items()))
    return f"{escape(human(length, 'ms'))} · {len(spans)} spans · {who}"


def _frame(title: str, body: str) -> str:
    return (f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>{_STYLE}'
            f"</head><body><h1>{escape(title)}</h1>{body}</body></html>")
