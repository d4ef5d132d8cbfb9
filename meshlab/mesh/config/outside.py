"""What the mesh knows besides Kubernetes' services: external services, gateways, and how far a sidecar sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from meshlab.mesh.config.labels import NO_LABELS, Labels
from meshlab.mesh.config.routing import Origin
from meshlab.mesh.config.services import Protocol
from meshlab.mesh.config.traffic import ClientTls

__all__ = [
    "OUR_LABEL",
    "PLACEHOLDER",
    "Endpoint",
    "ExternalPort",
    "ExternalService",
    "GatewayServer",
    "LabelSelector",
    "MeshGateway",
    "OutboundPolicy",
    "Resolution",
    "ServerTls",
    "SidecarScope",
]

#: Names under this domain never resolve (RFC 2606): a ServiceEntry, which must have a host name, says by it that
#: it is about its addresses alone. Nobody can ask for such a host, so it becomes no domain of a virtual host.
PLACEHOLDER = ".invalid"
#: Today's gateways are labelled so; the pod of 0.4 that takes their place here has the shorter label.
TODAYS_LABEL, OUR_LABEL = ("istio", "ingressgateway"), ("istio", "ingress")


class Resolution(Enum):
    """Where the connections to an external service go."""

    #: To the address that the application chose.
    NONE = "NONE"
    #: To the endpoints that are listed.
    STATIC = "STATIC"
    #: To what the names of the endpoints (else of the host itself) resolve to.
    DNS = "DNS"
    DNS_ROUND_ROBIN = "DNS_ROUND_ROBIN"


class OutboundPolicy(Enum):
    """What a sidecar does with destinations that the mesh does not know."""

    #: As 0.4.0: 404 where there is a listener for the port number, else the connection is closed. Nobody chose.
    UNSET = ""
    #: As today's Istio: 502 by HTTP, else the connection is closed.
    REGISTRY_ONLY = "REGISTRY_ONLY"
    #: Through.
    ALLOW_ANY = "ALLOW_ANY"


@dataclass(frozen=True, slots=True)
class ExternalPort:
    """A port of an external service. `protocol` is what the application speaks; with `tls` the sidecar encrypts."""

    number: int
    protocol: Protocol
    #: As typed in a ServiceEntry; "" from an egress rule.
    name: str = field(default="", compare=False)
    target: int = 0
    tls: ClientTls | None = None

    @property
    def spoken(self) -> str:
        """The protocol on the wire to the destination, as 0.4.0 puts it into the names of clusters."""
        if self.tls is not None and self.tls.mode != "DISABLE" and self.protocol.is_http:
            return Protocol.HTTPS.value
        return "MONGO" if self.protocol is Protocol.MONGO else self.protocol.value


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an external service runs: an address, a name or a Unix socket; ports by name, else the service's."""

    address: str
    ports: tuple[tuple[str, int], ...] = ()
    labels: Labels = NO_LABELS
    weight: int = 0


@dataclass(frozen=True, slots=True)
class ExternalService:
    """A service entry, or an egress rule.

    `hosts`: names (or wildcards) that callers use, without placeholders; `addresses`: IPv4 addresses and CIDRs.
    `key` names it in clusters: the first host, else the first address.
    """

    hosts: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    ports: tuple[ExternalPort, ...] = ()
    resolution: Resolution = Resolution.NONE
    #: Part of the mesh: mutual TLS may be used, and it counts as one of its services.
    internal: bool = False
    endpoints: tuple[Endpoint, ...] = ()
    #: Pods and workload entries of its own namespace that are its endpoints, besides those listed.
    selector: Labels = NO_LABELS
    subject_alt_names: tuple[str, ...] = ()
    visible_in: tuple[str, ...] = ()
    namespace: str = field(default="", compare=False)
    #: Hosts under PLACEHOLDER: rules may still name the service by them.
    placeholders: tuple[str, ...] = field(default=(), compare=False)
    origin: Origin | None = field(default=None, compare=False)

    @property
    def key(self) -> str:
        return (*self.hosts, *self.addresses)[0] if self.hosts or self.addresses else ""


