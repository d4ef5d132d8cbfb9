"""What became of Ingresses, Gateways and HTTPRoutes, as their own status says it. Pure.

An Ingress gets the address under which it is served. Objects of Kubernetes' Gateway API get conditions:

    GatewayClass    Accepted
    Gateway         Accepted, Programmed; for each listener Accepted, Programmed, ResolvedRefs, and how many routes
    HTTPRoute       for each Gateway that it names: Accepted, ResolvedRefs
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from meshlab.mesh.config.grants import refused_references
from meshlab.mesh.config.outside import MeshGateway
from meshlab.mesh.config.today.kubernetes_routes import CONTROLLER, HOSTNAME
from meshlab.mesh.config.today.stored import Stored
from meshlab.mesh.pilot.gateways import intersection, server_problem
from meshlab.mesh.pilot.world import World

__all__ = ["Wanted", "address_of", "gateway_status", "ingress_status", "merged", "route_status"]

Fields = dict[str, Any]
#: The API's word for what no ReferenceGrant allows.
NOT_PERMITTED = "RefNotPermitted"


@dataclass(frozen=True)
class Wanted:
    """The status that an object should have."""

    #: apiVersion, plural, namespace, name
    target: tuple[str, str, str, str]
    status: Fields


def address_of(world: World) -> str:
    """Where the ingress proxy is reached from outside; "" where there is none."""
    name = world.mesh.ingress_service or "istio-ingress"
    host = f"{name}.istio-system.svc.{world.mesh.domain}" if "." not in name else name
    service = world.service(host)
    return service.address if service is not None else ""


def ingress_status(world: World) -> Fields:
    """The address of the ingress' service."""
    address = address_of(world)
    return {"loadBalancer": {"ingress": [{"ip": address}]} if address else {}}


def _condition(kind: str, problem: str, reason: str, good: str) -> Fields:
    return {
        "type": kind, "status": "False" if problem else "True", "reason": reason if problem else good,
        "message": problem,
    }


def gateway_status(world: World, stored: Stored, gateway: MeshGateway, routes: Iterable[Stored]) -> Fields:
    """Of a Gateway of our class, with the routes that name it."""
    bound = [each for each in routes if gateway.name in _gateways(each)]
    listeners, trouble = [], []
    for server in gateway.servers:
        problem = server_problem(world, gateway, server)
        protocol = server.protocol.upper() not in ("HTTP", "HTTPS", "TLS", "TCP")
        refused = f"protocol {server.protocol} is not served" if protocol else ""
        unresolved = NOT_PERMITTED if server.refused else "InvalidCertificateRef"
        attached = sum(1 for each in bound if _fits(world, each, gateway, server.name))
        if problem or refused:
            trouble.append(f"listener {server.name}: {refused or problem}")
        listeners.append({
            "name": server.name,
            "supportedKinds": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute"}],
            "attachedRoutes": attached,
            "conditions": [
                _condition("Accepted", refused, "UnsupportedProtocol", "Accepted"),
                _condition("Programmed", refused or problem, "Invalid", "Programmed"),
                _condition("ResolvedRefs", problem, unresolved, "ResolvedRefs"),
            ],
        })
    address = address_of(world)
    nowhere = "" if address else "there is no service istio-ingress, nobody serves this Gateway"
    whole = nowhere or ("; ".join(trouble) if len(trouble) == len(gateway.servers) else "")
    return {
        "addresses": [{"type": "IPAddress", "value": address}] if address else [],
        "conditions": [
            _condition("Accepted", "", "", "Accepted"),
            _condition("Programmed", whole, "AddressNotAssigned" if nowhere else "Invalid", "Programmed"),
        ],
        "listeners": listeners,
    }


def route_status(world: World, stored: Stored, gateways: Mapping[str, MeshGateway]) -> Fields:
    """Of an HTTPRoute, for each parent of ours; parents that are others' are others' to speak of."""
    parents = []
    unresolved, reason = _unresolved(world, stored)
    for reference in stored.spec.get("parentRefs") or ():
        if (reference.get("kind") or "Gateway") != "Gateway":
            problem, why = "", ""
        else:
            name = f"{reference.get('namespace') or stored.namespace}/{reference['name']}"
            gateway = gateways.get(name)
            if gateway is None:
                continue
            problem, why = _not_attached(world, stored, gateway, reference.get("sectionName") or "")
        parents.append({
            "parentRef": dict(reference), "controllerName": CONTROLLER,
            "conditions": [
                _condition("Accepted", problem, why, "Accepted"),
                _condition("ResolvedRefs", unresolved, reason, "ResolvedRefs"),
            ],
        })
    return {"parents": parents}


