"""Who is asking: tokens of the lab's owner and of service accounts.

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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ADMIN", "Auth", "User"]

ISSUER = "https://kubernetes.default.svc.cluster.local"
#: Seconds a pod's token is good for: a year, so that a lab left alone for a holiday still works.
LIFETIME = 365 * 24 * 3600


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


class Auth:
    """Issues and checks tokens. `uid_of(namespace, service account)` is its uid, None if there is none."""

    def __init__(self, token: str, key: bytes, uid_of: Callable[[str, str], str | None]) -> None:
        self._admin = token.encode()
        self._key = key
        self._uid_of = uid_of
        # Tokens seen good lately: checking one takes 20 µs, of 300 µs that a request takes.
        self._seen: dict[str, tuple[User, float]] = {}

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
            "aud": audiences or [ISSUER], "exp": now + seconds, "iat": now, "nbf": now, "iss": ISSUER,
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

    def verify(self, token: str) -> User | None:
        """The user of a token; None if it is not ours, has expired, or its account is gone."""
        if hmac.compare_digest(token.encode(), self._admin):
            return ADMIN
        known = self._seen.get(token)
        if known is None:
            known = self._check(token)
            if known is None:
                return None
            if len(self._seen) > 1000:
                self._seen.clear()
            self._seen[token] = known
        user, expires = known
        _, _, namespace, account = user.name.split(":")
        uid = self._uid_of(namespace, account)
        if time.time() > expires or uid is None or (user.uid and uid != user.uid):
            return None
        return user

    def _check(self, token: str) -> tuple[User, float] | None:
        text, _, signature = token.rpartition(".")
        try:
            if not hmac.compare_digest(_unb64(signature), self._sign(text)):
                return None
            payload = json.loads(_unb64(text.partition(".")[2]))
            claims = payload["kubernetes.io"]
            namespace, account = claims["namespace"], claims["serviceaccount"]
        except (ValueError, KeyError, TypeError):
            return None
        extra = {}
        if pod := claims.get("pod"):
            extra = {
                "authentication.kubernetes.io/pod-name": [pod["name"]],
                "authentication.kubernetes.io/pod-uid": [pod["uid"]],
            }
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
        return User(payload["sub"], groups, account["uid"], extra), float(payload["exp"])

    def _sign(self, text: str) -> bytes:
        return hmac.digest(self._key, text.encode(), hashlib.sha256)


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
