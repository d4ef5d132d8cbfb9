"""Rules of endpoints, ingresses and network policies.

Endpoints on loopback addresses are allowed here and refused by a real server: every address of a lab is one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from meshlab.cluster.api import formats
from meshlab.cluster.api.causes import Cause, duplicate, forbidden, invalid, required, unsupported
from meshlab.cluster.api.validate_container import PROTOCOLS, port_or_name
from meshlab.cluster.api.validate_meta import immutable, selector

__all__ = ["endpoints", "endpointslice", "ingress", "ingress_class", "network_policy"]

Object = Mapping[str, Any]
PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
#: A slice holds at most so many endpoints and ports.
SLICE_LIMIT, SLICE_PORTS = 1000, 20000
#: Directions of a NetworkPolicy.
POLICY_TYPES = ("Ingress", "Egress")
NO_NETWORK = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"


def endpoints(obj: Object, _old: Object | None) -> list[Cause]:
    causes: list[Cause] = []
    for i, subset in enumerate(obj.get("subsets") or ()):
        path = f"subsets[{i}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            causes.append(required(path, "must specify `addresses` or `notReadyAddresses`"))
        for kind in ("addresses", "notReadyAddresses"):
            for j, address in enumerate(subset.get(kind) or ()):
                here, ip = f"{path}.{kind}[{j}]", address.get("ip") or ""
                causes += [invalid(f"{here}.ip", ip, why) for why in formats.ip(ip)]
                if name := address.get("hostname"):
                    causes += [invalid(f"{here}.hostname", name, why) for why in formats.dns_label(name)]
        ports = subset.get("ports") or ()
        for j, port in enumerate(ports):
            here, name = f"{path}.ports[{j}]", port.get("name") or ""
            if not name and len(ports) > 1:
                causes.append(required(f"{here}.name"))
            elif name:
                causes += [invalid(f"{here}.name", name, why) for why in formats.dns_label(name)]
            number = port.get("port", 0)
            causes += [invalid(f"{here}.port", number, why) for why in formats.port(number)]
            if port.get("protocol") not in PROTOCOLS:
                causes.append(unsupported(f"{here}.protocol", port.get("protocol"), PROTOCOLS))
    return causes


def endpointslice(obj: Object, old: Object | None) -> list[Cause]:
    family = obj.get("addressType") or ""
    causes: list[Cause] = []
    if not family:
        causes.append(required("addressType"))
    elif family not in ("FQDN", "IPv4", "IPv6"):
        causes.append(unsupported("addressType", family, ("FQDN", "IPv4", "IPv6")))
    for i, endpoint in enumerate(obj.get("endpoints") or ()):
        if not endpoint.get("addresses"):
            causes.append(required(f"endpoints[{i}].addresses", "must contain at least 1 address"))
        for j, address in enumerate(endpoint.get("addresses") or ()):
            if family in ("IPv4", "IPv6"):
                causes += _of_family(f"endpoints[{i}].addresses[{j}]", address, family)
    names: set[str] = set()
    for i, port in enumerate(obj.get("ports") or ()):
        name = port.get("name") or ""
        if name:
            causes += [invalid(f"ports[{i}].name", name, why) for why in formats.dns_label(name)]
        if name in names:
            causes.append(duplicate(f"ports[{i}].name", name))
        names.add(name)
        if port.get("protocol") not in PROTOCOLS:
            causes.append(unsupported(f"ports[{i}].protocol", port.get("protocol"), PROTOCOLS))
    if old is not None:
        causes += immutable("addressType", family, old.get("addressType"))
    return causes


def _of_family(path: str, address: str, family: str) -> list[Cause]:
    try:
        if f"IPv{ipaddress.ip_address(address).version}" == family:
            return []
    except ValueError:
        pass  # no address of any family: the same answer
    return [invalid(path, address, f"must be an {family} address")]


def ingress(obj: Object, _old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    if not spec.get("rules") and not spec.get("defaultBackend"):
        why = "either `defaultBackend` or `rules` must be specified"
        causes.append(invalid("spec", None, why))
    if backend := spec.get("defaultBackend"):
        causes += _backend("spec.defaultBackend", backend)
    for i, rule in enumerate(spec.get("rules") or ()):
        path, host = f"spec.rules[{i}]", rule.get("host") or ""
        if host:
            causes += _host(f"{path}.host", host)
        for j, item in enumerate((rule.get("http") or {}).get("paths") or ()):
            causes += _path(f"{path}.http.paths[{j}]", item)
        if rule.get("http") is not None and not rule["http"].get("paths"):
            causes.append(required(f"{path}.http.paths"))
    for i, tls in enumerate(spec.get("tls") or ()):
        for j, host in enumerate(tls.get("hosts") or ()):
            causes += _host(f"spec.tls[{i}].hosts[{j}]", host)
        if name := tls.get("secretName"):
            causes += [invalid(f"spec.tls[{i}].secretName", name, why) for why in formats.dns_subdomain(name)]
    if name := spec.get("ingressClassName"):
        causes += [invalid("spec.ingressClassName", name, why) for why in formats.dns_subdomain(name)]
    return causes


def _host(path: str, host: str) -> list[Cause]:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        shape = formats.wildcard_subdomain if "*" in host else formats.dns_subdomain
        return [invalid(path, host, why) for why in shape(host)]
    return [invalid(path, host, "must be a DNS name, not an IP address")]


def _path(path: str, item: Object) -> list[Cause]:
    causes: list[Cause] = []
    kind, text = item.get("pathType"), item.get("path") or ""
    if kind is None:
        causes.append(required(f"{path}.pathType", "pathType must be specified"))
    elif kind in ("Exact", "Prefix"):
        if not text.startswith("/"):
            causes.append(invalid(f"{path}.path", text, "must be an absolute path"))
        for part in ("//", "/./", "/../", "%2f", "%2F"):
            if part in text:
                causes.append(invalid(f"{path}.path", text, f"must not contain '{part}'"))
        for suffix in ("/..", "/."):
            if text.endswith(suffix):
                causes.append(invalid(f"{path}.path", text, f"cannot end with '{suffix}'"))
    elif kind == "ImplementationSpecific":
        if text and not text.startswith("/"):
            causes.append(invalid(f"{path}.path", text, "must be an absolute path"))
    else:
        causes.append(unsupported(f"{path}.pathType", kind, PATH_TYPES))
    return causes + _backend(f"{path}.backend", item.get("backend") or {})


def _backend(path: str, backend: Object) -> list[Cause]:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        return [invalid(path, "", "cannot set both resource and service backends")]
    if resource is not None:
        return []
    if service is None:
        return [invalid(path, "", "resource or service backend is required")]
    causes: list[Cause] = []
    name, port = service.get("name") or "", service.get("port") or {}
    if not name:
        causes.append(required(f"{path}.service.name"))
    else:
        causes += [invalid(f"{path}.service.name", name, why) for why in formats.dns1035_label(name)]
    if port.get("name") and port.get("number"):
        why = "cannot set both port name & port number"
        causes.append(invalid(path, "", why))
    elif port.get("name"):
        causes += [invalid(f"{path}.service.port.name", port["name"], w) for w in formats.port_name(port["name"])]
    elif port.get("number"):
        number = port["number"]
        causes += [invalid(f"{path}.service.port.number", number, why) for why in formats.port(number)]
    else:
        causes.append(required(path, "port name or number is required"))
    return causes


def ingress_class(obj: Object, old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    name = spec.get("controller") or ""
    causes: list[Cause] = []
    if old is not None:
        causes += immutable("spec.controller", name, (old.get("spec") or {}).get("controller") or "")
    elif not name:
        causes.append(required("spec.controller"))
    elif "/" not in name.strip("/"):
        why = 'must be a domain-prefixed path (such as "acme.io/foo")'
        causes.append(invalid("spec.controller", name, why))
    if (more := spec.get("parameters")) is not None:
        path = "spec.parameters"
        causes += [required(f"{path}.{key}", f"{key} is required") for key in ("kind", "name") if not more.get(key)]
        scope, namespace = more.get("scope"), more.get("namespace")
        if scope not in ("Cluster", "Namespace"):
            causes.append(unsupported(f"{path}.scope", scope or "", ("Cluster", "Namespace")))
        if scope == "Namespace" and not namespace:
            causes.append(required(f"{path}.namespace", "`parameters.scope` is set to 'Namespace'"))
        if scope == "Cluster" and namespace is not None:
            causes.append(forbidden(f"{path}.namespace", "`parameters.scope` is set to 'Cluster'"))
    return causes


def network_policy(obj: Object, _old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = selector("spec.podSelector", spec.get("podSelector") or {})
    for kind, peers in (("ingress", "from"), ("egress", "to")):
        for i, rule in enumerate(spec.get(kind) or ()):
            for j, port in enumerate(rule.get("ports") or ()):
                here = f"spec.{kind}[{i}].ports[{j}]"
                if port.get("protocol") not in PROTOCOLS:
                    causes.append(unsupported(f"{here}.protocol", port.get("protocol"), PROTOCOLS))
                causes += _policy_port(here, port)
            for j, peer in enumerate(rule.get(peers) or ()):
                causes += _peer(f"spec.{kind}[{i}].{peers}[{j}]", peer)
    types = spec.get("policyTypes") or ()
    if len(types) > len(POLICY_TYPES):
        return [*causes, invalid("spec.policyTypes", list(types), "may not specify more than two policyTypes")]
    for i, kind in enumerate(types):
        if kind not in POLICY_TYPES:
            causes.append(unsupported(f"spec.policyTypes[{i}]", kind, POLICY_TYPES))
    return causes


def _policy_port(path: str, port: Object) -> list[Cause]:
    first, last = port.get("port"), port.get("endPort")
    causes = [] if first is None else port_or_name(f"{path}.port", first)
    if last is None:
        return causes
    if not isinstance(first, int):
        why = "is not specified" if first is None else "is non-numeric"
        return [invalid(f"{path}.endPort", last, f"may not be specified when `port` {why}"), *causes]
    if last < first:
        causes.append(invalid(f"{path}.endPort", last, "must be greater than or equal to `port`"))
    return causes + [invalid(f"{path}.endPort", last, why) for why in formats.port(last)]


def _peer(path: str, peer: Object) -> list[Cause]:
    block = peer.get("ipBlock")
    causes: list[Cause] = []
    for key in ("podSelector", "namespaceSelector"):
        if key in peer:
            causes += selector(f"{path}.{key}", peer[key])
    if block is not None:
        causes += _block(f"{path}.ipBlock", block)
        if "podSelector" in peer or "namespaceSelector" in peer:
            causes.append(forbidden(path, "may not specify both ipBlock and another peer"))
    elif not peer:
        causes.append(required(path, "must specify a peer"))
    return causes


def _block(path: str, block: Object) -> list[Cause]:
    if not (text := block.get("cidr")):
        return [required(f"{path}.cidr")]
    causes: list[Cause] = []
    whole = _network(text)
    if whole is None:
        return [invalid(f"{path}.cidr", text, NO_NETWORK)]
    for i, text in enumerate(block.get("except") or ()):
        part = _network(text)
        if part is None:
            causes.append(invalid(f"{path}.except[{i}]", text, NO_NETWORK))
        elif part.version != whole.version or part == whole or not part.subnet_of(whole):  # type: ignore[arg-type]
            causes.append(invalid(f"{path}.except[{i}]", text, "must be a strict subset of `cidr`"))
    return causes


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False) if "/" in text else None
    except ValueError:
        return None
