"""Traces, from Zipkin's API version 2."""

from __future__ import annotations

from typing import Any

from ..access import Access
from ..errors import LabError

__all__ = ["Traces", "services", "traces"]

Span = dict[str, Any]


class Traces(list[list[Span]]):
    """Traces, the newest first; each is a list of Zipkin v2 spans, which may come from several services."""

    @property
    def spans(self) -> list[Span]:
        return [span for trace in self for span in trace]

    def __str__(self) -> str:
        lines = []
        for trace in self:
            first = min(trace, key=lambda s: s.get("timestamp") or 0)
            lines.append(f"{first['traceId']}  {len(trace)} span{'s' if len(trace) > 1 else ''}")
            for s in sorted(trace, key=lambda s: s.get("timestamp") or 0):
                who = (s.get("localEndpoint") or {}).get("serviceName") or "?"
                status = (s.get("tags") or {}).get("http.status_code") or "-"
                ms = (s.get("duration") or 0) / 1000
                lines.append(f"    {who:8} {s.get('kind') or '-':6} {ms:8.2f} ms  {status:>3}  {s.get('name') or ''}")
        return "\n".join(lines) or "no traces"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from ..addons.svg import waterfall

        return "".join(waterfall(trace) for trace in self[:3]) or "<p>no traces</p>"


def _ask(access: Access, namespace: str, path: str, **query: object) -> Any:
    reply = access.service(namespace, "zipkin", 9411, path, query=query, check=False)
    if reply.status != 200:
        raise LabError(
            "Zipkin did not answer",
            why=reply.text.strip()[:300],
            then=f"kubectl get pods -n {namespace} -l app=zipkin",
        )
    return reply.json()


def services(access: Access, namespace: str = "istio-system") -> list[str]:
    """The service names of Zipkin's drop-down list."""
    return list(_ask(access, namespace, "/api/v2/services"))


def traces(
    access: Access,
    service: str | None = None,
    *,
    limit: int = 10,
    minutes: float = 60,
    namespace: str = "istio-system",
) -> Traces:
    """Traces in which `service` has a span (None: any)."""
    query: dict[str, object] = {"limit": limit, "lookback": round(minutes * 60_000)}
    if service:
        query["serviceName"] = service
    return Traces(_ask(access, namespace, "/api/v2/traces", **query))
