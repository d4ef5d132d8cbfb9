"""From running to ready: the probes of one run of a container, in the order in which they matter.

Without a readinessProbe a cluster calls a container ready as soon as it runs. Here the image says when it answers
(`images.ReadyHint`), so that "all Ready" means "all answer" to whoever waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from meshlab.cluster.node.images import Answers, ReadyHint
from meshlab.cluster.node.probes import BRISK, Prober, Target, accepts, accepts_inside, envoy_live

if TYPE_CHECKING:
    from meshlab.cluster.node.container import ContainerRunner

__all__ = ["GRACE", "watch_health"]

#: Seconds after which a container of a general image counts as ready although nothing listens on the port that it
#: declares: to a cluster that port is a remark only.
GRACE = 5.0


async def watch_health(container: ContainerRunner, target: Target) -> None:
    """Until cancelled, which the end of the run does."""
    spec = container.spec
    if (probe := spec.get("startupProbe")) and not container.state.started:
        await _startup(container, probe, target)
    container.set_started()
    tasks: list[Awaitable[None]] = []
    if probe := spec.get("readinessProbe"):
        def unready(message: str) -> None:
            container.unhealthy("Readiness", message)

        tasks.append(Prober(probe, target, initial=container.state.ready, report=container.set_ready, failed=unready,
                            brisk=True).run())
    else:
        tasks.append(_answers(container, target))
    if probe := spec.get("livenessProbe"):
        def dead(message: str) -> None:
            container.unhealthy("Liveness", message)

        def alive(ok: bool) -> None:
            if not ok:
                container.pod.spawn(container.kill(f"Container {container.name} failed liveness probe, "
                                                   "will be restarted"))

        tasks.append(Prober(probe, target, initial=True, report=alive, failed=dead, brisk=False).run())
    async with asyncio.TaskGroup() as group:
        for task in tasks:
            group.create_task(_coroutine(task))


async def _coroutine(task: Awaitable[None]) -> None:
    await task


async def _startup(container: ContainerRunner, probe: dict[str, object], target: Target) -> None:
    """Until the startup probe succeeds; its final failure kills the run, which cancels this."""
    succeeded = asyncio.Event()

    def report(ok: bool) -> None:
        if ok:
            succeeded.set()
        else:
            container.pod.spawn(container.kill(f"Container {container.name} failed startup probe, will be restarted"))

    prober = Prober(probe, target, initial=False, report=report,
                    failed=lambda message: container.unhealthy("Startup", message), brisk=True)
    asking = asyncio.create_task(prober.run())
    try:
        await succeeded.wait()
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def _answers(container: ContainerRunner, target: Target) -> None:
    """Ready as soon as the image's own sign is seen; it is not asked again in this run."""
    if not container.state.ready:
        image = container.image
        asking = _sign(image.ready if image else ReadyHint(), container, target)
        if asking is not None:
            deadline = asyncio.get_running_loop().time() + GRACE
            while not await asking():
                declared = image is not None and image.ready.answers is Answers.DECLARED
                if declared and asyncio.get_running_loop().time() > deadline:
                    break
                await asyncio.sleep(BRISK)
    container.set_ready(True)


def _sign(hint: ReadyHint, container: ContainerRunner, target: Target) -> Callable[[], Awaitable[bool]] | None:
    pod = container.pod

    async def application(port: int) -> bool:
        # Under capture the application listens at the private address; its sidecar has the public one.
        if pod.captured:
            return await accepts_inside(target, port)
        return await accepts(target.address, port, target.node)

    match hint.answers:
        case Answers.RUNNING:
            return None
        case Answers.ENVOY:
            socket = pod.host.settings.sockets / f"{pod.uid[:8]}.sock"
            return lambda: envoy_live(socket)
        case Answers.LOCAL:
            return lambda: accepts_inside(target, hint.port)
        case Answers.APPLICATION:
            return lambda: application(hint.port)
    ports = [int(port["containerPort"]) for port in container.spec.get("ports") or []
             if (port.get("protocol") or "TCP") == "TCP"]
    return (lambda: application(ports[0])) if ports else None
