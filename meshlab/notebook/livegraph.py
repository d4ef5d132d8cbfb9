"""The service graph while traffic runs: rates on its edges, failures in red, locks where callers prove who they are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshlab.addons.dot import draw, quote
from meshlab.addons.svg import escape
from meshlab.capability import Capability
from meshlab.notebook.elsewhere import over
from meshlab.notebook.live import Live
from meshlab.notebook.samplers import OVER

if TYPE_CHECKING:
    from meshlab.lab import Lab

__all__ = ["Call", "LiveGraph"]

_BY = ("source_service", "source_version", "destination_service", "destination_version")
#: A count of requests by what the caller's certificate says, which Mixer of 0.4 knows and does not count by.
IDENTITY = """\
apiVersion: config.istio.io/v1alpha2
kind: metric
metadata: {name: requestidentity, namespace: istio-system}
spec:
  value: "1"
  dimensions:
    source_service: source.service | "unknown"
    source_version: source.labels["version"] | "unknown"
    destination_service: destination.service | "unknown"
    destination_version: destination.labels["version"] | "unknown"
    source_user: source.user | ""
  monitored_resource_type: '"UNSPECIFIED"'
---
apiVersion: config.istio.io/v1alpha2
kind: prometheus
metadata: {name: identity, namespace: istio-system}
spec:
  metrics:
  - name: request_identity_count
    instance_name: requestidentity.metric.istio-system
    kind: COUNTER
    label_names: [source_service, source_version, destination_service, destination_version, source_user]
---
apiVersion: config.istio.io/v1alpha2
kind: rule
metadata: {name: identity, namespace: istio-system, labels: {istio-protocol: http}}
spec:
  actions:
  - handler: identity.prometheus
    instances: [requestidentity.metric]
"""
_LOCK = (
    '<g transform="translate({x},{y})" fill="currentColor" stroke="currentColor"><title>mutual TLS</title>'
    '<rect x="-5" y="-6" width="10" height="8" rx="1.5"/>'
    '<path d="M-3 -6v-2.5a3 3 0 0 1 6 0V-6" fill="none" stroke-width="1.5"/></g>'
)
_PLACE = re.compile(r'<text [^>]*?\bx="([-\d.]+)" y="([-\d.]+)"[^>]*>LOCK</text>')


@dataclass(frozen=True)
class Call:
    """What goes over one edge now: requests (or, for TCP, bytes) per second, the share that fails with 5xx, and
    whether the caller proved who it is."""

    rate: float
    unit: str = "req/s"
    failing: float = 0.0
    locked: bool = False

    def __str__(self) -> str:
        failing = f", {self.failing:.0%} fail" if self.failing else ""
        return f"{self.rate:.3g} {self.unit}{failing}{', mutual TLS' if self.locked else ''}"


Edge = tuple[str, str]


class LiveGraph(Live):
    """Who calls whom now, drawn anew every second. `calls` are what was seen last; `take()` looks once.

    With `locks` Mixer, where there is one, is told to count requests by the caller's certificate, too (`IDENTITY`; the
    end of the lesson puts that back). Today's sidecars count by it anyway: `connection_security_policy` is one of their
    standard labels, https://istio.io/latest/docs/reference/config/metrics/.
    """

    def __init__(self, lab: Lab, *, locks: bool = False, every: float = 1.0) -> None:
        super().__init__(every=every)
        self._lab, self._locks = lab, locks
        self.calls: Mapping[Edge, Call] = {}
        #: Metric and selector of the requests whose callers proved who they are: by Mixer, or by today's sidecars.
        self._proved = ("istio_request_count", 'connection_security_policy="mutual_tls"')
        if locks and lab.engine.can(Capability.MIXER):
            self._proved = ("istio_request_identity_count", 'source_user!=""')
            lab.apply(IDENTITY)
        self._draw()

    def take(self) -> Mapping[Edge, Call]:
        """Ask Prometheus and draw what changed; (caller, called) → what goes over that edge."""
        whole = self._rates("istio_request_count")
        failed = self._rates("istio_request_count", 'response_code=~"5.*"')
        locked = self._rates(*self._proved) if self._locks else {}
        found = {
            edge: Call(rate, failing=failed.get(edge, 0.0) / rate, locked=locked.get(edge, 0.0) > 0.5 * rate)
            for edge, rate in whole.items()
        }
        for edge, rate in self._rates("istio_tcp_bytes_received").items():
            found.setdefault(edge, Call(rate, "B/s"))
        before, self.calls = self.calls, found
        if before != found:
            self._draw()
        return found

    def _rates(self, metric: str, only: str = "") -> dict[Edge, float]:
        series, now = f"{metric}{{{only}}}", over(self._lab, OVER)
        # A series of a single sample has no rate yet. It began at nothing a scrape before.
        rates = f"irate({series}[{now}]) or ({series} unless {series} offset {now}) / {self._lab.engine.scrape:g}"
        asked = f"sum({rates}) by ({', '.join(_BY)}) > 0"
        return {
            (_node(labels, "source"), _node(labels, "destination")): v
            for labels, v in self._lab.prometheus.vector(asked)
        }

    def __str__(self) -> str:
        return "\n".join(f"{a} → {b}: {call}" for (a, b), call in sorted(self.calls.items())) or "no calls now"

    __repr__ = __str__

    @property
    def dot(self) -> str:
        """The graph as DOT; a line that reads LOCK stands where the lock is drawn."""
        lines = ["digraph calls { rankdir=LR; node [shape=box style=rounded];"]
        most = max((c.rate for c in self.calls.values() if c.unit == "req/s"), default=1.0)
        for (source, target), call in sorted(self.calls.items()):
            label = f"{call.rate:.3g} {call.unit}"
            if call.failing >= 0.005:
                label += f"\n{call.failing:.0%} fail"
            look = (
                f"penwidth={1 + 1.5 * call.rate / most:.1f} arrowsize=0.7" if call.unit == "req/s" else "style=dashed"
            )
            if call.failing >= 0.005:
                look += ' color="#b3261e"'
            text = quote(label + ("\nLOCK" if call.locked else "\n ")).replace("\n", "\\n")
            lines.append(f"{quote(source)} -> {quote(target)} [label={text} {look}];")
        return "\n".join([*lines, "}"])

    def _draw(self) -> None:
        if not self.calls:
            self._picture.value = '<p role="status">no calls now: start some traffic</p>'
            return
        svg = _PLACE.sub(lambda m: _LOCK.format(x=m[1], y=m[2]), draw(self.dot))
        self._picture.value = f'<figure role="img" aria-label="{escape(str(self))}" style="margin:0">{svg}</figure>'


def _node(labels: Mapping[str, str], end: str) -> str:
    service, version = labels.get(f"{end}_service", "unknown"), labels.get(f"{end}_version", "unknown")
    if service.endswith(".svc.cluster.local"):
        service = service.partition(".")[0]  # a host outside the mesh keeps its whole name
    return f"{service} ({version})" if service != "unknown" else "unknown"
