"""Whose proxy is asking: the service account that a stream's token proves.

A sidecar's agent puts the token of its pod into the metadata of the discovery stream. Pilot lets the API server
judge it (TokenReview), and serves the secrets of that account and no other. A stream without a token gets its
configuration, as in 0.4, but no certificate; a stream with a token that is not good gets nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from typing import Protocol

from meshlab.errors import LabError, Rejected
from meshlab.kube import Kube

__all__ = ["InvalidToken", "Reviewer", "TokenReviewer"]

log = logging.getLogger("meshlab.pilot")

#: Seconds for which a judgement holds. Streams end and begin anew when a Pilot does, a thousand at a time.
REMEMBERED = 600.0
#: Judgements kept.
MOST = 4096
_PREFIX = "system:serviceaccount:"


class InvalidToken(Exception):
    """A token that is not good, or not that of a service account; the text says which."""


class Reviewer(Protocol):
    """Judges tokens."""

    async def account(self, token: str) -> str:
        """`namespace/name` of the account, "" where tokens are not judged.

        Raises InvalidToken; LabError where nobody can be asked now.
        """
        ...


class TokenReviewer:
    """Asks the API server. A judgement is remembered for ten minutes, by the token's digest."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._known: dict[bytes, tuple[str, float]] = {}

    async def account(self, token: str) -> str:
        digest = hashlib.sha256(token.encode()).digest()
        known = self._known.get(digest)
        if known is not None and known[1] > time.monotonic():
            return known[0]
        account = await asyncio.to_thread(self._ask, token)
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[digest] = account, time.monotonic() + REMEMBERED
        return account

    def _ask(self, token: str) -> str:
        try:
            answer = self._kube.create(("authentication.k8s.io/v1", "tokenreviews"), {
                "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token},
            })
        except Rejected as error:
            if error.code in (403, 404):
                log.warning("tokens cannot be judged, so nobody gets a certificate: %s", error)
                return ""
            raise LabError("the API server does not judge tokens", why=str(error)) from error
        status = answer.get("status") or {}
        if not status.get("authenticated"):
            raise InvalidToken(str(status.get("error") or "the token is not good"))
        name = str((status.get("user") or {}).get("username") or "")
        namespace, _, account = name.removeprefix(_PREFIX).partition(":")
        if not name.startswith(_PREFIX) or not account:
            raise InvalidToken(f"the token is that of {name!r}, not of a service account")
        return f"{namespace}/{account}"
