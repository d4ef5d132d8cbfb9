"""What a lesson does by engine: what only one can, with a line that says so, and how long a rate's period is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshlab.capability import Capability
from meshlab.phrases import tr

if TYPE_CHECKING:
    from meshlab.lab import Lab

__all__ = ["Capability", "can", "over"]

#: A rate needs two samples, and one may come late.
SCRAPES = 3


def can(lab: Lab, capability: Capability, *, otherwise: str) -> bool:
    """Whether the lab's engine can; if not, one line says so, and `otherwise`: why, and what takes its place there.

    `if can(lab, Capability.MIXER, otherwise="a Telemetry object says what is logged"): print(lab.apply(MINE))`
    """
    if lab.engine.can(capability):
        return True
    print(tr("≠ on a cluster, without {what}: {otherwise}", what=capability.value, otherwise=otherwise))
    return False


def over(lab: Lab, seconds: float) -> str:
    """A period for `rate()` and its like, as Prometheus writes it: `seconds`, and three scrapes at least.

    In the lab, which is scraped every second, `over(lab, 5)` is "5s"; on a cluster, every five seconds, "15s".
    """
    return f"{max(seconds, SCRAPES * lab.engine.scrape):g}s"
