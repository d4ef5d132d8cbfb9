"""All checks over all objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from meshlab.mesh.config.analyze import connections, edge, hosts, routes, selectors, sidecars
from meshlab.mesh.config.analyze.messages import Level, Message, broken, message
from meshlab.mesh.config.analyze.scene import Scene, build
from meshlab.mesh.config.analyze.subject import Broken, Subject
from meshlab.mesh.config.kinds import camel
from meshlab.mesh.config.unheeded import unheeded

__all__ = ["CHECKS", "analyze"]

Check = Callable[[Scene], Iterator[Message]]


def invalid(scene: Scene) -> Iterator[Message]:
    """Objects that the mesh refuses."""
    for each in scene.invalid:
        for reason in each.reasons:
            text = f"Schema validation error: {reason}"
            yield message("IST0106", each.subject, text, place=each.subject.place_of(reason))


def tcp_entries(scene: Scene) -> Iterator[Message]:
    """Service entries for TCP without an address: any connection to that port number is taken for theirs."""
    for each in scene.objects("ServiceEntry"):
        if each.stored.spec.get("addresses") or each.stored.spec.get("location") == "MESH_INTERNAL":
            continue
        for number, port in enumerate(each.stored.spec.get("ports") or ()):
            if (port.get("protocol") or "TCP").upper() in ("TCP", "MONGO", "REDIS", "MYSQL"):
                text = "ServiceEntry addresses are required for this protocol."
                yield message("IST0134", each.subject, text, "spec", "ports", number)


def without_effect(scene: Scene) -> Iterator[Message]:
    """Fields that are stored, and that nothing in this lab acts on."""
    listed = [(each.subject, each.subject.kind) for each in scene.today]
    listed += [(each.subject, camel(each.config.meta.type)) for each in scene.legacy]
    for subject, kind in listed:
        for place, why in unheeded(subject.group, kind, subject.spec):
            name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)[1:]
            yield message("ML0005", subject, f"{name} has no effect in this lab: {why}", "spec", *place)


CHECKS: tuple[Check, ...] = (
    invalid,
    hosts.missing_hosts,
    hosts.missing_versions,
    hosts.missing_gateways,
    selectors.without_pods,
    selectors.twice,
    hosts.ports,
    edge.credentials,
    edge.backends,
    routes.unreachable,
    connections.unreachable,
    routes.hidden_versions,
    routes.conflicts,
    routes.host_conflicts,
    routes.idle_policies,
    selectors.several_without,
    selectors.missing_namespaces,
    tcp_entries,
    sidecars.missing,
    sidecars.conflicts,
    without_effect,
)


def analyze(
    subjects: Iterable[Subject | Broken], domain: str = "cluster.local", *, namespace: str = ""
) -> list[Message]:
    """Findings, the worst first. `namespace`: only about objects of that namespace; "" for all."""
    listed = list(subjects)
    found = [broken(each) for each in listed if isinstance(each, Broken)]
    scene = build((each for each in listed if isinstance(each, Subject)), domain)
    for check in CHECKS:
        found += [each for each in check(scene) if namespace in ("", each.namespace)]
    weight = list(Level)
    return sorted(
        dict.fromkeys(found), key=lambda m: (-weight.index(m.level), m.code, *_line(m.place), m.namespace, m.name)
    )


def _line(place: str) -> tuple[str, int]:
    """File and line, which sorts as a number."""
    file, _, line = place.rpartition(":")
    return file, int(line) if line.isdigit() else 0
