"""The node's own disk: what `hostPath` volumes show.

A pod's `hostPath` is a path of its node. The node of a lab is a part of somebody's machine, whose files a manifest
from the web has no business with; so the node has a disk of its own, a folder of the lab's home that is kept until the
lab is reset. All pods share it, as on a real node.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshlab.cluster.node.environment import BadReference

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["elsewhere", "host_path"]

#: What a path has to be, by the type that a volume states.
CHECKS: Mapping[str, tuple[Callable[[int], bool], str]] = {
    "Directory": (stat.S_ISDIR, "directory"),
    "DirectoryOrCreate": (stat.S_ISDIR, "directory"),
    "File": (stat.S_ISREG, "file"),
    "FileOrCreate": (stat.S_ISREG, "file"),
    "Socket": (stat.S_ISSOCK, "socket file"),
    "CharDevice": (stat.S_ISCHR, "character device"),
    "BlockDevice": (stat.S_ISBLK, "block device"),
}


def host_path(disk: Path, source: Mapping[str, Any]) -> Path:
    """Where a volume's `hostPath` is on this machine, made if its type allows that. Raises BadReference."""
    given, kind = str(source["path"]), str(source.get("type") or "")
    # normpath of an absolute path cannot climb above its root; a link that a pod has left there may.
    place = disk / posixpath.normpath("/" + given).lstrip("/")
    if not Path(os.path.realpath(place)).is_relative_to(os.path.realpath(disk)):
        raise BadReference(f"hostPath {given} leads out of the node's disk, {disk}")
    if kind in ("", "DirectoryOrCreate") and not place.exists():
        place.mkdir(parents=True, mode=0o755)
    elif kind == "FileOrCreate" and not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch(0o644)
    if kind in CHECKS:
        fits, word = CHECKS[kind]
        if not place.exists() or not fits(place.stat().st_mode):
            raise BadReference(f"hostPath type check failed: {given} is not a {word}")
    return place


def elsewhere(api: Api, disk: Path, namespace: str, volume: Mapping[str, Any]) -> Path | None:
    """Where the files of a volume are that does not belong to its pod; None for one that does. Raises BadReference."""
    if (source := volume.get("hostPath")) is not None:
        return host_path(disk, source)
    if (source := volume.get("persistentVolumeClaim")) is not None:
        return _claimed(api, disk, namespace, source["claimName"])
    return None


def _claimed(api: Api, disk: Path, namespace: str, name: str) -> Path:
    """Where the volume of a PersistentVolumeClaim is. BadReference until it is bound."""
    claim = api.find(api.kinds("PersistentVolumeClaim"), namespace, name)
    if claim is None:
        raise BadReference(f'persistentvolumeclaim "{name}" not found')
    volume = api.find(api.kinds("PersistentVolume"), None, (claim.get("spec") or {}).get("volumeName") or "")
    if volume is None or (claim.get("status") or {}).get("phase") != "Bound":
        raise BadReference(f'persistentvolumeclaim "{name}" is not bound')
    source = volume["spec"].get("hostPath") or volume["spec"].get("local")
    if source is None:
        raise BadReference(f'the lab has no storage of the kind of persistentvolume "{volume["metadata"]["name"]}"; '
                           "it has hostPath and local")
    return host_path(disk, source)
