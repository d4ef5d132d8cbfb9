"""Services as the mesh sees them: host names, ports with a protocol, instances, and the names of clusters.

A port's protocol comes from its *name*, up to the first `-`. A port without a name is TCP, whatever is spoken
on it: the one cause of every anomaly in the tutorial.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from meshlab.mesh.config.labels import NO_LABELS, Labels

__all__ = [
    "Authentication",
    "Instance",
    "Port",
    "Protocol",
    "Service",
    "hidden",
    "parse_service_key",
    "port_authentication",
    "port_protocol",
    "service_from_kubernetes",
    "service_key",
]

#: `auth.istio.io/<port>: MUTUAL_TLS | NONE` on a Service overrides the mesh's policy for that port.
AUTHENTICATION_PREFIX = "auth.istio.io"
#: Service accounts of workloads outside Kubernetes, comma separated.
KUBERNETES_ACCOUNTS = "alpha.istio.io/kubernetes-serviceaccounts"
CANONICAL_ACCOUNTS = "alpha.istio.io/canonical-serviceaccounts"


class Protocol(Enum):
    """What a port speaks; the value is how 0.4.0 spells it (in the names of egress clusters, for one)."""

    GRPC = "GRPC"
    HTTPS = "HTTPS"
    HTTP2 = "HTTP2"
    HTTP = "HTTP"
    TCP = "TCP"
    UDP = "UDP"
    MONGO = "Mongo"
    REDIS = "Redis"
    UNSUPPORTED = "UnsupportedProtocol"

    @classmethod
    def parse(cls, text: str) -> Protocol:
        """Whatever the case of the letters; UNSUPPORTED for what is none of them."""
        name = text.upper()
        return cls[name] if name in cls.__members__ else cls.UNSUPPORTED

    @property
    def is_http(self) -> bool:
        """Whether the mesh routes it by request. HTTPS is not: it is handled as TCP."""
        return self in (Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC)

    def __str__(self) -> str:
        return self.value


class Authentication(Enum):
    """Authentication policy of a port; the numbers are those of the 0.4 API."""

    NONE = 0
    MUTUAL_TLS = 1
    INHERIT = 1000


@dataclass(frozen=True, slots=True)
class Port:
    """A port of a service. `number` is the service's, not that of the pods behind it."""

    name: str
    number: int
    protocol: Protocol = Protocol.TCP
    authentication: Authentication = Authentication.INHERIT


@dataclass(frozen=True, slots=True)
class Service:
    """A service. `hostname` is `svcb.default.svc.cluster.local`; `address` its cluster IP, "" if headless."""

    hostname: str
    address: str = ""
    ports: tuple[Port, ...] = ()
    #: DNS name of a Service of type ExternalName, else "".
    external_name: str = ""
    #: SPIFFE identities of workloads outside Kubernetes that may run it.
    service_accounts: tuple[str, ...] = ()

    @property
    def headless(self) -> bool:
        """No address of its own and no external name: not balanced, the caller's choice of pod is kept."""
        return not self.address and not self.external_name

    @property
    def name(self) -> str:
        return self.hostname.split(".", 1)[0]

    @property
    def namespace(self) -> str:
        return self.hostname.split(".")[1] if self.hostname.count(".") else ""

    def port(self, number: int) -> Port | None:
        return next((port for port in self.ports if port.number == number), None)

    def port_named(self, name: str) -> Port | None:
        return next((port for port in self.ports if port.name == name), None)

    def key(self, port: Port, labels: Labels | None = None) -> str:
        return service_key(self.hostname, [port.name], [labels] if labels else [])


@dataclass(frozen=True, slots=True)
class Instance:
    """A pod behind one port of a service: where it listens and whose it is."""

    address: str
    #: The pod's port (targetPort); `service_port.number` is the service's.
    port: int
    service: Service
    service_port: Port
    labels: Labels = NO_LABELS
    #: Pod name and namespace, "" where unknown.
    pod: str = ""
    namespace: str = ""
    service_account: str = ""
    availability_zone: str = ""
    ready: bool = True


