"""Everything under analysis, indexed: services, workloads, hosts, and the rules of both generations as values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from meshlab.errors import RuleError
from meshlab.mesh.config import model
from meshlab.mesh.config.analyze.subject import Subject
from meshlab.mesh.config.kinds import GROUP as LEGACY_GROUP
from meshlab.mesh.config.kinds import hyphenated, kind_of_type
from meshlab.mesh.config.labels import Labels
from meshlab.mesh.config.services import Service, service_from_kubernetes
from meshlab.mesh.config.today.kinds import GATEWAY_API, kind_of
from meshlab.mesh.config.today.stored import Stored, texts
from meshlab.mesh.config.today.translate import translate
from meshlab.mesh.config.today.validate import problems
from meshlab.mesh.config.v1alpha2 import config_from_object
from meshlab.mesh.config.validate import validate

__all__ = ["Invalid", "Legacy", "Scene", "Today", "Workload", "build"]

_TEMPLATES = ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "ReplicationController")


@dataclass(frozen=True)
class Workload:
    """Pods: one, or those that a template makes (`count`, as far as it is known)."""

    namespace: str
    labels: Labels
    count: int
    subject: Subject


@dataclass(frozen=True)
class Known:
    """A service and the pods that it chooses."""

    service: Service
    selector: Labels
    subject: Subject


@dataclass(frozen=True)
class Legacy:
    """A valid rule of v1alpha2."""

    config: model.Config[Any]
    subject: Subject


@dataclass(frozen=True)
class Today:
    """A valid object of today's API, and what it means in the model."""

    stored: Stored
    value: Any
    subject: Subject


@dataclass(frozen=True)
class Invalid:
    subject: Subject
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Scene:
    services: Mapping[str, Known] = field(default_factory=dict)
    workloads: tuple[Workload, ...] = ()
    legacy: tuple[Legacy, ...] = ()
    today: tuple[Today, ...] = ()
    invalid: tuple[Invalid, ...] = ()
    #: Hosts outside the mesh: names, addresses, wildcards.
    external: frozenset[str] = frozenset()
    domain: str = "cluster.local"
    #: Labels of namespaces.
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    ingresses: tuple[Subject, ...] = ()
    #: `namespace/name`; None where nobody can tell which there are.
    secrets: frozenset[str] | None = None

    def rules(self, type_name: str) -> list[Legacy]:
        """Rules of v1alpha2 by hyphenated type."""
        return [each for each in self.legacy if each.config.meta.type == type_name]

    def objects(self, kind: str, group: str = "") -> list[Today]:
        return [each for each in self.today if each.stored.kind == kind and group in ("", each.stored.group)]

    def knows(self, host: str) -> bool:
        """Whether a host is a service's or outside the mesh by some rule. Without any service nobody can tell."""
        if host in self.services or not self.services or host in self.external:
            return True
        return any(each.startswith("*") and host.endswith(each[1:]) for each in self.external)

    def pods(self, host: str) -> list[Workload]:
        """The workloads behind a service."""
        known = self.services.get(host)
        if known is None or not known.selector:
            return []
        where = known.subject.namespace
        return [each for each in self.workloads if each.namespace == where and known.selector.subset_of(each.labels)]


def build(subjects: Iterable[Subject], domain: str = "cluster.local") -> Scene:
    """An object of a file stands for the one of the same name in the lab."""
    chosen: dict[tuple[str, str, str, str], Subject] = {}
    for each in subjects:
        if each.identity not in chosen or each.file:
            chosen[each.identity] = each
    services: dict[str, Known] = {}
    workloads: list[Workload] = []
    legacy: list[Legacy] = []
    today: list[Today] = []
    invalid: list[Invalid] = []
    ingresses = tuple(each for each in chosen.values() if each.kind == "Ingress")
    secrets = frozenset(f"{each.namespace}/{each.name}" for each in chosen.values() if each.kind == "Secret")
    for each in chosen.values():
        if each.kind == "Service" and not each.group:
            _service(each, services, domain)
        elif found := _workload(each):
            workloads.append(found)
        elif each.group == LEGACY_GROUP and kind_of_type(hyphenated(each.kind)) is not None:
            _legacy(each, legacy, invalid, domain)
        elif kind_of(each.obj) is not None:
            _today(each, today, invalid, domain)
    owned = _without_owned(workloads)
    spaces = {
        each.name: (each.obj.get("metadata") or {}).get("labels") or {}
        for each in chosen.values() if each.kind == "Namespace" and not each.group
    }
    external = _external(legacy, today)
    return Scene(
        services, owned, tuple(legacy), tuple(today), tuple(invalid), external, domain, spaces, ingresses,
        secrets or None,
    )  # fmt: skip


