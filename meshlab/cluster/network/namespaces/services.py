"""Service addresses and names in a lab with namespaces: kube-proxy's rules and the DNS server.

TCP is balanced by the kernel, and whoever is called sees who called, as in a cluster. UDP is left to the proxy: a
sidecar sends its statistics from one socket for ever, and the kernel would keep it with a pod that is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from meshlab.cluster.network.namespaces.firewall import load
from meshlab.cluster.network.namespaces.names import Zone
from meshlab.cluster.network.namespaces.resolver import Resolver
from meshlab.cluster.network.namespaces.rules import balance
from meshlab.cluster.network.services import Entry
from meshlab.settings import Settings

__all__ = ["KernelServices"]


class KernelServices:
    """Keeps the lab's own network in step with what `ClusterNetwork` knows."""

    def __init__(self, settings: Settings, domain: str, hosts: Mapping[str, str]) -> None:
        self._settings = settings
        self._zone = Zone(domain, dict(hosts))
        self._resolver = Resolver(settings.network.dns, self._zone)
        self._table = ""

    async def start(self, services: Mapping[str, Entry]) -> None:
        """Rules and names are in force when this returns. Raises LabError or OSError."""
        await self.update(services)
        await self._resolver.start()

    async def update(self, services: Mapping[str, Entry]) -> None:
        """Put new services in force. Raises LabError; what was in force then stays."""
        self._zone.services = dict(services)
        table = balance(services, self._settings.network.node)
        if table != self._table:
            await asyncio.to_thread(load, self._settings, table)
            self._table = table

    async def stop(self) -> None:
        """The rules stay, for pods that live on; they go with the network that they belong to."""
        await self._resolver.stop()
