"""Counters and histograms, and the text in which Prometheus reads them.

The usual client library takes locks per sample and 15 MB; here an aggregator adds whole batches under a lock of
its own, and a family is rendered when somebody scrapes.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

__all__ = ["CONTENT_TYPE", "Family", "Histogram", "Number", "go_float", "labels_text", "render"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Number:
    """A counter or a gauge: `value` is changed directly."""

    __slots__ = ("value",)

    def __init__(self, value: float = 0.0) -> None:
        self.value = value

    def lines(self, name: str, labels: str) -> Iterable[str]:
        yield f"{name}{{{labels}}} {go_float(self.value)}" if labels else f"{name} {go_float(self.value)}"


class Histogram:
    """Observations by upper bound; `counts` are per bucket, made cumulative when rendered."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def lines(self, name: str, labels: str) -> Iterable[str]:
        comma, total = ("," if labels else ""), 0
        for bound, count in zip((*self.bounds, math.inf), self.counts, strict=True):
            total += count
            yield f'{name}_bucket{{{labels}{comma}le="{go_float(bound)}"}} {total}'
        braces = f"{{{labels}}}" if labels else ""
        yield f"{name}_sum{braces} {go_float(self.sum)}"
        yield f"{name}_count{braces} {total}"


class Family:
    """All series of one name. `kind` is counter, gauge, histogram or summary; `series` maps label text."""

    __slots__ = ("help", "kind", "name", "series")

    def __init__(self, name: str, kind: str, help_: str = "") -> None:
        self.name, self.kind, self.help = name, kind, help_ or name
        self.series: dict[str, Number | Histogram] = {}

    def number(self, labels: str = "") -> Number:
        """The counter or gauge with this label text, made at first use."""
        found = self.series.get(labels)
        if found is None:
            found = self.series[labels] = Number()
        if not isinstance(found, Number):
            raise TypeError(f"{self.name} is a {self.kind}")
        return found


def labels_text(labels: Mapping[str, object]) -> str:
    r"""Labels as they stand between braces.

    >>> labels_text({"path": 'a"b', "code": 200})
    'path="a\\"b",code="200"'
    """
    return ",".join(f'{name}="{_escape(str(value))}"' for name, value in labels.items())


def render(families: Iterable[Family]) -> bytes:
    """The page of a scrape; families without series are left out."""
    out: list[str] = []
    for family in families:
        if not family.series:
            continue
        out.append(f"# HELP {family.name} {_escape_help(family.help)}")
        out.append(f"# TYPE {family.name} {family.kind}")
        for labels in sorted(family.series):
            out.extend(family.series[labels].lines(family.name, labels))
    return ("\n".join(out) + "\n").encode()


def go_float(value: float) -> str:
    """A number as Go's client writes it, which is how the original names its buckets.

    >>> [go_float(x) for x in (0.005, 1.0, 2.5, 100000.0, 1e6, 1e8, 1234567.0, math.inf)]
    ['0.005', '1', '2.5', '100000', '1e+06', '1e+08', '1.234567e+06', '+Inf']
    """
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    if exponent < -5 or exponent >= 20:
        return repr(float(value))
    if -4 <= exponent < 6 or value != int(value):
        text = repr(float(value))
        return text[:-2] if text.endswith(".0") else text
    digits = str(abs(int(value)))
    mantissa = (digits[0] + "." + digits[1:]).rstrip("0").rstrip(".")
    return f"{'-' if value < 0 else ''}{mantissa}e+{len(digits) - 1:02d}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _escape_help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
