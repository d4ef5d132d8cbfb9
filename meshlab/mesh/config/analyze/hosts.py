"""Checks of references: hosts, subsets, gateways and selectors that lead nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from meshlab.mesh.config import model
from meshlab.mesh.config.analyze.messages import Message, message
from meshlab.mesh.config.analyze.scene import Scene, Today
from meshlab.mesh.config.analyze.subject import Path, Subject
from meshlab.mesh.config.labels import Labels
from meshlab.mesh.config.names import resolve_hostname
from meshlab.mesh.config.order import destination_of
from meshlab.mesh.config.routing import MESH
from meshlab.mesh.config.today.kinds import GATEWAY_API, NETWORKING

__all__ = ["missing_gateways", "missing_hosts", "missing_versions", "ports"]


def _missing(about: Subject, what: str, name: str, *path: str | int) -> Message:
    return message("IST0101", about, f'Referenced {what} not found: "{name}"', *path)


def missing_hosts(scene: Scene) -> Iterator[Message]:
    """Rules for services that do not exist."""
    for each in scene.legacy:
        spec, meta = each.config.spec, each.config.meta
        if isinstance(spec, model.EgressRule):
            continue
        places: list[tuple[model.IstioService | None, Path]] = [(getattr(spec, "destination", None), ("destination",))]
        if isinstance(spec, model.RouteRule):
            places.append((spec.mirror, ("mirror",)))
            places += [(entry.destination, ("route", n, "destination")) for n, entry in enumerate(spec.route or ())]
            places.append((spec.match.source if spec.match else None, ("match", "source")))
        elif isinstance(spec, model.DestinationPolicy):
            places.append((spec.source, ("source",)))
        for service, path in places:
            host = resolve_hostname(meta, service) if service is not None else ""
            if host and not scene.knows(host):
                yield _missing(each.subject, "host", host, "spec", *path)
    for today in scene.today:
        for host, path in _hosts(today):
            if not scene.knows(host):
                yield _missing(today.subject, "host", host, "spec", *path)


def _hosts(today: Today) -> Iterator[tuple[str, Path]]:
    """Hosts that an object sends requests to or is about, whole, with the places where they stand."""
    stored = today.stored
    if stored.kind == "DestinationRule":
        if "*" not in stored.spec["host"]:
            yield stored.host(stored.spec["host"]), ("host",)
    elif stored.kind == "VirtualService":
        for destination, path in _destinations(stored.spec):
            yield stored.host(destination["host"]), (*path, "host")
    elif stored.kind == "HTTPRoute":
        for number, rule in enumerate(stored.spec.get("rules") or ()):
            for position, each in enumerate(rule.get("backendRefs") or ()):
                if (each.get("kind") or "Service") == "Service":
                    namespace = each.get("namespace") or stored.namespace
                    host = f"{each['name']}.{namespace}.svc.{stored.domain}"
                    yield host, ("rules", number, "backendRefs", position, "name")


def _destinations(spec: Any) -> Iterator[tuple[Any, Path]]:
    for kind in ("http", "tls", "tcp"):
        for number, block in enumerate(spec.get(kind) or ()):
            for position, each in enumerate(block.get("route") or ()):
                yield each["destination"], (kind, number, "route", position, "destination")
            if block.get("mirror"):
                yield block["mirror"], (kind, number, "mirror")
            for position, each in enumerate(block.get("mirrors") or ()):
                yield each["destination"], (kind, number, "mirrors", position, "destination")


def missing_versions(scene: Scene) -> Iterator[Message]:
    """Versions without pods, and subsets that no destination rule has."""
    for each in scene.rules("route-rule"):
        host = destination_of(each.config)
        for number, entry in enumerate(each.config.spec.route or ()):
            place = host if entry.destination is None else resolve_hostname(each.config.meta, entry.destination)
            if _empty(scene, place, entry.labels):
                text = f"The version {entry.labels} of {place} does not select any pods: requests for it end in 503."
                yield message("IST0173", each.subject, text, "spec", "route", number, "labels")
    known: dict[str, set[str]] = {}
    for rule in scene.objects("DestinationRule"):
        host = rule.stored.host(rule.stored.spec["host"])
        for number, subset in enumerate(rule.stored.spec.get("subsets") or ()):
            known.setdefault(host, set()).add(subset["name"])
            labels = Labels({str(k): str(v) for k, v in (subset.get("labels") or {}).items()})
            if _empty(scene, host, labels):
                text = f"The Subset {subset['name']} defined in the DestinationRule does not select any pods."
                yield message("IST0173", rule.subject, text, "spec", "subsets", number)
    for service in scene.objects("VirtualService"):
        for destination, path in _destinations(service.stored.spec):
            host, subset = service.stored.host(destination["host"]), destination.get("subset")
            if subset and scene.knows(host) and subset not in known.get(host, set()):
                name = f"{destination['host']}+{subset}"
                yield _missing(service.subject, "host+subset in destinationrule", name, "spec", *path, "subset")


def _empty(scene: Scene, host: str, labels: Labels) -> bool:
    """Whether a version of a known service with known pods has none of them."""
    if not labels or host not in scene.services or not scene.workloads:
        return False
    return not any(labels.subset_of(each.labels) for each in scene.pods(host))


def missing_gateways(scene: Scene) -> Iterator[Message]:
    """Routes bound to gateways or left to delegates that do not exist; destinations whose port is ambiguous."""
    ours = {f"{each.stored.namespace}/{each.stored.name}" for each in scene.objects("Gateway", NETWORKING)}
    theirs = {f"{each.stored.namespace}/{each.stored.name}" for each in scene.objects("Gateway", GATEWAY_API)}
    delegates = {
        f"{each.stored.namespace}/{each.stored.name}" for each in scene.objects("VirtualService")
        if not each.stored.spec.get("hosts")
    }
    for each in scene.objects("VirtualService"):
        for number, name in enumerate(each.stored.gateways(each.stored.spec.get("gateways"))):
            if name != MESH and name not in ours:
                yield _missing(each.subject, "gateway", name, "spec", "gateways", number)
        for number, block in enumerate(each.stored.spec.get("http") or ()):
            if delegate := block.get("delegate"):
                name = f"{delegate.get('namespace') or each.stored.namespace}/{delegate.get('name')}"
                if name not in delegates:
                    yield _missing(each.subject, "delegate virtual service", name, "spec", "http", number, "delegate")
        for destination, path in _destinations(each.stored.spec):
            known = scene.services.get(each.stored.host(destination["host"]))
            numbers = [port.number for port in known.service.ports] if known else []
            if len(numbers) > 1 and not destination.get("port"):
                listed = " ".join(map(str, numbers))
                text = (
                    f'This VirtualService routes to a service "{destination["host"]}" that exposes multiple ports '
                    f"[{listed}]. Specifying a port in the destination is required to disambiguate."
                )
                yield message("IST0112", each.subject, text, "spec", *path)
    for each in scene.objects("HTTPRoute"):
        for number, parent in enumerate(each.stored.spec.get("parentRefs") or ()):
            name = f"{parent.get('namespace') or each.stored.namespace}/{parent['name']}"
            if (parent.get("kind") or "Gateway") == "Gateway" and name not in theirs:
                yield _missing(each.subject, "gateway", name, "spec", "parentRefs", number)


def ports(scene: Scene) -> Iterator[Message]:
    """Ports whose name says no protocol: the mesh takes them for TCP, and no rule about requests has an effect."""
    ruled: dict[str, list[str]] = {}
    for each in scene.rules("route-rule"):
        ruled.setdefault(destination_of(each.config), []).append(f"RouteRule {each.config.meta.name}")
    for today in scene.objects("VirtualService"):
        for host in today.value.hosts if today.stored.spec.get("http") else ():
            ruled.setdefault(host, []).append(f"VirtualService {today.stored.name}")
    prefixes = ("http", "http2", "grpc", "https", "mongo", "redis", "tcp", "udp", "tls", "mysql")
    for host, known in scene.services.items():
        if known.subject.namespace in ("istio-system", "kube-system") or host.startswith("kubernetes.default."):
            continue
        for number, port in enumerate(known.subject.spec.get("ports") or ()):
            name = str(port.get("name") or "")
            if name.split("-", 1)[0].lower() in prefixes or port.get("protocol") == "UDP" or port.get("appProtocol"):
                continue
            target = port.get("targetPort") or port.get("port")
            text = (
                f"Port name {name} (port: {port.get('port')}, targetPort: {target}) doesn't follow the naming "
                "convention of Istio port. It is taken for TCP: requests are not routed one by one."
            )
            if rules := ruled.get(host):
                text += f" {', '.join(rules)} cannot have any effect; name the port http."
            yield message("IST0118", known.subject, text, "spec", "ports", number)
