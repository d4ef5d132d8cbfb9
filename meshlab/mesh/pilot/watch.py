"""Feeds a registry from a cluster: one informer per kind of object, each in a thread of its own.

Kinds of the mesh come and go with their CustomResourceDefinitions, perhaps long after Pilot started: those are
watched, and a kind is followed from the moment that it is served. When its definition goes, its objects go with it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from meshlab.errors import LabError, Rejected
from meshlab.kube import Informer, Kube
from meshlab.mesh.pilot.registry import BUILT_IN, CONFIG_MAP, KINDS, SECRETS, Registry
from meshlab.mesh.pilot.world import World

__all__ = ["KubernetesSource"]

log = logging.getLogger("meshlab.pilot")

#: Kinds without which there is no world to serve yet.
NEEDED = frozenset({"services", "endpoints", "pods", "configmaps"})
DEFINITIONS = "customresourcedefinitions"


class KubernetesSource:
    """A Source (see `control`) that follows a cluster's objects, of all namespaces or one."""

    def __init__(self, kube: Kube, registry: Registry, namespace: str = "") -> None:
        self.kube, self._registry, self._namespace = kube, registry, namespace
        self._informers: dict[str, Informer] = {}
        self._changed: Callable[[str, int], None] = lambda kind, revision: None
        #: kind → highest revision applied.
        self._applied: dict[str, int] = {}
        #: `plural.group` of a definition → what we call the kind.
        self._defined = {
            f"{kind.partition('.')[0]}.{version.partition('/')[0]}": kind
            for kind, version in KINDS.items() if kind not in BUILT_IN
        }

    def world(self) -> World:
        return self._registry.world()

    def start(self, changed: Callable[[str, int], None]) -> None:
        """Begins; call on the event loop, on which everything arrives and `changed` is called."""
        self._changed = changed
        for kind in BUILT_IN:
            self._follow(kind, KINDS[kind], namespaced=kind != "namespaces")
        loop = asyncio.get_running_loop()
        definitions = Informer(self.kube, ("apiextensions.k8s.io/v1", DEFINITIONS))
        self._informers[DEFINITIONS] = definitions
        definitions.start(lambda event, obj: _on(loop, self._definition, event, obj))

    def _follow(self, kind: str, version: str, *, namespaced: bool = True) -> None:
        query: dict[str, Any] = {}
        namespace = self._namespace if namespaced else ""
        if kind == "configmaps":
            namespace = CONFIG_MAP[0]
            query["fieldSelector"] = f"metadata.name={CONFIG_MAP[1]}"
        elif kind == "secrets" and SECRETS:
            query["fieldSelector"] = SECRETS
        loop = asyncio.get_running_loop()
        informer = Informer(self.kube, (version, kind.partition(".")[0], namespace), **query)
        self._informers[kind] = informer
        informer.start(lambda event, obj: _on(loop, self._apply, kind, informer, event, obj))

    def _definition(self, event: str, obj: Mapping[str, Any]) -> None:
        """A kind is served from now on, or no longer."""
        kind = self._defined.get(str(obj["metadata"]["name"]))
        if kind is None:
            return
        conditions = (obj.get("status") or {}).get("conditions") or ()
        served = any(c.get("type") == "Established" and c.get("status") == "True" for c in conditions)
        informer = self._informers.get(kind)
        if event == "DELETED":
            if informer is not None:
                del self._informers[kind]
                self._forget(kind, informer)
        elif served and informer is None:
            group, _, wanted = KINDS[kind].partition("/")
            versions = [v["name"] for v in obj["spec"].get("versions") or () if v.get("served")]
            version = wanted if wanted in versions or not versions else versions[0]
            log.info("%s is served as %s/%s", kind, group, version)
            self._follow(kind, f"{group}/{version}", namespaced=obj["spec"].get("scope") != "Cluster")

    def _forget(self, kind: str, informer: Informer) -> None:
        """Ends an informer and takes back what it brought."""
        log.info("%s is served no longer", kind)
        asyncio.get_running_loop().run_in_executor(None, informer.stop)
        for obj in list(informer.objects.values()):
            self._registry.apply(kind, "DELETED", obj)
        self._changed(kind, self._applied.get(kind, 0))

    async def synced(self, timeout: float) -> list[str]:
        """Waits for the first lists, of every kind that is served; the kinds that are still missing then."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        waited: set[str] = set()
        # Which kinds there are is known when the definitions are.
        while waiting := [kind for kind in (*NEEDED, DEFINITIONS, *self._informers) if kind not in waited]:
            for kind in waiting:
                waited.add(kind)
                if (informer := self._informers.get(kind)) is not None:
                    await asyncio.to_thread(_listed, informer, max(0.0, end - loop.time()))
        for kind, informer in self._informers.items():
            if informer.synced.is_set() and kind != DEFINITIONS:
                self._note(kind, informer.revision)
        return sorted(kind for kind, informer in self._informers.items() if not informer.synced.is_set())

    def errors(self) -> dict[str, str]:
        """The connection's troubles, by kind."""
        return {kind: str(each.error) for kind, each in self._informers.items() if each.error is not None}

    def stop(self) -> None:
        for informer in self._informers.values():
            informer.stop()

    def _apply(self, kind: str, informer: Informer, event: str, obj: dict[str, Any]) -> None:
        if self._informers.get(kind) is not informer:
            return  # its kind went while this was on its way
        self._registry.apply(kind, event, obj)
        self._note(kind, int(obj["metadata"].get("resourceVersion") or 0))

    def _note(self, kind: str, revision: int) -> None:
        self._applied[kind] = max(revision, self._applied.get(kind, 0))
        self._changed(kind, revision)

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
            answer = await asyncio.to_thread(self.kube.list, informer.target, **informer.query)
        except (Rejected, LabError):
            return False
        if int(answer["metadata"]["resourceVersion"]) < revision:
            return False
        theirs = {_identity(each) for each in answer["items"]}
        # Handed over, and also taken: events wait in the loop's queue for a moment.
        ours = {_identity(each) for each in list(informer.objects.values())}
        await asyncio.sleep(0)
        return theirs == ours


def _listed(informer: Informer, timeout: float) -> None:
    """Waits for the first list; not for one that the server refuses."""
    end = time.monotonic() + timeout
    while not informer.synced.wait(min(0.05, max(0.0, end - time.monotonic()))):
        if time.monotonic() >= end or isinstance(informer.error, Rejected):
            return


def _on(loop: asyncio.AbstractEventLoop, take: Callable[..., None], *arguments: object) -> None:
    """For an informer's thread: everything is applied on the loop."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(take, *arguments)


def _identity(obj: dict[str, Any]) -> tuple[str, str, str]:
    meta = obj["metadata"]
    return str(meta.get("namespace") or ""), str(meta["name"]), str(meta.get("resourceVersion") or "")
