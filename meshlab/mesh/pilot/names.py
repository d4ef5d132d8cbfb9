"""Names of clusters and of virtual hosts' domains, as Pilot 0.4.0 gives them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from meshlab.mesh.config.labels import NO_LABELS, Labels
from meshlab.mesh.config.services import Port, Service, service_key

__all__ = ["ORIGINAL_DESTINATION", "PASSTHROUGH", "Target", "domains", "inbound", "truncate"]

#: Envoy of 0.4 was started with a limit of 189 bytes for object names; what is longer keeps 149 and a digest.
LONGEST = 189
#: For headless services: the address that the application itself chose.
ORIGINAL_DESTINATION = "out.orig-dst-cluster-tcp"
#: For destinations that the mesh does not know and lets through; istiod's name.
PASSTHROUGH = "PassthroughCluster"


@dataclass(frozen=True)
class Target:
    """One destination of outbound traffic: a port of a service, in one version, or a host outside the mesh."""

    hostname: str
    port: Port
    labels: Labels = NO_LABELS
    #: Outside Kubernetes: of an egress rule or a service entry.
    external: bool = False
    #: Tells versions with equal labels apart; set only where their policies differ, or where no version has the name.
    subset: str = ""
    #: No destination rule knows the subset: a cluster without endpoints.
    missing: bool = False

    @cached_property
    def key(self) -> str:
        """What endpoints are discovered by."""
        if self.subset:
            return f"{self.hostname}|{self.port.name}|{self.labels}|{self.subset}"
        return service_key(self.hostname, [self.port.name], [self.labels] if self.labels else [])

    @cached_property
    def cluster(self) -> str:
        return truncate("out." + self.key)


def truncate(name: str) -> str:
    """At most 189 characters; different names stay different."""
    if len(name) <= LONGEST:
        return name
    digest = hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()
    return name[: LONGEST - len(digest)] + digest


def inbound(port: int) -> str:
    """The cluster of the application itself, by the port it listens on."""
    return f"in.{port}"


def domains(service: Service, port: int, proxy_domain: str) -> list[str]:
    """The Hosts that mean this service to callers in `proxy_domain` (`default.svc.cluster.local`).

    The name as far as the caller shares its domain, then longer, up to the whole; then the cluster IP; each
    with and without the port.

    >>> domains(Service("b.default.svc.local"), 80, "other.svc.local")[1:4]
    ['b.default', 'b.default.svc:80', 'b.default.svc']
    """
    parts, suffix = service.hostname.split("."), proxy_domain.split(".")
    shared = 0
    while shared < min(len(parts), len(suffix)) and parts[-1 - shared] == suffix[-1 - shared]:
        shared += 1
    first = len(parts) - shared
    hosts = [".".join(parts[:end]) for end in range(max(first, 1), len(parts) + 1)]
    if service.address:
        hosts.append(service.address)
    return [each for host in hosts for each in (f"{host}:{port}", host)]
