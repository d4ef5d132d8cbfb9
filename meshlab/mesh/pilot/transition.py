"""From plain text to mutual TLS and back without a request that fails.

A port that begins or ceases to take mutual TLS gets there in three steps, each when every proxy has answered to the
one before:

    1. it takes both; callers still come as they did
    2. callers come as they are told to
    3. it takes what it was told to, and nothing else
"""

from __future__ import annotations

from collections.abc import Iterable

from meshlab.mesh.config.security import PeerMode
from meshlab.mesh.pilot.security import Security
from meshlab.mesh.pilot.world import World

__all__ = ["Transition"]

LAST = 3


class Transition:
    """Which ports are on the way, and at which step; step 0: none."""

    def __init__(self) -> None:
        self.step = 0
        self._ports: frozenset[tuple[str, int]] = frozenset()
        self._before: Security | None = None

    @property
    def moving(self) -> frozenset[tuple[str, int]]:
        """(address of a pod, port) of those that take both for now."""
        return self._ports if 0 < self.step < LAST else frozenset()

    @property
    def callers(self) -> Security | None:
        """By what callers go for now; None: by what their world says."""
        return self._before if self.step == 1 else None

    def begin(self, before: World, now: World, connected: Iterable[str]) -> None:
        """Two worlds with different security: which ports of the connected pods change?"""
        ports = {
            (address, port) for address in connected
            for port in secured_ports(before, address) ^ secured_ports(now, address)
        }
        if not ports:
            return
        self._ports = self._ports | ports if self.step else frozenset(ports)
        if self.step != 1:
            self._before = before.security
        self.step = 1

    def advance(self) -> None:
        self.step += 1
        if self.step > LAST:
            self.step, self._ports, self._before = 0, frozenset(), None


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
