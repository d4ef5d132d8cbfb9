"""Discovery: what is served, in the classic documents and in the aggregated one that kubectl asks for."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

from meshlab.cluster.api.announced import announced
from meshlab.cluster.api.registry import VERBS, Registry, Resource

__all__ = ["AGGREGATED", "SUBRESOURCES", "Discovery", "version_info"]

Object = dict[str, Any]
Others = tuple[tuple[str, str], ...]

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList"
#: The release whose types and behaviour we have.
RELEASE = ("1", "37", "v1.37.0+meshlab")

#: Groups whose every kind has moved; they are served and not listed.
PAST = ("extensions",)

#: Subresource → (verbs, group, version, kind of its objects; "" = those of the resource).
SUBRESOURCES: dict[str, tuple[tuple[str, ...], str, str, str]] = {
    "approval": (("get", "patch", "update"), "", "", ""),
    "attach": (("create", "get"), "", "v1", "PodAttachOptions"),
    "binding": (("create",), "", "v1", "Binding"),
    "ephemeralcontainers": (("get", "patch", "update"), "", "", ""),
    "eviction": (("create",), "policy", "v1", "Eviction"),
    "exec": (("create", "get"), "", "v1", "PodExecOptions"),
    "finalize": (("update",), "", "", ""),
    "log": (("get",), "", "", ""),
    "portforward": (("create", "get"), "", "v1", "PodPortForwardOptions"),
    "proxy": (("create", "delete", "get", "patch", "update"), "", "v1", "{}ProxyOptions"),
    "scale": (("get", "patch", "update"), "autoscaling", "v1", "Scale"),
    "status": (("get", "patch", "update"), "", "", ""),
    "token": (("create",), "authentication.k8s.io", "v1", "TokenRequest"),
}


def version_info() -> Object:
    """`GET /version`."""
    major, minor, git = RELEASE
    return {
        "major": major, "minor": minor, "emulationMajor": major, "emulationMinor": minor,
        "minCompatibilityMajor": major, "minCompatibilityMinor": str(int(minor) - 1), "gitVersion": git,
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "2026-01-01T00:00:00Z", "goVersion": "none",
        "compiler": "cpython", "platform": "linux/amd64",
    }


class Discovery:
    """Documents about a registry, kept until it changes. `others()` are groups and versions that others serve."""

    def __init__(self, registry: Registry, address: str, others: Callable[[], Others] = tuple) -> None:
        self.registry, self.address, self._others = registry, address, others
        self._version: tuple[int, Others] = (-1, ())
        self._cache: dict[str, Object | None] = {}

    def document(self, path: str, aggregated: str = "") -> Object | None:
        """The document at /api, /apis, /api/v1, /apis/GROUP or /apis/GROUP/VERSION; None if there is none.

        `aggregated` is the version (v2, v2beta1) of the one-document form, for /api and /apis only.
        """
        version = (self.registry.version, self._others())
        if self._version != version:
            self._cache.clear()
            self._version = version
        key = f"{aggregated} {path}"
        if key not in self._cache:
            if len(self._cache) > 500:  # paths come from clients
                self._cache.clear()
            self._cache[key] = self._make(path.strip("/").split("/"), aggregated)
        return self._cache[key]

    def _make(self, parts: list[str], aggregated: str) -> Object | None:
        groups = self._groups()
        match parts:
            case ["api" | "apis"] if aggregated:
                names = [g for g in groups if bool(g) is (parts[0] == "apis")]
                return {
                    "kind": "APIGroupDiscoveryList", "apiVersion": f"apidiscovery.k8s.io/{aggregated}",
                    "metadata": {}, "items": [self._group_discovery(g, groups[g]) for g in names],
                }
            case ["api"]:
                addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": self.address}]
                return {
                    "kind": "APIVersions", "versions": groups[""], "serverAddressByClientCIDRs": addresses,
                }
            case ["apis"]:
                # Who asks in this old way and looks for a kind alone (the Python client does) shall find the one
                # that today's clusters have. kubectl asks for the aggregated form, and gets both.
                listed = [_group(g, v) for g, v in groups.items() if g and g not in PAST]
                return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}
            case ["apis", group] if group in groups:
                return {"kind": "APIGroup", "apiVersion": "v1", **_group(group, groups[group])}
            case ["api", version] if version in groups[""]:
                return self._resources("", version)
            case ["apis", group, version] if (group, version) in self._version[1]:
                return None
            case ["apis", group, version] if version in groups.get(group, ()):
                return self._resources(group, version)
        return None

    def _groups(self) -> dict[str, list[str]]:
        """Group → versions, with the announced ones last."""
        groups = dict(self.registry.groups())
        for resource in announced(self.registry.all()):
            groups.setdefault(resource.group, [resource.version])
        for group, version in self._version[1]:
            # What is in it, only its own server could tell.
            groups[group] = [*groups.get(group, []), version]
        return groups

    def _in_version(self, group: str, version: str) -> list[Resource]:
        extra = [r for r in announced(self.registry.all()) if (r.group, r.version) == (group, version)]
        return [*self.registry.in_version(group, version), *extra]

    def _resources(self, group: str, version: str) -> Object:
        listed: list[Object] = []
        for resource in self._in_version(group, version):
            entry: Object = {
                "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
                "kind": resource.kind, "verbs": _verbs(resource),
            }
            if resource.short_names:
                entry["shortNames"] = list(resource.short_names)
            if resource.categories:
                entry["categories"] = list(resource.categories)
            if "list" in resource.verbs and resource.stored_as:
                entry["storageVersionHash"] = _storage_hash(resource)
            listed.append(entry)
            for name in sorted(resource.subresources, reverse=resource.custom):
                verbs, sub_group, sub_version, kind = _subresource(resource, name)
                entry = {
                    "name": f"{resource.plural}/{name}", "singularName": "", "namespaced": resource.namespaced,
                }
                if (sub_group, sub_version) != (group, version):
                    entry |= {"group": sub_group, "version": sub_version}
                listed.append({**entry, "kind": kind, "verbs": list(verbs)})
        gv = f"{group}/{version}" if group else version
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": gv, "resources": listed}

    def _group_discovery(self, group: str, versions: list[str]) -> Object:
        listed = []
        for version in versions:
            resources = [_discovered(r) for r in self._in_version(group, version)]
            listed.append({"version": version, "resources": resources, "freshness": "Current"})
        meta: Object = {"name": group} if group else {}
        return {"metadata": meta, "versions": listed}


def _verbs(resource: Resource) -> list[str]:
    """In the order of a real server, which lists those of custom kinds in another."""
    if not resource.custom or resource.verbs != VERBS:
        return list(resource.verbs)
    return ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]


def _storage_hash(resource: Resource) -> str:
    """What a kind is stored as, by which clients see that its stored objects were changed to another version."""
    group, _, version = resource.stored_as.rpartition("/")
    digest = hashlib.sha256(f"{group}/{version}/{resource.kind}".encode()).digest()
    return base64.b64encode(digest[:8]).decode()


def _group(group: str, versions: list[str]) -> Object:
    listed = [{"groupVersion": f"{group}/{v}", "version": v} for v in versions]
    return {"name": group, "versions": listed, "preferredVersion": listed[0]}


def _discovered(resource: Resource) -> Object:
    made: Object = {
        "resource": resource.plural,
        "responseKind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        made["shortNames"] = list(resource.short_names)
    if resource.categories:
        made["categories"] = list(resource.categories)
    subresources = []
    for name in sorted(resource.subresources):
        verbs, group, version, kind = _subresource(resource, name)
        answer = {"group": group, "version": version, "kind": kind}
        subresources.append({"subresource": name, "responseKind": answer, "verbs": list(verbs)})
    if subresources:
        made["subresources"] = subresources
    return made


def _subresource(resource: Resource, name: str) -> tuple[tuple[str, ...], str, str, str]:
    verbs, group, version, kind = SUBRESOURCES[name]
    if not kind:
        return verbs, resource.group, resource.version, resource.kind
    return verbs, group, version, kind.format(resource.kind)
