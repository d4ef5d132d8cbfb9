"""Schedules of CronJobs: the five fields of cron, or a descriptor such as `@daily` or `@every 90s`.

They are read the way the library of real servers reads them, and refused in its words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

__all__ = ["Schedule", "ScheduleError"]

_MONTHS = {name: number for number, name in enumerate(
    ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1)}
_DAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
#: Smallest and largest value, and names, of minute, hour, day of month, month, day of week.
FIELDS: tuple[tuple[int, int, Mapping[str, int]], ...] = (
    (0, 59, {}), (0, 23, {}), (1, 31, {}), (1, 12, _MONTHS), (0, 6, _DAYS),
)
DESCRIPTORS = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}
#: Years ahead in which a time is looked for: the 29th of February comes again within 8.
HORIZON = 8 * 366
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


class ScheduleError(ValueError):
    """A text that is no schedule; the message is the library's."""


@dataclass(frozen=True)
class Schedule:
    """When something is due. `every` seconds, or where all fields agree."""

    fields: tuple[frozenset[int], ...] = ()
    #: Whether day of month, and day of week, are left open: only then have both to agree.
    open_day: bool = False
    open_weekday: bool = False
    every: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """Raises ScheduleError.

        >>> Schedule.parse("*/15 9-17 * * mon-fri").next(datetime(2026, 1, 2, 17, 50, tzinfo=UTC)).isoformat()
        '2026-01-05T09:00:00+00:00'
        """
        text = text.strip()
        if not text:
            raise ScheduleError("empty spec string")
        if text.startswith("@every "):
            return cls(every=_seconds(text))
        if text.startswith("@"):
            if text not in DESCRIPTORS:
                raise ScheduleError(f"unrecognized descriptor: {text}")
            text = DESCRIPTORS[text]
        words = text.split()
        if len(words) != len(FIELDS):
            raise ScheduleError(f"expected exactly 5 fields, found {len(words)}: [{' '.join(words)}]")
        sets = tuple(_field(word, *field) for word, field in zip(words, FIELDS, strict=True))
        return cls(sets, open_day=_open(words[2]), open_weekday=_open(words[4]))

    def next(self, after: datetime, zone: tzinfo = UTC) -> datetime | None:
        """The first time after `after` at which it is due by the clocks of `zone`, in UTC; None if there is none."""
        if self.every:
            return (after + timedelta(seconds=self.every)).replace(microsecond=0).astimezone(UTC)
        minutes, hours = sorted(self.fields[0]), sorted(self.fields[1])
        first = after.astimezone(zone).date()
        for ahead in range(HORIZON):
            day = first + timedelta(days=ahead)
            if day.month not in self.fields[3] or not self._on(day.day, day.isoweekday() % 7):
                continue
            for hour in hours:
                for minute in minutes:
                    local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
                    found = local.astimezone(UTC)
                    # An hour that a clock skips in spring does not come.
                    if found > after and found.astimezone(zone).replace(tzinfo=None) == local.replace(tzinfo=None):
                        return found
        return None

    def _on(self, day: int, weekday: int) -> bool:
        by_day, by_weekday = day in self.fields[2], weekday in self.fields[4]
        if self.open_day or self.open_weekday:
            return by_day and by_weekday
        return by_day or by_weekday


def _open(word: str) -> bool:
    return any(part.partition("/")[0] in ("*", "?") and part.partition("/")[2] in ("", "1") for part in word.split(","))


def _field(word: str, low: int, high: int, names: Mapping[str, int]) -> frozenset[int]:
    found: set[int] = set()
    for part in word.split(","):
        span, slash, step_text = part.partition("/")
        if part.count("/") > 1:
            raise ScheduleError(f"too many slashes: {part}")
        if span in ("*", "?"):
            begin, end = low, high
        else:
            if span.count("-") > 1:
                raise ScheduleError(f"too many hyphens: {part}")
            first, dash, last = span.partition("-")
            begin = _value(first, names)
            end = _value(last, names) if dash else high if slash else begin
        step = _value(step_text, {}) if slash else 1
        if begin < low:
            raise ScheduleError(f"beginning of range ({begin}) below minimum ({low}): {part}")
        if end > high:
            raise ScheduleError(f"end of range ({end}) above maximum ({high}): {part}")
        if begin > end:
            raise ScheduleError(f"beginning of range ({begin}) beyond end of range ({end}): {part}")
        if step == 0:
            raise ScheduleError(f"step of range should be a positive number: {part}")
        found |= set(range(begin, end + 1, step))
    return frozenset(found)


def _value(text: str, names: Mapping[str, int]) -> int:
    if (named := names.get(text.lower())) is not None:
        return named
    if not re.fullmatch(r"\d+", text):
        raise ScheduleError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    return int(text)


def _seconds(text: str) -> float:
    """The duration of `@every 1h30m`, whole seconds and at least one."""
    given = text.removeprefix("@every ").strip()
    parts = re.findall(r"(\d+(?:\.\d+)?)(h|ms|us|µs|ns|m|s)", given)
    if not parts or "".join(amount + unit for amount, unit in parts) != given:
        raise ScheduleError(f'failed to parse duration {text}: time: invalid duration "{given}"')
    return float(max(1, int(sum(float(amount) * _UNITS[unit] for amount, unit in parts))))
