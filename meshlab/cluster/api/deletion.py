"""Deletion: at once, after a grace period (pods), or when the last finalizer is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshlab.cluster.api import crd
from meshlab.cluster.api.metadata import key_of, ordered
from meshlab.cluster.api.registry import Resource
from meshlab.cluster.api.status import Conflict, InternalError, NotFound, success
from meshlab.cluster.api.store import Entry, StoreFull
from meshlab.cluster.api.strategy import terminating

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["Deletion"]

Object = dict[str, Any]

#: Finalizers that stand for a way of deleting dependents; the garbage collector removes them.
FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
#: terminationGracePeriodSeconds where a pod states none.
GRACE = 30


class Deletion:
    def __init__(self, api: Api) -> None:
        self.api = api

    def delete(
        self, resource: Resource, namespace: str | None, name: str, *, propagation: str | None, uid: str | None,
        revision: str | None, grace: int | None, dry_run: bool,
    ) -> Object:
        """See `Api.delete`. Raises NotFound, Conflict (preconditions) and Forbidden (permanent namespaces)."""
        api = self.api
        api.admission.deletable(resource, name)
        entry = api.store.get(resource.collection, key_of(resource, namespace, name))
        if entry is None:
            raise NotFound.of(resource, name)
        meta = entry.obj["metadata"]
        for what, asked, have, since in (
            ("UID", uid, meta["uid"], "deleted and then recreated"),
            ("ResourceVersion", revision, str(entry.revision), "modified"),
        ):
            if asked and asked != have:
                raise Conflict.kind(
                    resource, name, f"the {what} in the precondition ({asked}) does not match the {what} in record "
                    f"({have}). The object might have been {since}"
                )
        seconds = self._grace(resource, entry.obj, grace)
        marked = entry.obj if meta.get("deletionTimestamp") else terminating(resource, entry.obj, seconds)
        if meta.get("deletionTimestamp") and seconds < meta.get("deletionGracePeriodSeconds", 0):
            marked = terminating(resource, entry.obj, seconds)
            marked["metadata"]["generation"] = meta.get("generation", 1)
        shown = api.types.from_storage(resource, entry.obj)
        if not meta.get("deletionTimestamp"):
            api.mutated(resource, "DELETE", None, shown, dry_run=dry_run)
            api.allowed(resource, "DELETE", None, shown, dry_run=dry_run)
        marked = {**marked, "metadata": dict(marked["metadata"])}
        ways = () if propagation is None else (FOREGROUND, ORPHAN)
        finalizers = [f for f in meta.get("finalizers") or () if f not in ways]
        if propagation in ("Foreground", "Orphan"):
            finalizers.append(FOREGROUND if propagation == "Foreground" else ORPHAN)
        marked["metadata"]["finalizers"] = finalizers
        marked["metadata"] = ordered(marked["metadata"])
        waits = bool(finalizers) or seconds > 0 or self._spec_finalizers(resource, marked)
        if dry_run:
            return self._answer(resource, name, marked, waits)
        if not waits:
            gone = self._remove(resource, entry)
            return self._answer(resource, name, gone.obj, False)
        if marked != entry.obj:
            entry = self._put(resource, entry.key, marked)
        if resource.collection == crd.COLLECTION:
            self._undefine(resource, entry)
        return self._answer(resource, name, entry.obj, True)

    def finished(self, resource: Resource, obj: Object) -> bool:
        """Whether an object that is being deleted has nothing left that keeps it."""
        meta = obj["metadata"]
        return bool(
            meta.get("deletionTimestamp")
            and not meta.get("finalizers")
            and not meta.get("deletionGracePeriodSeconds")
            and not self._spec_finalizers(resource, obj)
        )

    def finish(self, resource: Resource, entry: Entry, new: Object) -> Object:
        """Removes an object whose last finalizer went with the write `new`; the answer to that write."""
        self._remove(resource, entry)
        return new

    def _grace(self, resource: Resource, obj: Object, asked: int | None) -> int:
        """Seconds until removal: only pods that run somewhere get any."""
        if resource.storage != ("", "pods"):
            return 0
        spec, phase = obj.get("spec") or {}, (obj.get("status") or {}).get("phase")
        if not spec.get("nodeName") or phase in ("Succeeded", "Failed"):
            return 0
        if asked is None:
            asked = int(spec.get("terminationGracePeriodSeconds", GRACE))
        return max(0, asked)

    def _spec_finalizers(self, resource: Resource, obj: Object) -> bool:
        return resource.storage == ("", "namespaces") and bool((obj.get("spec") or {}).get("finalizers"))

    def _undefine(self, resource: Resource, entry: Entry) -> None:
        """A definition is being deleted: its objects first, then itself, once none of them is held."""
        api = self.api
        for kind in api.definitions.served(entry.key)[:1]:
            for item in api.store.entries(kind.collection):
                meta = item.obj["metadata"]
                api.delete(kind, meta.get("namespace"), meta["name"])
            if api.store.count(kind.collection):
                return
        if api.store.get(resource.collection, entry.key) is None:
            return  # it went with the last of its objects
        meta = {**entry.obj["metadata"]}
        meta["finalizers"] = [f for f in meta.get("finalizers") or () if f != crd.CLEANUP]
        obj = {**entry.obj, "metadata": ordered(meta)}
        if self.finished(resource, obj):
            self._remove(resource, entry)
        else:
            self._put(resource, entry.key, obj)

    def _remove(self, resource: Resource, entry: Entry) -> Entry:
        api = self.api
        try:
            gone = api.store.remove(resource.collection, entry.key)
        except StoreFull as error:
            raise InternalError.because(str(error)) from error
        if resource.collection == crd.COLLECTION:
            for kind in api.definitions.withdraw(entry.key):
                api.hub.close_collection(kind.collection)
        elif resource.custom:
            self._last_of_kind(resource)
        return gone

    def _last_of_kind(self, resource: Resource) -> None:
        """An object of a custom kind went; if it was the last, its definition may be waiting for that."""
        if self.api.store.count(resource.collection):
            return
        definitions = self.api.kinds("CustomResourceDefinition")
        entry = self.api.store.get(definitions.collection, resource.qualified)
        if entry is not None and entry.obj["metadata"].get("deletionTimestamp"):
            self._undefine(definitions, entry)

    def _put(self, resource: Resource, key: str, obj: Object) -> Entry:
        try:
            return self.api.store.put(resource.collection, key, obj)
        except StoreFull as error:
            raise InternalError.because(str(error)) from error

    def _answer(self, resource: Resource, name: str, obj: Object, waits: bool) -> Object:
        if waits or resource.returns_deleted:
            return self.api.types.from_storage(resource, obj)
        return success(resource, name, obj["metadata"].get("uid"))
