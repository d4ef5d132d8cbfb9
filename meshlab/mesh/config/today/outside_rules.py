"""ServiceEntry, WorkloadEntry, Gateway and Sidecar to the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from meshlab.mesh.config.outside import (
    PLACEHOLDER,
    Endpoint,
    ExternalPort,
    ExternalService,
    GatewayServer,
    MeshGateway,
    OutboundPolicy,
    Resolution,
    ServerTls,
    SidecarScope,
)
from meshlab.mesh.config.routing import Caller
from meshlab.mesh.config.services import Protocol
from meshlab.mesh.config.today.stored import Stored, labels, texts
from meshlab.mesh.config.traffic import TrafficRules

__all__ = ["PROTOCOLS", "external_service", "mesh_gateway", "originate", "sidecar_scope", "workload"]

Fields = Mapping[str, Any]
#: Whoever can write a Gateway could otherwise show anybody's certificate.
NOT_ITS_OWN = "credentialName is the name of a secret in the namespace of the gateway's pods, no other's"
#: Today's protocols, in upper case, by the mesh's own. No protocol at all is TCP: the mesh does not sniff.
PROTOCOLS = {
    "": Protocol.TCP,
    "TCP": Protocol.TCP,
    "MYSQL": Protocol.TCP,
    "TLS": Protocol.HTTPS,
    "HTTPS": Protocol.HTTPS,
    "HTTP": Protocol.HTTP,
    "HTTP2": Protocol.HTTP2,
    "GRPC": Protocol.GRPC,
    "GRPC-WEB": Protocol.GRPC,
    "MONGO": Protocol.MONGO,
    "REDIS": Protocol.REDIS,
    "UDP": Protocol.UDP,
}


def external_service(stored: Stored, workloads: Iterable[tuple[str, Endpoint]] = ()) -> ExternalService:
    """One ServiceEntry. `workloads`: (namespace, endpoint) of each WorkloadEntry, which its selector may choose."""
    spec = stored.spec
    selector = spec.get("workloadSelector")
    chosen = labels((selector or {}).get("labels"))
    endpoints = [_endpoint(each) for each in spec.get("endpoints") or ()]
    if selector is not None:
        endpoints += [each for where, each in workloads if where == stored.namespace and chosen.subset_of(each.labels)]
    resolution = spec.get("resolution") or "NONE"
    hosts, addresses = texts(spec.get("hosts")), texts(spec.get("addresses"))
    placeholders = tuple(each for each in hosts if each.endswith(PLACEHOLDER))
    if len(placeholders) == len(hosts) and not addresses:
        placeholders = ()  # they stand for nothing: hosts like others, of which nobody will know the address
    return ExternalService(
        hosts=tuple(each for each in hosts if each not in placeholders),
        addresses=addresses,
        ports=tuple(_port(each) for each in spec.get("ports") or ()),
        resolution=Resolution.DNS if resolution == "DYNAMIC_DNS" else Resolution(resolution),
        internal=spec.get("location") == "MESH_INTERNAL",
        endpoints=tuple(endpoints),
        selector=chosen,
        subject_alt_names=texts(spec.get("subjectAltNames")),
        visible_in=stored.visible_in,
        namespace=stored.namespace,
        placeholders=placeholders,
        origin=stored.origin,
    )


def _port(fields: Fields) -> ExternalPort:
    protocol = PROTOCOLS.get((fields.get("protocol") or "").upper(), Protocol.UNSUPPORTED)
    target = int(fields.get("targetPort") or 0)
    return ExternalPort(int(fields["number"]), protocol, fields.get("name") or "", target)


def _endpoint(fields: Fields) -> Endpoint:
    return Endpoint(
        fields.get("address") or "",
        tuple((name, int(number)) for name, number in sorted((fields.get("ports") or {}).items())),
        labels(fields.get("labels")),
        int(fields.get("weight") or 0),
    )


def workload(stored: Stored) -> tuple[str, Endpoint]:
    """One WorkloadEntry: its namespace, and where it runs."""
    return stored.namespace, _endpoint(stored.spec)


def originate(service: ExternalService, rules: TrafficRules) -> ExternalService:
    """The service with the TLS that destination rules tell sidecars to originate on its ports."""
    caller = Caller(service.namespace)
    ports = []
    for port in service.ports:
        made = port
        for host in (*service.hosts, *service.placeholders, *service.addresses):
            policy = rules.policy(host, labels(None), "", port.number, caller)
            tls = policy.traffic.tls if policy is not None else None
            if tls is not None and tls.mode in ("SIMPLE", "MUTUAL"):
                made = replace(port, tls=tls)
                break
        ports.append(made)
    return service if tuple(ports) == service.ports else replace(service, ports=tuple(ports))


def mesh_gateway(stored: Stored) -> MeshGateway:
    """One Gateway of networking.istio.io."""
    servers = tuple(_server(stored, each) for each in stored.spec.get("servers") or ())
    return MeshGateway(f"{stored.namespace}/{stored.name}", labels(stored.spec.get("selector")), servers, stored.origin)


def _server(stored: Stored, fields: Fields) -> GatewayServer:
    port = fields.get("port") or {}
    hosts = []
    for each in texts(fields.get("hosts")):
        namespace, slash, host = each.rpartition("/")
        hosts.append((stored.namespace if namespace == "." else namespace if slash else "*", host))
    tls = _server_tls(fields.get("tls"))
    return GatewayServer(
        int(port.get("number") or 0), port.get("protocol") or "", port.get("name") or "", tuple(hosts), tls,
        NOT_ITS_OWN if tls is not None and "/" in tls.credential else "",
    )  # fmt: skip


def _server_tls(fields: Fields | None) -> ServerTls | None:
    if fields is None:
        return None
    name = fields.get("credentialName") or ""
    return ServerTls(
        fields.get("mode") or ("SIMPLE" if name or fields.get("serverCertificate") else "PASSTHROUGH"),
        name,
        texts(fields.get("subjectAltNames")),
        bool(fields.get("httpsRedirect")),
        fields.get("minProtocolVersion") or "",
        fields.get("maxProtocolVersion") or "",
    )


def sidecar_scope(stored: Stored) -> SidecarScope:
    """One Sidecar."""
    spec = stored.spec
    egress, ingress = spec.get("egress"), spec.get("ingress")
    mode = (spec.get("outboundTrafficPolicy") or {}).get("mode")
    return SidecarScope(
        stored.namespace,
        stored.name,
        labels((spec.get("workloadSelector") or {}).get("labels")),
        None if not egress else tuple(_listener(each) for each in egress),
        OutboundPolicy(mode) if mode else OutboundPolicy.UNSET,
        None if not ingress else tuple(_inbound(each) for each in ingress),
        stored.origin,
    )


def _listener(fields: Fields) -> tuple[int, tuple[tuple[str, str], ...]]:
    hosts = [each.split("/", 1) for each in texts(fields.get("hosts"))]
    pairs = tuple((where, host) for where, host in hosts)
    return int((fields.get("port") or {}).get("number") or 0), pairs


def _inbound(fields: Fields) -> tuple[int, str, str, str]:
    port = fields.get("port") or {}
    return (
        int(port.get("number") or 0), port.get("protocol") or "TCP", port.get("name") or "",
        fields.get("defaultEndpoint") or "",
    )  # fmt: skip
