"""What a change costs as the mesh grows: snapshots at 10, 100 and 1,000 services, and pushes to 1 to 50 real sidecars.

The growth is also drawn, on standard error: a bar for each size, to one scale.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from figure import Figure, say

from meshlab.mesh.pilot.ads import AdsServer
from meshlab.mesh.pilot.build import Builder
from meshlab.mesh.pilot.control import Control
from meshlab.mesh.pilot.proxy import Proxy, Role
from meshlab.mesh.pilot.registry import Registry
from meshlab.mesh.pilot.world import Mesh, World
from meshlab.settings import Network

SIZES = (10, 100, 1000)
SIDECARS = (1, 5, 10, 25, 50)
#: Rounds of each measurement.
ROUNDS = 20
#: Width of the longest bar.
WIDTH = 40
CALLER = Proxy(Role.SIDECAR, "127.40.250.1", "caller.default", "default.svc.cluster.local", "127.41.250.1")


def run() -> Iterator[Figure]:
    cold: dict[str, float] = {}
    warm: dict[str, float] = {}
    for size in SIZES:
        first, later, made = _translated(size)
        budget = "100 ms" if size == SIZES[-1] else "-"
        what = f"{size:,} services, {2 * size:,} endpoints, {max(1, size // 10)} rules"
        yield Figure(f"{what}: cold snapshot", first, "ms", budget)
        yield Figure(f"{what}: one service changes", later, "ms", "-")
        yield Figure(f"{what}: pieces made anew for that", [made], "", "-")
        cold[f"{size} services"], warm[f"{size} services"] = statistics.median(first), statistics.median(later)
    draw("cold snapshot, ms", cold)
    draw("one service changes, ms", warm)
    pushed: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="meshlab-bench-") as folder, ExitStack() as stack:
        fleet = Fleet(Path(folder))
        stack.callback(fleet.close)
        for count in SIDECARS:
            fleet.grow(count)
            taken = [fleet.push() for _ in range(ROUNDS)]
            budget = "15 ms" if count == 10 else "-"
            yield Figure(f"rule → acknowledged by {count} real sidecar{'s' * (count > 1)}", taken, "ms", budget)
            pushed[f"{count} sidecars"] = statistics.median(taken)
    draw("rule → acknowledged by all, ms", pushed)


def draw(title: str, values: dict[str, float]) -> None:
    """A bar for each value, the longest WIDTH wide."""
    say(title)
    most = max(values.values())
    for name, value in values.items():
        say(f"  {name:>14} {value:9.2f} {'█' * max(1, round(WIDTH * value / most))}")


# Translation


def _translated(size: int) -> tuple[list[float], list[float], float]:
    """Milliseconds of cold snapshots and of snapshots after one change; pieces that were made for such a change."""
    registry = _registry(size)
    world = registry.world()
    cold: list[float] = []
    for _ in range(3):
        start = time.perf_counter()
        Builder().snapshot(world, CALLER)
        cold.append((time.perf_counter() - start) * 1000)
    builder = Builder()
    builder.snapshot(world, CALLER)
    builder.memo.sweep()
    warm: list[float] = []
    before = builder.memo.made
    for number in range(ROUNDS):
        _rule(registry, "svc0", number)
        start = time.perf_counter()
        builder.snapshot(registry.world(), CALLER)
        builder.memo.sweep()
        warm.append((time.perf_counter() - start) * 1000)
    return cold, warm, (builder.memo.made - before) / ROUNDS


def _registry(size: int) -> Registry:
    registry = Registry(Mesh(low_port_start=0))
    for number in range(size):
        _service(registry, number)
    for number in range(max(1, size // 10)):
        _rule(registry, f"svc{number}", 0)
    return registry


def _service(registry: Registry, number: int) -> None:
    name, high, low = f"svc{number}", number // 100, number % 100
    meta = {"namespace": "default", "name": name, "resourceVersion": "1"}
    registry.apply("services", "ADDED", {"metadata": meta, "spec": {
        "clusterIP": f"127.105.{high}.{low + 1}", "selector": {"app": name},
        "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
    }})
    addresses = []
    for version in (1, 2):
        pod, ip = f"{name}-{version}", f"127.40.{100 * (version - 1) + high}.{low + 1}"
        registry.apply("pods", "ADDED", {
            "metadata": {**meta, "name": pod, "labels": {"app": name, "version": f"v{version}"}},
            "status": {"podIP": ip, "phase": "Running"},
        })
        addresses.append({"ip": ip, "targetRef": {"kind": "Pod", "namespace": "default", "name": pod}})
    registry.apply("endpoints", "ADDED", {
        "metadata": meta, "subsets": [{"addresses": addresses, "ports": [{"name": "http", "port": 8080}]}],
    })


def _rule(registry: Registry, host: str, number: int) -> None:
    """A rule whose weights depend on `number`, so that each is a change."""
    share = number % 99 + 1
    registry.apply("routerules", "MODIFIED", {
        "kind": "RouteRule", "metadata": {"namespace": "default", "name": host, "resourceVersion": str(number + 1)},
        "spec": {"destination": {"name": host}, "route": [
            {"labels": {"version": "v1"}, "weight": share}, {"labels": {"version": "v2"}, "weight": 100 - share},
        ]},
    })


# Pushes


class _Source:
    """What `Control` reads: a registry in memory."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    def world(self) -> World:
        return self.registry.world()

    async def current(self, kind: str, revision: int) -> bool:
        return False

    def errors(self) -> dict[str, str]:
        return {}


