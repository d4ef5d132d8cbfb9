"""Watches: who is told about which change.

A `Hub` listens to the store and hands each change to the watches of its collection. A watch selects: an object that
enters its selection is ADDED, one that leaves it is DELETED, whatever happened to it in between.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from meshlab.cluster.api.selectors import Match
from meshlab.cluster.api.status import Expired
from meshlab.cluster.api.store import Change, Entry, Store

__all__ = ["INITIAL_END", "Event", "Hub", "Watch"]

#: Annotation of the bookmark that ends the initial events; kubectl's waits hang without it.
INITIAL_END = "k8s.io/initial-events-end"
#: Events that may wait for a slow reader; beyond that its watch ends with 410 and it lists again.
BACKLOG = 20_000


@dataclass(slots=True)
class Event:
    """ADDED, MODIFIED, DELETED or BOOKMARK, and the object. Do not change the object."""

    type: str
    object: dict[str, Any]
    revision: int
    #: The object as stored, to send its JSON without encoding it again; None if it was converted or made up.
    entry: Entry | None = field(default=None, repr=False)


class Watch:
    """An async iterator of events; `close()` (or `async with`) ends it.

    Raises Expired where it fell too far behind.
    """

    def __init__(self, hub: Hub, collection: str, prefix: str, match: Match | None) -> None:
        self.collection, self.prefix, self.match = collection, prefix, match
        self._hub = hub
        self._events: deque[Event] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self._overrun = False
        #: Turns a stored object into the version that was asked for; None where that is the stored one.
        self.convert: Callable[[dict[str, Any]], dict[str, Any]] | None = None
        #: Everything up to this revision has been queued.
        self.revision = 0

    def offer(self, change: Change) -> None:
        """Queues what the change means for this selection."""
        entry, previous = change.entry, change.previous
        if self.prefix and not entry.key.startswith(self.prefix):
            return
        match = self.match
        before = previous is not None and (match is None or match(previous.obj))
        after = not change.deleted and (match is None or match(entry.obj))
        if after:
            self.push("MODIFIED" if before else "ADDED", entry)
        elif before:
            self.push("DELETED", entry)

    def push(self, type_: str, entry: Entry) -> None:
        if len(self._events) >= BACKLOG:
            self._overrun = True
        elif self.convert is None:
            self._events.append(Event(type_, entry.obj, entry.revision, entry))
        else:
            self._events.append(Event(type_, self.convert(entry.obj), entry.revision))
        self._wake()

    def bookmark(self, api_version: str, kind: str, revision: int, *, initial_end: bool = False) -> None:
        """Queues a BOOKMARK: everything up to `revision` has been sent."""
        meta: dict[str, Any] = {"resourceVersion": str(revision)}
        if initial_end:
            meta["annotations"] = {INITIAL_END: "true"}
        obj = {"kind": kind, "apiVersion": api_version, "metadata": meta}
        self._events.append(Event("BOOKMARK", obj, revision))
        self._wake()

    def ready(self) -> list[Event]:
        """What is queued now, taken out of the queue: for readers that send several events at once."""
        if self._overrun:
            raise Expired("too old resource version: the reader of this watch was too slow")
        events = list(self._events)
        self._events.clear()
        return events

    async def wait(self) -> None:
        """Until something is queued, or the watch is closed."""
        while not self._events and not self._closed and not self._overrun:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True
        self._hub.forget(self)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> Event:
        await self.wait()
        if self._overrun:
            self.close()
            raise Expired("too old resource version: the reader of this watch was too slow")
        if self._events:
            return self._events.popleft()
        raise StopAsyncIteration

    async def __aenter__(self) -> Watch:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


class Hub:
    """All watches of one store."""

    def __init__(self, store: Store) -> None:
        self._watches: dict[str, set[Watch]] = {}
        store.listen(self._changed)

    def open(self, collection: str, prefix: str, match: Match | None) -> Watch:
        watch = Watch(self, collection, prefix, match)
        self._watches.setdefault(collection, set()).add(watch)
        return watch

    def forget(self, watch: Watch) -> None:
        self._watches.get(watch.collection, set()).discard(watch)

    def close_collection(self, collection: str) -> None:
        """Ends every watch of a kind that is no longer served."""
        for watch in list(self._watches.get(collection, ())):
            watch.close()

    def close(self) -> None:
        for collection in list(self._watches):
            self.close_collection(collection)

    def __len__(self) -> int:
        return sum(len(watches) for watches in self._watches.values())

    def _changed(self, change: Change) -> None:
        for watch in list(self._watches.get(change.collection, ())):
            watch.offer(change)
