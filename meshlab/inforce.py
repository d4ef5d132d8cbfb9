"""Writing to the cluster, and knowing when what was written is in force.

Storing a rule says nothing about traffic. Pilot knows what each sidecar acknowledged; its debug port answers
"has every sidecar that this change concerns acknowledged it?" and that is what `apply` waits for.
"""

from __future__ import annotations

import html
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .access import Access
from .errors import ManifestError, NotInForce, Rejected, RuleError
from .phrases import tr
from .portnames import renamed

__all__ = ["MESH_GROUP", "MIXER_PLURALS", "InForce", "Writer", "check_rule", "identity"]

MESH_GROUP = "config.istio.io"
#: Kinds of objects whose change Pilot turns into new configuration for proxies, by group and kind, as it calls them.
_WATCHED = {
    (MESH_GROUP, "RouteRule"): "routerules",
    (MESH_GROUP, "EgressRule"): "egressrules",
    (MESH_GROUP, "DestinationPolicy"): "destinationpolicies",
    (MESH_GROUP, "rule"): "rules",
    ("", "Service"): "services",
    ("", "Secret"): "secrets",
    ("networking.k8s.io", "Ingress"): "ingresses",
    ("extensions", "Ingress"): "ingresses",
}
#: Groups of today's API: Pilot calls their kinds by their plurals.
_TODAY = ("networking.istio.io", "security.istio.io", "telemetry.istio.io", "gateway.networking.k8s.io")
#: Kinds that Mixer puts in force; of rules Pilot has to know as well, as sidecars ask only when one can refuse.
MIXER_PLURALS = {
    "rule": "rules", "denier": "deniers", "listchecker": "listcheckers", "memquota": "memquotas",
    "checknothing": "checknothings", "listentry": "listentries", "quota": "quotas",
    "metric": "metrics", "logentry": "logentries", "prometheus": "prometheuses", "stdio": "stdios",
}  # fmt: skip
MANAGER = "meshlab"


@dataclass(frozen=True)
class InForce:
    """What was written and when it took effect.

    `objects` like `RouteRule default/route-rules-svcb`; `ms` from the moment Pilot saw the change to the last
    acknowledgement; `proxies` milliseconds per sidecar. `ms` is None for objects that no sidecar cares about.
    """

    objects: tuple[str, ...]
    ms: float | None = None
    proxies: Mapping[str, float] = field(default_factory=dict)
    #: Where the mesh is told in today's kinds: the documents that the rules became, as YAML.
    translation: str = ""
    #: Fields that were stored and that this mesh does not act on, and why.
    unheeded: tuple[str, ...] = ()

    def __str__(self) -> str:
        what = ", ".join(self.objects)
        said, count = tr("{what}: stored", what=what), len(self.proxies)
        if self.ms is not None:
            said = tr("{what}: in force in {count} sidecars after {ms:.1f} ms", what=what, count=count, ms=self.ms)
            if count == 1:
                said = tr("{what}: in force in 1 sidecar after {ms:.1f} ms", what=what, ms=self.ms)
        said = "\n".join((said, *self.unheeded))
        return f"{said}\n{tr('the mesh was told:')}\n{self.translation}" if self.translation else said

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


@dataclass(frozen=True)
class Written:
    """An object that was stored or removed; `plural` is what Pilot calls its kind, "" if it does not care."""

    kind: str
    #: `namespace/name`
    name: str
    revision: int
    plural: str
    #: What is in it that the mesh does not act on.
    unheeded: tuple[str, ...] = ()


