"""Checks of who is meant: selectors that choose no pods, or the same ones twice, and namespaces that are not there."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from meshlab.mesh.config.analyze.messages import Message, message
from meshlab.mesh.config.analyze.scene import Scene, Today, Workload
from meshlab.mesh.config.analyze.subject import Path, Subject
from meshlab.mesh.config.labels import Labels
from meshlab.mesh.config.outside import MeshGateway
from meshlab.mesh.config.today.kinds import NETWORKING

__all__ = ["missing_namespaces", "several_without", "twice", "without_pods"]

#: What is said in this namespace holds for the whole mesh.
ROOT_NAMESPACE = "istio-system"
#: Kinds of which one pod can have only one: kind, plural, codes of two that choose the same pod, and of two for all.
ALONE = (("Sidecar", "Sidecars", "IST0110", "IST0111"), ("Telemetry", "Telemetries", "IST0159", "IST0160"))


def _wanted(each: Today) -> tuple[Labels, Path]:
    """The labels that an object selects by, and where it says so."""
    spec, path = each.stored.spec, ("spec", "selector")
    if each.stored.kind == "Gateway" and each.stored.group == NETWORKING:
        labels = spec.get("selector") or {}
    elif each.stored.kind == "Sidecar":
        labels, path = (spec.get("workloadSelector") or {}).get("labels") or {}, ("spec", "workloadSelector")
    else:
        labels = (spec.get("selector") or {}).get("matchLabels") or {}
    return Labels({str(k): str(v) for k, v in labels.items()}), path


def _chosen(scene: Scene, each: Today, wanted: Labels) -> list[Workload]:
    if isinstance(each.value, MeshGateway):
        return [pods for pods in scene.workloads if each.value.chooses(pods.labels)]
    own = each.stored.namespace
    return [w for w in scene.workloads if own in (w.namespace, ROOT_NAMESPACE) and wanted.subset_of(w.labels)]


def without_pods(scene: Scene) -> Iterator[Message]:
    """Selectors that choose no pods, and policies for a namespace without any."""
    if not scene.workloads:
        return
    for each in scene.today:
        wanted, path = _wanted(each)
        kind = each.stored.kind
        if (not wanted and kind != "AuthorizationPolicy") or _chosen(scene, each, wanted):
            continue
        if kind in ("Gateway", "Sidecar", "Telemetry"):
            yield message("IST0101", each.subject, f'Referenced selector not found: "{wanted}"', *path)
        else:
            text = f"No matching workloads for this resource with the following labels: {wanted}"
            yield message("IST0127", each.subject, text, *path)


def twice(scene: Scene) -> Iterator[Message]:
    """Objects that choose the same pod, of a kind of which it can have only one."""
    for kind, plural, code, _ in ALONE:
        chosen: dict[Workload, list[Today]] = {}
        for each in scene.objects(kind):
            wanted, _ = _wanted(each)
            for pods in _chosen(scene, each, wanted) if wanted else ():
                chosen.setdefault(pods, []).append(each)
        told = set[Subject]()
        for pods, listed in chosen.items():
            names = " ".join(sorted(each.stored.name for each in listed))
            for each in listed if len(listed) > 1 else ():
                if each.subject not in told:
                    told.add(each.subject)
                    text = (
                        f'The {plural} [{names}] in namespace "{each.stored.namespace}" select the same workload pod '
                        f'"{pods.namespace}/{pods.subject.name}", which can lead to undefined behavior.'
                    )
                    yield message(code, each.subject, text, *_wanted(each)[1])


def several_without(scene: Scene) -> Iterator[Message]:
    """The same kinds without a selector, of which a namespace can have only one for all its pods."""
    for kind, plural, _, code in ALONE:
        whole: dict[str, list[Subject]] = {}
        for each in scene.objects(kind):
            if not _wanted(each)[0]:
                whole.setdefault(each.stored.namespace, []).append(each.subject)
        for namespace, listed in whole.items():
            names = " ".join(sorted(each.name for each in listed))
            text = (
                f'The {plural} [{names}] in namespace "{namespace}" have no workload selector, which can lead to '
                "undefined behavior."
            )
            for about in listed if len(listed) > 1 else ():
                yield message(code, about, text)


def missing_namespaces(scene: Scene) -> Iterator[Message]:
    """Policies that allow or refuse callers of a namespace that is not there."""
    if not scene.namespaces:
        return
    for each in scene.objects("AuthorizationPolicy"):
        for number, rule in enumerate(each.stored.spec.get("rules") or ()):
            for position, source in enumerate(rule.get("from") or ()):
                for part in ("namespaces", "notNamespaces"):
                    for place, name in enumerate((source.get("source") or {}).get(part) or ()):
                        if not any(fnmatchcase(known, name) for known in scene.namespaces):
                            path: Path = ("spec", "rules", number, "from", position, "source", part, place)
                            text = f'Referenced namespace not found: "{name}"'
                            yield message("IST0101", each.subject, text, *path)
