"""What sidecars report: access logs, spans and metrics, as a Telemetry object says it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from meshlab.mesh.config.labels import NO_LABELS, Labels
from meshlab.mesh.config.routing import Origin

__all__ = ["AccessLogging", "Effective", "MetricOverride", "Telemetry", "Tracing", "effective"]


@dataclass(frozen=True, slots=True)
class AccessLogging:
    """`mode` is CLIENT, SERVER or CLIENT_AND_SERVER; `filter` an expression over the request (CEL), "" for all."""

    mode: str = "CLIENT_AND_SERVER"
    disabled: bool | None = None
    filter: str = ""


@dataclass(frozen=True, slots=True)
class Tracing:
    """None: inherited. `sampling` in percent."""

    mode: str = "CLIENT_AND_SERVER"
    sampling: float | None = None
    disabled: bool | None = None


@dataclass(frozen=True, slots=True)
class MetricOverride:
    """Of the standard metric `metric` ("" all): switched off, or its tags changed; value "" removes the tag."""

    metric: str = ""
    mode: str = "CLIENT_AND_SERVER"
    disabled: bool | None = None
    tags: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Telemetry:
    """One object. The narrowest for a pod wins, section by section: selector, then namespace, then mesh."""

    namespace: str
    name: str
    selector: Labels = NO_LABELS
    access_logging: tuple[AccessLogging, ...] | None = None
    tracing: tuple[Tracing, ...] | None = None
    metrics: tuple[MetricOverride, ...] | None = None
    created: str = ""
    origin: Origin | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Effective:
    """What holds for one pod; None: nobody said anything, the mesh's settings hold."""

    access_logging: tuple[AccessLogging, ...] | None = None
    tracing: tuple[Tracing, ...] | None = None
    metrics: tuple[MetricOverride, ...] | None = None

    def logs(self, direction: str) -> bool | None:
        """Whether CLIENT or SERVER writes an access log; None: not said."""
        said = [a for a in self.access_logging or () if a.mode in (direction, "CLIENT_AND_SERVER")]
        return not said[-1].disabled if said else None

    def log_filter(self, direction: str) -> str:
        """The expression that says which requests CLIENT or SERVER logs, "" for all."""
        said = [a for a in self.access_logging or () if a.mode in (direction, "CLIENT_AND_SERVER")]
        return said[-1].filter if said else ""

    def sampling(self, direction: str) -> float | None:
        """Percent of the requests that CLIENT or SERVER traces, 0 if switched off; None: not said."""
        for each in reversed(self.tracing or ()):
            if each.mode in (direction, "CLIENT_AND_SERVER"):
                if each.disabled:
                    return 0.0
                if each.sampling is not None:
                    return each.sampling
        return None


def effective(items: Iterable[Telemetry], namespace: str, labels: Labels, root: str = "istio-system") -> Effective:
    """The sections that hold for a pod: a narrower object replaces a section of a wider one."""
    chosen: dict[int, Telemetry] = {}
    for each in items:
        if each.namespace == namespace and each.selector:
            width = 2
        elif each.namespace == namespace:
            width = 1
        elif each.namespace == root and not each.selector:
            width = 0
        else:
            continue
        before = chosen.get(width)
        if each.selector.subset_of(labels) and (
            before is None or (each.created, each.name) < (before.created, before.name)
        ):
            chosen[width] = each
    found = Effective()
    for _, each in sorted(chosen.items()):
        found = Effective(
            found.access_logging if each.access_logging is None else each.access_logging,
            found.tracing if each.tracing is None else each.tracing,
            found.metrics if each.metrics is None else each.metrics,
        )
    return found
