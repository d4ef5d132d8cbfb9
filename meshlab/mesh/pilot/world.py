"""Everything a snapshot is made from, as one frozen value.

The registry makes a new World for each change and keeps every object that did not change, so that what was
derived from it (see `memo`) stays valid. Translation sees a World and a Proxy and nothing else.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import attrgetter

from meshlab.mesh.config.combine import Combined
from meshlab.mesh.config.durations import Duration
from meshlab.mesh.config.grants import Grant
from meshlab.mesh.config.labels import NO_LABELS, Labels
from meshlab.mesh.config.model import Config, IngressRule
from meshlab.mesh.config.outside import ExternalService, MeshGateway, OutboundPolicy, SidecarScope
from meshlab.mesh.config.routing import Caller, HostRules, Source
from meshlab.mesh.config.services import Instance, Port, Service
from meshlab.mesh.config.telemetry import MetricOverride, Telemetry
from meshlab.mesh.pilot.policy import CheckRule
from meshlab.mesh.pilot.proxy import Capture
from meshlab.mesh.pilot.security import Security

__all__ = ["ROOT_NAMESPACE", "KeyPair", "Mesh", "Problem", "Workload", "World"]

_HOSTNAME = attrgetter("hostname")
#: Sidecar and Telemetry objects of this namespace are for the whole mesh.
ROOT_NAMESPACE = "istio-system"


@dataclass(frozen=True)
class Mesh:
    """The settings of the mesh that translation needs."""

    domain: str = "cluster.local"
    #: Sidecars count requests under today's names (see `stats`); where a Telemetry object asks for it,
    #: with these changes.
    metrics: tuple[MetricOverride, ...] | None = None
    #: Sidecars report to Mixer, and ask it where a rule needs it (their bootstrap has the cluster `mixer_server`).
    mixer: bool = True
    #: Callers report, too, as 0.4.0's did by mistake: Mixer then counts every HTTP call a second time.
    double_report: bool = False
    tracing: bool = True
    #: "" = no access log.
    access_log: str = "/dev/stdout"
    #: For upstream connections.
    connect_timeout: Duration = field(default_factory=lambda: Duration.of(seconds=1))
    #: Where an application's captured connections come in.
    listen_port: int = 15001
    #: Host name of Mixer's own and the ingress' service, "" = none.
    ingress_service: str = ""
    #: The first port an ordinary process may bind here; see settings.bound_port.
    low_port_start: int = 1024
    #: How connections come to the sidecars of this mesh.
    capture: Capture = Capture.SHIM
    #: What sidecars do with destinations that the mesh does not know.
    outbound: OutboundPolicy = OutboundPolicy.UNSET
    #: File with the machine's authorities, by which servers outside are checked; "" = there is none.
    authorities: str = ""
    #: Percent of the requests that are traced.
    sampling: float = 100.0
    #: The same for what comes in, and whether that is logged; None: as for what goes out.
    inbound_sampling: float | None = None
    inbound_log: bool | None = None
    #: Expressions that say what is logged, outbound and inbound; "" for everything.
    log_filters: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class Problem:
    """A stored rule that is not, or not wholly, in force, and why. `key` as `route-rule/default/name`."""

    key: str
    reason: str
    #: The rule's resourceVersion.
    revision: str = ""

    def __str__(self) -> str:
        return f"{self.key}: {self.reason}"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A secret's certificate chain and key, and the authority of clients if it has one; PEM."""

    certificate: bytes
    key: bytes = field(repr=False)
    authority: bytes = b""


@dataclass(frozen=True, slots=True)
class Workload:
    """What of a pod concerns rules: whose it is."""

    namespace: str
    name: str
    labels: Labels = NO_LABELS
    service_account: str = ""


