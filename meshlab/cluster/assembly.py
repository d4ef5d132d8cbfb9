"""The parts of the embedded cluster, put together and taken apart in the right order.

    store → Api → HTTP → first objects → network → node → controllers

Used by the daemon (all parts, for a lab) and by `Cluster` (what a test wants).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import ssl
from base64 import b64encode
from collections.abc import Callable
from typing import Any

from meshlab.cluster.api.api import Api
from meshlab.cluster.api.auth import Auth
from meshlab.cluster.api.firsts import ensure_firsts
from meshlab.cluster.api.http import Server
from meshlab.cluster.api.pki import Keys
from meshlab.cluster.api.store import Store
from meshlab.cluster.parts import Parts
from meshlab.settings import Settings

__all__ = ["Assembly", "write_kubeconfig"]

log = logging.getLogger(__name__)

#: Seconds between compactions of the store's history.
COMPACTION = 60.0
#: Seconds that Events are kept, as a real server keeps them.
EVENT_LIFETIME = 3600.0
#: Seconds before a part that failed is started again: doubled up to the second number.
RESTART = (0.1, 5.0)


class Assembly:
    """One cluster in this event loop. `listener` is the bound socket of its API server.

    `inner` is a second one, on the node's address, where pods have a network of their own that ends there.
    """

    def __init__(self, settings: Settings, keys: Keys, listener: socket.socket, parts: Parts, *,
                 inner: socket.socket | None = None) -> None:
        self.settings, self.keys, self.parts = settings, keys, parts
        self.store = Store(settings.database)
        self.api = Api(self.store, settings.network)
        self.auth = Auth(keys.token, keys.signing, self._uid_of("ServiceAccount"), self._uid_of("Pod"))
        self.server = Server(self.api, self.auth, listener, also=[inner] if inner is not None else [])
        #: Where pods reach the API server.
        self.inside: str = inner.getsockname()[0] if inner is not None else self.server.host
        self._tasks: list[asyncio.Task[None]] = []
        self._network: Any = None
        self._node: Any = None

    async def start_api(self) -> None:
        """The API answers when this returns."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.keys.server)
        # Who has a certificate of ours may show it instead of a token.
        context.load_verify_locations(cadata=self.keys.authority.decode())
        context.verify_mode = ssl.CERT_OPTIONAL
        ensure_firsts(self.api, self.inside, self.server.port)
        await self.server.start(context)
        self._tasks.append(asyncio.create_task(self._housekeeping(), name="housekeeping"))

    async def start_rest(self) -> None:
        """Network, node and controllers, as far as wanted."""
        if self.parts is Parts.API:
            return
        if self.parts is Parts.ALL:
            from meshlab.cluster.network import ClusterNetwork
            from meshlab.cluster.node import Node

            self._network = ClusterNetwork(self.api, self.settings)
            await self._network.start()
            self.server.proxy.caught_up = self._network.caught_up
            self._node = Node(self.api, self.settings, self.auth)
            self.server.kubelet, self.server.verbs.usage = self._node, self._node.usage
            await self._node.start()
        self._tasks.append(asyncio.create_task(self._controllers(), name="controllers"))

    async def stop(self, *, kill_pods: bool) -> None:
        """Everything, in reverse. Each part is stopped even if another fails."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._node is not None:
            await _attempt("node", self._node.stop(kill_pods=kill_pods))
        if self._network is not None:
            # Pods that live on hold connections through kube-proxy, which then lives on as well.
            await _attempt("network", self._network.stop() if kill_pods else self._network.leave())
        await _attempt("server", self.server.stop())
        self.store.close()

    async def _controllers(self) -> None:
        from meshlab.cluster.controllers import run_controllers

        wait = RESTART[0]
        while True:
            try:
                await run_controllers(self.api, self.settings, usage=self.server.verbs.usage,
                                      fetch=self.server.aggregation.fetch)
            except Exception:
                # Controllers work from what is stored, so they can begin again; a lab without them would be dead.
                log.exception("the controllers failed; they start again in %.1f s", wait)
            await asyncio.sleep(wait)
            wait = min(2 * wait, RESTART[1])

    async def _housekeeping(self) -> None:
        """Compacts history and lets old events go."""
        while True:
            await asyncio.sleep(COMPACTION)
            try:
                self._expire_events()
                if self.parts is Parts.ALL:
                    self._release_orphans()
                self.store.compact()
            except Exception:
                log.exception("housekeeping failed; it is tried again in %.0f s", COMPACTION)

    def _expire_events(self) -> None:
        from datetime import UTC, datetime, timedelta

        from meshlab.cluster.api.metadata import timestamp

        events = self.api.kinds("Event")
        limit = timestamp(datetime.now(UTC) - timedelta(seconds=EVENT_LIFETIME))
        for entry in self.store.entries(events.collection):
            last = entry.obj.get("lastTimestamp") or entry.obj["metadata"]["creationTimestamp"]
            if last < limit:
                meta = entry.obj["metadata"]
                self.api.delete(events, meta["namespace"], meta["name"])

    def _release_orphans(self) -> None:
        """Removes pods that wait for a node which is not there: nobody else will ever say that they have ended."""
        pods, nodes = self.api.kinds("Pod"), self.api.kinds("Node")
        for entry in self.store.entries(pods.collection):
            meta, node = entry.obj["metadata"], entry.obj["spec"].get("nodeName")
            if node and meta.get("deletionTimestamp") and self.api.find(nodes, None, node) is None:
                self.api.delete(pods, meta["namespace"], meta["name"], grace=0)

    def _uid_of(self, kind: str) -> Callable[[str, str], str | None]:
        resource = self.api.kinds(kind)

        def uid(namespace: str, name: str) -> str | None:
            found = self.api.find(resource, namespace, name)
            return None if found is None else str(found["metadata"]["uid"])

        return uid


async def _attempt(what: str, stopping: Any) -> None:
    try:
        await stopping
    except Exception:
        log.exception("stopping the %s failed", what)


def write_kubeconfig(settings: Settings, keys: Keys, server: str) -> None:
    """home/kubeconfig, mode 0600, with everything inside: it can be copied. JSON is YAML, and quicker to read."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "meshlab",
        "clusters": [{"name": "meshlab", "cluster": {
            "server": server, "certificate-authority-data": b64encode(keys.authority).decode(),
        }}],
        "users": [{"name": "meshlab", "user": {"token": keys.token}}],
        "contexts": [{"name": "meshlab", "context": {
            "cluster": "meshlab", "user": "meshlab", "namespace": "default",
        }}],
        "preferences": {},
    }
    draft = settings.kubeconfig.with_name(".kubeconfig.draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(config, file, indent=2)
        file.write("\n")
    draft.replace(settings.kubeconfig)
