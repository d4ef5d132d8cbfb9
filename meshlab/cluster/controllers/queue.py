"""The work of a controller: keys, each in the queue once, handled one after the other.

`reconcile(key)` looks at the present state and moves it towards the wanted one. It may be called too often and must
then do nothing. A key that failed comes again after a growing pause; one that met a conflict at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from meshlab.cluster.api.status import ApiError, Conflict
from meshlab.cluster.api.webhooks import admitted
from meshlab.cluster.controllers.objects import Key, Obj

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["Controller", "Source", "WorkQueue"]

log = logging.getLogger(__name__)

#: Pauses after failures: a client-go rate limiter begins with 5 ms and doubles; 30 s keeps a lab lively.
FIRST_PAUSE, LONGEST_PAUSE = 0.005, 30.0


@dataclass(frozen=True)
class Source:
    """A kind to watch, and which keys an event of it concerns: `keys(type, object)`."""

    kind: str
    keys: Callable[[str, Obj], Iterable[Key]]


class Controller(Protocol):
    """What `WorkQueue` runs."""

    @property
    def name(self) -> str: ...

    @property
    def sources(self) -> Sequence[Source]: ...

    def reconcile(self, key: Key) -> float | None:
        """Seconds after which to look again although nothing happened, or None."""


class WorkQueue:
    """The keys of one controller that wait to be reconciled. `api` is what it writes through."""

    def __init__(self, controller: Controller, api: Api) -> None:
        self.controller, self._api = controller, api
        group = "system:serviceaccounts"
        self._user = {
            "username": f"system:serviceaccount:kube-system:{controller.name}",
            "groups": [group, f"{group}:kube-system", "system:authenticated"],
        }
        self._waiting: dict[Key, None] = {}  # a set in the order of arrival
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self._filled = asyncio.Event()

    def add(self, key: Key) -> None:
        self._cancel_timer(key)
        self._waiting[key] = None
        self._filled.set()

    def add_after(self, key: Key, seconds: float) -> None:
        """Once, at the earliest time that was asked for."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if key in self._waiting or (timer is not None and timer.when() <= loop.time() + seconds):
            return
        self._cancel_timer(key)
        self._timers[key] = loop.call_later(seconds, self.add, key)

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await self._filled.wait()
                while self._waiting:
                    key = next(iter(self._waiting))
                    del self._waiting[key]
                    await self._handle(key)
                    # One look may write a dozen objects: readers and other controllers get their turn in between.
                    await asyncio.sleep(0)
                self._filled.clear()
        finally:
            for key in list(self._timers):
                self._cancel_timer(key)

    async def _handle(self, key: Key) -> None:
        try:
            # Where an admission webhook is asked about what it writes, it looks again when the answer is there.
            again = await admitted(self._api, lambda: self.controller.reconcile(key), user=self._user)
        except Conflict:
            self.add(key)  # somebody was faster: look again
        except ApiError as error:
            log.info("%s %s: %s", self.controller.name, "/".join(key), error)
            self._pause(key)
        except Exception:
            # A defect of ours in one object must not stop the controller for all others.
            log.exception("%s %s", self.controller.name, "/".join(key))
            self._pause(key)
        else:
            self._failures.pop(key, None)
            if again is not None:
                self.add_after(key, again)

    def _pause(self, key: Key) -> None:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self.add_after(key, min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures, 20)))

    def _cancel_timer(self, key: Key) -> None:
        if timer := self._timers.pop(key, None):
            timer.cancel()
