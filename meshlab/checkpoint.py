"""The state that a lesson found, to be left behind as it was.

Kept: mesh rules, the mesh's settings, the tutorial's Services and Deployments of namespace `default`. Addons and the
control plane stay where a lesson put them: they are slow to bring up and change nothing for another lesson.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from .access import Access
from .autoscalers import AUTOSCALER, autoscalers
from .inforce import MESH_GROUP, InForce
from .phrases import tr

__all__ = ["Checkpoint", "difference", "interfering", "mesh_rules", "restore", "take"]

RULE_KINDS = ("RouteRule", "EgressRule", "DestinationPolicy")
#: Mixer's objects with which lessons refuse, limit, count and log requests.
CHECK_KINDS = (
    *("rule", "denier", "listchecker", "memquota", "checknothing", "listentry", "quota"),
    *("metric", "prometheus", "logentry", "stdio"),
)
#: Kinds of which an installation brings objects: Mixer's of 0.4, and what today's sidecars count and trace.
BROUGHT_KINDS = frozenset((*CHECK_KINDS, "Telemetry"))
GATEWAY_API = "gateway.networking.k8s.io"
#: Today's kinds, and Ingress: what lessons on them store.
TODAY_KINDS = (
    *(("networking.istio.io/v1", kind) for kind in ("VirtualService", "DestinationRule", "ServiceEntry", "Gateway")),
    *(("networking.istio.io/v1", kind) for kind in ("Sidecar", "WorkloadEntry")),
    ("security.istio.io/v1", "PeerAuthentication"),
    ("security.istio.io/v1", "AuthorizationPolicy"),
    ("security.istio.io/v1", "RequestAuthentication"),
    ("telemetry.istio.io/v1", "Telemetry"),
    *((f"{GATEWAY_API}/v1", kind) for kind in ("Gateway", "HTTPRoute", "ReferenceGrant")),
    ("networking.k8s.io/v1", "Ingress"),
)
#: What changes the number of pods.
SCALING_KINDS = (AUTOSCALER, ("policy/v1", "PodDisruptionBudget"))
#: What lessons may only add: it is taken away when it was not found, and otherwise left to whoever it belongs to.
ADDED_KINDS = (
    ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", ""),
    ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", ""),
    ("v1", "Namespace", "meshlab.io/lesson"),  # namespaces that a lesson made carry this label
)
#: Mixer's rules that come with the control plane: they report, and refuse nothing.
INSTALLED_RULES = {"stdio", "promhttp", "promtcp", "kubeattrgenrulerule"}
Object = dict[str, Any]
Key = tuple[str, str, str]


class Putter(Protocol):
    """Who stores and deletes objects; `timeout` None: without waiting until that is in force."""

    def apply(self, documents: Iterable[Mapping[str, Any]], *, timeout: float | None) -> InForce: ...

    def delete(self, documents: Iterable[Mapping[str, Any]], *, timeout: float | None) -> InForce: ...


@dataclass(frozen=True)
class Checkpoint:
    """Objects by (kind, namespace, name), without what the server filled in.

    `unserved` are kinds of which a control plane brings objects, where nobody served them then: these stay as it does.
    """

    objects: Mapping[Key, Object]
    unserved: frozenset[str] = frozenset()


def mesh_rules(access: Access) -> list[Object]:
    """All stored rules of the mesh, in every namespace; none where the control plane is not installed."""
    return _stored(access, _legacy(RULE_KINDS))[0]


def interfering(access: Access, selector: str = "") -> list[Object]:
    """Stored objects that have a say in what becomes of a request between the demo's services.

    Rules of 2018 of every namespace; of today's kinds those in `default` with the labels of `selector`: on a cluster
    others are other people's.
    """
    legacy = _stored(access, _legacy((*RULE_KINDS, "rule")))[0]
    found = [o for o in legacy if o["kind"] != "rule" or o["metadata"]["name"] not in INSTALLED_RULES]
    return found + _stored(access, TODAY_KINDS, "default", selector)[0]


def _legacy(kinds: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((f"{MESH_GROUP}/v1alpha2", kind) for kind in kinds)


def _stored(
    access: Access, kinds: tuple[tuple[str, str], ...], namespace: str | None = None, selector: str = ""
) -> tuple[list[Object], frozenset[str]]:
    """The objects, and the kinds that nobody serves."""
    query = {"labelSelector": selector} if selector else {}
    found: list[Object] = []
    unserved = set()
    for version, kind in kinds:
        objects = access.served(version, kind, namespace, **query)
        if objects is None:
            unserved.add(_called(version, kind))
        else:
            found += objects
    return found, frozenset(unserved)


def take(access: Access, selector: str = "") -> Checkpoint:
    """What is there now. `selector`: only objects with these labels, but every rule of 2018.

    On a cluster others have Services, Deployments and rules beside ours; of the kinds of 2018 there are none but ours.
    """
    query = {"labelSelector": selector} if selector else {}
    found, unserved = _stored(access, _legacy((*RULE_KINDS, *CHECK_KINDS)))
    for kinds, namespace in ((TODAY_KINDS, None), (SCALING_KINDS, "default")):
        more, unknown = _stored(access, kinds, namespace, selector)
        found, unserved = found + more, unserved | unknown
    found += access.items("v1", "ConfigMap", "istio-system", fieldSelector="metadata.name=istio", **query)
    found += [s for s in access.items("v1", "Service", "default", **query) if s["metadata"]["name"] != "kubernetes"]
    deployments = access.items("apps/v1", "Deployment", "default", **query)
    found += deployments
    if selector:
        found += autoscalers(access, deployments)
    kept = {_key(o): _plain(o) for o in found}
    for version, kind, label in ADDED_KINDS:
        wanted = {"labelSelector": label or selector} if selector or label else {}
        for o in access.items(version, kind, **wanted):
            kept[_key(o)] = {"apiVersion": version, "kind": kind, "metadata": {"name": o["metadata"]["name"]}}
    return Checkpoint(kept, unserved & BROUGHT_KINDS)


def restore(access: Access, checkpoint: Checkpoint, writer: Putter, selector: str = "") -> list[str]:
    """Stores what differs as it was; returns a line for each change, e.g. `deleted RouteRule default/x`.

    Nothing is waited for: each change on its own would cost a second of a sidecar's draining.
    """
    now, done = take(access, selector).objects, []
    gone = [now[key] for key in now.keys() - checkpoint.objects.keys() if _ours(key, checkpoint)]
    if gone:
        writer.delete(gone, timeout=None)
        done += [tr("deleted {what}", what=_name(o)) for o in gone]
    for key, wanted in checkpoint.objects.items():
        if key[0] in _ADDED:
            continue
        if key not in now:
            writer.apply([wanted], timeout=None)
            done.append(tr("created {what} again", what=_name(wanted)))
        elif now[key] != wanted:
            if wanted["apiVersion"].startswith(MESH_GROUP):
                writer.apply([wanted], timeout=None)
            else:
                _put(access, wanted)
            done.append(tr("put {what} back", what=_name(wanted)))
    return sorted(done)


def difference(before: Checkpoint, after: Checkpoint) -> list[str]:
    """What `restore` would change to come from `after` back to `before`, like `RouteRule/default/x`."""
    keys = sorted(key for key in {*before.objects, *after.objects} if _ours(key, before))
    keys = [key for key in keys if key[0] not in _ADDED or key not in before.objects]
    return ["/".join(key) for key in keys if before.objects.get(key) != after.objects.get(key)]


_ADDED = frozenset(kind for _, kind, _ in ADDED_KINDS)


def _ours(key: Key, found: Checkpoint) -> bool:
    """Whether an object that is there now has to be as it was: what came with the control plane stays."""
    return key[0] not in found.unserved and (key[0] != "ConfigMap" or key in found.objects)


def _put(access: Access, wanted: Object) -> None:
    """Replaces all of it: what was added since has to go, which an apply of the old fields would not do."""
    m = wanted["metadata"]
    path = access.path(wanted["apiVersion"], wanted["kind"], m["namespace"], m["name"])
    live = access.request("GET", path).json()
    metadata = {k: v for k, v in live["metadata"].items() if k not in ("labels", "annotations")}
    metadata["labels"] = m.get("labels", {})
    kept = {k: v for k, v in _annotations(live).items() if _counted(k)}
    metadata["annotations"] = {**kept, **m.get("annotations", {})}
    body = {k: live[k] for k in ("apiVersion", "kind", "status") if k in live}
    access.request("PUT", path, body={**body, **wanted, "metadata": metadata})


def _called(version: str, kind: str) -> str:
    """The kind's name; with its group for the Gateway that is not Istio's."""
    return f"{kind}.{GATEWAY_API}" if kind == "Gateway" and version.startswith(GATEWAY_API) else kind


def _key(o: Object) -> Key:
    return _called(o["apiVersion"], o["kind"]), o["metadata"].get("namespace", ""), o["metadata"]["name"]


def _name(o: Object) -> str:
    _, namespace, name = _key(o)
    return f"{o['kind']} {namespace}/{name}" if namespace else f"{o['kind']} {name}"


def _annotations(o: Object) -> dict[str, str]:
    return dict(o["metadata"].get("annotations") or {})


def _counted(annotation: str) -> bool:
    """Whether a controller counts in it: `deployment.kubernetes.io/revision`."""
    return annotation.startswith("deployment.")


def _plain(o: Object) -> Object:
    """Without what the server filled in."""
    metadata = {k: o["metadata"][k] for k in ("name", "namespace", "labels") if k in o["metadata"]}
    if annotations := {k: v for k, v in _annotations(o).items() if not _counted(k)}:
        metadata["annotations"] = annotations
    content = {k: v for k, v in o.items() if k not in ("apiVersion", "kind", "metadata", "status")}
    if "data" not in content:
        content["spec"] = content.get("spec") or {}
    return {"apiVersion": o["apiVersion"], "kind": o["kind"], "metadata": metadata, **content}
