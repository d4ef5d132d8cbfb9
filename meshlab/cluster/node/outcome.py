"""What a probe or a hook came to."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Outcome"]


@dataclass(frozen=True)
class Outcome:
    """`message` is the text of the Unhealthy event."""

    ok: bool
    message: str = ""
