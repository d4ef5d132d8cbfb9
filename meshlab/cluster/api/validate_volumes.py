"""Rules of a pod's volumes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from meshlab.cluster.api import formats
from meshlab.cluster.api.causes import Cause, duplicate, forbidden, invalid, required, unsupported
from meshlab.cluster.api.quantity import parse
from meshlab.cluster.api.validate_environment import field_reference, resource_reference

__all__ = ["descending", "volumes"]

Object = Mapping[str, Any]
HOST_PATH_TYPES = ("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket")
#: What a file of the downward API may show, besides one label or annotation.
FIELD_PATHS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
#: Seconds: the shortest life of a token, and the longest.
TOKEN_SECONDS = (600, 2**32)
MODE = "must be a number between 0 and 0777 (octal), both inclusive"
TWICE = "conflicting duplicate paths"


def volumes(path: str, values: Sequence[Object]) -> tuple[dict[str, Object], list[Cause]]:
    """The volumes that are right, by name, and what is wrong with the others."""
    right: dict[str, Object] = {}
    causes: list[Cause] = []
    for i, volume in enumerate(values):
        here, name = f"{path}[{i}]", volume.get("name") or ""
        wrong = _source(here, volume)
        if not name:
            wrong.append(required(f"{here}.name"))
        else:
            wrong += [invalid(f"{here}.name", name, why) for why in formats.dns_label(name)]
        if name in right:
            wrong.append(duplicate(f"{here}.name", name))
        if not wrong:
            right[name] = volume
        causes += wrong
    return right, causes


def descending(path: str, value: str, *, reserved: bool = False) -> list[Cause]:
    """A path below some folder; with `reserved`, none that the writer of volumes uses itself."""
    causes = [invalid(path, value, "must be a relative path")] if value.startswith("/") else []
    if ".." in value.split("/"):
        causes.append(invalid(path, value, "must not contain '..'"))
    elif reserved and value.startswith(".."):
        causes.append(invalid(path, value, "must not start with '..'"))
    return causes


def _source(path: str, volume: Object) -> list[Cause]:
    kinds = [key for key in volume if key != "name"]
    if not kinds:
        return [required(path, "must specify a volume type")]
    kinds.sort(key=lambda kind: list(SOURCES).index(kind) if kind in SOURCES else len(SOURCES))
    check = SOURCES.get(kinds[0])
    causes = check(f"{path}.{kinds[0]}", volume[kinds[0]] or {}) if check else []
    return causes + [forbidden(f"{path}.{kind}", "may not specify more than 1 volume type") for kind in kinds[1:]]


def _needs(*keys: str) -> Callable[[str, Object], list[Cause]]:
    def check(path: str, source: Object) -> list[Cause]:
        return [required(f"{path}.{key}") for key in keys if not source.get(key)]

    return check


def _mode(path: str, mode: Any) -> list[Cause]:
    return [] if mode is None or 0 <= mode <= 0o777 else [invalid(path, mode, MODE)]


def _empty_dir(path: str, source: Object) -> list[Cause]:
    limit = source.get("sizeLimit")
    if limit is None or parse(limit)[0] >= 0:
        return []
    return [forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity")]


def _host_path(path: str, source: Object) -> list[Cause]:
    place, kind = source.get("path") or "", source.get("type") or ""
    if not place:
        return [required(f"{path}.path")]
    causes = [invalid(f"{path}.path", place, "must not contain '..'")] if ".." in place.split("/") else []
    if kind not in HOST_PATH_TYPES:
        causes.append(unsupported(f"{path}.type", kind, HOST_PATH_TYPES))
    return causes


def _nfs(path: str, source: Object) -> list[Cause]:
    causes = _needs("server", "path")(path, source)
    if not (place := source.get("path") or "").startswith("/"):
        causes.append(invalid(f"{path}.path", place, "must be an absolute path"))
    return causes


def _items(path: str, items: Sequence[Object]) -> list[Cause]:
    causes: list[Cause] = []
    for i, item in enumerate(items):
        here = f"{path}[{i}]"
        causes += _needs("key", "path")(here, item)
        causes += descending(f"{here}.path", item.get("path") or "", reserved=True)
        causes += _mode(f"{here}.mode", item.get("mode"))
    return causes


def _files(name: str) -> Callable[[str, Object], list[Cause]]:
    """A ConfigMap or a Secret, named by field `name`."""

    def check(path: str, source: Object) -> list[Cause]:
        return [
            *_needs(name)(path, source),
            *_mode(f"{path}.defaultMode", source.get("defaultMode")),
            *_items(f"{path}.items", source.get("items") or ()),
        ]

    return check


def _downward_file(path: str, item: Object) -> list[Cause]:
    causes = _needs("path")(path, item) + descending(f"{path}.path", item.get("path") or "", reserved=True)
    if (field := item.get("fieldRef")) is not None:
        causes += field_reference(f"{path}.fieldRef", field, FIELD_PATHS)
        if item.get("resourceFieldRef") is not None:
            why = "fieldRef and resourceFieldRef can not be specified simultaneously"
            causes.append(invalid(path, "resource", why))
    elif (resource := item.get("resourceFieldRef")) is not None:
        causes += resource_reference(f"{path}.resourceFieldRef", resource, named=True)
    else:
        causes.append(required(path, "one of fieldRef and resourceFieldRef is required"))
    return causes + _mode(f"{path}.mode", item.get("mode"))


def _downward(path: str, source: Object) -> list[Cause]:
    causes = _mode(f"{path}.defaultMode", source.get("defaultMode"))
    for item in source.get("items") or ():
        causes += _downward_file(path, item)
    return causes


def _projected(path: str, source: Object) -> list[Cause]:
    causes = _mode(f"{path}.defaultMode", source.get("defaultMode"))
    places: set[str] = set()
    for i, part in enumerate(source.get("sources") or ()):
        here = f"{path}.sources[{i}]"
        for kind in ("secret", "configMap"):
            if (one := part.get(kind)) is not None:
                causes += _needs("name")(f"{here}.{kind}", one)
                causes += _items(f"{here}.{kind}.items", one.get("items") or ())
                causes += _twice(path, [item.get("path") for item in one.get("items") or ()], places, one.get("name"))
        for item in (part.get("downwardAPI") or {}).get("items") or ():
            causes += _downward_file(f"{here}.downwardAPI", item)
            causes += _twice(path, [item.get("path")], places, item.get("path"))
        if (token := part.get("serviceAccountToken")) is not None:
            causes += _token(path, f"{here}.serviceAccountToken", token)
        if len(part) > 1:
            causes.append(forbidden(here, "may not specify more than 1 volume type per source"))
    return causes


def _twice(path: str, new: Collection[str | None], places: set[str], shown: str | None) -> list[Cause]:
    causes: list[Cause] = []
    for place in new:
        if place in places:
            causes.append(invalid(path, shown or "", TWICE))
        elif place:
            places.add(place)
    return causes


def _token(volume: str, path: str, token: Object) -> list[Cause]:
    shortest, longest = TOKEN_SECONDS
    seconds, place = token.get("expirationSeconds") or 0, token.get("path") or ""
    causes: list[Cause] = []
    if seconds < shortest:
        causes.append(invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes"))
    if seconds > longest:
        why = "may not specify a duration larger than 2^32 seconds"
        causes.append(invalid(f"{path}.expirationSeconds", seconds, why))
    if not place:
        return [*causes, required(f"{volume}.path")]
    return causes + descending(f"{volume}.path", place, reserved=True)


def _claim_template(path: str, source: Object) -> list[Cause]:
    return [] if source.get("volumeClaimTemplate") is not None else [required(f"{path}.volumeClaimTemplate")]


#: Checks of the sources that a real server checks, in the order in which it looks for them.
SOURCES: dict[str, Callable[[str, Object], list[Cause]]] = {
    "emptyDir": _empty_dir,
    "hostPath": _host_path,
    "gitRepo": _needs("repository"),
    "gcePersistentDisk": _needs("pdName"),
    "awsElasticBlockStore": _needs("volumeID"),
    "secret": _files("secretName"),
    "nfs": _nfs,
    "iscsi": _needs("targetPortal", "iqn"),
    "glusterfs": _needs("endpoints", "path"),
    "persistentVolumeClaim": _needs("claimName"),
    "rbd": _needs("monitors", "image"),
    "cinder": _needs("volumeID"),
    "cephfs": _needs("monitors"),
    "downwardAPI": _downward,
    "flexVolume": _needs("driver"),
    "configMap": _files("name"),
    "azureFile": _needs("secretName", "shareName"),
    "vsphereVolume": _needs("volumePath"),
    "azureDisk": _needs("diskName", "diskURI"),
    "projected": _projected,
    "csi": _needs("driver"),
    "ephemeral": _claim_template,
    "image": lambda path, source: [],
}
