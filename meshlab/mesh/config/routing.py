"""The mesh's one routing model: what rules of both API generations become before Envoy resources are made of them.

    config.istio.io/v1alpha2  ── legacy.py ──┐
                                             ├─→ this model ──→ Envoy resources (mesh.pilot)
    networking.istio.io/v1    ── today/   ───┘

Nothing here remembers which generation it came from: rules that say the same are equal values, and so give equal
Envoy resources. Where the generations differ in what silence means (retries, websockets, what follows the last
rule), the difference is a field, and the translators fill it in. All values are frozen and hashable.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from meshlab.mesh.config.durations import Duration
from meshlab.mesh.config.labels import NO_LABELS, Labels

__all__ = [
    "ANY_PATH",
    "MESH",
    "Abort",
    "Caller",
    "Condition",
    "Cors",
    "Delay",
    "Destination",
    "DirectResponse",
    "Fault",
    "HeaderChanges",
    "HostRules",
    "Mirror",
    "Origin",
    "Pattern",
    "PatternKind",
    "Redirect",
    "RequestMatch",
    "Retries",
    "Rewrite",
    "Route",
    "Source",
    "TcpMatch",
    "TcpRoute",
    "Weighted",
]

#: The gateway that stands for all sidecars.
MESH = "mesh"


@dataclass(frozen=True, slots=True)
class Origin:
    """The stored object that something comes from: `route-rule/default/r` or `VirtualService/default/r`."""

    key: str
    #: resourceVersion, "" for a file.
    revision: str = field(default="", compare=False)


class PatternKind(Enum):
    EXACT = "exact"
    PREFIX = "prefix"
    #: A prefix in whole path segments: /a takes /a and /a/b, not /ab. Of Kubernetes' HTTPRoute.
    SEGMENTS = "segments"
    REGEX = "regex"
    #: There, whatever its value.
    PRESENT = "present"


@dataclass(frozen=True, slots=True)
class Pattern:
    """How a text is compared, with case unless said otherwise."""

    kind: PatternKind
    value: str = ""
    ignore_case: bool = False


ANY_PATH = Pattern(PatternKind.PREFIX, "/")


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on a header (`:authority`, `:method` and `:scheme` included) or query parameter."""

    name: str
    pattern: Pattern
    inverted: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """Which callers a rule is for; decided by Pilot for each sidecar.

    With `service` (a host name): a pod behind that service whose labels include `labels`. Without: a pod whose
    labels include `labels`, in `namespace` unless that is "".
    """

    service: str = ""
    labels: Labels = NO_LABELS
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class Caller:
    """A pod whose sidecar asks: its labels, its namespace, and (host name, labels) of each instance there."""

    namespace: str = ""
    labels: Labels = NO_LABELS
    services: tuple[tuple[str, Labels], ...] = ()

    def is_one_of(self, source: Source | None) -> bool:
        """Whether `source` includes this caller; None includes everybody."""
        if source is None:
            return True
        if source.service:
            return any(host == source.service and source.labels.subset_of(own) for host, own in self.services)
        return source.namespace in ("", self.namespace) and source.labels.subset_of(self.labels)


@dataclass(frozen=True, slots=True)
class RequestMatch:
    """Conditions on a request, all of which must hold. `headers` and `query` are in order of name."""

    path: Pattern = ANY_PATH
    headers: tuple[Condition, ...] = ()
    query: tuple[Condition, ...] = ()
    #: Decided by Pilot, not by Envoy: the callers, and the port that was called (0: any).
    source: Source | None = None
    port: int = 0
    #: Gateways for which this match is, () for all of its rules'. `mesh` stands for all sidecars.
    gateways: tuple[str, ...] = ()

    @property
    def catches_all(self) -> bool:
        """Whether every request matches, once callers and port are settled."""
        return self.path == ANY_PATH and not self.headers and not self.query


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a request goes: a host, one version of it, and a port.

    `subset` is the name of a destination rule's subset, which `traffic.TrafficRules` knows the labels of;
    v1alpha2 gives `labels` at once. `port` 0: the host's only port, else the one that was called.
    """

    host: str
    labels: Labels = NO_LABELS
    subset: str = ""
    port: int = 0


@dataclass(frozen=True, slots=True)
class HeaderChanges:
    """Changes of headers, each in order of name: values set, values added, names removed."""

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


NO_CHANGES = HeaderChanges()


@dataclass(frozen=True, slots=True)
class Weighted:
    """One of several destinations; weights are relative (their sum need not be 100), 0 means never."""

    destination: Destination
    weight: int = 0
    request: HeaderChanges = NO_CHANGES
    response: HeaderChanges = NO_CHANGES
    #: The Host that requests have there, "" for what they have.
    authority: str = ""


@dataclass(frozen=True, slots=True)
class Redirect:
    """Answers with another address; empty parts stay. `path` replaces the path, `prefix` the matched part of it."""

    path: str = ""
    prefix: str = ""
    authority: str = ""
    scheme: str = ""
    #: 0: as requested; -1: the scheme's own port; -2: the one that was called.
    port: int = 0
    #: 301, 302, 303, 307 or 308.
    code: int = 302


@dataclass(frozen=True, slots=True)
class DirectResponse:
    """Answers in the destination's place."""

    status: int
    body: str = ""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """`path` replaces the matched prefix (or whole exact path); `regex` what it matches, by `substitution`."""

    path: str = ""
    authority: str = ""
    regex: str = ""
    substitution: str = ""
    #: The destination's own host name as Host (of HTTPRoute and gateways); excludes `authority`.
    auto_host: bool = False