class Writer:
    """Creates, replaces and deletes objects, and waits until they are in force."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def apply(self, documents: Iterable[Mapping[str, Any]], *, timeout: float | None = 30.0) -> InForce:
        """Stores each document (mesh rules whole, as `istioctl replace` does; other kinds by server-side apply).

        `timeout` None: nobody waits, and nothing is said about what is in force; `settled` waits for it later.
        """
        return self._settle([self._write(dict(d)) for d in documents], timeout)

    def delete(self, documents: Iterable[Mapping[str, Any]], *, timeout: float | None = 30.0) -> InForce:
        """Deletes each document's object; one that is not there is no error. `timeout` as in `apply`."""
        return self._settle([self._remove(dict(d)) for d in documents], timeout)

    def settled(self, *, timeout: float = 30.0) -> InForce:
        """Waits until every sidecar acknowledged all that is stored by now, whoever wrote it (kubectl, istioctl)."""
        newest: list[Written] = []
        for (group, kind), plural in _everything().items():
            try:
                path = self._access.path(_version(group), kind, "default")
            except ManifestError:
                continue  # the kind comes with the control plane, or with its definition
            path = path.replace("/namespaces/default/", "/", 1)
            reply = self._access.request("GET", path, query={"limit": 1}, check=False)
            if reply.status == 404:
                continue  # announced already, so that one `kubectl apply` is enough, and not there yet
            newest.append(Written(kind, "*", int(reply.json()["metadata"]["resourceVersion"]), plural))
        return self._settle(newest, timeout, ("all that is stored",))

    def _write(self, document: dict[str, Any]) -> Written:
        from .mesh.config.unheeded import warnings

        kind, version, name, namespace = identity(document)
        path = self._access.path(version, kind, namespace, name)
        if version.startswith(MESH_GROUP + "/"):
            check_rule(document)
            found = self._access.find(version, kind, namespace, name)
            document["metadata"] = {**document["metadata"], "namespace": namespace}
            if found is None:
                stored = self._access.request("POST", path.rpartition("/")[0], body=document).json()
            else:
                document["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"]
                stored = self._access.request("PUT", path, body=document).json()
        else:
            headers = {"Content-Type": "application/apply-patch+yaml"}
            query = {"fieldManager": MANAGER, "force": "true"}
            stored = self._access.request("PATCH", path, query=query, body=document, headers=headers).json()
        revision, plural = int(stored["metadata"]["resourceVersion"]), _plural(version, kind)
        return Written(kind, f"{namespace}/{name}", revision, plural, tuple(warnings(document)) if plural else ())

    def _remove(self, document: dict[str, Any]) -> Written:
        kind, version, name, namespace = identity(document)
        path = self._access.path(version, kind, namespace, name)
        try:
            self._access.request("DELETE", path)
        except Rejected as error:
            if error.code != 404:
                raise
        listed = self._access.request("GET", path.rpartition("/")[0], query={"limit": 1}).json()
        return Written(kind, f"{namespace}/{name}", int(listed["metadata"]["resourceVersion"]), _plural(version, kind))

    def _settle(self, written: list[Written], timeout: float | None, called: tuple[str, ...] = ()) -> InForce:
        objects = called or tuple(f"{each.kind} {each.name}" for each in written)
        if timeout is None:
            return InForce(objects)
        newest: dict[str, int] = {}
        for each in written:
            if each.plural:
                newest[each.plural] = max(each.revision, newest.get(each.plural, 0))
        end = time.monotonic() + timeout
        self._mixer(written, end)
        pilot = self._await("pilot", end) if newest else None
        if pilot is None:
            return InForce(objects)
        for each in written:
            if each.kind == "Service" and each.name != "*":
                namespace, _, name = each.name.partition("/")
                revision = renamed(self._access, namespace, name, max(0.1, end - time.monotonic()))
                if revision is not None:
                    newest["endpoints"] = max(revision, newest.get("endpoints", 0))
        left = max(0.1, end - time.monotonic())
        changes = ",".join(f"{plural}@{revision}" for plural, revision in newest.items())
        query = {"changes": changes, "timeout": f"{left:.1f}"}
        query["names"] = ",".join(f"{each.kind}/{each.name}" for each in written if each.plural)
        answer = self._access.pod("istio-system", pilot, 15014, "/debug/inforce", query=query, timeout=left + 5).json()
        if answer.get("rejected"):
            reasons = "; ".join(f"{who}: {reason}" for who, reason in answer["rejected"].items())
            # Pilot names rules that it left out by kind/namespace/name, sidecars by pod.namespace.
            by = "Pilot left it out" if any("/" in who for who in answer["rejected"]) else "a sidecar rejected it"
            raise NotInForce(
                f"{', '.join(objects)}: {by}; what was in force before stays",
                why=reasons,
                then="correct the rule and apply it again",
            )
        if missing := answer.get("missing"):
            raise NotInForce(
                f"{', '.join(objects)}: stored, but it waits for something that is not there",
                why="; ".join(f"{what}: {reason}" for what, reason in missing.items()),
                then="kubectl create secret tls NAME --cert=FILE --key=FILE, and it comes into force by itself",
            )
        if not answer.get("inForce"):
            raise NotInForce(
                f"{', '.join(objects)}: stored, but not acknowledged by every sidecar within {timeout:g} s",
                why=f"acknowledged so far: {sorted(answer.get('proxies') or {})}",
                then="kubectl get pods --all-namespaces",
            )
        unheeded = tuple(f"{each.kind} {each.name}: {text}" for each in written for text in each.unheeded)
        return InForce(
            objects, float(answer.get("ms") or 0.0), dict(answer.get("proxies") or {}), unheeded=unheeded
        )

    def _mixer(self, written: list[Written], end: float) -> None:
        """Waits until Mixer works with what was written for it."""
        newest: dict[str, int] = {}
        for each in written:
            if each.kind in MIXER_PLURALS:
                newest[MIXER_PLURALS[each.kind]] = max(each.revision, newest.get(MIXER_PLURALS[each.kind], 0))
        mixer = self._ready("mixer") if newest else None
        for plural, revision in newest.items() if mixer is not None else ():
            left = max(0.1, end - time.monotonic())
            query = {"kind": plural, "resourceVersion": revision, "timeout": f"{left:.1f}"}
            answer = self._access.pod(
                "istio-system", str(mixer), 9094, "/debug/inforce", query=query, timeout=left + 5
            ).json()
            if not answer.get("inForce"):
                raise NotInForce(
                    f"{', '.join(f'{each.kind} {each.name}' for each in written)}: stored, but Mixer has not taken it",
                    why=f"{plural} of revision {revision} did not reach it in time",
                    then="kubectl -n istio-system logs deployment/istio-mixer -c mixer",
                )

    def _await(self, part: str, end: float) -> str | None:
        """Its ready pod; one that is installed and not ready just now is waited for. None where none is installed."""
        while (pod := self._ready(part)) is None and (left := end - time.monotonic()) > 0:
            found = self._access.find("apps/v1", "Deployment", "istio-system", f"istio-{part}")
            if found is None or found["spec"].get("replicas") == 0:
                return None
            path = self._access.path("v1", "Pod", "istio-system")
            listed = self._access.request("GET", path, query={"labelSelector": f"istio={part}"}).json()
            if any(_is_ready(each) for each in listed["items"]):
                continue
            for _ in self._access.watch(path, listed["metadata"]["resourceVersion"], timeout=left):
                if self._ready(part) is not None or time.monotonic() > end:
                    break
        return pod

    def _ready(self, part: str) -> str | None:
        """The running pod of `pilot` or `mixer`, None where there is none of ours."""
        for pod in self._access.items("v1", "Pod", "istio-system", labelSelector=f"istio={part}"):
            if _is_ready(pod):
                return str(pod["metadata"]["name"])
        return None


