"""Who may call whom: peer and request authentication, and authorization, as values.

The selection of policies for one workload (`peer_mode`, `policies_for`, `tokens_for`) is here, so that Pilot only
writes filters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, TypeVar

from meshlab.mesh.config.labels import NO_LABELS, Labels
from meshlab.mesh.config.routing import Origin

__all__ = [
    "Action",
    "Authorization",
    "JwtRule",
    "PeerAuthentication",
    "PeerMode",
    "RequestAuthentication",
    "Rule",
    "Values",
    "action_problem",
    "peer_mode",
    "policies_for",
    "selected",
    "trial_problem",
]


class PeerMode(Enum):
    """What a port takes. UNSET inherits: port → workload → namespace → mesh → PERMISSIVE."""

    UNSET = "UNSET"
    DISABLE = "DISABLE"
    PERMISSIVE = "PERMISSIVE"
    STRICT = "STRICT"


@dataclass(frozen=True, slots=True)
class PeerAuthentication:
    """Mutual TLS of the chosen pods' ports."""

    namespace: str
    name: str
    selector: Labels = NO_LABELS
    mode: PeerMode = PeerMode.UNSET
    #: (container port, mode)
    ports: tuple[tuple[int, PeerMode], ...] = ()
    #: Seconds since the epoch; the oldest of several for the same pods is in force.
    created: str = ""
    origin: Origin | None = field(default=None, compare=False)


class Action(Enum):
    ALLOW = "ALLOW"
    DENY = "DENY"
    AUDIT = "AUDIT"
    CUSTOM = "CUSTOM"


@dataclass(frozen=True, slots=True)
class Values:
    """Values one of which must hold, and values none of which may. `*`, `x*` and `*x` are patterns."""

    some: tuple[str, ...] = ()
    none: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.some or self.none)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of an authorization policy: a source and an operation and all conditions must hold.

    Each source is a tuple of (attribute, values), all of which must hold: `source.principal`, `source.namespace`,
    `source.ip`, `remote.ip`, `request.auth.principal`, `source.serviceAccount`; an operation likewise:
    `request.host`, `request.port`, `request.method`, `request.path`. No source: any; no operation: any.
    Conditions have the keys of the API (`request.headers[x]`, `source.namespace`, …).
    """

    sources: tuple[tuple[tuple[str, Values], ...], ...] = ()
    operations: tuple[tuple[tuple[str, Values], ...], ...] = ()
    conditions: tuple[tuple[str, Values], ...] = ()

    @property
    def needs_http(self) -> bool:
        """Whether the rule can hold for requests only, never for a plain connection."""
        http = ("request.host", "request.method", "request.path", "request.auth", "request.headers", "remote.ip")
        keys = [key for group in (*self.sources, *self.operations, self.conditions) for key, _ in group]
        return any(key.startswith(http) for key in keys)


@dataclass(frozen=True, slots=True)
class Authorization:
    """An AuthorizationPolicy. Without rules it matches nothing: ALLOW then denies everything."""

    namespace: str
    name: str
    selector: Labels = NO_LABELS
    action: Action = Action.ALLOW
    rules: tuple[Rule, ...] = ()
    #: Of CUSTOM.
    provider: str = ""
    origin: Origin | None = field(default=None, compare=False)


#: Annotation of a policy that is not to be enforced yet.
DRY_RUN = "istio.io/dry-run"


def trial_problem(annotations: Mapping[str, object]) -> str:
    """What becomes of a policy that is to be tried only (annotation `istio.io/dry-run`); "" for one that holds."""
    if str(annotations.get(DRY_RUN, "")) not in ("1", "t", "T", "true", "TRUE", "True"):
        return ""
    return f"{DRY_RUN}: it refuses nobody, and no sidecar here logs whom it would refuse"


def action_problem(action: str, provider: str = "") -> str:
    """What becomes of a policy whose action this mesh does not have; "" for ALLOW and DENY."""
    if action == Action.CUSTOM.value:
        return (
            f"action CUSTOM is not offered: it would ask {provider or 'an external authorizer'!r}, and this mesh has "
            "none. What its rules match is refused, as istiod does where a provider is missing"
        )
    if action == Action.AUDIT.value:
        return "action AUDIT only marks requests for a log that this mesh does not keep: it has no effect"
    return ""


@dataclass(frozen=True, slots=True)
class JwtRule:
    """A kind of token that is taken. Exactly one of `jwks` (the key set as JSON) and `jwks_uri` is given."""

    issuer: str
    audiences: tuple[str, ...] = ()
    jwks: str = ""
    jwks_uri: str = ""
    #: (header, prefix) and query parameters where tokens are looked for; () Authorization: Bearer.
    from_headers: tuple[tuple[str, str], ...] = ()
    from_params: tuple[str, ...] = ()
    from_cookies: tuple[str, ...] = ()
    output_payload_header: str = ""
    #: (header, claim)
    claims_to_headers: tuple[tuple[str, str], ...] = ()
    forward: bool = False
    #: Seconds for fetching the key set.
    timeout: float = 5.0


@dataclass(frozen=True, slots=True)
class RequestAuthentication:
    """Tokens that the chosen pods check. A request without a token passes; AuthorizationPolicy requires one."""

    namespace: str
    name: str
    selector: Labels = NO_LABELS
    rules: tuple[JwtRule, ...] = ()
    origin: Origin | None = field(default=None, compare=False)


class Selecting(Protocol):
    """Anything with a namespace, a name and a selector."""

    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def selector(self) -> Labels: ...


S = TypeVar("S", bound=Selecting)


def selected(items: Iterable[S], namespace: str, labels: Labels, root: str = "istio-system") -> list[S]:
    """Those for a pod: of the mesh's root namespace first, then of its own; each by name."""
    found = [each for each in items if each.namespace in (root, namespace) and each.selector.subset_of(labels)]
    return sorted(found, key=lambda each: (each.namespace != root, each.name))


def peer_mode(
    items: Iterable[PeerAuthentication],
    namespace: str,
    labels: Labels,
    port: int,
    *,
    root: str = "istio-system",
    default: PeerMode = PeerMode.PERMISSIVE,
) -> PeerMode:
    """What a pod's port takes: the narrowest object that says something; the oldest of several equal ones."""
    chosen: dict[int, PeerAuthentication] = {}
    for each in items:
        if each.namespace not in (root, namespace) or not each.selector.subset_of(labels):
            continue
        width = 0 if each.selector and each.namespace == namespace else 1 if each.namespace == namespace else 2
        if each.selector and each.namespace == root and namespace != root:
            continue  # a selector in the root namespace chooses pods of that namespace only
        before = chosen.get(width)
        if before is None or (each.created, each.name) < (before.created, before.name):
            chosen[width] = each
    narrowest = chosen.get(0)
    if narrowest is not None:
        for number, mode in narrowest.ports:
            if number == port and mode is not PeerMode.UNSET:
                return mode
    for _, each in sorted(chosen.items()):
        if each.mode is not PeerMode.UNSET:
            return each.mode
    return default


def policies_for(
    items: Iterable[Authorization], namespace: str, labels: Labels, root: str = "istio-system"
) -> dict[Action, tuple[Authorization, ...]]:
    """A pod's policies by action, in the order in which they are asked: CUSTOM, DENY, ALLOW, AUDIT."""
    found = selected(items, namespace, labels, root)
    order = (Action.CUSTOM, Action.DENY, Action.ALLOW, Action.AUDIT)
    return {action: listed for action in order if (listed := tuple(each for each in found if each.action is action))}
