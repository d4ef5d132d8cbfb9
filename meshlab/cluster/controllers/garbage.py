"""Garbage collection: what is owned goes when its owners are gone.

Background deletion: the owner goes first, its dependents after it. Foreground: the owner waits, held by a finalizer,
until the dependents that block it are gone. Orphan: the dependents forget their owner before it goes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meshlab.cluster.api.status import ApiError, Conflict, NotFound
from meshlab.cluster.controllers.follow import Handler, follow
from meshlab.cluster.controllers.objects import Obj

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api
    from meshlab.cluster.api.registry import Resource

__all__ = ["GarbageCollector"]

log = logging.getLogger(__name__)

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
#: Seconds until something that was refused is tried again.
RETRY = 1.0


@dataclass(frozen=True)
class Item:
    """An object by where it is kept and its uid."""

    resource: Resource
    namespace: str
    name: str
    uid: str


class GarbageCollector:
    """Watches every kind there is, custom ones included."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._dependents: dict[str, set[Item]] = {}
        self._owners: dict[str, frozenset[str]] = {}
        self._waiting: dict[Item, None] = {}
        self._filled = asyncio.Event()
        self._followed: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._look_for_kinds()
            group.create_task(follow(self._api, self._api.kinds("CustomResourceDefinition"),
                                     lambda _, __: self._look_for_kinds()))
            group.create_task(self._work())

    def _look_for_kinds(self) -> None:
        """Follow each kind that is served and not followed yet."""
        for resource in self._api.registry.all():
            if "watch" not in resource.verbs or resource.plural == "events":
                continue  # events are owned by nobody, and are many
            task = self._followed.get(resource.collection)
            if task is None or task.done():
                preferred = next((r for r in self._api.registry.sharing(resource.collection)
                                  if r.api_version == r.stored_as), resource)
                self._followed[resource.collection] = self._group.create_task(
                    follow(self._api, preferred, self._handler(preferred)), name=f"garbage: {preferred.qualified}")

    def _handler(self, resource: Resource) -> Handler:
        def handler(kind: str, obj: Obj) -> None:
            meta = obj["metadata"]
            references = meta.get("ownerReferences") or ()
            if not references and meta["uid"] not in self._owners and meta["uid"] not in self._dependents \
                    and not meta.get("deletionTimestamp"):
                return  # nearly everything: it owns nothing and is owned by nobody
            item = Item(resource, meta.get("namespace") or "", meta["name"], meta["uid"])
            self._index(item, frozenset(r["uid"] for r in references) if kind != "DELETED" else frozenset())
            if kind == "DELETED":
                for dependent in self._dependents.pop(meta["uid"], ()):
                    self._add(dependent)
                for reference in references:
                    self._add_owner(reference, item)
            else:
                self._add(item)

        return handler

    def _index(self, item: Item, owners: frozenset[str]) -> None:
        before = self._owners.get(item.uid, frozenset())
        for gone in before - owners:
            self._dependents.get(gone, set()).discard(item)
            if not self._dependents.get(gone, True):
                del self._dependents[gone]
        for new in owners - before:
            self._dependents.setdefault(new, set()).add(item)
        if owners:
            self._owners[item.uid] = owners
        else:
            self._owners.pop(item.uid, None)

    def _add(self, item: Item) -> None:
        self._waiting[item] = None
        self._filled.set()

    def _add_owner(self, reference: Mapping[str, Any], dependent: Item) -> None:
        """An owner may have waited for this dependent to go."""
        resource = self._api.registry.by_kind(reference["apiVersion"], reference["kind"])
        if resource is not None:
            self._add(Item(resource, dependent.namespace if resource.namespaced else "", reference["name"],
                           reference["uid"]))

    async def _work(self) -> None:
        while True:
            await self._filled.wait()
            while self._waiting:
                item = next(iter(self._waiting))
                del self._waiting[item]
                try:
                    self._process(item)
                except NotFound:
                    pass
                except Conflict:
                    self._add(item)
                except ApiError as error:
                    log.info("%s %s/%s: %s", item.resource.qualified, item.namespace, item.name, error)
                    asyncio.get_running_loop().call_later(RETRY, self._add, item)
                await asyncio.sleep(0)
            self._filled.clear()

    def _find(self, item: Item) -> Obj | None:
        obj = self._api.find(item.resource, item.namespace or None, item.name)
        return obj if obj is not None and obj["metadata"]["uid"] == item.uid else None

    def _process(self, item: Item) -> None:
        obj = self._find(item)
        if obj is None:
            return
        meta = obj["metadata"]
        if meta.get("deletionTimestamp"):
            finalizers = meta.get("finalizers") or []
            if ORPHAN in finalizers:
                self._orphan(item)
                self._release(item, ORPHAN)
            elif FOREGROUND in finalizers:
                self._foreground(item)
            return
        references = meta.get("ownerReferences") or []
        if not references:
            return
        solid = [r for r in references if self._alive(r, item)]
        if solid:
            if len(solid) < len(references):
                self._api.update(item.resource, item.namespace or None, item.name,
                                 {**obj, "metadata": {**meta, "ownerReferences": solid}})
            return
        self._api.delete(item.resource, item.namespace or None, item.name, uid=item.uid, propagation="Background")

    def _alive(self, reference: Mapping[str, Any], dependent: Item) -> bool:
        resource = self._api.registry.by_kind(reference["apiVersion"], reference["kind"])
        if resource is None:
            return True  # of a kind that is not served (now): nobody can say that it is gone
        owner = self._api.find(resource, dependent.namespace if resource.namespaced else None, reference["name"])
        return owner is not None and owner["metadata"]["uid"] == reference["uid"]

    def _foreground(self, item: Item) -> None:
        blocked = False
        for dependent in list(self._dependents.get(item.uid, ())):
            obj = self._find(dependent)
            if obj is None:
                continue
            reference = next((r for r in obj["metadata"].get("ownerReferences") or [] if r["uid"] == item.uid), None)
            if reference is None:
                continue
            others = [r for r in obj["metadata"]["ownerReferences"]
                      if r["uid"] != item.uid and self._alive(r, dependent)]
            if others:
                self._api.update(dependent.resource, dependent.namespace or None, dependent.name,
                                 {**obj, "metadata": {**obj["metadata"], "ownerReferences": others}})
                continue
            if not obj["metadata"].get("deletionTimestamp"):
                self._api.delete(dependent.resource, dependent.namespace or None, dependent.name, uid=dependent.uid,
                                 propagation="Foreground" if self._dependents.get(dependent.uid) else "Background")
            blocked = blocked or (bool(reference.get("blockOwnerDeletion")) and self._find(dependent) is not None)
        if not blocked:
            self._release(item, FOREGROUND)

    def _orphan(self, item: Item) -> None:
        for dependent in list(self._dependents.get(item.uid, ())):
            obj = self._find(dependent)
            if obj is None:
                continue
            left = [r for r in obj["metadata"].get("ownerReferences") or [] if r["uid"] != item.uid]
            self._api.update(dependent.resource, dependent.namespace or None, dependent.name,
                             {**obj, "metadata": {**obj["metadata"], "ownerReferences": left}})

    def _release(self, item: Item, finalizer: str) -> None:
        obj = self._find(item)
        if obj is not None:
            left = [f for f in obj["metadata"].get("finalizers") or [] if f != finalizer]
            self._api.update(item.resource, item.namespace or None, item.name,
                             {**obj, "metadata": {**obj["metadata"], "finalizers": left}})