def port_protocol(name: str, kubernetes_protocol: str = "TCP") -> Protocol:
    """The protocol of a Service's port.

    >>> [port_protocol(n).value for n in ("http", "http-web", "httptest", "", "mongo-x", "udp")]
    ['HTTP', 'HTTP', 'TCP', 'TCP', 'Mongo', 'TCP']
    """
    if kubernetes_protocol == "UDP":
        return Protocol.UDP
    if kubernetes_protocol != "TCP":
        return Protocol.TCP
    found = Protocol.parse(name.split("-", 1)[0])
    return Protocol.TCP if found in (Protocol.UDP, Protocol.UNSUPPORTED) else found


def port_authentication(port: int, annotations: Mapping[str, str]) -> Authentication:
    """The policy annotated for this port of a Service; INHERIT without one, or with an unknown value."""
    value = annotations.get(f"{AUTHENTICATION_PREFIX}/{port}", "")
    return Authentication[value] if value in Authentication.__members__ else Authentication.INHERIT


def hidden(obj: Mapping[str, Any]) -> bool:
    """Whether a Service object is exported to nobody: the mesh is not told of it, as if it were outside."""
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    return bool(annotations.get("networking.istio.io/exportTo") == "~")


def service_from_kubernetes(obj: Mapping[str, Any], domain: str = "cluster.local") -> Service:
    """A Service object (JSON) as the mesh sees it."""
    meta, spec = obj.get("metadata") or {}, obj.get("spec") or {}
    annotations: Mapping[str, str] = meta.get("annotations") or {}
    namespace = str(meta.get("namespace") or "")
    address = spec.get("clusterIP") or ""
    external = spec.get("externalName") if spec.get("type") == "ExternalName" else ""
    ports = tuple(
        Port(
            name=port.get("name") or "",
            number=int(port["port"]),
            protocol=port_protocol(port.get("name") or "", port.get("protocol") or "TCP"),
            authentication=port_authentication(int(port["port"]), annotations),
        )
        for port in spec.get("ports") or ()
    )
    accounts = [f"spiffe://{each}" for each in _listed(annotations.get(CANONICAL_ACCOUNTS))]
    own = f"spiffe://{domain}/ns/{namespace}/sa/"
    accounts += [own + each for each in _listed(annotations.get(KUBERNETES_ACCOUNTS))]
    return Service(
        hostname=f"{meta.get('name') or ''}.{namespace}.svc.{domain}",
        address="" if address == "None" else address,
        ports=ports,
        external_name=external or "",
        service_accounts=tuple(sorted(accounts)),
    )


def service_key(hostname: str, port_names: Iterable[str] = (), labels: Iterable[Labels | None] = ()) -> str:
    """`host|port,port|k=v,k=v;k=v`: the name of what is discovered for some ports and versions of a service.

    One unnamed port without labels is the host name alone, so an unnamed port and no port look the same.

    >>> service_key("svcb", [""]), service_key("svcb", ["http"]), service_key("svcb", [""], [Labels(a="b")])
    ('svcb', 'svcb|http', 'svcb||a=b')
    """
    ports = sorted(port_names)
    sets = list(labels)
    if sets in ([None], [Labels()]):
        sets = []
    if not sets and ports in ([], [""]):
        return hostname
    text = f"{hostname}|{','.join(ports)}"
    return f"{text}|{';'.join(sorted(str(each or '') for each in sets))}" if sets else text


def parse_service_key(key: str) -> tuple[str, tuple[str, ...], tuple[Labels, ...]]:
    """Host name, port names and label sets of a service key."""
    hostname, *rest = key.split("|")
    ports: Sequence[str] = rest[0].split(",") if rest else [""]
    sets = rest[1].split(";") if len(rest) > 1 and rest[1] else []
    return hostname, tuple(ports), tuple(Labels.parse(each) for each in sets)


def _listed(text: str | None) -> list[str]:
    return text.split(",") if text else []
