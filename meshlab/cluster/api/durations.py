"""Ages as kubectl prints them: `12s`, `3m20s`, `5d`."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["age", "human", "moment"]


def moment(text: str) -> datetime:
    """An API time (RFC 3339) as an aware datetime. ValueError where it is none."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)


def human(seconds: float) -> str:
    """Two units at most, the finer one only while it matters.

    >>> [human(s) for s in (5, 119, 200, 3600, 5 * 3600, 90000, 8 * 86400, 3 * 365 * 86400)]
    ['5s', '119s', '3m20s', '60m', '5h', '25h', '8d', '3y']
    """
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 120:
        return f"{max(whole, 0)}s"
    minutes, hours = whole // 60, whole // 3600
    if minutes < 10:
        return f"{minutes}m{whole % 60}s" if whole % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return f"{hours // 24}d{hours % 24}h" if hours % 24 else f"{hours // 24}d"
    if hours < 24 * 365 * 2:
        return f"{hours // 24}d"
    days = (hours // 24) % 365
    if hours < 24 * 365 * 8:
        return f"{hours // 24 // 365}y{days}d" if days else f"{hours // 24 // 365}y"
    return f"{hours // 24 // 365}y"


def age(created: str | None, now: datetime) -> str:
    """Time since `created`, which may be absent."""
    if not created:
        return "<unknown>"
    return human((now - moment(created)).total_seconds())
