"""Who must prove who they are, and to whom: all that a World knows of it, and the decisions. Pure.

Three ways to say it, the later the stronger: the mesh's own settings (`authPolicy` of 0.4), an annotation of a Service
for one of its ports (`auth.istio.io/<port>`, 0.4), PeerAuthentication (today).

In the default mesh of 0.4 nobody has a certificate in use. Today's default is another: pods take either, and sidecars
use mutual TLS wherever the other side takes it. This default holds here from when the mesh says so (`enableAutoMtls`)
or has an object of today's security API about peers (PeerAuthentication, AuthorizationPolicy).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property

from meshlab.mesh.config.labels import NO_LABELS, Labels
from meshlab.mesh.config.security import (
    Action,
    Authorization,
    PeerAuthentication,
    PeerMode,
    RequestAuthentication,
    peer_mode,
    policies_for,
    selected,
)
from meshlab.mesh.config.services import Authentication, Instance, Port
from meshlab.mesh.config.traffic import ClientTls
from meshlab.mesh.pilot.secrets import Certificate, spiffe

__all__ = ["PLAIN_CALLING", "Calling", "How", "Security"]


class How(Enum):
    """How a sidecar connects to the endpoints of a destination."""

    PLAIN = "plain text"
    #: To each endpoint as it takes it.
    AUTOMATIC = "mutual TLS where it is taken"
    ALWAYS = "mutual TLS"


@dataclass(frozen=True, slots=True)
class Calling:
    """How to connect, and whom to expect; to be part of what a cluster is remembered by."""

    how: How = How.PLAIN
    #: SPIFFE identities that the other side may prove, in order; () any of the mesh.
    identities: tuple[str, ...] = ()
    sni: str = ""


PLAIN_CALLING = Calling()


@dataclass(frozen=True, eq=False)
class Security:
    """Compared by identity."""

    domain: str = "cluster.local"
    peers: tuple[PeerAuthentication, ...] = ()
    authorizations: tuple[Authorization, ...] = ()
    tokens: tuple[RequestAuthentication, ...] = ()
    #: `namespace/account` → what istio-ca issued for it.
    certificates: Mapping[str, Certificate] = field(default_factory=dict)
    #: authPolicy MUTUAL_TLS.
    mutual: bool = False
    #: Hosts that sidecars call in plain text whatever is said (mtlsExcludedServices).
    excluded: frozenset[str] = frozenset()
    #: Today's default: PERMISSIVE, and callers find out by themselves.
    automatic: bool = False
    #: Some port of some service has an annotation.
    annotated: bool = False

    @cached_property
    def in_use(self) -> bool:
        """Whether anything is said at all."""
        return bool(self.automatic or self.mutual or self.annotated or self.peers or self.authorizations or self.tokens)

    # The called side

    def mode(self, namespace: str, labels: Labels, port: int, service_port: Port | None = None) -> PeerMode:
        """What a pod takes on its port `port`, as which `service_port` of a service leads there."""
        said = peer_mode(self.peers, namespace, labels, port, default=PeerMode.UNSET)
        if said is not PeerMode.UNSET:
            return said
        annotated = service_port.authentication if service_port is not None else Authentication.INHERIT
        if annotated is not Authentication.INHERIT:
            return PeerMode.STRICT if annotated is Authentication.MUTUAL_TLS else PeerMode.DISABLE
        if self.mutual:
            return PeerMode.STRICT
        return PeerMode.PERMISSIVE if self.automatic else PeerMode.DISABLE

    def certified(self, account: str) -> bool:
        """Whether there is a certificate for `namespace/account`."""
        return account in self.certificates

    def takes(self, instance: Instance) -> bool:
        """Whether a pod that has a sidecar takes mutual TLS there."""
        mode = self.mode(instance.namespace, instance.labels, instance.port, instance.service_port)
        return mode in (PeerMode.PERMISSIVE, PeerMode.STRICT) and self.certified(account_of(instance))

    def marked(self, instances: Iterable[Instance], sidecars: Container[str]) -> frozenset[tuple[str, int]]:
        """(address, port) of those that take mutual TLS; `sidecars` are the addresses of pods that have one.

        Where several ports of a service lead to one of a pod, its listener is that of the first, which so decides.
        """
        if not self.certificates:
            return frozenset()
        found: dict[tuple[str, int], bool] = {}
        for each in instances:
            if each.address in sidecars and (each.address, each.port) not in found:
                found[each.address, each.port] = self.takes(each)
        return frozenset(place for place, takes in found.items() if takes)

    # The calling side

    def calling(
        self, caller: str, host: str, port: Port, instances: Iterable[Instance], tls: ClientTls | None = None,
        sni: str = "", accounts: Iterable[str] = (),
    ) -> Calling:
        """How the sidecar of account `caller` connects to `host`; `tls` is what a policy says of it.

        `accounts` are identities that the service has besides those of its pods. Where mutual TLS is demanded and the
        caller has no certificate (yet), it waits for one: it never falls back to plain text.
        """
        if tls is not None and tls.mode != "ISTIO_MUTUAL":
            return PLAIN_CALLING
        if tls is not None:
            how = How.ALWAYS
        elif host in self.excluded:
            return PLAIN_CALLING
        elif self.automatic:
            if not self.certified(caller):
                return PLAIN_CALLING
            how = How.AUTOMATIC
        else:
            said = port.authentication
            insists = self.mutual if said is Authentication.INHERIT else said is Authentication.MUTUAL_TLS
            if not insists:
                return PLAIN_CALLING
            how = How.ALWAYS
        known = {spiffe(account_of(each), self.domain) for each in instances if each.service_account}
        expected = (tls.subject_alt_names if tls is not None else ()) or tuple(sorted(known | set(accounts)))
        return Calling(how, tuple(expected), (tls.sni if tls is not None else "") or sni)

    # Requests

    def policies(self, namespace: str, labels: Labels = NO_LABELS) -> dict[Action, tuple[Authorization, ...]]:
        """Those of a pod that are enforced. Whom CUSTOM would have somebody ask about is refused: nobody is there."""
        found = policies_for(self.authorizations, namespace, labels)
        enforced = {
            Action.DENY: (*found.get(Action.CUSTOM, ()), *found.get(Action.DENY, ())),
            Action.ALLOW: tuple(found.get(Action.ALLOW, ())),
        }
        return {action: listed for action, listed in enforced.items() if listed}

    def tokens_for(self, namespace: str, labels: Labels = NO_LABELS) -> tuple[RequestAuthentication, ...]:
        """Whose tokens a pod takes."""
        return tuple(selected(self.tokens, namespace, labels))


def account_of(instance: Instance) -> str:
    """`namespace/account` of a pod."""
    return f"{instance.namespace}/{instance.service_account}"
