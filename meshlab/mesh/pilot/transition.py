"""From plain text to mutual TLS without a request that fails: pods first, then their callers, then the last word.

A pod that takes plain text and is to take mutual TLS gets there in three steps, each when every proxy has acknowledged
the one before:

    1. it takes both; callers still come in plain text
    2. callers come by mutual TLS
    3. it takes what it was told to (STRICT: plain text no longer)

The way back needs no steps: endpoints reach callers before a listener is replaced, and the old listener stays for its
connections.
"""

from __future__ import annotations

from collections.abc import Iterable

from meshlab.mesh.config.security import PeerMode
from meshlab.mesh.pilot.world import World

__all__ = ["Transition"]

LAST = 3


class Transition:
    """Which pods are on the way, and at which step; step 0: none."""

    def __init__(self) -> None:
        self.step = 0
        self._pods: frozenset[str] = frozenset()

    @property
    def moving(self) -> frozenset[str]:
        """Pods that take plain text although they are told not to."""
        return self._pods if 0 < self.step < LAST else frozenset()

    @property
    def unmarked(self) -> frozenset[str]:
        """Pods whose callers do not know yet."""
        return self._pods if self.step == 1 else frozenset()

    def begin(self, before: World, now: World, connected: Iterable[str]) -> None:
        """Two worlds with different security: which of the connected pods begin to take mutual TLS?"""
        pods = frozenset(ip for ip in connected if secured_ports(now, ip) - secured_ports(before, ip))
        if pods:
            self._pods, self.step = self._pods | pods if self.step else pods, 1

    def advance(self) -> None:
        self.step += 1
        if self.step > LAST:
            self.step, self._pods = 0, frozenset()


def secured_ports(world: World, address: str) -> frozenset[int]:
    """The ports of a pod that take mutual TLS (perhaps beside plain text)."""
    security = world.security
    if not security.in_use:
        return frozenset()
    return frozenset(
        each.port for each in world.at(address)
        if security.mode(each.namespace, each.labels, each.port, each.service_port)
        in (PeerMode.PERMISSIVE, PeerMode.STRICT)
        and security.certified(f"{each.namespace}/{each.service_account}")
    )
