"""Writing rules to a cluster: in the kinds that its Istio knows, and back when they are in force."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..access import Access
from ..errors import ManifestError, Rejected
from ..inforce import MESH_GROUP, InForce, check_rule, identity
from . import rules
from .inforce import Change, Istiod, Sync
from .ingresses import modern
from .owned import Owned, labelled

__all__ = ["ClusterWriter"]

Object = dict[str, Any]
#: Groups of which istiod's configuration is made.
_ISTIO = ("networking.istio.io", "security.istio.io", "telemetry.istio.io", "gateway.networking.k8s.io")


class ClusterWriter:
    """Stores, deletes and waits, as `inforce.Writer` does in the embedded lab.

    `istiod` gives the debug interface of the mesh, or None where no Istio is installed.
    """

    def __init__(self, access: Access, istiod: Callable[[], Istiod | None]) -> None:
        self._access, self._istiod = access, istiod
        self._owned = Owned(access)

    def apply(self, documents: Iterable[Mapping[str, Any]], *, timeout: float | None = 30.0) -> InForce:
        """Stores each document; rules of v1alpha2, and an Ingress of that time, are translated, too.

        `timeout` None: nobody waits until it is in force. Raises `RuleError`, `ManifestError`, `Taken`, `NotInForce`.
        """
        given = [dict(each) for each in documents]
        wanted = [modern(each) for each in given]
        for each in wanted:
            _check(each)
        if missing := [each["kind"] for each in wanted if _legacy(each) and not self._defined(each["kind"])]:
            raise ManifestError(
                f"{missing[0]} is not defined on this cluster",
                why="the kinds of 2018 come with lab.install(), also where Istio is there already",
                then="lab.install()",
            )
        istiod, before = self._before()
        since = time.monotonic()
        stored = [self._store(self._placed(each)) for each in wanted]
        done = self._settle(wanted, stored, istiod, before, since, timeout)
        renewed = tuple(new for old, new in zip(given, wanted, strict=True) if old["apiVersion"] != new["apiVersion"])
        return replace(done, translation=done.translation + str(rules.Translation(renewed))) if renewed else done

    def delete(self, documents: Iterable[Mapping[str, Any]], *, timeout: float | None = 30.0) -> InForce:
        """Deletes each document's object if it is ours; one that is not there is no error. `timeout` as in `apply`."""
        wanted = [modern(each) for each in documents]
        istiod, before = self._before()
        since, gone = time.monotonic(), list[Change | None]()
        for each in map(self._placed, wanted):
            if _legacy(each):
                path = self._path(each)
                reply = self._access.request("DELETE", path, check=False)
                if reply.status >= 400 and reply.status != 404:
                    raise Rejected.answer(reply.status, reply.body)
            elif self._owned.delete(each):
                gone.append(_change(each, deleted=True))
        return self._settle(wanted, gone, istiod, before, since, timeout)

    def settled(self, *, timeout: float = 30.0) -> InForce:
        """Translates what rules somebody else stored (kubectl, istioctl), and waits until all sidecars act on it."""
        istiod, before = self._before()
        done = self._settle([], [], istiod, before, time.monotonic(), timeout)
        if istiod is not None:
            istiod.settled(timeout)
        return done

    def _before(self) -> tuple[Istiod | None, dict[str, Sync]]:
        istiod = self._istiod()
        return istiod, istiod.sync() if istiod is not None else {}

    def _defined(self, kind: str) -> bool:
        name = f"{rules.LEGACY[kind]}.{MESH_GROUP}"
        return self._access.find("apiextensions.k8s.io/v1", "CustomResourceDefinition", None, name) is not None

    def _store(self, document: Object) -> Change | None:
        """What istiod has to see of it now, None if that is nothing."""
        if not _legacy(document):
            stored, changed = self._owned.apply(document)
            return _change(stored) if changed else None
        path = self._path(document)
        found = self._access.find(*_address(document))
        if found is None:
            self._access.request("POST", path.rpartition("/")[0], body=labelled(document))
            return None
        metadata = {**document["metadata"], "resourceVersion": found["metadata"]["resourceVersion"]}
        self._access.request("PUT", path, body=labelled({**document, "metadata": metadata}))
        return None

    def _settle(
        self,
        wanted: list[Object],
        changes: list[Change | None],
        istiod: Istiod | None,
        before: dict[str, Sync],
        since: float,
        timeout: float | None,
    ) -> InForce:
        translation = rules.sync(self._access)
        changes += [_change(each) for each in translation.applied]
        changes += [_change(each, deleted=True) for each in translation.deleted]
        concerned = [each for each in changes if each is not None]
        objects = tuple(_shown(each) for each in wanted) or translation.changes
        shown = translation.about({rules.key(self._placed(each)) for each in wanted if _legacy(each)})
        text = str(shown) if shown.documents else ""
        if istiod is None or not concerned or timeout is None:
            return InForce(objects, None, translation=text)
        proxies = istiod.wait(concerned, before, since, timeout)
        return InForce(objects, max(proxies.values(), default=0.0), proxies, text)

    def _path(self, document: Object) -> str:
        return self._access.path(*_address(document))

    def _placed(self, document: Object) -> Object:
        """With the namespace that it goes to, if its kind has one."""
        identity(document)
        if "/namespaces/" not in self._path(document) or document["kind"] == "Namespace":
            return document
        metadata = document["metadata"]
        return {**document, "metadata": {**metadata, "namespace": metadata.get("namespace") or "default"}}


def _check(document: Mapping[str, Any]) -> None:
    """Refuses what istioctl would refuse, and what is for Mixer. Raises `RuleError`, `ManifestError`."""
    kind, version, name, _ = identity(document)
    if not version.startswith(f"{MESH_GROUP}/"):
        return
    if kind not in rules.LEGACY:
        raise ManifestError(
            f"{kind} {name} is for Mixer, and this cluster's Istio has none",
            why="Mixer went with Istio 1.8; AuthorizationPolicy, Telemetry and Envoy's own limits took its place",
            then="python3 -m meshlab up (the embedded lab has one)",
        )
    check_rule(document)


def _address(document: Mapping[str, Any]) -> tuple[str, str, str, str]:
    kind, version, name, namespace = identity(document)
    return version, kind, namespace, name


def _shown(document: Mapping[str, Any]) -> str:
    kind, _, name, namespace = identity(document)
    return f"{kind} {namespace}/{name}"


def _legacy(document: Mapping[str, Any]) -> bool:
    return str(document.get("apiVersion") or "").startswith(f"{MESH_GROUP}/") and document["kind"] in rules.LEGACY


def _change(document: Mapping[str, Any], *, deleted: bool = False) -> Change | None:
    """What istiod has to see of it; None for kinds of which it makes nothing."""
    of_istio = str(document.get("apiVersion") or "").partition("/")[0] in _ISTIO
    if not of_istio and document["kind"] != "Service":
        return None
    metadata = document["metadata"]
    revision = None if deleted else int(metadata["resourceVersion"])
    return Change(document["kind"], metadata.get("namespace") or "", metadata["name"], revision)
