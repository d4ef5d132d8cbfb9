"""What the API server asks of the node: a pod's logs and its address.

The node implements `Kubelet`; the daemon hands it to the HTTP layer. Without one, these requests are answered as by a
cluster whose kubelet cannot be reached.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

__all__ = ["Kubelet", "KubeletError"]


class KubeletError(Exception):
    """The node cannot do what was asked; the message is for the user. Becomes a 400 (or 404 if `missing`)."""

    def __init__(self, message: str, *, missing: bool = False) -> None:
        self.missing = missing
        super().__init__(message)


class Kubelet(Protocol):
    """The node as the API server sees it."""

    def logs(
        self, namespace: str, pod: str, container: str, *, follow: bool, previous: bool, tail: int | None,
        since_seconds: int | None, since_time: str | None, timestamps: bool, limit_bytes: int | None,
    ) -> AsyncIterator[bytes]:
        """The container's output in pieces; with `follow` until the container ends.

        Raises KubeletError before the first piece where there is no log yet.
        """
        ...

    def address(self, namespace: str, pod: str) -> str:
        """The pod's public address, POD_IP. KubeletError if it has none yet."""
        ...
