"""Volumes: what a pod mounts, as folders and links of this machine.

ConfigMaps, Secrets, projections and downward API items are written the way a kubelet does it: into a
fresh folder that one rename of `..data` puts in force, so that a reader sees all of the old files or all of the new.
"""

from __future__ import annotations

import os
import posixpath
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshlab.cluster.node.environment import BadReference, field_value, resource_value
from meshlab.cluster.node.paths import ContainerPaths, PodPaths

__all__ = ["File", "Sources", "contents", "link", "mount", "references", "write"]


@dataclass(frozen=True)
class File:
    """One file of a volume; `mode` as of chmod."""

    data: bytes
    mode: int = 0o644


@dataclass(frozen=True)
class Sources:
    """Where volumes get their data from: `data(kind, name)` of the pod's namespace (None: not there), and a token for
    an audience ("": the API server)."""

    data: Callable[[str, str], Mapping[str, bytes] | None]
    token: Callable[[str], str]


def references(volumes: Iterable[Mapping[str, Any]]) -> set[tuple[str, str]]:
    """(kind, name) of every ConfigMap and Secret in a pod's volumes: a change of these changes its files."""
    found: set[tuple[str, str]] = set()
    for volume in volumes:
        for source in [volume, *((volume.get("projected") or {}).get("sources") or [])]:
            if config := source.get("configMap"):
                found.add(("ConfigMap", str(config.get("name", ""))))
            if secret := source.get("secret"):
                found.add(("Secret", str(secret.get("secretName") or secret.get("name") or "")))
    return found


def contents(volume: Mapping[str, Any], pod: Mapping[str, Any], sources: Sources) -> dict[str, File] | None:
    """Relative path → file; None for a volume that starts empty and belongs to the pod. Raises BadReference."""
    if "emptyDir" in volume:
        return None
    if projected := volume.get("projected"):
        mode = int(projected.get("defaultMode") or 0o644)
        merged: dict[str, File] = {}
        for source in projected.get("sources") or []:
            merged.update(_source(source, pod, sources, mode))
        return merged
    inner = next((volume[kind] for kind in ("configMap", "secret", "downwardAPI") if volume.get(kind)), None)
    if inner is None:
        kinds = ", ".join(sorted(key for key in volume if key != "name")) or "none"
        raise BadReference(f"volume source {kinds} is not offered by this lab: it has configMap, secret, emptyDir, "
                           "hostPath, persistentVolumeClaim, downwardAPI and projected")
    return _source(volume, pod, sources, int(inner.get("defaultMode") or 0o644))


def _source(source: Mapping[str, Any], pod: Mapping[str, Any], sources: Sources, mode: int) -> dict[str, File]:
    if config := source.get("configMap"):
        return _keyed("ConfigMap", str(config.get("name", "")), config, sources, mode)
    if secret := source.get("secret"):
        return _keyed("Secret", str(secret.get("secretName") or secret.get("name") or ""), secret, sources, mode)
    if downward := source.get("downwardAPI"):
        return {_safe(item["path"]): File(_told(item, pod).encode(), int(item.get("mode") or mode))
                for item in downward.get("items") or []}
    if token := source.get("serviceAccountToken"):
        return {_safe(token["path"]): File(sources.token(str(token.get("audience") or "")).encode(), 0o600)}
    return {}


def _told(item: Mapping[str, Any], pod: Mapping[str, Any]) -> str:
    """An item of the downward API."""
    if resource := item.get("resourceFieldRef"):
        return resource_value(resource, pod, str(resource.get("containerName") or ""))
    return field_value(pod, item["fieldRef"]["fieldPath"])


def _keyed(kind: str, name: str, source: Mapping[str, Any], sources: Sources, mode: int) -> dict[str, File]:
    data = sources.data(kind, name)
    if data is None:
        if source.get("optional"):
            return {}
        raise BadReference(f'{kind.lower()} "{name}" not found')
    if kind == "Secret":
        # All of a lab's pods run as its owner: for anybody else a secret's mode would be for strangers.
        mode &= 0o700
    items = source.get("items")
    if not items:
        return {_safe(key): File(value, mode) for key, value in data.items()}
    files: dict[str, File] = {}
    for item in items:
        if item["key"] in data:
            files[_safe(item["path"])] = File(data[item["key"]], int(item.get("mode") or mode))
        elif not source.get("optional"):
            raise BadReference(f"references non-existent {kind.lower()} key: {item['key']}")
    return files


def _safe(path: str) -> str:
    clean = posixpath.normpath(path)
    if clean.startswith(("/", "..")):
        raise BadReference(f"path {path!r} leaves its volume")
    return clean


def write(folder: Path, files: Mapping[str, File]) -> bool:
    """Put `files` in force in `folder`; False if they are there already."""
    folder.mkdir(parents=True, exist_ok=True)
    current = folder / "..data"
    if current.is_symlink() and _read(current) == {path: file.data for path, file in files.items()}:
        return False
    previous = current.resolve() if current.is_symlink() else None
    number = int(previous.name.rpartition("_")[2]) + 1 if previous else 1
    fresh = folder / f"..data_{number}"
    shutil.rmtree(fresh, ignore_errors=True)  # half-written by a daemon that was killed
    fresh.mkdir()
    for path, file in files.items():
        target = fresh / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as opened:
            opened.write(file.data)
        target.chmod(file.mode)
    _relink(current, fresh.name)
    names = {path.split("/", 1)[0] for path in files}
    for name in names:
        _relink(folder / name, f"..data/{name}")
    for entry in folder.iterdir():
        # Links of keys that are gone; whatever else was put here (mounts inside this mount) stays.
        if entry.is_symlink() and str(entry.readlink()) == f"..data/{entry.name}" and entry.name not in names:
            entry.unlink()
    if previous is not None:
        shutil.rmtree(previous)
    return True


def _read(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def link(at: Path, target: Path) -> None:
    """Make `at` a link to `target`."""
    at.parent.mkdir(parents=True, exist_ok=True)
    _relink(at, str(target))


def _relink(at: Path, target: str) -> None:
    if at.is_symlink() and str(at.readlink()) == target:
        return
    draft = at.with_name(f"{at.name}..new")
    draft.unlink(missing_ok=True)
    draft.symlink_to(target)
    draft.rename(at)


def mount(container: ContainerPaths, pod: PodPaths, mounts: Iterable[Mapping[str, Any]]) -> None:
    """Link a container's mount points below its root to the volumes. Outer mounts come before inner ones."""
    container.root.mkdir(parents=True, exist_ok=True)
    # normpath of an absolute path cannot climb above its root.
    places = [(posixpath.normpath("/" + str(entry["mountPath"])).lstrip("/"), entry) for entry in mounts]
    for place, entry in sorted(places, key=lambda found: len(found[0])):
        point = container.root / place
        source = pod.volumes / str(entry["name"])
        if sub := entry.get("subPath"):
            source = source / _safe(str(sub))
            if not source.exists():
                source.mkdir(parents=True)
        if point == container.root:
            raise BadReference("a volume cannot be mounted at /")
        point.parent.mkdir(parents=True, exist_ok=True)
        if not (point.is_dir() and not point.is_symlink()):
            _relink(point, str(source))
