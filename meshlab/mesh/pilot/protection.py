"""Collects what a mesh says about security, and makes a `Security` of it. No I/O, as the registry that it serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshlab.errors import RuleError
from meshlab.mesh.config.meshconfig import MeshConfig
from meshlab.mesh.config.security import Authorization, PeerAuthentication, RequestAuthentication, trial_problem
from meshlab.mesh.config.today.stored import Stored
from meshlab.mesh.config.today.translate import translate
from meshlab.mesh.config.today.validate import problems as invalidity
from meshlab.mesh.pilot.authentication import token_problem
from meshlab.mesh.pilot.authorization import policy_problem
from meshlab.mesh.pilot.secrets import Certificate, read_certificate
from meshlab.mesh.pilot.security import Security
from meshlab.mesh.pilot.world import Problem

__all__ = ["KINDS", "Protection"]

Object = Mapping[str, Any]
Key = tuple[str, str]
_VERSION = "security.istio.io/v1"
_POLICIES = {
    "peerauthentications": "PeerAuthentication",
    "authorizationpolicies": "AuthorizationPolicy",
    "requestauthentications": "RequestAuthentication",
}
#: Plural → apiVersion of what is collected here, besides secrets.
KINDS: Mapping[str, str] = dict.fromkeys(_POLICIES, _VERSION)


class Protection:
    """Objects by events. `apply` says whether the next `security` differs."""

    def __init__(self, domain: str = "cluster.local") -> None:
        self._domain = domain
        self._certificates: dict[Key, tuple[str, Certificate]] = {}
        self._policies: dict[str, dict[Key, Any]] = {plural: {} for plural in _POLICIES}
        self._problems: dict[tuple[str, Key], Problem] = {}
        #: Of today's objects about peers, in force or not: whoever writes one lives with today's default.
        self._seen: set[tuple[str, Key]] = set()

    def apply(self, plural: str, key: Key, obj: Object | None) -> bool:
        """Takes a policy, None for one that is gone."""
        known = self._policies[plural].pop(key, None) is not None
        known = self._problems.pop((plural, key), None) is not None or known
        self._seen.discard((plural, key))
        if obj is not None:
            self._policy(plural, key, obj)
        return known or obj is not None

    def secret(self, key: Key, obj: Object | None) -> bool:
        """Takes a Secret of whatever kind.

        A certificate whose Secret is deleted stays: proxies have it and it is good until it ends, and istio-ca is about
        to write the next.
        """
        found = read_certificate(obj) if obj is not None else None
        if found is None or self._certificates.get(key) == found:
            return False
        self._certificates[key] = found
        return True

    def _policy(self, plural: str, key: Key, obj: Object) -> None:
        if plural != "requestauthentications":
            self._seen.add((plural, key))
        kind = _POLICIES[plural]
        obj = {**obj, "apiVersion": _VERSION, "kind": kind}  # items of a list need not say so
        found: Any = None
        try:
            reasons = invalidity(obj)
            reason = "invalid: " + "; ".join(reasons) if reasons else ""
            if not reasons and any((obj.get("spec") or {}).get(name) for name in ("targetRef", "targetRefs")):
                reasons = ["targetRefs are for waypoints, of which there are none: it holds for no pod"]
                reason = reasons[0]
            if not reasons and kind == "AuthorizationPolicy":
                reason = trial_problem((obj.get("metadata") or {}).get("annotations") or {})
                reasons = [reason] if reason else []
            if not reasons:
                found = translate(Stored.of(obj, self._domain))
                reason = self._reason(found)
        except (RuleError, ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
            # Stored past validation: whatever it is, Pilot must live with it.
            reason = f"invalid: {error or type(error).__name__}"
        if reason:
            revision = str(obj["metadata"].get("resourceVersion") or "")
            self._problems[plural, key] = Problem(f"{kind}/{key[0]}/{key[1]}", reason, revision)
        if found is not None:
            self._policies[plural][key] = found

    def _reason(self, found: object) -> str:
        if isinstance(found, Authorization):
            return policy_problem(found)
        return token_problem(found) if isinstance(found, RequestAuthentication) else ""

    def problems(self) -> tuple[Problem, ...]:
        return tuple(self._problems.values())

    def security(self, config: MeshConfig, *, annotated: bool = False) -> Security:
        """All of it, under these settings of the mesh; `annotated`: a Service says something of a port."""
        automatic = config.enable_auto_mtls
        peers: tuple[PeerAuthentication, ...] = self._sorted("peerauthentications")
        return Security(
            domain=self._domain,
            peers=peers,
            authorizations=self._sorted("authorizationpolicies"),
            tokens=self._sorted("requestauthentications"),
            certificates=dict(self._certificates.values()),
            mutual=config.auth_policy == "MUTUAL_TLS",
            excluded=frozenset(config.mtls_excluded_services),
            automatic=bool(self._seen) if automatic is None else automatic,
            annotated=annotated,
        )

    def _sorted(self, plural: str) -> tuple[Any, ...]:
        return tuple(found for _, found in sorted(self._policies[plural].items()))
