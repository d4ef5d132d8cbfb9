"""What a lesson does only where the engine can: the same cell, and one line that says what is different here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshlab.capability import Capability

if TYPE_CHECKING:
    from meshlab.lab import Lab

__all__ = ["Capability", "can"]


def can(lab: Lab, capability: Capability, *, otherwise: str) -> bool:
    """Whether the lab's engine can; if not, one line says so, and `otherwise`: why, and what takes its place there.

    `if can(lab, Capability.MIXER, otherwise="a Telemetry object says what is logged"): print(lab.apply(MINE))`
    """
    if lab.engine.can(capability):
        return True
    print(f"≠ on a cluster, without {capability.value}: {otherwise}")
    return False
