"""Which address a service, a pod and a node port get.

An address is a function of a name and of the addresses in use, never of the order of events: a lab that is
taken down and brought up again has the addresses that its learner wrote into a rule yesterday. The services
of the tutorial have the tutorial's own, with 10.x replaced by the lab's service network.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Callable, Collection, Mapping

from meshlab.settings import Network

__all__ = [
    "KUBERNETES",
    "NODE_PORTS",
    "TUTORIAL",
    "AddressError",
    "node_port",
    "pod_ip",
    "reserve_service_ip",
    "service_ip",
]

#: The API server as a service; every cluster has it at the first address of its range.
KUBERNETES = ("default", "kubernetes")

#: Last two octets of the service addresses that the tutorial's listings show, by (namespace, name).
TUTORIAL: Mapping[tuple[str, str], tuple[int, int]] = {
    KUBERNETES: (0, 1),
    ("kube-system", "kube-dns"): (0, 10),  # every cluster's, by habit
    ("default", "svca"): (38, 238),
    ("default", "svcb"): (119, 194),
    ("istio-system", "istio-pilot"): (80, 55),
    ("istio-system", "istio-mixer"): (244, 155),
    ("istio-system", "istio-ingress"): (10, 87),
    ("istio-system", "prometheus"): (160, 37),
    ("istio-system", "grafana"): (21, 25),
    ("istio-system", "servicegraph"): (245, 21),
    ("istio-system", "zipkin"): (7, 219),
}

#: Kubernetes' own default range of node ports; it ends where Linux' ephemeral ports begin.
NODE_PORTS = range(30_000, 32_768)

#: Node ports of the tutorial's listing, as far as they lie in the range, by (namespace, name, port).
TUTORIAL_NODE_PORTS: Mapping[tuple[str, str, int], int] = {("istio-system", "istio-ingress", 80): 31_759}

#: Pods live in the first 64 blocks of their network: 127.40.0.2 to 127.40.63.254. More addresses than a machine
#: can hold pods, so that an address comes back late; few enough to look like the tutorial's.
POD_BLOCKS = 64
FIRST_HOST, LAST_HOST = 2, 254


class AddressError(ValueError):
    """An address that was asked for cannot be had; the message is the one a real API server gives."""


def service_ip(namespace: str, name: str, used: Collection[str], network: Network) -> str:
    """The cluster address of a service: `127.105.38.238` for default/svca.

    `used` holds the addresses of all services there are. Raises AddressError when the range is full.

    >>> service_ip("default", "svcb", set(), Network(0))
    '127.105.119.194'
    """
    own = TUTORIAL.get((namespace, name))
    if own is not None:
        wanted = f"{network.services}.{own[0]}.{own[1]}"
        if wanted not in used:
            return wanted
    kept = {f"{network.services}.{high}.{low}" for high, low in TUTORIAL.values()}

    def address(number: int) -> str:
        return f"{network.services}.{number // 253}.{FIRST_HOST + number % 253}"

    found = _probe(f"{namespace}/{name}", 256 * 253, lambda number: address(number) not in kept
                   and address(number) not in used)
    if found is None:
        raise AddressError("failed to allocate a serviceIP: range is full")
    return address(found)


def reserve_service_ip(wanted: str, used: Collection[str], network: Network) -> str:
    """Check a `spec.clusterIP` that somebody asked for and return it; AddressError says why it cannot be."""
    try:
        address = ipaddress.IPv4Address(wanted)
    except ValueError:
        raise AddressError(f"failed to allocate IP {wanted}: not a valid IP address") from None
    if address not in ipaddress.IPv4Network(f"{network.services}.0.0/16"):
        raise AddressError(f"failed to allocate IP {wanted}: the provided IP is not in the valid range. "
                           f"The range of valid IPs is {network.services}.0.0/16")
    if wanted in used:
        raise AddressError(f"failed to allocate IP {wanted}: provided IP is already allocated")
    return wanted


def pod_ip(uid: str, used: Collection[str], network: Network) -> str:
    """The address of the pod with this uid, in `network.pods`; AddressError when none is left."""

    def address(number: int) -> str:
        return f"{network.pods}.{number // 253}.{FIRST_HOST + number % 253}"

    found = _probe(uid, POD_BLOCKS * 253, lambda number: address(number) not in used)
    if found is None:
        raise AddressError("no pod address is left")
    return address(found)


def node_port(namespace: str, name: str, port: int, used: Collection[int]) -> int:
    """A free port of `NODE_PORTS` for one port of a NodePort or LoadBalancer service."""
    own = TUTORIAL_NODE_PORTS.get((namespace, name, port))
    if own is not None and own not in used:
        return own
    kept = set(TUTORIAL_NODE_PORTS.values())
    found = _probe(f"{namespace}/{name}:{port}", len(NODE_PORTS),
                   lambda number: NODE_PORTS[number] not in used and NODE_PORTS[number] not in kept)
    if found is None:
        raise AddressError("failed to allocate a nodePort: range is full")
    return NODE_PORTS[found]


def _probe(key: str, size: int, free: Callable[[int], bool]) -> int | None:
    """The first free number of range(size), counted from the one that `key` hashes to."""
    start = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % size
    return next((number for number in ((start + step) % size for step in range(size)) if free(number)), None)
