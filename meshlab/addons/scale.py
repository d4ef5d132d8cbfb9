"""Axes and units for drawings: round ticks, and numbers as a person writes them.

Units are Grafana's own names (`ops`, `percentunit`, `s`, `ms`, `decbytes`, `Bps`, `short`), so that a panel
of a dashboard can be drawn from its JSON without a table in between.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

__all__ = ["clock", "human", "nice_ticks", "span_of", "time_ticks"]

#: Steps between labels of a time axis, seconds.
_TIME_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)


def span_of(values: Iterable[float]) -> tuple[float, float] | None:
    """Lowest and highest finite value, None where there is none."""
    finite = [value for value in values if math.isfinite(value)]
    return (min(finite), max(finite)) if finite else None


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Ticks at 1, 2 or 5 times a power of ten that enclose [low, high]; at least two.

    >>> nice_ticks(0, 9)
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    if not high > low:
        high = low + (abs(low) or 1.0)
    raw = (high - low) / max(about, 1)
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(m * magnitude for m in (1.0, 2.0, 5.0, 10.0) if m * magnitude >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    # Rounding away what the multiplication adds (0.30000000000000004).
    digits = max(0, 3 - math.floor(math.log10(step)))
    return [round(n * step, digits) for n in range(first, last + 1)]


def time_ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round moments within [low, high], both in seconds."""
    raw = (high - low) / max(about, 1)
    step = next((s for s in _TIME_STEPS if s >= raw), math.ceil(raw / 86400) * 86400)
    first = math.ceil(low / step)
    return [float(n * step) for n in range(first, math.floor(high / step) + 1)]


def clock(seconds: float) -> str:
    """Local time of day for an epoch (after 2001), else a duration from the drawing's zero.

    >>> clock(75), clock(5)
    ('1:15', '5 s')
    """
    if seconds >= 1e9:
        return time.strftime("%H:%M:%S", time.localtime(seconds))
    if abs(seconds) < 60:
        return f"{_trim(seconds)} s"
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def human(value: float, unit: str = "short") -> str:
    """A number with its unit.

    >>> human(0.0123, "s"), human(0.5, "percentunit"), human(20480, "decbytes"), human(3.0, "ops")
    ('12.3 ms', '50 %', '20.5 kB', '3 req/s')
    """
    if not math.isfinite(value):
        return "n/a"
    if unit == "percentunit":
        return f"{_trim(value * 100)} %"
    if unit == "percent":
        return f"{_trim(value)} %"
    if unit in ("s", "ms", "us"):
        seconds = value * {"s": 1.0, "ms": 1e-3, "us": 1e-6}[unit]
        if seconds == 0:
            return "0 s"
        for limit, factor, name in ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms"), (60.0, 1.0, "s")):
            if abs(seconds) < limit:
                return f"{_trim(seconds * factor)} {name}"
        return f"{_trim(seconds / 60)} min"
    suffix = {"ops": "req/s", "reqps": "req/s", "short": "", "none": "", "decbytes": "B", "bytes": "B",
              "Bps": "B/s", "decBps": "B/s"}.get(unit, unit)
    prefix = ""
    for limit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            value, prefix = value / limit, name
            break
    return f"{_trim(value)} {prefix}{suffix}".strip() if suffix else f"{_trim(value)}{prefix}"


def _trim(value: float) -> str:
    """Three significant digits, without trailing zeros: 12.3, 0.05, 100."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{min(digits, 6)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