@dataclass(frozen=True, eq=False)
class World:
    """Compared by identity. Rules are valid (whoever builds a World leaves out the others, as problems)."""

    mesh: Mesh = field(default_factory=Mesh)
    #: In order of host name.
    services: tuple[Service, ...] = ()
    #: Host name → instances of all its ports, ready ones only.
    instances: Mapping[str, tuple[Instance, ...]] = field(default_factory=dict)
    #: Pod address → what runs there, ready or not, in order of host name and port.
    local: Mapping[str, tuple[Instance, ...]] = field(default_factory=dict)
    #: Pod address → ports of its probes.
    management: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    #: Pod address → `<pod>.<namespace>` of pods that are ready and have a sidecar.
    sidecars: Mapping[str, str] = field(default_factory=dict)
    #: Pod address → the pod.
    workloads: Mapping[str, Workload] = field(default_factory=dict)
    #: Namespace → its labels.
    namespaces: Mapping[str, Labels] = field(default_factory=dict)
    #: Routing, traffic policies and external services, of both generations.
    rules: Combined = field(default_factory=Combined)
    scopes: tuple[SidecarScope, ...] = ()
    gateways: tuple[MeshGateway, ...] = ()
    grants: tuple[Grant, ...] = ()
    telemetry: tuple[Telemetry, ...] = ()
    #: `namespace/name` → the certificate and key of a secret; for gateways.
    secrets: Mapping[str, KeyPair] = field(default_factory=dict)
    ingress_rules: tuple[Config[IngressRule], ...] = ()
    #: Mixer's rules that can refuse; none while the mesh has policy checks switched off.
    checks: frozenset[CheckRule] = frozenset()
    #: Identities, and who must prove one.
    security: Security = field(default_factory=Security)
    problems: tuple[Problem, ...] = ()

    def service(self, hostname: str) -> Service | None:
        """By bisection: services are sorted."""
        place = bisect_left(self.services, hostname, key=_HOSTNAME)
        found = self.services[place] if place < len(self.services) else None
        return found if found is not None and found.hostname == hostname else None

    def at(self, address: str) -> tuple[Instance, ...]:
        return self.local.get(address, ())

    def caller(self, address: str, namespace: str) -> Caller:
        """A pod as rules with sources see it."""
        pod = self.workloads.get(address)
        services = tuple(dict.fromkeys((each.service.hostname, each.labels) for each in self.at(address)))
        return Caller(namespace, pod.labels if pod is not None else NO_LABELS, services)

    def rules_for(self, host: str, caller: Caller) -> HostRules | None:
        """What this caller's sidecar does with requests for a host; of wildcards the most specific."""
        found = self._seen(host, caller)
        if found is None and self._wild:
            for name in self._wild:
                if host.endswith(name[1:]) and host != name and (found := self._seen(name, caller)) is not None:
                    break
        return found

    def _seen(self, name: str, caller: Caller) -> HostRules | None:
        for each in self.rules.hosts.get(name, ()):
            if not each.visible_in or caller.namespace in each.visible_in:
                return each
        return None

    def has_traffic(self, host: str) -> bool:
        """Whether any policy or version is said of a host. Quick: most hosts of a large mesh have none."""
        exact, wild = self._traffic
        return host in exact or wild

    @cached_property
    def _traffic(self) -> tuple[frozenset[str], bool]:
        hosts = self.rules.traffic.hosts
        return frozenset(hosts), any(each.startswith("*") for each in hosts)

    @cached_property
    def _wild(self) -> tuple[str, ...]:
        return tuple(sorted((each for each in self.rules.hosts if each.startswith("*")), key=len, reverse=True))

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """Every kind of caller that some rule is only for."""
        found: dict[Source, None] = {}
        for listed in self.rules.hosts.values():
            for rules in listed:
                for route in rules.routes:
                    if route.match.source is not None:
                        found[route.match.source] = None
                for tcp in rules.tcp:
                    found.update((match.source, None) for match in tcp.matches if match.source is not None)
        for traffic in self.rules.traffic.hosts.values():
            for each in traffic:
                sources = (each.source, *(policy.source for policy in each.policies))
                found.update((source, None) for source in sources if source is not None)
        return tuple(found)

    @cached_property
    def outside(self) -> tuple[ExternalService, ...]:
        """External services with one host each, as each is resolved by itself; the first keeps the addresses."""
        found: list[ExternalService] = []
        for each in self.rules.external:
            if len(each.hosts) < 2:
                found.append(each)
                continue
            for number, host in enumerate(each.hosts):
                found.append(replace(each, hosts=(host,), addresses=() if number else each.addresses))
        return tuple(found)

    @cached_property
    def outside_by_name(self) -> Mapping[str, ExternalService]:
        """External services by host, address and the names by which rules speak of them."""
        found: dict[str, ExternalService] = {}
        for each in self.outside:
            for name in (*each.hosts, *each.addresses):
                found.setdefault(name, each)
        return found


def index(instances: Iterable[Instance]) -> dict[str, tuple[Instance, ...]]:
    """Instances by pod address, each list in order of host name and port."""
    found: dict[str, list[Instance]] = {}
    for each in instances:
        found.setdefault(each.address, []).append(each)
    return {
        address: tuple(sorted(listed, key=lambda i: (i.service.hostname, i.service_port.number, i.port)))
        for address, listed in found.items()
    }


def like(port: Port, service: Service) -> Port | None:
    """The port of another service that stands for `port`: of the same name, else of the same number."""
    return service.port_named(port.name) or service.port(port.number)
