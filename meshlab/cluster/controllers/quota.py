"""ResourceQuotas: what is used of them, in their status.

Whether one more object fits is decided when it is written (`limits`), from what is stored. This only tells.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from meshlab.cluster.api.status import ApiError
from meshlab.cluster.controllers.objects import key_of

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api
    from meshlab.cluster.api.store import Change

__all__ = ["QuotaController"]

log = logging.getLogger(__name__)


class QuotaController:
    """Follows the store itself: a quota may count objects of any kind, and without quotas nothing is followed."""

    name = "resourcequota-controller"

    def __init__(self, api: Api) -> None:
        self._api = api
        self._quotas = api.kinds("ResourceQuota")
        self._namespaces: dict[str, None] = {}
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        for entry in self._api.store.entries(self._quotas.collection):
            self._add(entry.obj["metadata"]["namespace"])
        forget = self._api.store.listen(self._note)
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                while self._namespaces:
                    namespace = next(iter(self._namespaces))
                    del self._namespaces[namespace]
                    self._count(namespace)
                    await asyncio.sleep(0)
        finally:
            forget()

    def _note(self, change: Change) -> None:
        if self._api.store.count(self._quotas.collection):
            self._add(change.entry.obj["metadata"].get("namespace", ""))

    def _add(self, namespace: str) -> None:
        if namespace:
            self._namespaces[namespace] = None
            self._changed.set()

    def _count(self, namespace: str) -> None:
        for quota in self._api.list(self._quotas, namespace)[0]:
            status = self._api.limits.status(quota)
            if status == quota.get("status"):
                continue
            try:
                self._api.update(
                    self._quotas, *key_of(quota), {**quota, "status": status}, subresource="status", user=self.name
                )
            except ApiError as error:
                log.info("%s %s: %s", self.name, "/".join(key_of(quota)), error)
