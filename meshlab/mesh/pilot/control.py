"""From a change to "in force": debounce, build, push, and the record of who acknowledged what.

A change is not pushed at once: rules come in groups. The push waits for QUIET seconds without another change,
but never longer than LONGEST. Everything here runs on one event loop; other threads use `changed`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from meshlab.mesh.pilot.build import Builder
from meshlab.mesh.pilot.connection import LINGER, Connection, Push
from meshlab.mesh.pilot.snapshot import Snapshot
from meshlab.mesh.pilot.transition import Transition
from meshlab.mesh.pilot.unserved import unmet
from meshlab.mesh.pilot.world import Problem, World

__all__ = ["LONGEST", "QUIET", "Change", "Control", "InForce", "Source"]

T = TypeVar("T")
log = logging.getLogger("meshlab.pilot")

#: Seconds. Events of one `kubectl apply` come about a millisecond apart.
QUIET = 0.002
#: Seconds, so that an endless stream of changes cannot hold everything up.
LONGEST = 0.05
#: Seconds for which a step of a change to mutual TLS waits for proxies that do not answer.
STEP = 2.0
#: Changes remembered per kind of object.
HISTORY = 4096


class Source(Protocol):
    """Where the world comes from: the registry of a cluster, or a test's own."""

    def world(self) -> World: ...

    async def current(self, kind: str, revision: int) -> bool:
        """Whether everything up to `revision` of this kind of object is in `world()` although nothing newer was
        seen; asked when no event of that revision came."""
        ...

    def errors(self) -> dict[str, str]:
        """The connection's troubles, by kind of object."""
        ...


@dataclass(frozen=True, slots=True)
class Change:
    """An object of `kind` (plural, lower case) at `revision` was seen at `seen`; pushed by `generation`."""

    revision: int
    seen: float
    generation: int


@dataclass(frozen=True)
class InForce:
    """Whether a change is in force; milliseconds from when Pilot saw it."""

    in_force: bool
    ms: float
    proxies: dict[str, float] = field(default_factory=dict)
    rejected: dict[str, str] = field(default_factory=dict)
    #: What is stored and waits for something that is not there (see `unserved`).
    missing: dict[str, str] = field(default_factory=dict)


