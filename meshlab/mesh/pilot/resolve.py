"""What a destination of a rule means to one caller: which port, which version, which cluster."""

from __future__ import annotations

from collections.abc import Iterable

from meshlab.mesh.config.labels import NO_LABELS
from meshlab.mesh.config.outside import ExternalPort, ExternalService, Resolution
from meshlab.mesh.config.routing import Caller, Destination, HostRules, Route
from meshlab.mesh.config.services import Port
from meshlab.mesh.config.traffic import Policy
from meshlab.mesh.pilot.names import Target
from meshlab.mesh.pilot.routes import Led, destinations_of
from meshlab.mesh.pilot.world import World, like

__all__ = ["Resolver", "external_target"]


def external_target(service: ExternalService, port: ExternalPort) -> Target:
    """The cluster of one port of an external service, as it appears in names: `external-HTTP-9997`."""
    named = Port(f"external-{port.spoken}-{port.number}", port.number, port.protocol)
    return Target(service.key, named, external=True)


class Resolver:
    """Look-ups of one caller in one World, and the hosts that they were about."""

    def __init__(self, world: World, caller: Caller) -> None:
        self.world, self.caller = world, caller
        #: Hosts that were looked up, to be emptied by who wants to know.
        self.asked: set[str] = set()

    def rules(self, host: str) -> HostRules | None:
        """What this caller's sidecar does with requests and connections to a host."""
        self.asked.add(host)
        return self.world.rules_for(host, self.caller)

    def policy(self, target: Target) -> Policy | None:
        """The traffic policy that this caller follows on the way to a target."""
        self.asked.add(target.hostname)
        return self.world.rules.traffic.policy(
            target.hostname, target.labels, target.subset, target.port.number, self.caller
        )

    def led(self, target: Target) -> Led:
        policy = self.policy(target)
        balancer = policy.traffic.balancer if policy is not None else None
        return Led(target, balancer if balancer is not None and balancer.hashes else None)

    def leads(self, routes: Iterable[Route], called: Target) -> dict[Destination, Led]:
        """For every destination of some routes, of requests that were sent to `called`."""
        return {each: self.led(self.target(each, called)) for each in dict.fromkeys(destinations_of(routes))}

    def target(self, destination: Destination, called: Target) -> Target:
        """The cluster of a destination. One that nobody knows is one without endpoints."""
        self.asked.add(destination.host)
        if destination.host == called.hostname and called.external and destination.port in (0, called.port.number):
            outside = self.world.outside_by_name.get(called.hostname)
            return self._version(destination, called, outside)
        service = self.world.service(destination.host)
        if service is not None:
            port = self._port(destination, called.port, service.ports, destination.host == called.hostname)
            if destination.port and port is None:
                # Clusters are named by the ports' names.
                unknown = Port(str(destination.port), destination.port, called.port.protocol)
                return self._version(destination, Target(service.hostname, unknown, missing=True))
            if port is None:
                port = like(called.port, service)
            return self._version(destination, Target(service.hostname, port or called.port))
        outside = self.world.outside_by_name.get(destination.host)
        if outside is not None:
            ports = outside.ports
            wanted = destination.port or called.port.number
            chosen = next((each for each in ports if each.number == wanted), None)
            if chosen is None and not destination.port and len(ports) == 1:
                chosen = ports[0]
            if chosen is not None:
                return self._version(destination, external_target(outside, chosen), outside)
        return self._version(destination, Target(destination.host, called.port, missing=True))

    @staticmethod
    def _port(destination: Destination, called: Port, ports: tuple[Port, ...], own: bool) -> Port | None:
        if destination.port:
            return next((each for each in ports if each.number == destination.port), None)
        if own:
            return called
        return ports[0] if len(ports) == 1 else None

    def _version(self, destination: Destination, target: Target, outside: ExternalService | None = None) -> Target:
        """The target narrowed to a destination's version."""
        labels = self.world.rules.traffic.labels_of(destination, self.caller)
        if labels is None:
            return Target(target.hostname, target.port, subset=destination.subset, missing=True)
        if outside is not None and (outside.resolution is Resolution.NONE or not outside.endpoints):
            labels = NO_LABELS  # versions mean nothing where the application chose the address
        plain = Target(target.hostname, target.port, labels, target.external, missing=target.missing)
        if not destination.subset:
            return plain
        subset = Target(plain.hostname, plain.port, plain.labels, plain.external, destination.subset)
        one, other = self.policy(plain), self.policy(subset)
        if (one.traffic if one is not None else None) == (other.traffic if other is not None else None):
            return plain
        return subset
