"""What the API server tells of itself at /metrics, in Prometheus' text format, under a real server's names."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"))


class Metrics:
    """Counts answers; the rest is looked up when somebody asks."""

    def __init__(self) -> None:
        self._answers: Counter[tuple[str, int]] = Counter()
        self._began = time.time()

    def answered(self, method: str, code: int) -> None:
        # Methods come from clients: what is no verb is counted as one.
        self._answers[method if method in METHODS else "OTHER", code] += 1

    def text(self, api: Api) -> bytes:
        """All of them."""
        lines = _family("apiserver_request_total", "counter", "Answered requests by method and HTTP status.", (
            (f'verb="{method}",code="{code}"', count) for (method, code), count in sorted(self._answers.items())
        ))
        kinds = {(r.storage, r.collection) for r in api.registry.all() if "watch" in r.verbs}
        lines += _family("apiserver_storage_objects", "gauge", "Stored objects by resource.", (
            (f'resource="{plural}.{group}"' if group else f'resource="{plural}"', api.store.count(collection))
            for (group, plural), collection in sorted(kinds)
        ))
        size = _size(api.store.path)
        lines += _family("apiserver_storage_size_bytes", "gauge", "Size of the database.", [("", size)])
        usage = os.times()
        lines += _family("process_cpu_seconds_total", "counter", "CPU time spent.", [("", usage.user + usage.system)])
        lines += _family("process_resident_memory_bytes", "gauge", "Resident memory.", [("", _resident())])
        lines += _family("process_start_time_seconds", "gauge", "Start, since the epoch.", [("", self._began)])
        return ("\n".join(lines) + "\n").encode()


def _family(name: str, kind: str, help_: str, samples: Iterable[tuple[str, float]]) -> list[str]:
    found = [f"{name}{{{labels}}} {value}" if labels else f"{name} {value}" for labels, value in samples]
    return [f"# HELP {name} {help_}", f"# TYPE {name} {kind}", *found]


def _size(path: Path | None) -> int:
    return path.stat().st_size if path is not None else 0


def _resident() -> int:
    """Bytes; the second number of statm counts pages."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
