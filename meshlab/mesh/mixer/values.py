"""Types that Mixer's attributes have beyond Python's own, and how its log writes them.

A duration prints as Go prints it (`12.3ms`), a time as ISO 8601 in UTC with milliseconds. Both are floats of
seconds, so that metrics take them as they are.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from functools import lru_cache

__all__ = ["Duration", "Timestamp", "parse_duration", "to_json_text"]

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0,
          "h": 3600.0}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")


class Duration(float):
    """Seconds.

    >>> [str(Duration(x)) for x in (0, 0.0123, 1.5, 90, 3600, 0.0000015)]
    ['0s', '12.3ms', '1.5s', '1m30s', '1h0m0s', '1.5µs']
    """

    __slots__ = ()

    def __str__(self) -> str:
        nanos = round(self * 1e9)
        if nanos == 0:
            return "0s"
        sign, nanos = ("-", -nanos) if nanos < 0 else ("", nanos)
        for limit, unit, name in ((1_000, 1, "ns"), (1_000_000, 1_000, "µs"), (1_000_000_000, 1_000_000, "ms")):
            if nanos < limit:
                return f"{sign}{_decimal(nanos, unit)}{name}"
        seconds, rest = divmod(nanos, 1_000_000_000)
        minutes, seconds = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        tail = f"{_decimal(seconds * 1_000_000_000 + rest, 1_000_000_000)}s"
        if hours:
            return f"{sign}{hours}h{minutes}m{tail}"
        return f"{sign}{minutes}m{tail}" if minutes else sign + tail


class Timestamp(float):
    """Seconds since 1970.

    >>> str(Timestamp(1503309840.0))
    '2017-08-21T10:04:00.000Z'
    """

    __slots__ = ()

    def __str__(self) -> str:
        millis = round(self * 1000)
        return f"{_second(millis // 1000)}.{millis % 1000:03d}Z"


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def parse_duration(text: str) -> Duration | None:
    """Go's duration syntax (`1h2m`, `0ms`, `-1.5s`, `0`); None where the text is something else."""
    body = text[1:] if text[:1] in ("-", "+") else text
    if body == "0":
        return Duration(0)
    total, at = 0.0, 0
    while at < len(body):
        part = _PART.match(body, at)
        if part is None:
            return None
        total += float(part[1]) * _UNITS[part[2]]
        at = part.end()
    return Duration(-total if text[:1] == "-" else total) if at else None


def to_json_text(value: object) -> str:
    """A value as the JSON log writes it."""
    if type(value) is str:
        return _encode(value)
    if isinstance(value, Duration | Timestamp):
        return f'"{value}"'
    if isinstance(value, Mapping):
        pairs = (f"{json.dumps(str(key))}:{to_json_text(value[key])}" for key in sorted(value))
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, bytes):
        import base64

        return f'"{base64.b64encode(value).decode()}"'
    return json.dumps(value, ensure_ascii=False)


#: json.dumps of a text, without its options' overhead.
_encode = json.JSONEncoder(ensure_ascii=False).encode


def _decimal(number: int, unit: int) -> str:
    whole, rest = divmod(number, unit)
    if not rest:
        return str(whole)
    digits = len(str(unit)) - 1
    return f"{whole}.{rest:0{digits}d}".rstrip("0")