@dataclass(frozen=True, slots=True)
class ServerTls:
    """TLS at a gateway. `mode` is SIMPLE, MUTUAL, PASSTHROUGH, AUTO_PASSTHROUGH, ISTIO_MUTUAL or OPTIONAL_MUTUAL."""

    mode: str = "SIMPLE"
    #: A secret: `namespace/name`, or the name of one in the namespace of the gateway's pods.
    credential: str = ""
    subject_alt_names: tuple[str, ...] = ()
    redirect_to_https: bool = False
    min_version: str = ""
    max_version: str = ""


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """Requirements on labels, all of which must hold: (key, `In`, `NotIn`, `Exists` or `DoesNotExist`, values)."""

    requirements: tuple[tuple[str, str, tuple[str, ...]], ...] = ()

    def chooses(self, labels: Mapping[str, str]) -> bool:
        for key, operator, values in self.requirements:
            there = key in labels and (operator in ("Exists", "DoesNotExist") or labels[key] in values)
            if there != (operator in ("In", "Exists")):
                return False
        return True


@dataclass(frozen=True, slots=True)
class GatewayServer:
    """A port that a gateway opens. `hosts` as (namespace or `*` or `.`, host)."""

    port: int
    protocol: str
    name: str = ""
    hosts: tuple[tuple[str, str], ...] = ()
    tls: ServerTls | None = None
    #: Why it may not be served, whatever there is; "" if it may.
    refused: str = ""
    #: Labels of the namespaces whose routes it takes, None for those of `hosts`.
    routes_of: LabelSelector | None = None

    def hosts_for(self, namespace: str, namespaces: Mapping[str, Mapping[str, str]]) -> tuple[str, ...]:
        """The hosts for which routes of a namespace are taken; `namespaces`: labels by name."""
        if self.routes_of is not None and not self.routes_of.chooses(namespaces.get(namespace, {})):
            return ()
        return tuple(host for where, host in self.hosts if where in ("*", namespace))


@dataclass(frozen=True, slots=True)
class MeshGateway:
    """A Gateway of either of today's APIs. `name` is `namespace/name`, as routes refer to it."""

    name: str
    #: Labels of the pods that are this gateway.
    selector: Labels = NO_LABELS
    servers: tuple[GatewayServer, ...] = ()
    origin: Origin | None = field(default=None, compare=False)

    def chooses(self, labels: Mapping[str, str]) -> bool:
        """Whether a pod with these labels is this gateway."""
        if self.selector.subset_of(labels):
            return True
        if OUR_LABEL not in labels.items() or TODAYS_LABEL not in self.selector.items():
            return False
        return self.selector.subset_of({**labels, **dict([TODAYS_LABEL])})


@dataclass(frozen=True, slots=True)
class SidecarScope:
    """A Sidecar object: what the chosen pods' sidecars know of the mesh.

    `egress` is None where nothing is said (everything), else (namespace or `*`, `.`, `~`; host or `*`) pairs by
    port (0: all ports).
    """

    namespace: str
    name: str
    #: Labels of the pods; empty: all of the namespace (of the mesh, in the root namespace).
    selector: Labels = NO_LABELS
    egress: tuple[tuple[int, tuple[tuple[str, str], ...]], ...] | None = None
    outbound: OutboundPolicy = OutboundPolicy.UNSET
    #: (port, protocol, name, default endpoint `127.0.0.1:8080`) of inbound listeners, None: those of its services.
    ingress: tuple[tuple[int, str, str, str], ...] | None = None
    origin: Origin | None = field(default=None, compare=False)

    def sees(self, namespace: str, host: str, port: int = 0) -> bool:
        """Whether a host of that namespace is known to these sidecars, on `port` (0: on any).

        What is said of a port is all that is known on it: a listener without a port is for the others.
        """
        if self.egress is None:
            return True
        said = {number for number, _ in self.egress}
        for number, hosts in self.egress:
            if port and number != (port if port in said else 0):
                continue
            for where, pattern in hosts:
                if where not in ("*", namespace) and (where != "." or namespace != self.namespace):
                    continue
                if pattern in ("*", host) or (pattern.startswith("*") and host.endswith(pattern[1:])):
                    return True
        return False
