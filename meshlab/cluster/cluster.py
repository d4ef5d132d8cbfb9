"""A cluster for a test: `with Cluster() as c: …` and real clients speak to `c.kubeconfig`.

    from meshlab.cluster import Cluster, Parts

    def test_something():
        with Cluster() as cluster:                       # the API server alone, ready in a tenth of a second
            subprocess.run(["kubectl", "get", "namespaces"], env=cluster.environ, check=True)

    with Cluster(parts=Parts.ALL) as cluster:            # pods run, as processes of this machine
        cluster.kube.create(("v1", "pods", "default"), {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "c", "image": "nginx"}]}})
        official = kubernetes.config.new_client_from_config(str(cluster.kubeconfig))     # or any other client

    with Cluster("kept") as cluster: ...                 # what is stored in this folder is there the next time

It runs in a thread of the caller's process, with an address and a home of its own, so that many can run at the same
time; nothing of it is left when the block ends. It is what the lab's daemon runs, without the daemon.
"""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from meshlab.cluster.parts import Parts
from meshlab.errors import LabError, Taken
from meshlab.settings import SLOTS, Network, Settings

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api
    from meshlab.cluster.assembly import Assembly
    from meshlab.kube import Kube

__all__ = ["Cluster"]

T = TypeVar("T")

#: Seconds until the API answers, and until everything is stopped.
STARTING, STOPPING = 30.0, 45.0


class Cluster:
    """An embedded Kubernetes cluster as a context manager.

    `home` keeps what is stored for a next time; without one, a temporary folder is used and removed. `slot` picks the
    loopback networks (`settings.Network`); without one, the API server alone listens on 127.0.0.1 at `port` (0: any),
    and a cluster with a node takes a free slot. Raises Taken where its address is not free.
    """

    def __init__(
        self, home: Path | str | None = None, *, parts: Parts = Parts.API, slot: int | None = None, port: int = 0
    ) -> None:
        self.parts = parts
        self._port = port
        self._home = Path(home).absolute() if home else None
        self._slot = slot
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._assembly: Assembly | None = None
        self._kube: Kube | None = None
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._end: Future[None] = Future()
        self.settings = Settings(self._home or Path())

    @property
    def kubeconfig(self) -> Path:
        """A file for KUBECONFIG."""
        return self.settings.kubeconfig

    @property
    def server(self) -> str:
        """`https://127.0.0.1:40001`"""
        assert self._assembly is not None, "the cluster is not running"  # noqa: S101
        return f"https://{self._assembly.server.host}:{self._assembly.server.port}"

    @property
    def token(self) -> str:
        """The owner's bearer token."""
        assert self._assembly is not None, "the cluster is not running"  # noqa: S101
        return self._assembly.keys.token

    @property
    def environ(self) -> dict[str, str]:
        """This process's environment with KUBECONFIG, a discovery cache of its own, and no HTTP proxy."""
        cache = str(self.settings.home / "kube-cache")
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "KUBECACHEDIR": cache, "no_proxy": "*"}

    @property
    def kube(self) -> Kube:
        """A small client of this cluster, closed with it."""
        from meshlab.kube import Kube

        if self._kube is None:
            self._kube = Kube.from_kubeconfig(self.kubeconfig)
        return self._kube

    def call(self, function: Callable[[Api], T], timeout: float = 10.0) -> T:
        """Runs `function(api)` in the cluster's own thread, where the in-process Api belongs."""
        assert self._loop is not None and self._assembly is not None, "not running"  # noqa: S101
        api = self._assembly.api

        async def run() -> T:
            return function(api)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(timeout)

    def __enter__(self) -> Cluster:
        if self._home is None:
            self._folder = tempfile.TemporaryDirectory(prefix="meshlab-cluster-")
        home = self._home or Path(self._folder.name if self._folder else "")
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self.settings, listener = self._listen(Settings(home))
        except Taken:
            self._clean()
            raise
        self._thread = threading.Thread(
            target=self._run, args=(listener,), name="meshlab cluster", daemon=True
        )
        self._thread.start()
        if not self._ready.wait(STARTING):
            self.__exit__(None, None, None)  # what has begun by now ends again
            raise LabError(f"the cluster in {home} did not answer within {STARTING:g} s")
        if self._error is not None:
            self._thread.join()
            self._clean()
            raise self._error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._kube is not None:
            self._kube.close()
        if not self._end.done():
            self._end.set_result(None)
        if self._thread is not None:
            self._thread.join(STOPPING)
        self._clean()
        if self._error is not None and error is None:
            raise self._error

    def _clean(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def _listen(self, settings: Settings) -> tuple[Settings, socket.socket]:
        slots: list[int | None]
        if self._slot is not None:
            slots = [self._slot]
        elif self.parts is Parts.ALL:
            # From the end: the first slots are for labs.
            slots = list(reversed(range(SLOTS)))
        else:
            slots = [None]
        for slot in slots:
            chosen = settings if slot is None else replace(settings, network=Network(slot))
            address = ("127.0.0.1", self._port) if slot is None else (chosen.network.node, chosen.api_port)
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(address)
                listener.listen(512)
                return chosen, listener
            except OSError as error:
                listener.close()
                if slot == slots[-1]:
                    raise Taken(f"cannot listen on {address[0]}:{address[1]}", why=str(error)) from error
        raise AssertionError("unreachable")

    def _run(self, listener: socket.socket) -> None:
        try:
            asyncio.run(self._serve(listener))
        except BaseException as error:  # handed to the caller's thread
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self, listener: socket.socket) -> None:
        from meshlab.cluster.api import pki
        from meshlab.cluster.assembly import Assembly, write_kubeconfig

        self._loop = asyncio.get_running_loop()
        settings = self.settings
        maker = pki.begin(settings)
        keys = pki.keys(settings, maker)
        assembly = self._assembly = Assembly(settings, keys, listener, self.parts)
        try:
            await assembly.start_api()
            write_kubeconfig(settings, keys, self.server)
            await assembly.start_rest()
            self._ready.set()
            await asyncio.wrap_future(self._end)
        finally:
            await assembly.stop(kill_pods=True)
