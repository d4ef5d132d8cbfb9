"""Who asks for configuration: a proxy's role, pod and addresses, read from its xDS node.

The node id is Istio's own, `sidecar~<pod IP>~<pod>.<namespace>~<namespace>.svc.cluster.local`; what 0.4.0 had
no need to say (the pod's private address, how its connections are captured) is in the node's metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

__all__ = ["Capture", "InvalidNode", "Proxy", "Role"]


class InvalidNode(ValueError):
    """A node id that names no proxy; the text says what is wrong."""


class Role(Enum):
    SIDECAR = "sidecar"
    INGRESS = "ingress"


class Capture(Enum):
    """How an application's connections come to its sidecar."""

    #: A start-up shim connects to the sidecar and says by PROXY protocol where it was going.
    SHIM = "shim"
    #: iptables REDIRECT; the kernel remembers where it was going.
    IPTABLES = "iptables"


@dataclass(frozen=True, slots=True)
class Proxy:
    """One proxy. `domain` is that of its pod, from which short host names are resolved."""

    role: Role
    ip: str
    #: `<pod>.<namespace>`
    id: str
    #: `default.svc.cluster.local`
    domain: str
    #: "127.0.0.1 as seen from inside the pod": where the application is reached.
    local_ip: str = "127.0.0.1"
    capture: Capture = Capture.SHIM
    #: Its service account, `namespace/name`, as its token proved it; "" where none did.
    account: str = ""

    @property
    def node(self) -> str:
        return "~".join((self.role.value, self.ip, self.id, self.domain))

    @property
    def namespace(self) -> str:
        return self.domain.split(".", 1)[0]

    @property
    def uid(self) -> str:
        """How Mixer's attributes name the pod."""
        return f"kubernetes://{self.id}"

    @classmethod
    def parse(cls, node_id: str, metadata: Mapping[str, Any] | None = None) -> Proxy:
        """Raises InvalidNode unless the id has four parts and a known role."""
        parts = node_id.split("~")
        if len(parts) != 4:
            raise InvalidNode(f"node id {node_id!r} has {len(parts)} parts, not role~ip~id~domain")
        role, ip, name, domain = parts
        try:
            known = Role(role)
        except ValueError:
            raise InvalidNode(f"node id {node_id!r}: role {role!r} is neither sidecar nor ingress") from None
        given = metadata or {}
        try:
            capture = Capture(given.get("CAPTURE", Capture.SHIM.value))
        except ValueError:
            raise InvalidNode(f"node {node_id!r}: unknown capture {given['CAPTURE']!r}") from None
        return cls(known, ip, name, domain, str(given.get("LOCAL_IP") or "127.0.0.1"), capture)
