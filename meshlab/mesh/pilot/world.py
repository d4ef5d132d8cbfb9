"""Everything a snapshot is made from, as one frozen value.

The registry makes a new World for each change and keeps every object that did not change, so that what was
derived from it (see `memo`) stays valid. Translation sees a World and a Proxy and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from meshlab.mesh.config.durations import Duration
from meshlab.mesh.config.model import Config, DestinationPolicy, EgressRule, IngressRule, RouteRule
from meshlab.mesh.config.services import Instance, Port, Service
from meshlab.mesh.pilot.proxy import Capture
from meshlab.mesh.pilot.policy import CheckRule

__all__ = ["Mesh", "Problem", "World"]


@dataclass(frozen=True)
class Mesh:
    """The settings of the mesh that translation needs."""

    domain: str = "cluster.local"
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


@dataclass(frozen=True, slots=True)
class Problem:
    """A stored rule that is not, or not wholly, in force, and why. `key` as `route-rule/default/name`."""

    key: str
    reason: str
    #: The rule's resourceVersion.
    revision: str = ""

    def __str__(self) -> str:
        return f"{self.key}: {self.reason}"


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
    #: In order of precedence, the rules for each destination host.
    route_rules: Mapping[str, tuple[Config[RouteRule], ...]] = field(default_factory=dict)
    #: Those left after conflicts, in order of key.
    egress_rules: tuple[Config[EgressRule], ...] = ()
    #: In order of key, the policies for each destination host.
    policies: Mapping[str, tuple[Config[DestinationPolicy], ...]] = field(default_factory=dict)
    ingress_rules: tuple[Config[IngressRule], ...] = ()
    #: Mixer's rules that can refuse; none while the mesh has policy checks switched off.
    checks: frozenset[CheckRule] = frozenset()
    problems: tuple[Problem, ...] = ()

    def service(self, hostname: str) -> Service | None:
        """By bisection: services are sorted."""
        low, high = 0, len(self.services)
        while low < high:
            middle = (low + high) // 2
            if self.services[middle].hostname < hostname:
                low = middle + 1
            else:
                high = middle
        if low < len(self.services) and self.services[low].hostname == hostname:
            return self.services[low]
        return None

    def at(self, address: str) -> tuple[Instance, ...]:
        return self.local.get(address, ())


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