def _gateways(stored: Stored) -> set[str]:
    return {
        f"{each.get('namespace') or stored.namespace}/{each['name']}"
        for each in stored.spec.get("parentRefs") or () if (each.get("kind") or "Gateway") == "Gateway"
    }


def _fits(world: World, stored: Stored, gateway: MeshGateway, section: str) -> bool:
    named = [
        each.get("sectionName") or "" for each in stored.spec.get("parentRefs") or ()
        if f"{each.get('namespace') or stored.namespace}/{each['name']}" == gateway.name
    ]
    return any(each in ("", section) and not _not_attached(world, stored, gateway, section)[0] for each in named)


def _not_attached(world: World, stored: Stored, gateway: MeshGateway, section: str) -> tuple[str, str]:
    """Why a route is not taken by a Gateway (or one listener of it), and the API's word for it."""
    servers = [each for each in gateway.servers if section in ("", each.name)]
    if not servers:
        return f"the Gateway has no listener {section}", "NoMatchingParent"
    allowed = [host for each in servers for host in each.hosts_for(stored.namespace, world.namespaces)]
    if not allowed:
        return "no listener allows routes of this namespace", "NotAllowedByListeners"
    hosts = stored.spec.get("hostnames") or ("*",)
    if not any(intersection(one, other) for one in hosts for other in allowed):
        return f"no listener takes any of {', '.join(hosts)}", "NoMatchingListenerHostname"
    return "", ""


def _unresolved(world: World, stored: Stored) -> tuple[str, str]:
    """The first backend that is not there, and the API's word for that."""
    for refused in sorted(refused_references(stored, world.grants)):
        return refused.refusal, NOT_PERMITTED
    for reference in _backends(stored):
        kind = reference.get("kind") or "Service"
        if (kind, reference.get("group") or "") == HOSTNAME:
            continue
        if kind != "Service" or reference.get("group"):
            return f"a backend of kind {kind} is not served", "InvalidKind"
        namespace = reference.get("namespace") or stored.namespace
        host = f"{reference['name']}.{namespace}.svc.{stored.domain}"
        service = world.service(host)
        if service is None:
            return f"there is no service {reference['name']} in namespace {namespace}", "BackendNotFound"
        if not reference.get("port") or service.port(int(reference["port"])) is None:
            return f"service {reference['name']} has no port {reference.get('port') or ''}".rstrip(), "BackendNotFound"
    return "", ""


def _backends(stored: Stored) -> Iterator[Mapping[str, Any]]:
    for rule in stored.spec.get("rules") or ():
        yield from rule.get("backendRefs") or ()
        for each in rule.get("filters") or ():
            if mirror := each.get("requestMirror"):
                yield mirror["backendRef"]


def merged(before: Mapping[str, Any], wanted: Fields, generation: int, now: str) -> Fields:
    """The status to write: conditions that say what they said keep the time since when they do."""
    found: Fields = _timed(before, wanted, generation, now)
    others = [
        each for each in before.get("parents") or () if each.get("controllerName") != CONTROLLER
    ]
    if "parents" in found:
        found["parents"] = [*others, *found["parents"]]
    return found


def _timed(before: Any, wanted: Any, generation: int, now: str) -> Any:
    if isinstance(wanted, dict):
        known = before if isinstance(before, Mapping) else {}
        found = {name: _timed(known.get(name), value, generation, now) for name, value in wanted.items()}
        if "conditions" in wanted:
            found["conditions"] = _conditions(known.get("conditions") or (), wanted["conditions"], generation, now)
        return found
    if isinstance(wanted, list):
        old = before if isinstance(before, list) else []
        return [_timed(_like(old, each), each, generation, now) for each in wanted]
    return wanted


def _like(listed: list[Any], wanted: Any) -> Any:
    """The earlier entry that speaks of the same listener or parent."""
    if not isinstance(wanted, dict):
        return None
    for name in ("name", "parentRef"):
        if name in wanted:
            return next((each for each in listed if isinstance(each, dict) and each.get(name) == wanted[name]), None)
    return None


def _conditions(before: Iterable[Any], wanted: list[Fields], generation: int, now: str) -> list[Fields]:
    known = {each.get("type"): each for each in before if isinstance(each, Mapping)}
    found = []
    for each in wanted:
        old = known.get(each["type"]) or {}
        same = old.get("status") == each["status"] and old.get("lastTransitionTime")
        found.append({
            **each, "observedGeneration": generation, "lastTransitionTime": old["lastTransitionTime"] if same else now,
        })
    return found