class Fleet:
    """A Pilot in memory with 100 services, and real Envoys that it configures."""

    def __init__(self, home: Path) -> None:
        self._home, self._revision = home, 1
        self._network = Network(7)
        self._registry = _registry(100)
        self._envoys: list[subprocess.Popen[bytes]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._control = self._do(self._start())

    async def _start(self) -> Control:
        control = Control(_Source(self._registry))
        self._ads = AdsServer(control, f"{self._network.node}:0")
        await self._ads.start()
        self._running = asyncio.ensure_future(control.run())
        control.changed("services", 1)
        return control

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def grow(self, count: int) -> None:
        """Starts Envoys until there are so many, and waits until all have their configuration."""
        for number in range(len(self._envoys), count):
            self._envoys.append(self._sidecar(number))
        self._until(lambda: sum(each.synced for each in self._control.connections.values()) >= count)

    def _sidecar(self, number: int) -> subprocess.Popen[bytes]:
        import json

        ip = f"{self._network.pods}.251.{number + 1}"
        folder = self._home / f"pod{number}"
        folder.mkdir()
        pod = {"name": f"p{number}", "namespace": "default", "uid": f"p{number}"}
        (folder / "pod.json").write_text(json.dumps(pod))
        (self._home / "network.json").write_text(json.dumps({"services": {}}))
        environ = {
            **{k: v for k, v in os.environ.items() if k in ("PATH", "LANG")}, "POD_IP": ip,
            "LOCAL_IP": self._network.local_of(ip), "MESHLAB_POD_DIR": str(folder),
            "MESHLAB_NETWORK": str(self._home / "network.json"), "MESHLAB_SOCKETS": str(self._home / "run"),
        }
        with (folder / "log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "meshlab.mesh.agent", "proxy", "sidecar", "--serviceCluster", "bench",
                 "--discoveryAddress", f"{self._network.node}:{self._ads.port}"],
                env=environ, stdout=log, stderr=subprocess.STDOUT,
            )

    def _until(self, condition: Callable[[], bool], timeout: float = 180.0) -> None:
        end, pause = time.monotonic() + timeout, threading.Event()
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError("the sidecars are not there")
            pause.wait(0.02)

    def push(self) -> float:
        """Changes a rule; milliseconds until every sidecar has acknowledged it."""
        self._revision += 1
        revision = self._revision

        def change() -> None:
            _rule(self._registry, "svc0", revision)
            self._control.changed("routerules", revision)

        self._loop.call_soon_threadsafe(change)
        found = self._do(self._control.in_force("routerules", revision, 20.0))
        if not found.in_force:
            raise RuntimeError(f"not in force: {found.rejected}")
        return float(found.ms)

    def close(self) -> None:
        for envoy in self._envoys:
            envoy.terminate()
        for envoy in self._envoys:
            envoy.wait(10)

        async def stop() -> None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            await self._ads.stop()

        self._do(stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()
