"""The lab's network as the daemon runs it: watches Services and what is behind them, writes what everybody else reads.

    network = ClusterNetwork(api, settings)
    await network.start()        # the network file is there when this returns
    await network.ready()        # service addresses answer
    await network.stop()

The network file (home/network.json) is for programs with the shim and for agents:

    {"version": 42,                      the resourceVersion up to which it is true; never goes back
     "low_port_start": 1024,             ports below are really bound 20,000 higher
     "domain": "cluster.local",
     "hosts": {"meshlab": "127.40.0.1"}, names that are no services
     "services": {"default/svcb": …}}    see `services.entry`
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from meshlab.cluster.controllers.follow import follow
from meshlab.cluster.network.addresses import KUBERNETES
from meshlab.cluster.network.envoy import Resources, resources
from meshlab.cluster.network.files import replace as write
from meshlab.cluster.network.kubeproxy import KubeProxy
from meshlab.cluster.network.services import DOMAIN, Entry, entry, of_slice
from meshlab.errors import LabError
from meshlab.settings import Capture, Settings, unprivileged_port_start

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api
    from meshlab.cluster.api.store import Change
    from meshlab.cluster.network.namespaces.services import KernelServices

__all__ = ["DOMAIN", "NODE_NAME", "ClusterNetwork"]

log = logging.getLogger(__name__)

NODE_NAME = "meshlab"
#: Changes are written after this much quiet, and after the second figure at the latest, seconds: a roll-out changes
#: several objects at once, and whoever waits for its end should not wait for us.
QUIET, LONGEST = 0.003, 0.025
#: Pause after a write that failed (a full disk), seconds.
RETRY = 1.0
#: Pause between two looks whether a change is in force, and how long they go on, seconds.
LOOK, PATIENCE = 0.002, 2.0

Key = tuple[str, str]


class ClusterNetwork:
    """Keeps the network file and kube-proxy in step with the API's services."""

    def __init__(self, api: Api, settings: Settings) -> None:
        self._api, self._settings = api, settings
        self.proxy = KubeProxy(settings)
        self._low = unprivileged_port_start()
        self._services: dict[Key, Mapping[str, Any]] = {}
        self._endpoints: dict[Key, Mapping[str, Any]] = {}
        #: EndpointSlices that no controller of ours made: the service, and the subset that they stand for.
        self._by_hand: dict[Key, tuple[str, Mapping[str, Any]]] = {}
        self._entries: dict[str, Entry] = {}
        self._texts: dict[str, str] = {}
        self._resources: dict[str, Resources] = {}
        self._stale: set[Key] = set()
        self._changed = asyncio.Event()
        self._revision = 0
        #: By collection, Services' and Endpoints': the revision of the last change, of the last one noted here,
        #: and of the last one that the network follows.
        self._stored = {api.kinds(kind).collection: 0 for kind in ("Service", "Endpoints")}
        self._noted, self._followed = dict(self._stored), dict(self._stored)
        self._unlisten: Callable[[], None] = lambda: None
        self._tasks: list[asyncio.Task[None]] = []
        self._hosts = {NODE_NAME: settings.network.node}
        self._kernel: KernelServices | None = None
        if settings.network.capture is Capture.IPTABLES:
            from meshlab.cluster.network.namespaces.services import KernelServices

            self._kernel = KernelServices(settings, DOMAIN, self._hosts)

    async def start(self) -> None:
        """Write the network file and start kube-proxy. Raises Missing where there is no Envoy."""
        self.proxy.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._unlisten = self._api.store.listen(self._heard)
        watched = (("Service", self._service), ("Endpoints", self._endpoint), ("EndpointSlice", self._slice))
        for kind, changed in watched:
            items, revision = self._api.list(self._api.kinds(kind))
            self._revision = max(self._revision, revision)
            for item in items:
                changed("ADDED", item)
        self._write()
        if self._kernel is not None:
            await self._kernel.start(self._entries)
        await self.proxy.start()
        self._tasks = [
            *(asyncio.create_task(follow(self._api, self._api.kinds(kind), changed), name=f"network: {kind}")
              for kind, changed in watched),
            asyncio.create_task(self._writer(), name="network: writer"),
        ]

    async def ready(self, timeout: float = 30.0) -> None:
        """Until service addresses answer. Raises WaitTimeout."""
        await self.proxy.ready(timeout)

    async def caught_up(self) -> None:
        """Until service addresses lead where the Endpoints say that are stored by now: milliseconds after a change.

        Whoever has seen a pod become ready and then asks for it through the API server finds it. A network that does
        not follow (its Envoy was killed, the disk is full) keeps nobody waiting for more than `PATIENCE` seconds.
        """
        wanted = dict(self._stored)
        try:
            async with asyncio.timeout(PATIENCE):
                while any(self._followed[each] < wanted[each] for each in wanted) or not await self.proxy.current():
                    await asyncio.sleep(LOOK)  # Envoy says nothing of its own accord
        except TimeoutError:
            log.warning("the network did not follow change %d within %g s", max(wanted.values()), PATIENCE)
            # Once is enough: whoever asks next does not wait for the same again.
            self._noted.update({each: max(self._noted[each], wanted[each]) for each in wanted})
            self._followed.update({each: max(self._followed[each], wanted[each]) for each in wanted})
            self.proxy.give_up()

    def _heard(self, change: Change) -> None:
        if change.collection in self._stored:
            self._stored[change.collection] = change.revision

    async def stop(self) -> None:
        """Stop watching and end kube-proxy; the network file stays. Stopping twice is harmless."""
        await self._unwatch()
        await self.proxy.stop()

    async def leave(self) -> None:
        """Stop watching and let kube-proxy run, for the next daemon to adopt."""
        await self._unwatch()
        self.proxy.leave()

    async def _unwatch(self) -> None:
        self._unlisten()
        self._unlisten = lambda: None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        if self._kernel is not None:
            await self._kernel.stop()

    def _service(self, event: str, service: Mapping[str, Any]) -> None:
        self._note("Service", self._services, event, service)

    def _endpoint(self, event: str, endpoints: Mapping[str, Any]) -> None:
        self._note("Endpoints", self._endpoints, event, endpoints)

    def _slice(self, event: str, found: Mapping[str, Any]) -> None:
        namespace, name = found["metadata"]["namespace"], found["metadata"]["name"]
        before = self._by_hand.pop((namespace, name), None)
        made = None if event == "DELETED" else of_slice(found)
        if made is not None:
            self._by_hand[namespace, name] = made
        for service in {each[0] for each in (before, made) if each is not None}:
            self._revision = max(self._revision, int(found["metadata"].get("resourceVersion") or 0))
            self._stale.add((namespace, service))
            self._changed.set()

    def _note(self, kind: str, kept: dict[Key, Mapping[str, Any]], event: str, obj: Mapping[str, Any]) -> None:
        key = (obj["metadata"]["namespace"], obj["metadata"]["name"])
        if event == "DELETED":
            kept.pop(key, None)
        elif kept.get(key) is obj:
            return  # the list said so already
        else:
            kept[key] = obj
        collection, revision = self._api.kinds(kind).collection, int(obj["metadata"].get("resourceVersion") or 0)
        self._noted[collection] = max(self._noted[collection], revision)
        self._revision = max(self._revision, revision)
        self._stale.add(key)
        self._changed.set()

    def _entry(self, key: Key) -> Entry | None:
        service = self._services.get(key)
        if service is None:
            return None
        by_hand = [subset for (namespace, _), (name, subset) in self._by_hand.items() if (namespace, name) == key]
        found = entry(service, self._endpoints.get(key), by_hand)
        if key == KUBERNETES and not any(found["endpoints"].values()):
            # Needed by the very programs that would write its Endpoints.
            here = [[self._settings.network.node, self._settings.api_port]]
            found["endpoints"] = dict.fromkeys(found["endpoints"], here)
        return found

    def _write(self) -> None:
        """Write what changed. OSError leaves the files of before, and what changed stale."""
        for key in self._stale:
            name, found = "/".join(key), self._entry(key)
            if found is None:
                for known in (self._entries, self._texts, self._resources):
                    known.pop(name, None)
                continue
            self._entries[name] = found
            self._texts[name] = json.dumps(found, separators=(",", ":"))
            own = resources(name, found, node=self._settings.network.node, domain=DOMAIN, low_port_start=self._low)
            if self._kernel is not None:  # which balances TCP itself
                own = replace(own, listeners=[each for each in own.listeners if "udp_listener_config" in each])
            self._resources[name] = own
        head = json.dumps({"version": self._revision, "low_port_start": self._low, "domain": DOMAIN,
                           "hosts": self._hosts})
        # Entries are kept as text: a change of one service does not encode a thousand others.
        body = ",\n".join(f"{json.dumps(name)}:{self._texts[name]}" for name in sorted(self._texts))
        write(self._settings.network_file, f'{head[:-1]}, "services": {{\n{body}\n}}}}\n')
        self.proxy.write(self._resources)
        self._stale.clear()

    async def _writer(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._changed.wait()
            latest = loop.time() + LONGEST
            while self._changed.is_set() and (left := latest - loop.time()) > 0:
                self._changed.clear()
                await asyncio.sleep(min(QUIET, left))
            self._changed.clear()
            noted = dict(self._noted)
            try:
                self._write()
                if self._kernel is not None:
                    await self._kernel.update(self._entries)
                self._followed = noted
            except (LabError, OSError) as error:
                log.warning("the network could not be changed, trying again in %g s: %s", RETRY, error)
                self._changed.set()
                await asyncio.sleep(RETRY)
