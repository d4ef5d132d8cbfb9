"""Feeds a registry from a cluster: one informer per kind of object, each in a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from meshlab.errors import LabError, Rejected
from meshlab.kube import Informer, Kube
from meshlab.mesh.pilot.registry import CONFIG_MAP, KINDS, Registry
from meshlab.mesh.pilot.world import World

__all__ = ["KubernetesSource"]

#: Kinds without which there is no world to serve yet. The others may not be installed at all.
NEEDED = frozenset({"services", "endpoints", "pods", "configmaps"})


class KubernetesSource:
    """A Source (see `control`) that follows a cluster's objects, of all namespaces or one."""

    def __init__(self, kube: Kube, registry: Registry, namespace: str = "") -> None:
        self._kube, self._registry, self._namespace = kube, registry, namespace
        self._informers: dict[str, Informer] = {}
        self._changed: Callable[[str, int], None] = lambda kind, revision: None
        #: kind → highest revision applied.
        self._applied: dict[str, int] = {}

    def world(self) -> World:
        return self._registry.world()

    def start(self, changed: Callable[[str, int], None]) -> None:
        """Begins; call on the event loop, on which everything arrives and `changed` is called."""
        loop = asyncio.get_running_loop()
        self._changed = changed
        for plural, version in KINDS.items():
            query: dict[str, Any] = {}
            namespace = self._namespace
            if plural == "configmaps":
                namespace = CONFIG_MAP[0]
                query["fieldSelector"] = f"metadata.name={CONFIG_MAP[1]}"
            informer = Informer(self._kube, (version, plural, namespace), **query)
            self._informers[plural] = informer
            informer.start(self._hand_over(loop, plural))

    def _hand_over(self, loop: asyncio.AbstractEventLoop, plural: str) -> Callable[[str, dict[str, Any]], None]:
        """For an informer's thread: everything is applied on the loop."""

        def on_change(event: str, obj: dict[str, Any]) -> None:
            loop.call_soon_threadsafe(self._apply, plural, event, obj)

        return on_change

    async def synced(self, timeout: float) -> list[str]:
        """Waits for the first lists; the kinds that are still missing then."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        for kind in NEEDED:
            left = max(0.0, end - loop.time())
            await asyncio.to_thread(self._informers[kind].synced.wait, left)
        for kind, informer in self._informers.items():
            if informer.synced.is_set():
                self._note(kind, informer.revision)
        return sorted(kind for kind in NEEDED if not self._informers[kind].synced.is_set())

    def errors(self) -> dict[str, str]:
        """The connection's troubles, by kind."""
        return {kind: str(each.error) for kind, each in self._informers.items() if each.error is not None}

    def stop(self) -> None:
        for informer in self._informers.values():
            informer.stop()

    def _apply(self, plural: str, event: str, obj: dict[str, Any]) -> None:
        self._registry.apply(plural, event, obj)
        self._note(plural, int(obj["metadata"].get("resourceVersion") or 0))

    def _note(self, plural: str, revision: int) -> None:
        self._applied[plural] = max(revision, self._applied.get(plural, 0))
        self._changed(plural, revision)

    async def current(self, kind: str, revision: int) -> bool:
        """Whether what the server has now is what the registry was given: then no event is missing.

        For a revision that is no event of this kind (deleting what was not there, or a revision counted for
        another kind): the server's list is compared with ours.
        """
        informer = self._informers.get(kind)
        if informer is None:
            return False
        if informer.revision >= revision:
            return True
        try:
            answer = await asyncio.to_thread(self._kube.list, informer.target, **informer.query)
        except (Rejected, LabError):
            return False
        if int(answer["metadata"]["resourceVersion"]) < revision:
            return False
        theirs = {_identity(each) for each in answer["items"]}
        # Handed over, and also taken: events wait in the loop's queue for a moment.
        ours = {_identity(each) for each in list(informer.objects.values())}
        await asyncio.sleep(0)
        return theirs == ours


def _identity(obj: dict[str, Any]) -> tuple[str, str, str]:
    meta = obj["metadata"]
    return str(meta.get("namespace") or ""), str(meta["name"]), str(meta.get("resourceVersion") or "")
