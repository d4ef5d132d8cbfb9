"""A rule written → in force in ten sidecars, from the request to the API server to the last acknowledgement known."""

from __future__ import annotations

import time
from collections.abc import Iterator

from figure import Figure, lab, quantile

ROUNDS = 200


def run() -> Iterator[Figure]:
    with lab("control-plane", "demo", "svcb-v0.2") as mesh:
        mesh.scale("svcb", 4)
        mesh.scale("svcb-v0.2", 5)
        mesh.apply("svcb-http.yaml")
        (fifty,) = mesh.documents("rules/route-rules-svcb-v0.2-50.yaml")
        (hundred,) = mesh.documents("rules/route-rules-svcb-v0.2-100.yaml")
        mesh.apply(fifty)
        seen, pushed = [], []
        for turn in range(ROUNDS):
            began = time.perf_counter()
            done = mesh.apply(hundred if turn % 2 == 0 else fifty)
            seen.append((time.perf_counter() - began) * 1000)
            if done.ms is None or len(done.proxies) != 10:
                raise SystemExit(f"not in force in ten sidecars: {done}")
            pushed.append(done.ms)
    yield Figure("rule seen by Pilot → acknowledged by 10 sidecars, p50", [quantile(pushed, 0.5)], "ms", "15 ms")
    yield Figure("rule seen by Pilot → acknowledged by 10 sidecars, p99", [quantile(pushed, 0.99)], "ms", "60 ms")
    yield Figure("lab.apply() called → returned (3 or 4 requests), p50", [quantile(seen, 0.5)], "ms", "-")
    yield Figure("lab.apply() called → returned (3 or 4 requests), p99", [quantile(seen, 0.99)], "ms", "-")
