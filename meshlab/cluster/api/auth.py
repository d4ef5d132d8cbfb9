"""Who is asking: tokens of the lab's owner and of service accounts, and certificates that the lab has signed.

Service accounts' tokens are JSON Web Tokens signed with the lab's own key (HS256: issuer and verifier are one
process, so nothing is gained by a key pair). Everybody else is refused; there are no anonymous requests beyond
health and version.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from meshlab.cluster.api.metadata import new_uid

__all__ = ["ADMIN", "AUDIENCE", "Auth", "User"]

ISSUER = "https://kubernetes.default.svc.cluster.local"
#: Seconds a pod's token is good for: a year, so that a lab left alone for a holiday still works.
LIFETIME = 365 * 24 * 3600
#: Who tokens are for that name nobody: the API server itself.
AUDIENCE = ISSUER
CREDENTIAL = "authentication.kubernetes.io/credential-id"


@dataclass(frozen=True)
class User:
    """An authenticated caller."""

    name: str
    groups: tuple[str, ...] = ("system:authenticated",)
    uid: str = ""
    extra: Mapping[str, list[str]] = field(default_factory=dict)

    def info(self) -> dict[str, Any]:
        """UserInfo of authentication.k8s.io."""
        made: dict[str, Any] = {"username": self.name}
        if self.uid:
            made["uid"] = self.uid
        made["groups"] = list(self.groups)
        if self.extra:
            made["extra"] = dict(self.extra)
        return made


ADMIN = User("kubernetes-admin", ("system:masters", "system:authenticated"))


#: (namespace, name) → its uid, None if there is none.
UidOf = Callable[[str, str], str | None]


@dataclass(frozen=True)
class _Known:
    """A service account's token that was signed by us."""

    user: User
    namespace: str
    account: str
    expires: float
    audiences: tuple[str, ...]
    #: (name, uid) of the pod that it is bound to.
    pod: tuple[str, str] | None


class Auth:
    """Issues and checks tokens. `uid_of` finds service accounts, `pod_uid_of` the pods that tokens are bound to."""

    def __init__(self, token: str, key: bytes, uid_of: UidOf, pod_uid_of: UidOf | None = None) -> None:
        self._admin = token.encode()
        self._key = key
        self._uid_of, self._pod_uid_of = uid_of, pod_uid_of
        # Tokens seen good lately: checking one takes 20 µs, of 300 µs that a request takes.
        self._seen: dict[str, _Known] = {}

    def issue(
        self, namespace: str, service_account: str, *, pod: tuple[str, str] | None = None,
        seconds: int = LIFETIME, audiences: list[str] | None = None,
    ) -> str:
        """A bearer token for a service account; `pod` is (name, uid) of the pod that it is bound to."""
        now = int(time.time())
        claims: dict[str, Any] = {
            "namespace": namespace,
            "serviceaccount": {"name": service_account, "uid": self._uid_of(namespace, service_account) or ""},
        }
        if pod:
            claims["pod"] = {"name": pod[0], "uid": pod[1]}
        payload = {
            "aud": audiences or [AUDIENCE], "exp": now + seconds, "iat": now, "iss": ISSUER, "jti": new_uid(),
            "nbf": now,
            "kubernetes.io": claims, "sub": f"system:serviceaccount:{namespace}:{service_account}",
        }
        text = _b64(b'{"alg":"HS256","typ":"JWT"}') + "." + _b64(json.dumps(payload).encode())
        return f"{text}.{_b64(self._sign(text))}"

    def user(self, authorization: str | None) -> User | None:
        """The caller of a request with this Authorization header; None = 401."""
        if not authorization:
            return None
        scheme, _, token = authorization.partition(" ")
        return self.verify(token.strip()) if scheme.lower() == "bearer" else None

    def certified(self, certificate: Mapping[str, Any] | None) -> User | None:
        """The user of a client's certificate, as `ssl` shows one that the lab's authority has signed."""
        subject = [pair for part in (certificate or {}).get("subject", ()) for pair in part]
        name = next((value for key, value in subject if key == "commonName"), "")
        groups = [value for key, value in subject if key == "organizationName"]
        return User(name, (*groups, "system:authenticated")) if name else None

    def verify(self, token: str) -> User | None:
        """The user of a token for the API server; None if it is not ours, has expired, or its account is gone."""
        found = self.reviewed(token, (AUDIENCE,))
        return None if found is None else found[0]

    def reviewed(self, token: str, audiences: Sequence[str]) -> tuple[User, list[str]] | None:
        """The user of a token, and for whom of `audiences` it is; None where it is for none of them."""
        if hmac.compare_digest(token.encode(), self._admin):
            return (ADMIN, [AUDIENCE]) if AUDIENCE in audiences else None
        known = self._seen.get(token)
        if known is None:
            known = self._check(token)
            if known is None:
                return None
            if len(self._seen) > 1000:
                self._seen.clear()
            self._seen[token] = known
        shared = [audience for audience in audiences if audience in known.audiences]
        uid = self._uid_of(known.namespace, known.account)
        if not shared or time.time() > known.expires or uid is None or (known.user.uid and uid != known.user.uid):
            return None
        if known.pod and self._pod_uid_of and self._pod_uid_of(known.namespace, known.pod[0]) != known.pod[1]:
            return None
        return known.user, shared

    def _check(self, token: str) -> _Known | None:
        text, _, signature = token.rpartition(".")
        try:
            if not hmac.compare_digest(_unb64(signature), self._sign(text)):
                return None
            payload = json.loads(_unb64(text.partition(".")[2]))
            claims = payload["kubernetes.io"]
            namespace, account = claims["namespace"], claims["serviceaccount"]
            pod = claims.get("pod")
            extra = {CREDENTIAL: [f"JTI={payload['jti']}"]} if "jti" in payload else {}
            if pod:
                extra["authentication.kubernetes.io/pod-name"] = [pod["name"]]
                extra["authentication.kubernetes.io/pod-uid"] = [pod["uid"]]
            groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
            return _Known(
                User(payload["sub"], groups, account["uid"], extra), namespace, account["name"], float(payload["exp"]),
                tuple(payload["aud"]), (pod["name"], pod["uid"]) if pod else None,
            )
        except (ValueError, KeyError, TypeError):
            return None

    def _sign(self, text: str) -> bytes:
        return hmac.digest(self._key, text.encode(), hashlib.sha256)


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
