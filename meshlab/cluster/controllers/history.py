"""The past of a StatefulSet or DaemonSet: one ControllerRevision per template it has had.

A revision holds the patch that brings its template back, in the very form that kubectl's `rollout undo` sends.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from meshlab.cluster.api.status import AlreadyExists, NotFound
from meshlab.cluster.controllers.objects import Obj, controller_of, key_of, owner_reference
from meshlab.cluster.controllers.revisions import safe_hash
from meshlab.cluster.controllers.selection import claim

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["REVISION_LABEL", "History", "patch_of", "restored"]

#: Label of pods that names the revision they were made from.
REVISION_LABEL = "controller-revision-hash"
#: Label of the revisions themselves.
HASH = "controller.kubernetes.io/hash"


def patch_of(owner: Mapping[str, Any]) -> Obj:
    """The strategic merge patch that gives an object the template that `owner` has now; keys sorted, as kubectl's."""
    patch = {"spec": {"template": {**owner["spec"]["template"], "$patch": "replace"}}}
    found: Obj = json.loads(json.dumps(patch, sort_keys=True))
    return found


def restored(revision: Mapping[str, Any]) -> Obj:
    """The template that a revision remembers."""
    return {key: value for key, value in revision["data"]["spec"]["template"].items() if key != "$patch"}


class History:
    """The revisions of the objects of one kind. `owner_kind` is (apiVersion, kind)."""

    def __init__(self, api: Api, owner_kind: tuple[str, str], user: str) -> None:
        self._api, self._kind, self._user = api, owner_kind, user
        self._resource = api.kinds("ControllerRevision")

    def of(self, owner: Obj) -> list[Obj]:
        """Oldest first. Orphans that match are adopted."""
        mine = [r for r in claim(self._api, owner, self._kind, self._resource)
                if (controller_of(r) or {}).get("uid") == owner["metadata"]["uid"]]
        return sorted(mine, key=lambda r: (int(r["revision"]), r["metadata"]["creationTimestamp"]))

    def present(self, owner: Obj, past: Sequence[Obj], collisions: int = 0) -> tuple[Obj, int]:
        """The revision of the owner's template, and how many names had been taken by others.

        One that was there before becomes the newest again.
        """
        data = patch_of(owner)
        newest = int(past[-1]["revision"]) if past else 0
        same = next((r for r in reversed(past) if r["data"] == data), None)
        if same is not None:
            if int(same["revision"]) != newest:
                same = self._api.update(self._resource, *key_of(same), {**same, "revision": newest + 1},
                                        user=self._user)
            return same, collisions
        while True:
            made = self._described(owner, data, newest + 1, collisions)
            try:
                return self._api.create(self._resource, owner["metadata"]["namespace"], made,
                                        user=self._user), collisions
            except AlreadyExists:
                # Somebody else's object, or ours from before we lost it, has this name.
                collisions += 1

    def _described(self, owner: Obj, data: Obj, number: int, collisions: int) -> Obj:
        meta = owner["metadata"]
        digest = safe_hash(json.dumps([data, collisions], sort_keys=True))
        labels = dict((owner["spec"]["template"].get("metadata") or {}).get("labels") or {})
        return {
            "apiVersion": "apps/v1",
            "kind": "ControllerRevision",
            "metadata": {
                "name": f"{meta['name'][:252 - len(digest)]}-{digest}",
                "namespace": meta["namespace"],
                "labels": {**labels, HASH: digest},
                "annotations": dict(meta.get("annotations") or {}),
                "ownerReferences": [owner_reference(owner, *self._kind)],
            },
            "data": data,
            "revision": number,
        }

    def forget(self, owner: Obj, past: Sequence[Obj], live: Collection[str]) -> None:
        """Delete the oldest beyond revisionHistoryLimit; those named in `live` are in use and do not count."""
        limit = int(owner["spec"].get("revisionHistoryLimit", 10))
        old = [r for r in past if r["metadata"]["name"] not in live]
        for revision in old[:max(0, len(old) - limit)]:
            try:
                self._api.delete(self._resource, *key_of(revision), uid=revision["metadata"]["uid"])
            except NotFound:
                continue
