"""How connections to a destination are made: balancing, limits, ejection, TLS; and what versions a host has.

A version is a set of labels. Today's API gives it a name (a subset), v1alpha2 names the labels themselves; both end
as `Policy` values, one for each host and version, with what a subset inherits already merged in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from meshlab.mesh.config.durations import Duration
from meshlab.mesh.config.labels import NO_LABELS, Labels
from meshlab.mesh.config.routing import Caller, Destination, Origin, Source

__all__ = [
    "NO_TRAFFIC",
    "Balancer",
    "ClientTls",
    "HostTraffic",
    "Outlier",
    "Policy",
    "Traffic",
    "TrafficRules",
    "Version",
]


@dataclass(frozen=True, slots=True)
class Balancer:
    """`name` is ROUND_ROBIN, LEAST_REQUEST, RANDOM, PASSTHROUGH, or RING_HASH or MAGLEV, then with one of the keys."""

    name: str
    hash_header: str = ""
    hash_cookie: str = ""
    #: Of the cookie; None: it lives as long as the session.
    cookie_ttl: Duration | None = None
    cookie_path: str = ""
    hash_source_ip: bool = False
    hash_query: str = ""
    ring_size: int = 0
    #: Of MAGLEV.
    table_size: int = 0
    #: How long a new endpoint gets less than its share, None at once its whole.
    warmup: Duration | None = None
    #: The share with which it begins, percent, and the bend of the curve; None: Envoy's 10 and 1 (a straight line).
    warmup_percent: float | None = None
    warmup_aggression: float | None = None

    @property
    def hashes(self) -> bool:
        """Whether the request decides on its endpoint."""
        return self.name in ("RING_HASH", "MAGLEV")


@dataclass(frozen=True, slots=True)
class Outlier:
    """Ejection of endpoints that fail; 0 and None mean Envoy's default, but see `max_ejection_percent`."""

    #: -1: not by these.
    consecutive_5xx: int = 0
    #: Connect failures and 502, 503, 504 alone; 0 off.
    consecutive_gateway: int = 0
    interval: Duration | None = None
    base_ejection: Duration | None = None
    #: 10 in both generations unless set.
    max_ejection_percent: int = 10
    #: Below this share of healthy endpoints ejection is ignored.
    min_health_percent: int = 0
    #: Connections that fail are counted apart from the answers of endpoints, and eject after so many (0: never).
    split_local: bool = False
    consecutive_local: int = 0


@dataclass(frozen=True, slots=True)
class ClientTls:
    """TLS that the sidecar originates. `mode` is DISABLE, SIMPLE, MUTUAL or ISTIO_MUTUAL."""

    mode: str
    sni: str = ""
    #: Whether the server's certificate is checked; v1alpha2 never did.
    verify: bool = True
    subject_alt_names: tuple[str, ...] = ()
    #: Files in the sidecar; "" the machine's own authorities.
    ca_certificates: str = ""
    client_certificate: str = ""
    private_key: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """Those that are read in this mode."""
        own = (self.client_certificate, self.private_key) if self.mode == "MUTUAL" else ()
        asked = (*own, self.ca_certificates if self.verify else "") if self.mode in ("SIMPLE", "MUTUAL") else ()
        return tuple(path for path in asked if path)


@dataclass(frozen=True, slots=True)
class Traffic:
    """One traffic policy; 0 and None mean that nothing is said."""

    balancer: Balancer | None = None
    max_connections: int = 0
    max_pending_requests: int = 0
    max_requests: int = 0
    max_requests_per_connection: int = 0
    max_retries: int = 0
    connect_timeout: Duration | None = None
    idle_timeout: Duration | None = None
    tcp_idle_timeout: Duration | None = None
    max_connection_duration: Duration | None = None
    #: (probes, time, interval) of TCP keepalive.
    keepalive: tuple[int, Duration | None, Duration | None] | None = None
    http2_upgrade: bool | None = None
    #: As the application speaks, HTTP/1.1 or HTTP/2.
    client_protocol: bool = False
    #: Of HTTP/2, at a time on one connection.
    max_streams: int = 0
    outlier: Outlier | None = None
    tls: ClientTls | None = None


NO_TRAFFIC = Traffic()
#: Rules of this namespace are for the whole mesh.
ROOT_NAMESPACE = "istio-system"


