"""What the server itself writes into `metadata`, in the order in which a real server writes it."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from meshlab.cluster.api.registry import Resource

__all__ = [
    "GENERATED",
    "changed",
    "generated_name",
    "key_of",
    "new_uid",
    "ordered",
    "same_but_for_metadata",
    "same_owners",
    "shell",
    "timestamp",
]

Object = dict[str, Any]

ORDER = (
    "name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation", "creationTimestamp",
    "deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "ownerReferences", "finalizers",
    "managedFields",
)
#: Letters of generated names: no vowels, nothing that looks like another letter.
ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
#: Characters that are generated, and how many a generateName may have so that they fit into 63.
GENERATED = 5
LONGEST_PREFIX = 63 - GENERATED


def timestamp(now: datetime | None = None) -> str:
    """RFC 3339 in whole seconds, UTC: `2026-01-31T12:00:00Z`."""
    return (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")


def new_uid() -> str:
    return str(uuid.uuid4())


def generated_name(prefix: str) -> str:
    """`web-` → `web-x7k2p`."""
    return prefix[:LONGEST_PREFIX] + "".join(secrets.choice(ALPHABET) for _ in range(GENERATED))


def key_of(resource: Resource, namespace: str | None, name: str) -> str:
    """Key in the resource's collection; its order is the order of lists."""
    return f"{namespace or ''}/{name}" if resource.namespaced else name


def ordered(meta: Mapping[str, Any]) -> Object:
    """The same metadata in the server's order; empty maps and lists are left out."""
    return {k: meta[k] for k in ORDER if k in meta and meta[k] not in (None, "", {}, [])}


def shell(resource: Resource, obj: Mapping[str, Any]) -> Object:
    """A shallow copy with kind and apiVersion first and metadata of its own."""
    rest = {k: v for k, v in obj.items() if k not in ("kind", "apiVersion", "metadata")}
    meta = obj.get("metadata")
    return {
        "kind": resource.kind, "apiVersion": resource.api_version,
        "metadata": dict(meta) if isinstance(meta, Mapping) else {}, **rest,
    }


def same_but_for_metadata(a: Mapping[str, Any], b: Mapping[str, Any], *, without: tuple[str, ...] = ()) -> bool:
    """Whether two objects agree in everything but metadata and the keys `without`."""
    skip = ("metadata", *without)
    keys = {k for k in (*a, *b) if k not in skip}
    return all(a.get(k) == b.get(k) for k in keys)


def changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether anything but the ownership and the revision differs."""
    if any(old.get(k) != new.get(k) for k in {*old, *new} if k != "metadata"):
        return True
    a, b = old["metadata"], new["metadata"]
    return any(
        (a.get(k) or None) != (b.get(k) or None)
        for k in {*a, *b} if k not in ("managedFields", "resourceVersion")
    )


def same_owners(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether managedFields agree but for their times: a write that changes nothing leaves no trace."""

    def timeless(obj: Mapping[str, Any]) -> list[Object]:
        fields = obj["metadata"].get("managedFields") or ()
        return [{k: v for k, v in f.items() if k != "time"} for f in fields]

    return timeless(old) == timeless(new)
