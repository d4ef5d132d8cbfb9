"""Durations as Go writes and reads them (`1h30m`, `1.5s`, `250ms`), to the nanosecond.

`datetime.timedelta` stops at microseconds, and 0.4.0 takes `1ms` but refuses `1ms1ns`: nanoseconds are kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Duration", "InvalidDuration"]

_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # U+00B5, micro sign
    "μs": 1_000,  # U+03BC, Greek mu
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_MAX = 2**63 - 1
#: `[0-9]*(.[0-9]*)?` then a unit: everything up to the next digit or dot. ASCII digits only.
_PART = re.compile(r"([0-9]*)(?:(\.)([0-9]*))?([^0-9.]*)")


class InvalidDuration(ValueError):
    """Not a duration; the text is Go's own."""


@dataclass(frozen=True, order=True, slots=True)
class Duration:
    """A length of time in whole nanoseconds; may be negative.

    >>> Duration.parse("1.5s").milliseconds, str(Duration.parse("90m"))
    (1500, '1h30m0s')
    """

    ns: int = 0

    @classmethod
    def of(cls, *, seconds: float = 0, milliseconds: float = 0) -> Duration:
        return cls(round(seconds * 1e9) + round(milliseconds * 1e6))

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Go's time.ParseDuration: a sign, then decimal numbers, each with a unit. `0` needs no unit."""
        rest = text
        sign = 1
        if rest[:1] in ("+", "-"):
            sign = -1 if rest[0] == "-" else 1
            rest = rest[1:]
        if rest == "0":
            return cls(0)
        quoted = _quote(text)
        if not rest:
            raise InvalidDuration(f"time: invalid duration {quoted}")
        total = 0
        while rest:
            found = _PART.match(rest)
            if found is None:  # the pattern matches the empty string, so this is for the type checker
                raise InvalidDuration(f"time: invalid duration {quoted}")
            whole, _, fraction, unit = found.groups()
            if not whole and not fraction:
                raise InvalidDuration(f"time: invalid duration {quoted}")
            if not unit:
                raise InvalidDuration(f"time: missing unit in duration {quoted}")
            scale = _UNITS.get(unit)
            if scale is None:
                raise InvalidDuration(f"time: unknown unit {_quote(unit)} in duration {quoted}")
            total += int(whole or "0") * scale
            if fraction:
                total += int(fraction) * scale // 10 ** len(fraction)
            if total > _MAX:
                raise InvalidDuration(f"time: invalid duration {quoted}")
            rest = rest[found.end():]
        return cls(sign * total)

    @property
    def seconds(self) -> float:
        return self.ns / 1e9

    @property
    def milliseconds(self) -> int:
        """Whole milliseconds, towards zero."""
        return int(self.ns / 1_000_000) if self.ns < 0 else self.ns // 1_000_000

    def __str__(self) -> str:
        """Go's own form: `1h30m0s`, `1.5s`, `250ms`, `0s`."""
        ns = abs(self.ns)
        sign = "-" if self.ns < 0 else ""
        if ns == 0:
            return "0s"
        if ns < 1_000_000_000:
            unit, scale = ("ns", 1) if ns < 1_000 else ("µs", 1_000) if ns < 1_000_000 else ("ms", 1_000_000)
            return f"{sign}{_decimal(ns, scale)}{unit}"
        minutes, ns = divmod(ns, 60_000_000_000)
        hours, minutes = divmod(minutes, 60)
        text = f"{_decimal(ns, 1_000_000_000)}s"
        if hours or minutes:
            text = f"{minutes}m{text}"
        if hours:
            text = f"{hours}h{text}"
        return sign + text

    @property
    def json(self) -> str:
        """As protobuf's JSON writes it: seconds with 3, 6 or 9 decimals."""
        seconds, ns = divmod(abs(self.ns), 1_000_000_000)
        text = f"{'-' if self.ns < 0 else ''}{seconds}.{ns:09d}"
        for zeros in ("000", "000"):
            text = text.removesuffix(zeros)
        return text + "s"


def _decimal(value: int, scale: int) -> str:
    whole, rest = divmod(value, scale)
    if not rest:
        return str(whole)
    return f"{whole}.{str(rest).zfill(len(str(scale)) - 1).rstrip('0')}"


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
