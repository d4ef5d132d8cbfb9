"""Connections into a pod, as a process of that pod would make them: what `kubectl port-forward` uses."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable

from meshlab.cluster.node.host import Host
from meshlab.settings import bound_port

__all__ = ["PodDialer"]

#: Seconds for which a refusal is not believed while the pod's programs start, and between two tries. An interpreter
#: takes longer until it listens than the programs for which "Running" is taken to mean that they answer.
PATIENCE, AGAIN = 5.0, 0.05


class PodDialer:
    """Dials the ports of one pod. `starting()` is whether its programs are still on their way."""

    def __init__(self, host: Host, uid: str, address: str, starting: Callable[[], bool]) -> None:
        self._host, self._uid, self._address, self._starting = host, uid, address, starting

    async def __call__(self, port: int) -> tuple[StreamReader, StreamWriter]:
        """First the pod's own loopback, where a captured application listens, then its address. Else OSError."""
        loop = asyncio.get_running_loop()
        end = loop.time() + PATIENCE
        while True:
            try:
                return await self._once(port)
            except ConnectionRefusedError:
                if not self._starting() or loop.time() > end:
                    raise
            await asyncio.sleep(AGAIN)

    async def _once(self, port: int) -> tuple[StreamReader, StreamWriter]:
        local = self._host.settings.network.local_of(self._address)
        try:
            return await self._dial(local, port)
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
