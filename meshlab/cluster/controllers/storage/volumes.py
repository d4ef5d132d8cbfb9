"""PersistentVolumes: available, bound, and what becomes of them when their claim has gone."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from meshlab.cluster.controllers.objects import Key, Obj, key_of
from meshlab.cluster.controllers.queue import Source
from meshlab.cluster.controllers.storage.provision import FOLDER, PROVISIONER

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["VolumeController"]


class VolumeController:
    """Keeps the phase of volumes, and deletes those that were made for a claim. `disk` is the node's."""

    name = "persistentvolume-controller"

    def __init__(self, api: Api, disk: Path) -> None:
        self._api, self._disk = api, disk
        self._claims, self._volumes = api.kinds("PersistentVolumeClaim"), api.kinds("PersistentVolume")

    @property
    def sources(self) -> Sequence[Source]:
        return [Source("PersistentVolume", lambda _, obj: [key_of(obj)]),
                Source("PersistentVolumeClaim", self._of_claim)]

    @staticmethod
    def _of_claim(_: str, claim: Obj) -> Iterable[Key]:
        name = claim["spec"].get("volumeName")
        return [("", name)] if name else []

    def reconcile(self, key: Key) -> float | None:
        volume = self._api.find(self._volumes, None, key[1])
        if volume is None:
            return None
        reference = volume["spec"].get("claimRef") or {}
        claim = self._api.find(self._claims, reference.get("namespace") or "", reference.get("name") or "") \
            if reference else None
        uid = reference.get("uid")
        if claim is not None and uid == claim["metadata"]["uid"]:
            phase = "Bound" if claim["spec"].get("volumeName") == key[1] else "Available"
        else:
            phase = "Released" if uid else "Available"
        if phase == "Released" and volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete" and (
                volume["metadata"].get("annotations") or {}).get("pv.kubernetes.io/provisioned-by") == PROVISIONER:
            self._api.delete(self._volumes, None, key[1], uid=volume["metadata"]["uid"])
            # By the name that it was made with, not by a path that anybody may have written into it.
            shutil.rmtree(self._disk / FOLDER.lstrip("/") / key[1], ignore_errors=True)
            return None
        if phase != (volume.get("status") or {}).get("phase"):
            self._api.update(self._volumes, None, key[1], {**volume, "status": {"phase": phase}},
                             subresource="status", user=self.name)
        return None
