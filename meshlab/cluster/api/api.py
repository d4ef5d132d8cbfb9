"""The API without HTTP: what each verb does to the objects, in one process and one thread.

    api = Api(Store(path), settings.network)
    pods = api.kinds("Pod")
    api.create(pods, "default", {...}, user="system:kube-scheduler")
    items, revision = api.list(pods)
    async for event in api.watch(pods, since=revision): ...

Every method is synchronous, belongs to the event loop's thread, and is durable when it returns. What is refused is
raised as a `status.ApiError`. **Objects handed out are shared: copy before you change one** (`copy.deepcopy`).
Objects handed in are not changed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from meshlab.cluster.api import crd
from meshlab.cluster.api.admission import SERVICES, Admission
from meshlab.cluster.api.builtin import built_in_resources
from meshlab.cluster.api.causes import invalid
from meshlab.cluster.api.deletion import Deletion
from meshlab.cluster.api.kinds import Kinds, Undecodable, check_kind, check_name, no_strategic
from meshlab.cluster.api.limits import Limits
from meshlab.cluster.api.listing import Page, Reader
from meshlab.cluster.api.metadata import (
    changed,
    generated_name,
    key_of,
    new_uid,
    ordered,
    same_owners,
    shell,
    timestamp,
)
from meshlab.cluster.api.patching import misfit, patched
from meshlab.cluster.api.registry import Registry, Resource
from meshlab.cluster.api.status import AlreadyExists, BadRequest, Conflict, InternalError, Invalid, NotFound
from meshlab.cluster.api.store import Entry, Store, StoreFull
from meshlab.cluster.api.strategy import prepare_create, prepare_update
from meshlab.cluster.api.watch import Hub, Watch
from meshlab.cluster.api.webhooks.review import Attributes, Review, Unreviewed
from meshlab.settings import Network

if TYPE_CHECKING:
    from meshlab.cluster.api.webhooks.webhooks import Webhooks

__all__ = ["Api", "Object", "Page"]

Object = dict[str, Any]
Warn = Callable[[str], None]
Managed = list[Object] | None
Items = list[Object]

#: Attempts to find a name for generateName that is free.
ATTEMPTS = 8
#: Who writes when nobody is named.
SYSTEM = "system:apiserver"


def _ignore(_: str) -> None:
    """Warnings of callers that have nobody to warn."""


class Api:
    """The whole behaviour of the API server."""

    def __init__(self, store: Store, network: Network | None = None) -> None:
        self.store = store
        self.network = network or Network()
        self.registry = Registry.of(built_in_resources())
        self.definitions = crd.Definitions(self.registry)
        self.types = Kinds(self.definitions)
        self.hub = Hub(store)
        self.admission = Admission(store, self.network)
        self.limits = Limits(store)
        self.reader = Reader(self)
        #: Who else is asked about the write under way; see `webhooks.admitted`.
        self.review: Review = Unreviewed()
        #: The webhooks that are configured; None where nobody calls any (an Api without a server).
        self.webhooks: Webhooks | None = None
        self._deletion = Deletion(self)
        for entry in store.entries(crd.COLLECTION):
            self.definitions.serve(entry.obj)

    def kinds(self, kind: str) -> Resource:
        """A built-in by the name of its kind, in its stored version: `api.kinds("Deployment")` is apps/v1."""
        return self.registry.built_in(kind)

    def resource(self, api_version: str, kind: str) -> Resource:
        """The resource of an object's apiVersion and kind. Raises NotFound."""
        found = self.registry.by_kind(api_version, kind)
        if found is None:
            raise NotFound.path()
        return found

    # Reading

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """One object. Raises NotFound."""
        return self.types.from_storage(resource, self.entry(resource, namespace, name).obj)

    def find(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        """Like `get`, None where there is none."""
        entry = self.store.get(resource.collection, key_of(resource, namespace, name))
        return None if entry is None else self.types.from_storage(resource, entry.obj)

    def list(
        self, resource: Resource, namespace: str | None = None, label_selector: str = "", field_selector: str = ""
    ) -> tuple[Items, int]:
        """Selected objects in the order of their keys, and the revision from which to watch."""
        page = self.reader.page(resource, namespace, label_selector, field_selector)
        return [self.types.from_storage(resource, e.obj) for e in page.entries], page.revision

    def watch(
        self, resource: Resource, namespace: str | None = None, *, since: int | None = None,
        label_selector: str = "", field_selector: str = "", initial_end: bool = False,
    ) -> Watch:
        """Changes after revision `since`; None or 0: first an ADDED for everything there is.

        `initial_end` sends the bookmark after these. Raises Expired (410) if `since` is compacted.
        """
        return self.reader.watch(
            resource, namespace, since, label_selector, field_selector, initial_end=initial_end
        )

    def entry(self, resource: Resource, namespace: str | None, name: str) -> Entry:
        """The stored form of an object, with its JSON. Raises NotFound."""
        entry = self.store.get(resource.collection, key_of(resource, namespace, name))
        if entry is None:
            raise NotFound.of(resource, name)
        return entry

    # Writing

    def create(
        self, resource: Resource, namespace: str | None, obj: Mapping[str, Any], *, user: str = SYSTEM,
        field_manager: str | None = None, dry_run: bool = False, validation: str = "Ignore", warn: Warn = _ignore,
    ) -> Object:
        """Stores a new object and returns it as stored, in the resource's version."""
        new = self.received(resource, namespace, obj, validation, warn)
        return self.insert(resource, namespace, new, manager=_manager(field_manager, user), dry_run=dry_run)

    def update(
        self, resource: Resource, namespace: str | None, name: str, obj: Mapping[str, Any], *,
        subresource: str | None = None, user: str = SYSTEM, field_manager: str | None = None,
        dry_run: bool = False, validation: str = "Ignore", warn: Warn = _ignore,
    ) -> Object:
        """Replaces an object (or its status, or scale). A resourceVersion that is given must be the stored one."""
        manager = _manager(field_manager, user)
        if subresource == "scale":
            from meshlab.cluster.api import scale

            return scale.update(self, resource, namespace, name, obj, user=manager, dry_run=dry_run)
        new = self.received(resource, namespace, obj, validation, warn)
        check_name(new["metadata"].get("name"), name)
        old = self.entry(resource, namespace, name)
        if resource.conditional and new["metadata"].get("resourceVersion") in (None, "", "0"):
            cause = invalid("metadata.resourceVersion", 0, "must be specified for an update")
            raise Invalid.kind(resource.plural, resource.group, name, [cause])
        if (uid := new["metadata"].get("uid")) and uid != old.obj["metadata"]["uid"]:
            raise Conflict.of(
                resource, name, f"StorageError: invalid object, Code: 4, Key: /registry/{resource.plural}/{old.key}, "
                "ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: "
                f"{uid}, UID in object meta: {old.obj['metadata']['uid']}"
            )
        return self.replace(resource, old, new, subresource=subresource, manager=manager, dry_run=dry_run)

    def patch(
        self, resource: Resource, namespace: str | None, name: str, patch: Any, kind: str, *,
        subresource: str | None = None, user: str = SYSTEM, field_manager: str | None = None, force: bool = False,
        dry_run: bool = False, validation: str = "Ignore", warn: Warn = _ignore,
    ) -> Object:
        """Changes an object; kind is json, merge, strategic or apply. `apply` creates what is not there."""
        manager = _manager(field_manager, user)
        if subresource == "scale":
            from meshlab.cluster.api import scale

            return scale.patch(self, resource, namespace, name, patch, kind, user=manager, dry_run=dry_run)
        if kind == "strategic" and resource.custom:
            raise no_strategic()
        entry = self.store.get(resource.collection, key_of(resource, namespace, name))
        if kind == "apply":
            from meshlab.cluster.api.applying import applied

            return applied(self, resource, namespace, name, entry, patch, manager=manager, force=force,
                           dry_run=dry_run, validation=validation, warn=warn, subresource=subresource)
        if entry is None:
            raise NotFound.of(resource, name)
        live = self.types.from_storage(resource, entry.obj)
        result = patched(self.types, resource, live, patch, kind)
        try:
            new = self.received(resource, namespace, result, validation, warn)
        except Undecodable as error:
            raise misfit(error.why, result, patch, kind) from None
        check_name(new["metadata"].get("name"), name)
        return self.replace(resource, entry, new, subresource=subresource, manager=manager, dry_run=dry_run)

    def delete(
        self, resource: Resource, namespace: str | None, name: str, *, propagation: str | None = None,
        uid: str | None = None, revision: str | None = None, grace: int | None = None, dry_run: bool = False,
    ) -> Object:
        """Deletes, or marks for deletion what has finalizers or a grace period; the answer as over HTTP."""
        return self._deletion.delete(
            resource, namespace, name, propagation=propagation, uid=uid, revision=revision, grace=grace,
            dry_run=dry_run,
        )

    def bind(self, namespace: str, name: str, node: str) -> Object:
        """Assigns a pod to a node, as a scheduler's binding does. Conflict if it has one."""
        from meshlab.cluster.api.binding import bind

        return bind(self, namespace, name, node)

    # The write path

    @contextmanager
    def reviewed_by(self, review: Review) -> Iterator[None]:
        """Writes within ask `review`. For synchronous code only."""
        before, self.review = self.review, review
        try:
            yield
        finally:
            self.review = before

    def mutated(
        self, resource: Resource, operation: str, new: Object | None, old: Object | None, *,
        subresource: str | None = None, dry_run: bool = False,
    ) -> Object | None:
        """The object as mutating webhooks changed it, decoded and with its defaults; None where none did."""
        attributes = Attributes.of(resource, operation, new, old, subresource, dry_run)
        found = self.review.mutate(attributes)
        if found is None or new is None or found == new:
            return None
        return self.types.defaults(resource, self.received(resource, attributes.namespace, found, "Ignore", _ignore))

    def allowed(
        self, resource: Resource, operation: str, new: Object | None, old: Object | None, *,
        subresource: str | None = None, dry_run: bool = False,
    ) -> None:
        """Raises an ApiError where a validating webhook refuses."""
        self.review.validate(Attributes.of(resource, operation, new, old, subresource, dry_run))

    def received(
        self, resource: Resource, namespace: str | None, obj: Mapping[str, Any], validation: str, warn: Warn
    ) -> Object:
        """The object as its type has it, in the right namespace; a copy."""
        if not isinstance(obj, Mapping):
            raise BadRequest("the object provided is unrecognized")
        check_kind(resource, obj)
        # Decoding makes a new object of a built-in kind; what a custom one holds is taken as it is.
        given = copy.deepcopy(dict(obj)) if resource.custom else obj
        new = self.types.decode(resource, shell(resource, given), validation, warn)
        new = shell(resource, new)
        meta = new["metadata"]
        if resource.namespaced:
            if not namespace:
                raise BadRequest("an empty namespace may not be set during creation")
            if meta.get("namespace", namespace) != namespace:
                raise BadRequest(
                    "the namespace of the provided object does not match the namespace sent on the request"
                )
            meta["namespace"] = namespace
        else:
            meta.pop("namespace", None)
        return new

    def insert(
        self, resource: Resource, namespace: str | None, new: Object, *, manager: str, dry_run: bool,
        managed: Managed = None,
    ) -> Object:
        """Stores what was `received` and is new; see `create`. `managed` are managedFields that are known already."""
        meta = new["metadata"]
        if meta.get("resourceVersion"):
            raise BadRequest("resourceVersion should not be set on objects to be created")
        for key in ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation",
                    "selfLink", "resourceVersion"):
            meta.pop(key, None)
        if resource.namespaced:
            self.admission.namespace(resource, self.kinds("Namespace"), namespace or "", meta.get("name", ""))
        self.admission.pod(resource, new)
        if self.limits.concern(resource) or not isinstance(self.review, Unreviewed):
            new = self.limits.filled(resource, namespace or "", self.types.defaults(resource, new))
            if changed_ := self.mutated(resource, "CREATE", new, None, dry_run=dry_run):
                new = changed_
                self.admission.pod(resource, new)
            meta = new["metadata"]
        if (prefix := meta.get("generateName", "")) and not meta.get("name"):
            meta["name"] = self.review.remember(
                f"name {resource.collection} {prefix}", lambda: self._free_name(resource, namespace, prefix)
            )
        name = meta.get("name", "")
        born = self.review.remember(f"birth {resource.collection} {name}", lambda: (new_uid(), timestamp()))
        meta["uid"], meta["creationTimestamp"] = born
        new = self.types.defaults(resource, prepare_create(resource, new))
        meta = new["metadata"]
        if resource.collection == SERVICES and name:
            self.types.validate(resource, new, None)
            self.admission.service(resource, new, None)
        if resource.collection == "/namespaces":
            meta.setdefault("labels", {})["kubernetes.io/metadata.name"] = name
        self.types.validate(resource, new, None)
        key = key_of(resource, namespace, name)
        if self.store.get(resource.collection, key) is not None:
            raise AlreadyExists.of(resource, name)
        self.allowed(resource, "CREATE", new, None, dry_run=dry_run)
        self.limits.check(resource, namespace or "", new, None)
        if managed is None:
            meta["managedFields"] = self.types.track(resource, None, new, manager, None)
        else:
            meta["managedFields"] = managed
        new = self.types.to_storage(resource, new)
        if dry_run:
            new["metadata"] = ordered(new["metadata"])
            return self.types.from_storage(resource, new)
        # The store fills in the revision; it has its place before.
        new["metadata"] = ordered({**new["metadata"], "resourceVersion": "0"})
        self.types.from_storage(resource, new)  # what somebody else converts is converted before it is stored
        stored = self.put(resource, key, new)
        self.review.done()
        return self.types.from_storage(resource, stored.obj)

    def replace(
        self, resource: Resource, entry: Entry, new: Object, *, subresource: str | None, manager: str,
        dry_run: bool, managed: Managed = None,
    ) -> Object:
        """Stores what was `received` in the place of `entry`; see `update`."""
        old = self.types.from_storage(resource, entry.obj)
        name, meta = old["metadata"]["name"], new["metadata"]
        if (revision := meta.get("resourceVersion")) and revision not in (str(entry.revision), "0"):
            raise Conflict.of(resource, name)
        if subresource != "status":
            # First: whether anything changed, and with it the generation, is asked of what will be stored.
            new = self.types.defaults(resource, new)
        new = prepare_update(resource, new, old, subresource)
        if changed_ := self.mutated(resource, "UPDATE", new, old, subresource=subresource, dry_run=dry_run):
            new = prepare_update(resource, changed_, old, subresource)
        if resource.collection == SERVICES and subresource is None:
            self.admission.service(resource, new, old)
        self.types.validate(resource, new, old, subresource)
        self.allowed(resource, "UPDATE", new, old, subresource=subresource, dry_run=dry_run)
        if subresource is None:
            self.limits.check(resource, old["metadata"].get("namespace", ""), new, old)
        if managed is None:
            given = new["metadata"].get("managedFields")
            live = old
            if given is not None and given != old["metadata"].get("managedFields"):
                # Somebody rewrites the ownership itself: kubectl does when it moves to server-side apply.
                live = {**old, "metadata": {**old["metadata"], "managedFields": given}}
            if given == []:
                managed = []
            elif changed(old, new) or live is not old:
                managed = self.types.track(resource, live, new, manager, subresource)
            else:
                managed = old["metadata"].get("managedFields", [])
        new["metadata"]["managedFields"] = managed
        new["metadata"]["resourceVersion"] = str(entry.revision)
        new = self.types.to_storage(resource, new)
        new["metadata"] = ordered(new["metadata"])
        if new == entry.obj or (not changed(entry.obj, new) and same_owners(entry.obj, new)):
            return old
        shown = self.types.from_storage(resource, new)  # before it is stored, for the same reason
        if dry_run:
            return shown
        if self._deletion.finished(resource, new):
            return self.types.from_storage(resource, self._deletion.finish(resource, entry, new))
        stored = self.put(resource, entry.key, new)
        self.review.done()
        return self.types.from_storage(resource, stored.obj)

    def put(self, resource: Resource, key: str, obj: Object) -> Entry:
        """Commits one object as it is: the last step of every write. Raises InternalError on a full disk."""
        try:
            entry = self.store.put(resource.collection, key, obj)
        except StoreFull as error:
            raise InternalError.because(str(error)) from error
        if resource.collection == crd.COLLECTION:
            from meshlab.cluster.api.defining import defined

            return defined(self.store, self.definitions, resource, entry)
        return entry

    def _free_name(self, resource: Resource, namespace: str | None, prefix: str) -> str:
        for _ in range(ATTEMPTS):
            name = generated_name(prefix)
            if self.store.get(resource.collection, key_of(resource, namespace, name)) is None:
                return name
        raise AlreadyExists.of(resource, name)


def _manager(given: str | None, user: str) -> str:
    """Who owns what is written; the controllers of a real cluster are one program, and known by its name."""
    return given or ("kube-controller-manager" if user.endswith("-controller") else user)