@dataclass(frozen=True, slots=True)
class Retries:
    """At most `attempts` more tries. `retry_on` as in Envoy; statuses in `codes` are retried too."""

    attempts: int
    per_try_timeout: Duration | None = None
    retry_on: str = ""
    codes: tuple[int, ...] = ()
    #: Prefer hosts that were not tried yet (today's default; 0.4.0 did not).
    avoid_tried: bool = False
    #: Even where the request decides on its endpoint by consistent hashing.
    insists: bool = False
    #: Pause before the first retry, growing with each; None: Envoy's 25 ms.
    backoff: Duration | None = None


@dataclass(frozen=True, slots=True)
class Delay:
    """`millionths` of the requests wait; never 0."""

    millionths: int
    fixed: Duration


@dataclass(frozen=True, slots=True)
class Abort:
    """`millionths` of the requests are answered with this status at once; exactly one of the two is set."""

    millionths: int
    http_status: int = 0
    grpc_status: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    delay: Delay | None = None
    abort: Abort | None = None


@dataclass(frozen=True, slots=True)
class Mirror:
    """`millionths` of the requests are sent there too, their answers thrown away."""

    destination: Destination
    millionths: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Cors:
    """`*` as an exact origin stands for every origin."""

    origins: tuple[Pattern, ...] = ()
    methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    #: Whole seconds.
    max_age: int | None = None
    credentials: bool | None = None
    #: Whether a preflight from an origin that is not allowed goes on to the destination.
    forward_unmatched_preflights: bool = True


@dataclass(frozen=True, slots=True)
class Route:
    """One route: a match and what is done then. Exactly one of destinations, redirect and direct is given."""

    name: str
    match: RequestMatch = RequestMatch()
    destinations: tuple[Weighted, ...] = ()
    redirect: Redirect | None = None
    direct: DirectResponse | None = None
    rewrite: Rewrite | None = None
    #: None: no limit, in both generations.
    timeout: Duration | None = None
    retries: Retries | None = None
    fault: Fault | None = None
    mirrors: tuple[Mirror, ...] = ()
    cors: Cors | None = None
    request: HeaderChanges = NO_CHANGES
    response: HeaderChanges = NO_CHANGES
    #: Under which Envoy counts its requests apart, "" for no name.
    stat_prefix: str = ""
    #: Whether a connection may become a websocket: v1alpha2 says so rule by rule, today's API always.
    websocket: bool = False
    #: The answer where nobody knows any of the destinations; 0: as if they had no endpoints, 503.
    unknown: int = 0
    origin: Origin | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class TcpMatch:
    """Conditions on a connection; `sni` () for connections without TLS inspection."""

    destinations: tuple[str, ...] = ()
    port: int = 0
    sni: tuple[str, ...] = ()
    source: Source | None = None
    gateways: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TcpRoute:
    """Where connections go: the first of `matches` that holds, () always holds."""

    matches: tuple[TcpMatch, ...] = ()
    destinations: tuple[Weighted, ...] = ()
    #: Of kind `tls` in a VirtualService: chosen by SNI, not terminated.
    tls: bool = False


@dataclass(frozen=True, slots=True)
class HostRules:
    """What is done with requests for one set of hosts.

    `hosts` are whole names (or wildcards). Routes are tried in order, for one caller up to the first that
    catches all. What matches none gets a default route to the host when `falls_through` (v1alpha2), and 404
    otherwise (today).
    """

    hosts: tuple[str, ...]
    routes: tuple[Route, ...] = ()
    tcp: tuple[TcpRoute, ...] = ()
    falls_through: bool = False
    gateways: tuple[str, ...] = (MESH,)
    #: Namespaces that see it, () for all.
    visible_in: tuple[str, ...] = ()
    namespace: str = field(default="", compare=False)
    origin: Origin | None = field(default=None, compare=False)

    def routes_for(self, caller: Caller, port: int, gateway: str = MESH) -> tuple[Route, ...]:
        """The routes that concern this caller on this port, up to the first that catches all.

        As in istiod, a match that names gateways is not asked about callers; at a gateway the caller is the gateway.
        """
        found: list[Route] = []
        for route in self.routes:
            match = route.match
            chosen = gateway in match.gateways if match.gateways else caller.is_one_of(match.source)
            if not chosen or match.port not in (0, port):
                continue
            found.append(route)
            if match.catches_all:
                break
        return tuple(found)
