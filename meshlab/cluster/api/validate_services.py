"""Rules of services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from meshlab.cluster.api import formats
from meshlab.cluster.api.causes import Cause, duplicate, forbidden, go_struct, invalid, required, unsupported
from meshlab.cluster.api.validate_container import PROTOCOLS, port_or_name
from meshlab.cluster.api.validate_meta import labels

__all__ = ["service", "service_status"]

Object = Mapping[str, Any]
SERVICE_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
#: A client stays with its pod at most a day.
AFFINITY_LIMIT = 86400
#: Fields that only services with a load balancer have.
BALANCED = ("allocateLoadBalancerNodePorts", "loadBalancerClass")
DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
ONLY_BALANCED = "may only be used when `type` is 'LoadBalancer'"


def service(obj: Object, old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    kind, address, ports = spec.get("type"), spec.get("clusterIP") or "", spec.get("ports") or ()
    causes: list[Cause] = []
    if old is not None:
        causes += _address_update(spec, old.get("spec") or {})
    if not ports and address != "None" and kind != "ExternalName":
        causes.append(required("spec.ports"))
    if kind in ("LoadBalancer", "NodePort") and address == "None":
        causes.append(invalid("spec.clusterIPs[0]", address, f"may not be set to 'None' for {kind} services"))
    if kind == "ExternalName":
        causes += _external_name(spec, address)
    causes += _service_ports(ports)
    if spec.get("selector"):
        causes += labels("spec.selector", spec["selector"])
    causes += _affinity(spec)
    if address not in ("", "None") and kind != "ExternalName":
        causes += [invalid("spec.clusterIPs[0]", address, why) for why in formats.ip(address)]
    for i, external in enumerate(spec.get("externalIPs") or ()):
        causes += [invalid(f"spec.externalIPs[{i}]", external, why) for why in formats.ip(external)]
    if not kind:
        causes.append(required("spec.type"))
    elif kind not in SERVICE_TYPES:
        causes.append(unsupported("spec.type", kind, SERVICE_TYPES))
    causes += _port_collisions(kind or "", ports) + _balancer(spec, kind or "")
    return causes + _traffic_policies(spec, kind or "")


def service_status(obj: Object) -> list[Cause]:
    """What a load balancer says of itself."""
    path, causes = "status.loadBalancer.ingress", list[Cause]()
    points = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    if points and (obj.get("spec") or {}).get("type") != "LoadBalancer":
        causes.append(forbidden(path, 'may only be used when `spec.type` is "LoadBalancer"'))
    for i, point in enumerate(points):
        here, name = f"{path}[{i}]", point.get("hostname") or ""
        if address := point.get("ip"):
            causes += [invalid(f"{here}.ip", address, why) for why in formats.ip(address)]
        if (mode := point.get("ipMode")) is not None:
            if not address:
                causes.append(forbidden(f"{here}.ipMode", "may not be specified when `ip` is not set"))
            elif mode not in ("Proxy", "VIP"):
                causes.append(unsupported(f"{here}.ipMode", mode, ("Proxy", "VIP")))
        if name:
            causes += [invalid(f"{here}.hostname", name, why) for why in formats.dns_subdomain(name)]
    return causes


def _balancer(spec: Object, kind: str) -> list[Cause]:
    """What only some services have: a load balancer's fields, a port for asking about health."""
    causes: list[Cause] = []
    if ranges := spec.get("loadBalancerSourceRanges"):
        path = "spec.LoadBalancerSourceRanges"
        if kind != "LoadBalancer":
            causes.append(forbidden(path, ONLY_BALANCED))
        causes += [invalid(f"{path}[{i}]", each.strip(), why)
                   for i, each in enumerate(ranges) for why in formats.network(each.strip())]  # fmt: skip
    if kind != "LoadBalancer":
        causes += [forbidden(f"spec.{key}", ONLY_BALANCED) for key in BALANCED if spec.get(key) is not None]
    elif (name := spec.get("loadBalancerClass")) is not None:
        causes += [invalid("spec.loadBalancerClass", name, why) for why in formats.label_key(name)]
    port = spec.get("healthCheckNodePort")
    if port and not (kind == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"):
        why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        causes.append(invalid("spec.healthCheckNodePort", port, why))
    return causes


def _address_update(spec: Object, before: Object) -> list[Cause]:
    if "ExternalName" in (spec.get("type"), before.get("type")) or not before.get("clusterIP"):
        return []
    if spec.get("clusterIP") == before["clusterIP"]:
        return []
    why = "may not change once set"
    # What a client that merges sends is the first of the addresses; both are named.
    return [invalid("spec.clusterIPs[0]", [spec.get("clusterIP")], why)]


def _external_name(spec: Object, address: str) -> list[Cause]:
    causes: list[Cause] = []
    if address:
        causes.append(forbidden("spec.clusterIPs", "may not be set for ExternalName services"))
    name = (spec.get("externalName") or "").removesuffix(".")
    if not name:
        return [*causes, required("spec.externalName")]
    return causes + [invalid("spec.externalName", name, why) for why in formats.dns_subdomain(name)]


def _service_ports(ports: Sequence[Object]) -> list[Cause]:
    causes: list[Cause] = []
    names: set[str] = set()
    for i, port in enumerate(ports):
        path, name = f"spec.ports[{i}]", port.get("name") or ""
        if not name and len(ports) > 1:
            causes.append(required(f"{path}.name"))
        elif name:
            causes += [invalid(f"{path}.name", name, why) for why in formats.dns_label(name)]
            if name in names:
                causes.append(duplicate(f"{path}.name", name))
            names.add(name)
        number = port.get("port", 0)
        causes += [invalid(f"{path}.port", number, why) for why in formats.port(number)]
        protocol = port.get("protocol")
        if not protocol:
            causes.append(required(f"{path}.protocol"))
        elif protocol not in PROTOCOLS:
            causes.append(unsupported(f"{path}.protocol", protocol, PROTOCOLS))
        causes += port_or_name(f"{path}.targetPort", port.get("targetPort", 0))
        if protocol_name := port.get("appProtocol"):
            causes += [invalid(f"{path}.appProtocol", protocol_name, w) for w in formats.label_key(protocol_name)]
    return causes


def _affinity(spec: Object) -> list[Cause]:
    affinity, known = spec.get("sessionAffinity"), ("ClientIP", "None")
    if not affinity:
        return [required("spec.sessionAffinity")]
    if affinity not in known:
        return [unsupported("spec.sessionAffinity", affinity, known)]
    config = spec.get("sessionAffinityConfig")
    path = "spec.sessionAffinityConfig"
    if affinity == "None":
        return [forbidden(path, "must not be set when session affinity is None")] if config else []
    seconds = ((config or {}).get("clientIP") or {}).get("timeoutSeconds")
    if seconds is None:
        return [required(path, "when session affinity type is ClientIP")]
    if not 0 < seconds <= AFFINITY_LIMIT:
        why = f"must be greater than 0 and less than {AFFINITY_LIMIT}"
        return [invalid(f"{path}.clientIP.timeoutSeconds", seconds, why)]
    return []


def _port_collisions(kind: str, ports: Sequence[Object]) -> list[Cause]:
    causes: list[Cause] = []
    seen_nodes: set[tuple[str, int]] = set()
    seen: set[tuple[str, int]] = set()
    for i, port in enumerate(ports):
        number = port.get("nodePort") or 0
        if number and kind == "ClusterIP":
            why = "may not be used when `type` is 'ClusterIP'"
            causes.append(forbidden(f"spec.ports[{i}].nodePort", why))
    for i, port in enumerate(ports):
        number, key = port.get("nodePort") or 0, (port.get("protocol", ""), port.get("nodePort") or 0)
        if number and key in seen_nodes:
            causes.append(duplicate(f"spec.ports[{i}].nodePort", number))
        seen_nodes.add(key)
    for i, port in enumerate(ports):
        key = (port.get("protocol", ""), port.get("port", 0))
        if key in seen:
            shown = go_struct(
                {"protocol": key[0], "port": key[1]},
                "Name", "Protocol", "AppProtocol", "Port", "TargetPort", "NodePort", Name="", TargetPort=0, NodePort=0,
            )  # fmt: skip
            causes.append(duplicate(f"spec.ports[{i}]", shown))
        seen.add(key)
    return causes


def _traffic_policies(spec: Object, kind: str) -> list[Cause]:
    causes: list[Cause] = []
    for key in ("externalTrafficPolicy", "internalTrafficPolicy"):
        value = spec.get(key)
        if value and value not in ("Cluster", "Local"):
            causes.append(unsupported(f"spec.{key}", value, ("Cluster", "Local")))
    outside = kind in ("NodePort", "LoadBalancer") or (kind == "ClusterIP" and spec.get("externalIPs"))
    if spec.get("externalTrafficPolicy") and not outside:
        why = "may only be set for externally-accessible services"
        causes.append(invalid("spec.externalTrafficPolicy", spec["externalTrafficPolicy"], why))
    causes += _families(spec)
    wish = spec.get("trafficDistribution")
    if wish is not None and wish not in DISTRIBUTIONS:
        causes.append(unsupported("spec.trafficDistribution", wish, DISTRIBUTIONS))
    return causes


def _families(spec: Object) -> list[Cause]:
    """A lab has IPv4 alone; only what needs no address, headless and without a selector, may ask for both."""
    policy, known = spec.get("ipFamilyPolicy"), ("SingleStack", "PreferDualStack", "RequireDualStack")
    if policy and policy not in known:
        return [unsupported("spec.ipFamilyPolicy", policy, known)]
    if spec.get("clusterIP") == "None" and not spec.get("selector"):
        return []
    causes: list[Cause] = []
    if policy == "RequireDualStack":
        why = "this cluster is not configured for dual-stack services"
        causes.append(invalid("spec.ipFamilyPolicy", policy, why))
    for i, family in enumerate(spec.get("ipFamilies") or ()):
        if family == "IPv6":
            causes.append(invalid(f"spec.ipFamilies[{i}]", family, "not configured on this cluster"))
        elif family != "IPv4":
            causes.append(unsupported(f"spec.ipFamilies[{i}]", family, ("IPv4", "IPv6")))
    return causes
