"""Follows one request through the mesh by what the proxies wrote down.

    caller ─→ (its proxy, way out) ─→ proxy, way in ─→ program ─→ proxy, way out ─→ …

From proxy to proxy a request is known by its x-request-id. Through a program that does not pass the id on, its calls
are known by time alone: they are this request's if the program was answering nothing else just then, and otherwise it
is said that nobody can know. Connections that are passed on as TCP, and such as are closed because no listener takes
them, have no line of their own: there the counters of before and after say what happened.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from meshlab.phrases import tr
from meshlab.sidecars.evidence import Evidence
from meshlab.sidecars.explanation import Explanation
from meshlab.sidecars.order import Order, send
from meshlab.sidecars.sidecars import Sidecars
from meshlab.sidecars.verdict import verdict
from meshlab.sidecars.walk import Walk

__all__ = ["explain"]

#: How often logs are read again while a proxy has not written down what another one says it was sent.
TRIES = 5


def explain(sidecars: Sidecars, order: Order) -> Explanation:
    """Makes the request, and says what became of it. Raises LabError if nobody can send it."""
    url = urlsplit(order.url)
    host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    evidence = Evidence(sidecars, (order.source.partition("/")[0], "default"))
    answered = send(sidecars.kube, order)
    walk = Walk(evidence, order, answered)
    root = walk.root(host, port)
    for _ in range(TRIES):
        if not walk.missing:
            break
        evidence.forget_logs()
        walk = Walk(evidence, order, answered)
        root = walk.root(host, port)
    unknown = [*walk.missing, *walk.unknown, *evidence.trouble]
    if evidence.left_out:
        unknown.append(
            tr("counters of {count} more sidecars: they were not read before the request", count=evidence.left_out)
        )
    request = f"{order.method} {order.url}" + "".join(f"  {name}: {value}" for name, value in order.headers.items())
    said = verdict(root, answered, complete=not unknown)
    return Explanation(request, str(answered), said, root, tuple(dict.fromkeys(unknown)))
