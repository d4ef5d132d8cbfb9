"""Requests into the mesh: single ones and load, sent by the pod `client` on order.

The pod stands outside the mesh, as the author's shell did. Whoever sends through it needs no route to a pod.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .access import Access
from .errors import LabError
from .phrases import tr

if TYPE_CHECKING:
    import pandas

__all__ = ["Answer", "Answers", "Load", "Traffic"]


def _who(header: str) -> str:
    """`svcb-v0.2-…;v0.2` as `v0.2`."""
    return header.rpartition(";")[2]


@dataclass(frozen=True)
class Answer:
    """What came back for one request; `ms` is its whole duration at the client, `error` what broke instead."""

    status: int
    body: str
    ms: float
    headers: Mapping[str, str] = field(default_factory=dict)
    error: str = ""

    @property
    def served_by(self) -> str:
        """`<pod>;<version>` of the service that answered, empty if it does not say."""
        return self.headers.get("x-served-by", "")

    @property
    def upstream(self) -> str:
        """`<pod>;<version>` of the service that it called in turn (svcb behind svca)."""
        return self.headers.get("x-upstream-served-by", "")

    def __str__(self) -> str:
        if self.error:
            return tr("failed: {error} ({ms:.1f} ms)", error=self.error, ms=self.ms)
        if path := " → ".join(part for part in (self.served_by, self.upstream) if part):
            return tr("HTTP {status} in {ms:.1f} ms by {path}", status=self.status, ms=self.ms, path=path)
        return tr("HTTP {status} in {ms:.1f} ms", status=self.status, ms=self.ms)


class Answers(list[Answer]):
    """The answers of a series of requests, oldest first."""

    def by_status(self) -> dict[str, int]:
        """`{"200": 9, "error": 1}`"""
        return dict(Counter("error" if a.error else str(a.status) for a in self))

    def by_version(self) -> dict[str, int]:
        """Requests per version of the service that answered: `{"v0.1": 48, "v0.2": 52}`."""
        return dict(sorted(Counter(_who(a.served_by) or "none" for a in self).items()))

    def by_upstream(self) -> dict[str, int]:
        """Requests per version of the service behind the one that answered: `{"v0.1": 48, "v0.2": 52}`."""
        return dict(sorted(Counter(_who(a.upstream) or "none" for a in self).items()))

    def by_pod(self) -> dict[str, int]:
        """Requests per pod of the service behind the one that answered."""
        return dict(sorted(Counter(a.upstream.partition(";")[0] or "none" for a in self).items()))

    @property
    def frame(self) -> pandas.DataFrame:
        """One row per request: status, ms, served_by, upstream, error."""
        import pandas

        rows = [(a.status, a.ms, a.served_by, a.upstream, a.error) for a in self]
        return pandas.DataFrame(rows, columns=["status", "ms", "served_by", "upstream", "error"])

    def __str__(self) -> str:
        if len(self) <= 5:
            return "\n".join(map(str, self))
        return tr(
            "{count} requests; status {status}; served behind by {versions}",
            count=len(self),
            status=self.by_status(),
            versions=self.by_upstream(),
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


class Load:
    """Traffic that goes on in the background until it is stopped or its time is over.

    >>> with lab.load("http://svca/pay", rps=20) as load:      # doctest: +SKIP
    ...     print(load.progress()["by_upstream"])
    """

    def __init__(self, traffic: Traffic, number: str) -> None:
        self._traffic, self.number = traffic, number
        self._last: dict[str, Any] | None = None

    def progress(self) -> dict[str, Any]:
        """Counts so far: sent, ok, by_status, by_upstream, by_server, errors, latency_ms, series, running."""
        if self._last is None:
            return dict(self._traffic.order("GET", f"/load/{self.number}"))
        return self._last

    def stop(self) -> dict[str, Any]:
        """Ends the traffic and returns the final counts; stopping twice is harmless."""
        if self._last is None:
            self._last = dict(self._traffic.order("DELETE", f"/load/{self.number}"))
        return self._last

    def __enter__(self) -> Load:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        p = self.progress()
        return f"{'running' if p['running'] else 'ended'}: {p['sent']} sent, {p['by_status']}, {p['by_upstream']}"


class Traffic:
    """Orders to a pod that runs the client's program: the one outside the mesh, unless another is named."""

    def __init__(self, access: Access, namespace: str = "client", service: str = "client") -> None:
        self._access, self._namespace, self._service = access, namespace, service

    def order(self, method: str, path: str, body: object = None, timeout: float = 30.0) -> dict[str, Any]:
        reply = self._access.service(
            self._namespace, self._service, 8080, path, method=method, body=body, timeout=timeout, check=False
        )
        if reply.status >= 400:
            raise LabError(
                f"the client pod could not take the order {method} {path}",
                why=reply.text.strip()[:300] or f"HTTP {reply.status}",
                then=f"kubectl get pods -n {self._namespace}",
            )
        return dict(reply.json())

    def curl(
        self,
        url: str,
        n: int = 1,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        timeout: float = 10.0,
        concurrency: int = 1,
    ) -> Answers:
        answers = Answers()
        for size in _chunks(n, 100):
            order = {
                "method": method,
                "url": url,
                "headers": dict(headers or {}),
                "n": size,
                "timeout": timeout,
                "concurrency": concurrency,
            }
            for a in self.order("POST", "/curl", order, timeout=timeout * size + 5)["answers"]:
                lower = {k.lower(): v for k, v in (a.get("headers") or {}).items()}
                answers.append(
                    Answer(
                        a.get("status") or 0,
                        a.get("body") or "",
                        a.get("ms") or 0.0,
                        lower,
                        a.get("error") or "",
                    )
                )
        return answers

    def stop_all(self) -> int:
        """Ends every stream that runs; returns how many there were."""
        return int(self.order("DELETE", "/load")["stopped"])

    def load(
        self,
        url: str,
        rps: float,
        seconds: float,
        concurrency: int,
        headers: Mapping[str, str] | None,
        alone: bool = False,
    ) -> Load:
        if alone:
            self.stop_all()
        order = {
            "url": url,
            "rps": rps,
            "seconds": seconds,
            "concurrency": concurrency,
            "headers": dict(headers or {}),
        }
        return Load(self, str(self.order("POST", "/load", order)["id"]))


def _chunks(n: int, most: int) -> Iterator[int]:
    while n > 0:
        yield min(n, most)
        n -= most