@dataclass(frozen=True, slots=True)
class Version:
    """A subset: its name and the labels of its pods."""

    name: str
    labels: Labels


@dataclass(frozen=True, slots=True)
class Policy:
    """The traffic policy of exactly one version of a host (`labels`), perhaps only on one port or for some callers.

    `subset` is given where a destination rule names the version: two subsets may have the same labels and
    different policies.
    """

    host: str
    labels: Labels = NO_LABELS
    subset: str = field(default="", compare=False)
    port: int = 0
    source: Source | None = None
    traffic: Traffic = NO_TRAFFIC
    visible_in: tuple[str, ...] = ()
    namespace: str = field(default="", compare=False)
    origin: Origin | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class HostTraffic:
    """All that one destination rule (or the policies of v1alpha2 together) says of one host."""

    host: str
    versions: tuple[Version, ...] = ()
    policies: tuple[Policy, ...] = ()
    visible_in: tuple[str, ...] = ()
    #: Callers that it is for, None for all.
    source: Source | None = None
    namespace: str = field(default="", compare=False)
    origin: Origin | None = field(default=None, compare=False)

    @property
    def files(self) -> tuple[str, ...]:
        """Where sidecars find certificates and keys for TLS of their own."""
        said = [each.traffic.tls for each in self.policies if each.traffic.tls is not None]
        return tuple(dict.fromkeys(path for tls in said for path in tls.files))


class TrafficRules:
    """Looks up versions and policies of hosts, as one caller sees them. Immutable; build one for each change.

    As in istiod one namespace speaks for a host: the caller's own, else the service's, else the mesh's (istio-system);
    rules of others do not count. There the rules of the most specific host speak, and of these one that is for these
    callers in particular before those for all, else the first (by creation). Policies of v1alpha2 know no namespaces.
    """

    def __init__(self, rules: Iterable[HostTraffic] = (), homes: Mapping[str, str] | None = None) -> None:
        """`homes`: host → namespace of services whose name does not say it."""
        self._exact: dict[str, tuple[HostTraffic, ...]] = {}
        self._wild: dict[str, tuple[HostTraffic, ...]] = {}
        self._homes = homes or {}
        for each in rules:
            table = self._wild if each.host.startswith("*") else self._exact
            table[each.host] = (*table.get(each.host, ()), each)

    @property
    def hosts(self) -> Mapping[str, tuple[HostTraffic, ...]]:
        return {**self._exact, **self._wild}

    def rules_of(self, host: str, caller: Caller) -> tuple[HostTraffic, ...]:
        """What is said of this host to this caller."""
        wild = [name for name in self._wild if host.endswith(name[1:])]
        groups = [self._exact.get(host, ()), *(self._wild[name] for name in sorted(wild, key=len, reverse=True))]
        if not any(groups):
            return ()
        for namespace in dict.fromkeys((caller.namespace, self._home(host), ROOT_NAMESPACE, "")):
            for group in groups:
                seen = [
                    each for each in group if each.namespace == namespace and caller.is_one_of(each.source)
                    and (not each.visible_in or caller.namespace in each.visible_in)
                ]
                if seen:
                    particular = [each for each in seen if each.source is not None]
                    return tuple(particular[:1] or seen)
        return ()

    def _home(self, host: str) -> str:
        """The namespace of a service."""
        if host in self._homes:
            return self._homes[host]
        parts = host.split(".")
        return parts[1] if len(parts) > 2 and parts[2] == "svc" else ""

    def labels_of(self, destination: Destination, caller: Caller) -> Labels | None:
        """The labels of a destination's pods; None for a subset that no destination rule has."""
        if not destination.subset:
            return destination.labels
        for each in self.rules_of(destination.host, caller):
            for version in each.versions:
                if version.name == destination.subset:
                    return version.labels
        return None

    def policy(self, host: str, labels: Labels, subset: str, port: int, caller: Caller) -> Policy | None:
        """The policy for exactly this version on this port; one for the port alone comes first."""
        for each in self.rules_of(host, caller):
            fitting = [
                p
                for p in each.policies
                if p.labels == labels
                and (not subset or not p.subset or p.subset == subset)
                and p.port in (0, port)
                and caller.is_one_of(p.source)
            ]
            if fitting:
                return min(fitting, key=lambda p: p.port == 0)
        return None
