"""What proxies share of one World, made from what they shared of the World before.

What a change costs is the work for what it touches, once for each kind of proxy (`units.View`).
"""

from __future__ import annotations

from functools import cached_property

from meshlab.mesh.pilot.destinations import Destinations, DestinationsBuilder
from meshlab.mesh.pilot.difference import Difference, difference
from meshlab.mesh.pilot.memo import Memo
from meshlab.mesh.pilot.outbound import Outbound, OutboundBuilder
from meshlab.mesh.pilot.resolve import Resolver
from meshlab.mesh.pilot.security import Security
from meshlab.mesh.pilot.units import View
from meshlab.mesh.pilot.world import Mesh, World

__all__ = ["Shared"]

Group = tuple[Mesh, View]


class Shared:
    """Of one World. `before` is that of the World served last; only what was made there is remembered."""

    def __init__(self, memo: Memo, world: World, before: Shared | None = None) -> None:
        self.world, self._memo, self._before = world, memo, before
        if before is not None:
            before._before = None
        self._outbound: dict[Group, Outbound] = {}
        #: Of what group's state in the World before a group's was made.
        self._origins: dict[Group, Group] = {}
        self._destinations: dict[tuple[Group, Mesh, Security, str, bool], Destinations] = {}

    def outbound(self, resolver: Resolver, mesh: Mesh, view: View) -> Outbound:
        """Of the proxies of a view in a mesh with these settings."""
        group = (mesh, view)
        if (found := self._outbound.get(group)) is None:
            builder = OutboundBuilder(self._memo, resolver, view, mesh)
            if (origin := self._origin(group)) is not None and self._before is not None:
                self._origins[group] = origin
                found = builder.build(self._before._outbound[origin], self._change)
            else:
                found = builder.build()
            self._outbound[group] = found
        return found

    def destinations(
        self, resolver: Resolver, mesh: Mesh, view: View, security: Security, account: str, *, counted: bool
    ) -> Destinations:
        """Of the same proxies, as far as they connect alike."""
        group, more = (mesh, view), (self.world.mesh, security, account, counted)
        if (found := self._destinations.get((group, *more))) is None:
            targets = self.outbound(resolver, mesh, view).targets
            builder = DestinationsBuilder(self._memo, resolver, security, account, counted=counted)
            origin, was = self._origins.get(group), None
            if origin is not None and self._before is not None:
                was = self._before._destinations.get((origin, *more))
            found = builder.build(targets, was, self._change if was is not None else None)
            self._destinations[group, *more] = found
        return found

    @cached_property
    def _change(self) -> Difference:
        return difference(self._before.world, self.world) if self._before is not None else Difference()

    def _origin(self, group: Group) -> Group | None:
        """A group of the World before that saw of it what this one would have seen.

        Rules that came or went are part of the change; those that stayed must be for both groups, or for neither.
        """
        if self._before is None:
            return None
        if group in self._before._outbound:
            return group
        mesh, view = group
        for other in self._before._outbound:
            if other[0] == mesh and other[1].rest == view.rest and self._change.sources.isdisjoint(
                other[1].hidden ^ view.hidden
            ):
                return other
        return None
