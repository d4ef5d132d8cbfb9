"""The node: runs the pods that are bound to it, and answers for their logs, consoles and ports."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from meshlab.cluster.api.status import ApiError, NotFound
from meshlab.cluster.api.streams import Dial, KubeletError
from meshlab.cluster.controllers.events import Recorder
from meshlab.cluster.controllers.follow import Handler, follow
from meshlab.cluster.controllers.objects import Obj
from meshlab.cluster.network.podnetwork import pod_network
from meshlab.cluster.network.services import DOMAIN
from meshlab.cluster.node import limits
from meshlab.cluster.node.console import ContainerConsole
from meshlab.cluster.node.container import ContainerRunner
from meshlab.cluster.node.dialer import PodDialer
from meshlab.cluster.node.host import NODE_NAME, Host, TokenIssuer
from meshlab.cluster.node.images import Catalogue
from meshlab.cluster.node.lease import RENEWAL, renew
from meshlab.cluster.node.logs import LogClock, LogOptions, read_log
from meshlab.cluster.node.machine import node_object, node_status
from meshlab.cluster.node.metering import Metering
from meshlab.cluster.node.paths import PodPaths
from meshlab.cluster.node.pod import HASTE, PodRunner
from meshlab.cluster.node.process import kill_leftovers
from meshlab.settings import Settings

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["Node"]

log = logging.getLogger(__name__)

#: Seconds between looks at the logs' sizes, from which lines get their times.
LOG_LOOK = 1.0
#: Seconds between heartbeats of the Node object; a kubelet's number for an unchanged status.
HEARTBEAT = 300.0
#: Seconds that pods get to end when the lab goes down.
DOWN_GRACE = 3.0


class Node:
    """The one node of a lab. `start` adopts what an earlier daemon left running; `stop` ends it or lets go of it."""

    def __init__(self, api: Api, settings: Settings, auth: TokenIssuer, *, catalogue: Catalogue | None = None) -> None:
        self._api, self._settings = api, settings
        self._host = Host(api, settings, auth, catalogue or Catalogue(), Recorder(api, "kubelet", NODE_NAME),
                          pod_network(settings, DOMAIN))
        self._pods: dict[str, PodRunner] = {}
        #: What the pods use.
        self.usage = Metering(lambda: self._pods.values())
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Register the node, adopt running pods, clear away what belongs to no pod, and follow the API."""
        for folder in (self._settings.pods, self._settings.sockets):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._register()
        pods, _ = self._api.list(self._api.kinds("Pod"), field_selector=f"spec.nodeName={NODE_NAME}")
        for pod in pods:
            if address := (pod.get("status") or {}).get("podIP"):
                self._host.addresses[pod["metadata"]["uid"]] = address
        for pod in pods:
            self._adopt(pod)
        self._clear_away()
        self._tasks = [
            asyncio.create_task(follow(self._api, self._api.kinds("Pod"), self._pod_event), name="node: pods"),
            *(asyncio.create_task(follow(self._api, self._api.kinds(kind), self._data_handler(kind)),
                                  name=f"node: {kind}") for kind in ("ConfigMap", "Secret")),
            asyncio.create_task(self._look_at_logs(), name="node: logs"),
            asyncio.create_task(self._beat(), name="node: heartbeat"),
            asyncio.create_task(self._renew(), name="node: lease"),
            asyncio.create_task(self.usage.run(), name="node: usage"),
            asyncio.create_task(self._watch(limits.memory, limits.MEMORY), name="node: memory"),
            asyncio.create_task(self._watch(limits.disk, limits.DISK), name="node: disk"),
        ]

    async def stop(self, kill_pods: bool) -> None:
        """End the node: with every process of every pod, or leaving all of them to the next daemon."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        runners = list(self._pods.values())
        if not kill_pods:
            await asyncio.gather(*(runner.abandon() for runner in runners))
            return
        for runner in runners:
            if runner.stopping:
                runner.stop(DOWN_GRACE)
        await asyncio.gather(*(
            runner.finished_stopping() if runner.stopping else runner.halt(DOWN_GRACE) for runner in runners))
        left = kill_leftovers(f"{self._settings.home}|")
        if left:
            log.warning("%d processes of pods had left their group and were killed", left)
        with suppress(OSError):  # it may lie outside of the lab's home, and kube-proxy's may be in it
            self._settings.sockets.rmdir()

    # Kubelet

    def address(self, namespace: str, pod: str) -> str:
        """The pod's IP address. NotFound if there is no such pod, KubeletError if it has none yet."""
        obj = self._api.get(self._api.kinds("Pod"), namespace, pod)
        address = (obj.get("status") or {}).get("podIP")
        if not address:
            raise KubeletError(f"pod {pod} does not have a host assigned")
        return str(address)

    async def logs(self, namespace: str, pod: str, container: str | None, *, follow: bool = False,
                   previous: bool = False, tail: int | None = None, since_seconds: int | None = None,
                   since_time: str | None = None, timestamps: bool = False,
                   limit_bytes: int | None = None) -> AsyncIterator[bytes]:
        """A container's output in chunks. Raises KubeletError while it waits to start …"""
        runner, chosen = self._container(namespace, pod, container)
        run = self._run(runner, chosen, previous=previous)
        since = time.time() - since_seconds if since_seconds is not None else None
        if since_time:
            since = datetime.fromisoformat(since_time).timestamp()
        file = chosen.files.log(run)
        process = chosen.process

        def ended() -> bool:
            return process is None or process.exit is not None or chosen.state.restarts != run

        clock = chosen.clock if chosen.clock is not None and run == chosen.state.restarts else LogClock(file)
        options = LogOptions(follow=follow, tail=tail, since=since, timestamps=timestamps, limit=limit_bytes)
        async for block in read_log(file, clock, options, ended=ended):
            yield block

    def console(self, namespace: str, pod: str, container: str) -> ContainerConsole:
        """Where commands run and clients attach. KubeletError if the container does not run."""
        runner, chosen = self._container(namespace, pod, container)
        if chosen.process is None or runner.stopping:
            raise KubeletError(f'container not found ("{container}")')
        return ContainerConsole(chosen, chosen.process)

    def dialer(self, namespace: str, pod: str) -> Dial:
        """Connections as from a process of the pod. KubeletError if the pod does not run."""
        obj = self._api.get(self._api.kinds("Pod"), namespace, pod)
        runner, phase = self._pods.get(obj["metadata"]["uid"]), (obj.get("status") or {}).get("phase", "Pending")
        if runner is None or phase != "Running":
            raise KubeletError(f"unable to forward port because pod is not running. Current status={phase}")

        return PodDialer(self._host, runner.uid, runner.address,
                         lambda: any(container.starting for container in runner.containers))

    def _container(self, namespace: str, pod: str, container: str | None) -> tuple[PodRunner, ContainerRunner]:
        obj = self._api.get(self._api.kinds("Pod"), namespace, pod)
        spec = obj["spec"]
        names = [c["name"] for c in spec["containers"]]
        init = [c["name"] for c in spec.get("initContainers") or []]
        if not container:
            if len(names) > 1:
                extra = f" or one of the init containers: [{' '.join(init)}]" if init else ""
                raise KubeletError(f"a container name must be specified for pod {pod}, "
                                 f"choose one of: [{' '.join(names)}]{extra}")
            container = names[0]
        guests = [c["name"] for c in spec.get("ephemeralContainers") or []]
        if container not in names + init + guests:
            raise KubeletError(f"container {container} is not valid for pod {pod}")
        runner = self._pods.get(obj["metadata"]["uid"])
        if runner is None:
            raise KubeletError(f"pod {pod} does not have a host assigned")
        return runner, next(c for c in runner.everyone if c.name == container)

    @staticmethod
    def _run(runner: PodRunner, container: ContainerRunner, *, previous: bool) -> int:
        """The number of the run whose log is wanted."""
        state, pod = container.state, runner.object["metadata"]["name"]
        waiting = state.state.get("waiting")
        if previous:
            if "terminated" not in state.last:
                raise KubeletError(f'previous terminated container "{container.name}" in pod "{pod}" not found')
            return state.restarts if waiting else state.restarts - 1
        if waiting and "terminated" not in state.last:
            why = waiting.get("reason") or "ContainerCreating"
            if why in ("ErrImagePull", "ImagePullBackOff"):
                raise KubeletError(f'container "{container.name}" in pod "{pod}" is waiting to start: '
                                 "trying and failing to pull image")
            raise KubeletError(f'container "{container.name}" in pod "{pod}" is waiting to start: {why}')
        return state.restarts

    # Pods

    def _adopt(self, pod: Obj) -> None:
        runner = PodRunner(self._host, pod)
        self._pods[runner.uid] = runner
        runner.recall()
        if pod["metadata"].get("deletionTimestamp"):
            runner.stop(self._grace(pod))
        else:
            runner.begin()

    def _pod_event(self, kind: str, pod: Obj) -> None:
        if pod["spec"].get("nodeName") != NODE_NAME:
            return
        uid = pod["metadata"]["uid"]
        runner = self._pods.get(uid)
        if kind == "DELETED":
            if runner is not None:
                self._pods.pop(uid)
                # Deleted without grace: what still runs has a moment to end.
                runner.stop(HASTE)
            return
        if runner is None:
            runner = self._pods[uid] = PodRunner(self._host, pod)
            if not pod["metadata"].get("deletionTimestamp"):
                runner.begin()
        else:
            runner.update(pod)
        if pod["metadata"].get("deletionTimestamp"):
            runner.stop(self._grace(pod))

    @staticmethod
    def _grace(pod: Obj) -> float:
        seconds = pod["metadata"].get("deletionGracePeriodSeconds")
        return 30.0 if seconds is None else float(seconds)

    def _data_handler(self, kind: str) -> Handler:
        def handler(_: str, obj: Obj) -> None:
            namespace, name = obj["metadata"]["namespace"], obj["metadata"]["name"]
            for runner in list(self._pods.values()):
                if runner.object["metadata"]["namespace"] == namespace:
                    runner.data_changed(kind, name)

        return handler

    def _clear_away(self) -> None:
        """Files, processes and networks of pods that the API no longer knows."""
        self._host.pods.keep(self._pods)
        for folder in self._settings.pods.iterdir():
            paths = PodPaths(folder)
            if paths.uid not in self._pods:
                kill_leftovers(self._host.mark(paths.uid))
                shutil.rmtree(folder, ignore_errors=True)
        # What was started in the instant before its record was written: it has the mark of a container that,
        # for all we know, does not run.
        running = {self._host.mark(runner.uid, container.name) for runner in self._pods.values()
                   for container in runner.everyone if container.process is not None}
        killed = kill_leftovers(f"{self._settings.home}|", keep=running)
        if killed:
            log.warning("%d processes that an earlier daemon had left unrecorded were killed", killed)

    # The node itself

    def _register(self) -> None:
        resource = self._api.kinds("Node")
        try:
            current = self._api.get(resource, None, NODE_NAME)
        except NotFound:
            current = self._api.create(resource, None, node_object(self._settings.network))
        status = node_status(self._settings.network, self._host.catalogue.known, current.get("status"),
                             disk=shutil.disk_usage(self._settings.home).total)
        self._api.update(resource, None, NODE_NAME, {**current, "status": status}, subresource="status")

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT)
            try:
                self._register()
            except (ApiError, OSError) as error:
                log.warning("the node's heartbeat could not be written: %s", error)

    async def _renew(self) -> None:
        while True:
            try:
                renew(self._api)
            except ApiError as error:
                log.warning("the node's lease could not be renewed: %s", error)
            await asyncio.sleep(RENEWAL)

    async def _watch(self, look: Callable[[Iterable[PodRunner]], None], seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                look(list(self._pods.values()))
            except OSError as error:
                log.warning("the limits of pods could not be looked at: %s", error)

    async def _look_at_logs(self) -> None:
        while True:
            await asyncio.sleep(LOG_LOOK)
            for runner in self._pods.values():
                for container in runner.everyone:
                    try:
                        container.look()
                    except OSError as error:
                        log.warning("the log of %s could not be looked after: %s", container.name, error)
