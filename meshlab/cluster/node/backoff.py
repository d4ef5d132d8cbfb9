"""How long a container that ended waits before it is started again."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RestartBackoff", "duration"]

#: A kubelet's numbers: 10 s, doubled each time, at most 300 s; forgotten after 10 minutes of running.
FIRST, LONGEST, FORGET = 10.0, 300.0, 600.0


@dataclass
class RestartBackoff:
    """0, 10, 20, 40 … 300 seconds. The first restart is immediate: most crashes happen once."""

    crashes: int = 0

    def next(self, ran: float) -> float:
        """Seconds to wait after a run of `ran` seconds.

        >>> backoff = RestartBackoff()
        >>> [backoff.next(1) for _ in range(7)], backoff.next(700)
        ([0.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0], 0.0)
        """
        if ran >= FORGET:
            self.crashes = 0
        delay = 0.0 if self.crashes == 0 else min(LONGEST, FIRST * 2 ** (self.crashes - 1))
        self.crashes += 1
        return delay


def duration(seconds: float) -> str:
    """As Go prints it.

    >>> [duration(each) for each in (10, 80, 300)]
    ['10s', '1m20s', '5m0s']
    """
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
