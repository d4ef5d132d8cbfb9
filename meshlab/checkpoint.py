"""The state that a lesson found, to be left behind as it was.

Kept: mesh rules, the tutorial's Services and Deployments of namespace `default`. Addons and the control plane
stay where a lesson put them: they are slow to bring up and change nothing for another lesson.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .access import Access
from .errors import ManifestError, Rejected
from .inforce import MESH_GROUP, Writer

__all__ = ["Checkpoint", "mesh_rules", "restore", "take"]

RULE_KINDS = ("RouteRule", "EgressRule", "DestinationPolicy")
#: Mixer's objects with which lessons refuse and limit requests.
CHECK_KINDS = ("rule", "denier", "listchecker", "memquota", "checknothing", "listentry", "quota")
#: Today's kinds, and Ingress: what lessons on them store.
TODAY_KINDS = (
    *(("networking.istio.io/v1", kind) for kind in ("VirtualService", "DestinationRule", "ServiceEntry", "Gateway")),
    ("security.istio.io/v1", "PeerAuthentication"),
    ("security.istio.io/v1", "AuthorizationPolicy"),
    ("security.istio.io/v1", "RequestAuthentication"),
    ("networking.k8s.io/v1", "Ingress"),
)
Object = dict[str, Any]
Key = tuple[str, str, str]


@dataclass(frozen=True)
class Checkpoint:
    """Objects by (kind, namespace, name), without what the server filled in.

    `unserved` are the kinds that nobody served then. Objects of them came with the control plane, which stays.
    """

    objects: Mapping[Key, Object]
    unserved: frozenset[str] = frozenset()


def mesh_rules(access: Access) -> list[Object]:
    """All stored rules of the mesh, in every namespace; none where the control plane is not installed."""
    return _stored(access, _legacy(RULE_KINDS))[0]


def _legacy(kinds: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((f"{MESH_GROUP}/v1alpha2", kind) for kind in kinds)


def _stored(access: Access, kinds: tuple[tuple[str, str], ...]) -> tuple[list[Object], frozenset[str]]:
    """The objects, and the kinds that nobody serves: they come with the control plane."""
    found: list[Object] = []
    unserved = set()
    for version, kind in kinds:
        try:
            found += access.items(version, kind)
        except ManifestError:
            unserved.add(kind)
        except Rejected as error:
            if error.code != 404:
                raise
            unserved.add(kind)
    return found, frozenset(unserved)


def take(access: Access) -> Checkpoint:
    """What is there now."""
    found, unserved = _stored(access, (*_legacy((*RULE_KINDS, *CHECK_KINDS)), *TODAY_KINDS))
    found += [s for s in access.items("v1", "Service", "default") if s["metadata"]["name"] != "kubernetes"]
    found += access.items("apps/v1", "Deployment", "default")
    return Checkpoint({_key(o): _plain(o) for o in found}, unserved)


def restore(access: Access, checkpoint: Checkpoint) -> list[str]:
    """Makes what differs as it was; returns a line for each change, e.g. `deleted RouteRule default/x`."""
    writer, now, done = Writer(access), take(access).objects, []
    gone = [now[key] for key in now.keys() - checkpoint.objects.keys() if key[0] not in checkpoint.unserved]
    if gone:
        writer.delete(gone)
        done += [f"deleted {_name(o)}" for o in gone]
    for key, wanted in checkpoint.objects.items():
        if key not in now:
            writer.apply([wanted])
            done.append(f"created {_name(wanted)} again")
        elif now[key] != wanted:
            if wanted["apiVersion"].startswith(MESH_GROUP):
                writer.apply([wanted])
            else:
                _put(access, wanted)
            done.append(f"put {_name(wanted)} back")
    return sorted(done)


def _put(access: Access, wanted: Object) -> None:
    """Replaces the whole spec: what was added since has to go, which an apply of the old fields would not do."""
    m = wanted["metadata"]
    path = access.path(wanted["apiVersion"], wanted["kind"], m["namespace"], m["name"])
    live = access.request("GET", path).json()
    access.request("PUT", path, body={**live, "spec": wanted["spec"]})


def _key(o: Object) -> Key:
    return o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]


def _name(o: Object) -> str:
    return f"{o['kind']} {o['metadata'].get('namespace', '')}/{o['metadata']['name']}"


def _plain(o: Object) -> Object:
    metadata = o["metadata"]
    kept = {k: metadata[k] for k in ("name", "namespace", "labels") if k in metadata}
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if not k.startswith("deployment.")}
    if annotations:
        kept["annotations"] = annotations
    return {"apiVersion": o["apiVersion"], "kind": o["kind"], "metadata": kept, "spec": o.get("spec") or {}}