def _service(each: Subject, services: dict[str, Known], domain: str) -> None:
    meta = {**(each.obj.get("metadata") or {}), "namespace": each.namespace}
    try:
        service = service_from_kubernetes({**each.obj, "metadata": meta}, domain)
    except (KeyError, TypeError, ValueError):
        return  # the API server refuses it with a better reason than ours
    selector = {str(key): str(value) for key, value in (each.spec.get("selector") or {}).items()}
    services[service.hostname] = Known(service, Labels(selector), each)


def _workload(each: Subject) -> Workload | None:
    if each.kind == "Pod" and not each.group:
        phase = (each.obj.get("status") or {}).get("phase")
        labels = (each.obj.get("metadata") or {}).get("labels") or {}
        return None if phase in ("Succeeded", "Failed") else Workload(each.namespace, _labels(labels), 1, each)
    if each.kind not in _TEMPLATES:
        return None
    template = each.spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    replicas = each.spec.get("replicas")
    count = 1 if replicas is None else int(replicas)
    return Workload(each.namespace, _labels(labels), count, each) if count else None


def _labels(labels: Mapping[str, Any]) -> Labels:
    return Labels({str(key): str(value) for key, value in labels.items()})


def _without_owned(workloads: Iterable[Workload]) -> tuple[Workload, ...]:
    """Without pods and replica sets whose owner is there: they would count twice."""
    listed = tuple(workloads)
    there = {(each.subject.kind, each.namespace, each.subject.name) for each in listed}

    def owned(each: Workload) -> bool:
        owners = (each.subject.obj.get("metadata") or {}).get("ownerReferences") or ()
        return any((owner.get("kind"), each.namespace, owner.get("name")) in there for owner in owners)

    return tuple(each for each in listed if not owned(each))


def _legacy(each: Subject, legacy: list[Legacy], invalid: list[Invalid], domain: str) -> None:
    meta = {**(each.obj.get("metadata") or {}), "namespace": each.namespace}
    try:
        config = config_from_object({**each.obj, "metadata": meta}, domain)
        reasons = validate(config.meta.type, config.spec)
    except (RuleError, ValueError, TypeError, AttributeError) as error:
        reasons = [getattr(error, "seen", "") or str(error)]
    if reasons:
        invalid.append(Invalid(each, tuple(reasons)))
    else:
        legacy.append(Legacy(config, each))


def _today(each: Subject, today: list[Today], invalid: list[Invalid], domain: str) -> None:
    if reasons := problems(each.obj):
        invalid.append(Invalid(each, tuple(reasons)))
        return
    stored = Stored.of(each.obj, domain)
    value = None if stored.kind == "GatewayClass" else translate(stored)
    today.append(Today(stored, value, each))


def _external(legacy: Iterable[Legacy], today: Iterable[Today]) -> frozenset[str]:
    found = set[str]()
    for rule in legacy:
        if isinstance(rule.config.spec, model.EgressRule) and rule.config.spec.destination is not None:
            found.add(rule.config.spec.destination.service)
    for each in today:
        if each.stored.kind == "ServiceEntry":
            found.update(texts(each.stored.spec.get("hosts")))
            found.update(texts(each.stored.spec.get("addresses")))
        elif each.stored.kind == "Gateway" and each.stored.group != GATEWAY_API:
            continue
    return frozenset(found)