class Control:
    """The control loop of one Pilot."""

    def __init__(self, source: Source, *, quiet: float = QUIET, longest: float = LONGEST) -> None:
        self._source, self._quiet, self._longest = source, quiet, longest
        self._builder = Builder()
        self.transition = Transition()
        #: The generation of the last step of a transition.
        self._last_step = -1
        self.world: World | None = None
        self.generation = 0
        #: Called after each push of a new World.
        self.pushed: Callable[[], None] = lambda: None
        self.connections: dict[int, Connection] = {}
        #: Node → why its snapshot could not be made or was not consistent.
        self.broken: dict[str, str] = {}
        self._changes: dict[str, deque[Change]] = {}
        self._pending = asyncio.Event()
        self._last = 0.0
        #: Replaced and set whenever something that somebody may wait for has happened.
        self._moved = asyncio.Event()

    # Changes

    def changed(self, kind: str, revision: int) -> None:
        """An object changed. Call on the loop (from elsewhere: `loop.call_soon_threadsafe(control.changed, …)`)."""
        now = time.monotonic()
        kept = self._changes.setdefault(kind, deque(maxlen=HISTORY))
        kept.append(Change(revision, now, self.generation + 1))
        self._last = now
        self._pending.set()
        self._notify()

    async def run(self) -> None:
        """Pushes changes until cancelled."""
        expiry = asyncio.create_task(self._expire())
        try:
            while True:
                await self._pending.wait()
                first = time.monotonic()
                while (wait := self._last + self._quiet - time.monotonic()) > 0:
                    if time.monotonic() - first > self._longest:
                        break
                    await asyncio.sleep(min(wait, self._longest))
                self._pending.clear()
                self.push()
        finally:
            expiry.cancel()

    def push(self) -> None:
        """Builds the world's snapshots and sends what changed."""
        self.generation += 1
        world = self._source.world()
        if world is not self.world:
            before, self.world = self.world, world
            if before is not None and before.security is not world.security:
                self.transition.begin(before, world, (c.proxy.ip for c in self.connections.values()))
            self._serve_all()
            self.pushed()
        self._notify()

    def _serve_all(self) -> None:
        self._builder.moving, self._builder.callers = self.transition.moving, self.transition.callers
        if self.transition.step:
            self._last_step = self.generation
            asyncio.get_running_loop().call_later(STEP, self._advance, self.generation)
        for connection in list(self.connections.values()):
            self._serve(connection)
        self._builder.memo.sweep()

    def _advance(self, overdue: int = 0) -> None:
        """The next step of a change to mutual TLS, once everybody has answered to the last one, or it is `overdue`.

        A step that changes nothing for anybody is answered at once.
        """
        while self.transition.step and (
            overdue == self._last_step or all(each.answered for each in self.connections.values())
        ):
            self.transition.advance()
            self.generation += 1
            self._serve_all()
            self._notify()

    def _serve(self, connection: Connection) -> Push | None:
        snapshot = self._snapshot(connection)
        return connection.push(snapshot, self.generation) if snapshot is not None else None

    def _draining(self, push: Push) -> None:
        asyncio.get_running_loop().call_later(push.drain, self._drained, push)

    def _drained(self, push: Push) -> None:
        push.check(time.monotonic())
        self._notify()

    def _snapshot(self, connection: Connection) -> Snapshot | None:
        """A consistent snapshot, or None: the proxy keeps what it has, and /debug/syncz says why."""
        if self.world is None:
            return None
        node = connection.proxy.node
        try:
            snapshot = self._builder.snapshot(self.world, connection.proxy)
        except Exception as error:  # one proxy's trouble must not keep the others from their configuration
            log.exception("cannot make a snapshot for %s", node)
            self.broken[node] = f"{type(error).__name__}: {error}"
            return None
        if missing := snapshot.consistent(connection.snapshot):
            log.error("the snapshot for %s is not consistent: %s", node, "; ".join(missing))
            self.broken[node] = "; ".join(missing)
            return None
        self.broken.pop(node, None)
        return snapshot

    # Connections

    def opened(self, connection: Connection) -> None:
        connection.draining = self._draining
        self.connections[id(connection)] = connection
        if self.world is not None:
            self._serve(connection)

    def closed(self, connection: Connection) -> None:
        self.connections.pop(id(connection), None)
        self._advance()
        self._notify()

    def trouble(self) -> dict[str, str]:
        """Kinds of objects whose news do not come, and why."""
        return self._source.errors()

    def heard(self) -> None:
        """A proxy acknowledged or refused something."""
        self._advance()
        self._notify()

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(LINGER / 3)
            for connection in list(self.connections.values()):
                connection.expire()

    def _notify(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    # Questions

    async def in_force(self, kind: str, revision: int, timeout: float) -> InForce:
        """`all_in_force` of one change."""
        return await self.all_in_force([(kind, revision)], timeout)

    async def all_in_force(
        self, changes: Iterable[tuple[str, int]], timeout: float, names: Collection[str] = ()
    ) -> InForce:
        """Waits until every connected proxy whose configuration changed with these has acknowledged it.

        What they need of each other is looked at when all of them are there. `names`: the objects that changed, as
        `Kind/namespace/name`; a status may have given them another revision meanwhile.
        """
        wanted = list(changes)
        end = time.monotonic() + timeout
        seen = await asyncio.gather(*(self._seen(kind, revision, end) for kind, revision in wanted))
        there = [change for change in seen if change is not None]
        await self._until(lambda: all(map(self._settled, there)) or None, end)
        pushed = True
        proxies: dict[str, float] = {}
        rejected: dict[str, str] = {}
        for (kind, revision), known in zip(wanted, seen, strict=True):
            if known is None:
                rejected["pilot"] = self.trouble().get(kind) or f"has not seen {kind} {revision}"
            else:
                pushed &= self.generation >= known.generation
                self._acknowledged(known, proxies, rejected)
        revisions = {str(revision) for _, revision in wanted}

        def told(problems: Iterable[Problem]) -> dict[str, str]:
            own = (p for p in problems if p.revision in revisions or "/".join(p.key.split("/")[:3]) in names)
            return {each.key: each.reason for each in own}

        if self.world is not None:
            rejected |= told(self.world.problems)
        missing = told(unmet(self.world)) if self.world is not None else {}
        ms = timeout * 1000 if None in seen else max(proxies.values(), default=0.0)
        return InForce(pushed and not rejected and not missing, ms, proxies, rejected, missing)

    async def _seen(self, kind: str, revision: int, end: float) -> Change | None:
        """The change, once Pilot has it; None if it does not come."""
        change = await self._until(lambda: self._change(kind, revision), min(end, time.monotonic() + 0.02))
        while change is None and time.monotonic() < end:
            # No event of that revision: nothing of this kind may have changed since (a delete of something
            # that was not there, say).
            if await self._source.current(kind, revision):
                return Change(revision, time.monotonic(), self.generation)
            change = await self._until(
                lambda: self._change(kind, revision), min(end, time.monotonic() + 0.1)
            )
        return change

    def _change(self, kind: str, revision: int) -> Change | None:
        """The first change of that kind with this revision or a later one."""
        return next((c for c in self._changes.get(kind, ()) if c.revision >= revision), None)

    def _settled(self, change: Change) -> bool:
        return self.generation >= change.generation and not self._behind(change) and not self.transition.step and all(
            push.settled for c in self.connections.values() for push in self._pushes(c, change)
        )

    def _pushes(self, connection: Connection, change: Change) -> list[Push]:
        """The push with which a change came, and those of the steps that had to follow."""
        found = connection.since(change.generation)
        return found[:1] + [push for push in found[1:] if push.generation <= self._last_step]

    def _behind(self, change: Change) -> list[str]:
        """Sidecars that run with a configuration of before the change, as Pilot has not reached them since.

        After a restart of Pilot these are all, for a second or so. A pod that is not ready yet is none of them:
        it starts with the present configuration.
        """
        if self.world is None:
            return []
        reached = {
            c.proxy.ip for c in self.connections.values() if c.opened < change.seen or c.synced
        }
        return [name for ip, name in self.world.sidecars.items() if ip not in reached]

    def _acknowledged(self, change: Change, proxies: dict[str, float], rejected: dict[str, str]) -> None:
        """Adds who acknowledged a change, after how many milliseconds, and who did not."""
        rejected |= self.broken
        for connection in self.connections.values():
            node = connection.proxy.id
            for push in self._pushes(connection, change):
                if push.refused:
                    rejected[node] = push.refused
                elif push.done is None:
                    rejected[node] = "no acknowledgement in time"
                else:
                    # 0: it had acknowledged all before this was asked.
                    ms = round(max(0.0, push.done - change.seen) * 1000, 3)
                    proxies[node] = max(ms, proxies.get(node, 0.0))
        for name in self._behind(change):
            rejected[name] = "its sidecar is not connected to Pilot"

    async def _until(self, condition: Callable[[], T | None], end: float) -> T | None:
        """The condition's first result that is not None, or None at `end`."""
        while (found := condition()) is None:
            moved = self._moved
            try:
                async with asyncio.timeout(max(0.0, end - time.monotonic())):
                    await moved.wait()
            except TimeoutError:
                return condition()
        return found
