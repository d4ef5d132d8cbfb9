"""What meshlab makes on a cluster, and how it is told from what others made.

Every object carries `app.kubernetes.io/managed-by: meshlab`. One that exists without it belongs to somebody else: it
is never changed and never deleted, whatever it is called. Two exceptions, which lessons make by kubectl:
an autoscaler of a Deployment of ours, and a namespace with the label of a lesson.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..access import Access
from ..errors import ManifestError, Rejected, Taken

__all__ = ["LABELS", "SELECTOR", "TRANSLATED", "Owned", "labelled", "ours"]

Object = dict[str, Any]
MANAGED_BY = "app.kubernetes.io/managed-by"
LABELS: Mapping[str, str] = {MANAGED_BY: "meshlab", "app.kubernetes.io/part-of": "meshlab"}
SELECTOR = f"{MANAGED_BY}=meshlab"
#: On documents that were made of rules of v1alpha2: they follow those rules, nobody writes them.
TRANSLATED = "meshlab.io/translated"
#: On namespaces that a lesson made by kubectl: they go at its end.
LESSON = "meshlab.io/lesson"
MANAGER = "meshlab"


def labelled(document: Mapping[str, Any], **more: str) -> Object:
    """A copy with our labels. Pods get part-of only by their own templates: what selects them stays as it is."""
    metadata = dict(document.get("metadata") or {})
    metadata["labels"] = {**(metadata.get("labels") or {}), **LABELS, **more}
    return {**document, "metadata": metadata}


class Owned:
    """Applies and deletes objects that are ours, and only those."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def apply(self, document: Mapping[str, Any]) -> tuple[Object, bool]:
        """Stores it by server-side apply, strictly validated; the object, and whether that changed anything.

        A namespace or a definition that somebody else made is used as it is. Raises `Taken` for any other object of
        somebody else.
        """
        metadata = document["metadata"]
        namespace, name = metadata.get("namespace"), metadata["name"]
        version, kind = document["apiVersion"], document["kind"]
        found = self._access.find(version, kind, namespace, name)
        if found is not None and not self._ours(found):
            if kind in ("Namespace", "CustomResourceDefinition"):
                return found, False
            raise Taken(
                f"{kind} {f'{namespace}/' if namespace else ''}{name} exists and is not meshlab's: it was not touched",
                why=f"it has no label {MANAGED_BY}: meshlab",
                then=f"kubectl get {kind.lower()} {name}{f' -n {namespace}' if namespace else ''} -o yaml",
            )
        query = {"fieldManager": MANAGER, "force": "true", "fieldValidation": "Strict"}
        stored: Object = self._access.request(
            "PATCH",
            self._access.path(version, kind, namespace, name),
            query=query,
            body=labelled(document),
            headers={"Content-Type": "application/apply-patch+yaml"},
        ).json()
        before = found["metadata"].get("resourceVersion") if found else None
        return stored, before != stored["metadata"].get("resourceVersion")

    def delete(self, document: Mapping[str, Any]) -> bool:
        """Deletes its object if it is there and ours; whether there was one. What hangs on it goes first."""
        metadata = document["metadata"]
        version, kind = document["apiVersion"], document["kind"]
        try:
            found = self._access.find(version, kind, metadata.get("namespace"), metadata["name"])
        except ManifestError:
            return False  # the kind itself is gone, and its objects with it
        if found is None or not self._ours(found):
            return False
        path = self._access.path(version, kind, metadata.get("namespace"), metadata["name"])
        # The very object that was looked at: one that somebody made in its place meanwhile is not ours.
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Foreground",
            "preconditions": {"uid": found["metadata"]["uid"]},
        }
        reply = self._access.request("DELETE", path, body=options, check=False)
        if reply.status in (404, 409):
            return False
        if reply.status >= 400:
            raise Rejected.answer(reply.status, reply.body)
        return True

    def _ours(self, found: Mapping[str, Any]) -> bool:
        """By its label; what a lesson makes by kubectl by another label, or that of what it scales."""
        if found["kind"] == "Namespace" and LESSON in (found["metadata"].get("labels") or {}):
            return True
        if ours(found) or found["kind"] != "HorizontalPodAutoscaler":
            return ours(found)
        scaled = found["spec"]["scaleTargetRef"]
        target = self._access.find(scaled["apiVersion"], scaled["kind"], found["metadata"]["namespace"], scaled["name"])
        return target is not None and ours(target)

    def items(self, kinds: Iterable[tuple[str, str]], selector: str = SELECTOR) -> list[Object]:
        """All of ours of these kinds, in every namespace; kinds that nobody serves have none."""
        found: list[Object] = []
        for version, kind in kinds:
            found += self._access.served(version, kind, labelSelector=selector) or []
        return found


def ours(found: Mapping[str, Any]) -> bool:
    """Does this object carry our label?"""
    return (found["metadata"].get("labels") or {}).get(MANAGED_BY) == "meshlab"
