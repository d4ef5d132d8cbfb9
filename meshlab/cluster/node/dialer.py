"""Connections into a pod, as a process of that pod would make them: what `kubectl port-forward` uses."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter

from meshlab.cluster.node.host import Host
from meshlab.settings import bound_port

__all__ = ["PodDialer"]


class PodDialer:
    """Dials the ports of one pod."""

    def __init__(self, host: Host, uid: str, address: str) -> None:
        self._host, self._uid, self._address = host, uid, address

    async def __call__(self, port: int) -> tuple[StreamReader, StreamWriter]:
        """First the pod's own loopback, where a captured application listens, then its address. Else OSError."""
        network = self._host.settings.network
        try:
            return await self._dial(network.local_of(self._address), port)
        except ConnectionRefusedError:
            return await self._dial(self._address, port)

    async def _dial(self, address: str, port: int) -> tuple[StreamReader, StreamWriter]:
        asking = self._host.pods.socket(self._uid)
        try:
            asking.setblocking(False)
            await asyncio.get_running_loop().sock_connect(asking, (address, bound_port(port)))
            return await asyncio.open_connection(sock=asking)
        except BaseException:
            asking.close()
            raise