def _is_ready(pod: Mapping[str, Any]) -> bool:
    ready = {c["type"]: c["status"] for c in pod.get("status", {}).get("conditions", [])}
    return ready.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def _plural(version: str, kind: str) -> str:
    """What Pilot calls a kind, "" for one that it does not watch."""
    group = version.rpartition("/")[0]
    return _everything().get((group, kind), "") if group in _TODAY else _WATCHED.get((group, kind), "")


def _everything() -> dict[tuple[str, str], str]:
    from .mesh.config.today.kinds import GATEWAY_API, kinds

    found = {key: each for key, each in _WATCHED.items() if key[0] != "extensions"}
    for (group, kind), each in kinds().items():
        # Istio and Kubernetes have a Gateway each.
        found[group, kind] = f"{each.plural}.{group}" if (group, kind) == (GATEWAY_API, "Gateway") else each.plural
    return found


def _version(group: str) -> str:
    from .mesh.config.today.kinds import kinds

    known = {"": "v1", MESH_GROUP: f"{MESH_GROUP}/v1alpha2", "networking.k8s.io": "networking.k8s.io/v1"}
    return known.get(group) or next(each.api_version for (where, _), each in kinds().items() if where == group)


def identity(document: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """kind, apiVersion, name, namespace. Raises `ManifestError` where one is missing."""
    kind, version = document.get("kind"), document.get("apiVersion")
    metadata = document.get("metadata") or {}
    if not kind or not version or not metadata.get("name"):
        raise ManifestError(
            f"a document without {'kind' if not kind else 'apiVersion' if not version else 'metadata.name'}",
            why="every Kubernetes object has apiVersion, kind and metadata.name",
        )
    return str(kind), str(version), str(metadata["name"]), str(metadata.get("namespace") or "default")


def check_rule(document: Mapping[str, Any]) -> None:
    """Refuses what istioctl would refuse. Raises `RuleError`."""
    from .istioctl.validate import problems

    if reasons := problems(document):
        raise RuleError(
            f"{document['kind']} {document['metadata']['name']} is invalid",
            why="; ".join(reasons),
            then="istioctl validate -f FILE",
        )
