"""Where sidecars of one view and one account can go: clusters and endpoints, made again as far as they change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from meshlab.mesh.config.services import Instance
from meshlab.mesh.config.traffic import NO_TRAFFIC, ClientTls, Policy
from meshlab.mesh.pilot.clusters import original_destination, outbound_cluster
from meshlab.mesh.pilot.difference import Difference
from meshlab.mesh.pilot.endpoints import load_assignment
from meshlab.mesh.pilot.memo import Memo
from meshlab.mesh.pilot.mutual import server_name
from meshlab.mesh.pilot.names import ORIGINAL_DESTINATION, Target
from meshlab.mesh.pilot.resolve import Resolver
from meshlab.mesh.pilot.security import PLAIN_CALLING, Calling, How, Security
from meshlab.mesh.pilot.snapshot import Kind, Resource, resource
from meshlab.mesh.pilot.stats import described

__all__ = ["Destinations", "DestinationsBuilder"]

Named = Mapping[str, Resource]


@dataclass(frozen=True, eq=False)
class Destinations:
    """Clusters and endpoints by name, and the targets that they were made for, by cluster."""

    clusters: Named = field(default_factory=dict)
    endpoints: Named = field(default_factory=dict)
    targets: Mapping[str, Target] = field(default_factory=dict)


class DestinationsBuilder:
    """Makes them for the sidecars of `account`, who connect as `security` says; `counted`: metrics want labels."""

    def __init__(self, memo: Memo, resolver: Resolver, security: Security, account: str, *, counted: bool) -> None:
        self._memo, self._resolver, self._security, self._account = memo, resolver, security, account
        self._world, self._counted = resolver.world, counted

    def build(
        self, targets: Mapping[str, Target], before: Destinations | None = None, change: Difference | None = None
    ) -> Destinations:
        """From nothing, or from what they were `before` a change."""
        known = before or Destinations()
        clusters, endpoints = dict(known.clusters), dict(known.endpoints)
        stale = list(targets) if change is None else _stale(targets, known.targets, change)
        gone = known.targets.keys() - targets.keys()
        headless = self._memo.get("headless", (self._world.services,), None, self._headless)
        if not stale and not gone and (ORIGINAL_DESTINATION in clusters) is headless:
            return known if known.targets is targets else Destinations(clusters, endpoints, targets)
        for name in (*gone, *stale):
            if (old := clusters.pop(name, None)) is not None and old.needs:
                del endpoints[old.needs[0]]
        for name in stale:
            made, places = self._target(targets[name])
            clusters[name] = made
            if places is not None:
                endpoints[places.name] = places
        clusters.pop(ORIGINAL_DESTINATION, None)
        if headless:
            mesh = self._world.mesh
            clusters[ORIGINAL_DESTINATION] = self._memo.get(
                "original", (mesh,), None,
                lambda: resource(Kind.CLUSTER, ORIGINAL_DESTINATION, original_destination(mesh)),
            )
        return Destinations(clusters, endpoints, targets)

    def _headless(self) -> bool:
        return any(each.headless for each in self._world.services)

    def _target(self, target: Target) -> tuple[Resource, Resource | None]:
        """The cluster of one target, and its endpoints if it discovers them."""
        world = self._world
        policy = self._resolver.policy(target) if world.has_traffic(target.hostname) else None
        outside = world.outside_by_name.get(target.hostname) if target.external else None
        service = None if target.external else world.service(target.hostname)
        name = service.external_name if service is not None else ""
        instances = () if target.missing else world.instances.get(target.hostname, ())
        calling = PLAIN_CALLING
        if not (target.external or name) and self._security.in_use:
            calling = self._calling(target, instances, policy.traffic.tls if policy is not None else None)
            if calling.how is How.AUTOMATIC and _chosen_by_caller(policy):
                # Addresses that the application chose carry no mark: what all pods take is taken by each.
                marked = self._marked(instances)
                all_take = bool(instances) and all((each.address, each.port) in marked for each in instances)
                calling = replace(calling, how=How.ALWAYS) if all_take else PLAIN_CALLING
        made = self._memo.get("cluster", (target, world.mesh, policy, outside), (name, calling), lambda: resource(
            Kind.CLUSTER, target.cluster,
            outbound_cluster(
                target, world.mesh, policy.traffic if policy is not None else NO_TRAFFIC, outside or name, calling
            ),
            () if outside or name or _chosen_by_caller(policy) else (target.key,),
            secured=calling.how is not How.PLAIN,
        ))
        if not made.needs:
            return made, None
        marked = self._marked(instances)
        low = world.mesh.low_port_start
        return made, self._memo.get("endpoints", (target, instances, world.mesh), (marked, self._counted), lambda:
            resource(Kind.ENDPOINTS, target.key, described(
                load_assignment(target, instances, low, marked), instances if self._counted else (), low
            )))

    def _calling(self, target: Target, instances: tuple[Instance, ...], tls: ClientTls | None) -> Calling:
        """How to connect to a target inside the mesh."""
        sni = server_name(target.hostname, target.port.number)
        return self._memo.get(
            "calling", (self._security, instances), (target, self._account, tls),
            lambda: self._security.calling(self._account, target.hostname, target.port, instances, tls, sni),
        )

    def _marked(self, instances: tuple[Instance, ...]) -> frozenset[tuple[str, int]]:
        if not self._security.automatic:
            return frozenset()
        return self._memo.get(
            "marked", (self._security, instances, self._world.sidecars), None,
            lambda: self._security.marked(instances, self._world.sidecars),
        )


def _stale(targets: Mapping[str, Target], before: Mapping[str, Target], change: Difference) -> list[str]:
    """Clusters that must be made anew."""
    moved = change.hosts | change.places
    found = [name for name, target in targets.items() if target.hostname in moved]
    if targets is not before:
        found += [name for name, target in targets.items() if target is not before.get(name)]
    if change.suffixes:
        found += [name for name, target in targets.items() if target.hostname.endswith(change.suffixes)]
    return list(dict.fromkeys(found))


def _chosen_by_caller(policy: Policy | None) -> bool:
    """Whether a policy leaves the endpoint to the application: there are none to discover then."""
    balancer = policy.traffic.balancer if policy is not None else None
    return balancer is not None and balancer.name == "PASSTHROUGH"
