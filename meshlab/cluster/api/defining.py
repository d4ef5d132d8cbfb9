"""What follows from storing a CustomResourceDefinition: its kinds are served."""

from __future__ import annotations

from meshlab.cluster.api import crd
from meshlab.cluster.api.metadata import ordered
from meshlab.cluster.api.registry import Resource
from meshlab.cluster.api.store import Entry, Store

__all__ = ["defined"]


def defined(store: Store, definitions: crd.Definitions, resource: Resource, entry: Entry) -> Entry:
    """A definition was stored: serve it, and say so in its status."""
    obj = entry.obj
    if obj["metadata"].get("deletionTimestamp"):
        return entry
    refusal = definitions.serve(obj)
    served = crd.established(obj, refusal)
    if crd.CLEANUP not in served["metadata"].get("finalizers", ()):
        served["metadata"]["finalizers"] = [*served["metadata"].get("finalizers", ()), crd.CLEANUP]
    if served == obj:
        return entry
    served["metadata"] = ordered(served["metadata"])
    store.put(resource.collection, entry.key, served)
    # The writer sees what he wrote: the status came after, as with a real server.
    return entry
