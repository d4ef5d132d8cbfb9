"""One pod: address and files, init containers in order, the others at once, status, and the end.

`begin` starts a coroutine that leads the pod through its life; `stop` ends the pod; `abandon` lets go of it and leaves
its processes running for the daemon that comes next. Whatever changes is published as one status write per
turn of the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

from meshlab.cluster.api.status import ApiError, Conflict, NotFound
from meshlab.cluster.controllers.objects import Obj, now, parse_time
from meshlab.cluster.network.addresses import AddressError, pod_ip
from meshlab.cluster.node.container import LEAST_GRACE, ContainerRunner
from meshlab.cluster.node.disk import elsewhere
from meshlab.cluster.node.environment import BadReference
from meshlab.cluster.node.guests import Guests
from meshlab.cluster.node.host import Host
from meshlab.cluster.node.paths import PodPaths
from meshlab.cluster.node.process import kill_leftovers
from meshlab.cluster.node.role import Role
from meshlab.cluster.node.status import EVICTED, pod_status
from meshlab.cluster.node.volumes import Sources, contents, link, references, write

__all__ = ["FIXED_ADDRESS", "PodRunner"]

log = logging.getLogger(__name__)

#: Annotation that fixes a pod's address; `external` is the host outside the mesh.
FIXED_ADDRESS = "meshlab.io/pod-ip"
#: Seconds until a status that could not be written (a full disk) is tried again.
RETRY = 1.0
#: Seconds until a pod whose files could not be made is tried again.
SETUP_RETRY = 5.0
#: Seconds between SIGTERM and SIGKILL for a pod that was deleted without grace.
HASTE = 2.0


class PodRunner:
    """Runs one pod of this node. `object` is the pod as the API last showed it."""

    def __init__(self, host: Host, pod: Obj) -> None:
        self.host, self.object = host, pod
        self.uid = str(pod["metadata"]["uid"])
        self.paths = PodPaths.of(host.settings.pods, pod)
        self.address = str((pod.get("status") or {}).get("podIP") or "")
        spec = pod["spec"]
        self.containers = [ContainerRunner(self, c, Role.APPLICATION) for c in spec["containers"]]
        self.inits = [
            ContainerRunner(self, c, Role.SIDECAR if c.get("restartPolicy") == "Always" else Role.INIT)
            for c in spec.get("initContainers") or []
        ]
        self.guests = Guests(self)
        if self.inits:
            for container in [*self.inits, *self.containers]:
                container.state.state = {"waiting": {"reason": "PodInitializing"}}
        self._started = (pod.get("status") or {}).get("startTime") or now()
        self._set_up = False
        self._verdict: tuple[str, str] | None = None
        self._life: asyncio.Task[None] | None = None
        self._end: asyncio.Task[None] | None = None
        #: Seconds of grace of the deletion under way, and whether its signals are out.
        self._patience: float | None = None
        self._killing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._publishing = False
        self._sources = asyncio.Event()

    @property
    def everyone(self) -> list[ContainerRunner]:
        return [*self.inits, *self.containers, *self.guests.all]

    @property
    def captured(self) -> bool:
        """Whether a sidecar takes this pod's connections."""
        return self.paths.capture.exists()

    @property
    def grace(self) -> float:
        """Seconds between SIGTERM and SIGKILL."""
        seconds = self.object["spec"].get("terminationGracePeriodSeconds")
        return 30.0 if seconds is None else float(seconds)

    def event(self, reason: str, message: str, *, warning: bool = False, field_path: str = "") -> None:
        self.host.recorder.event(self.object, "Pod", "v1", reason, message, warning=warning, field_path=field_path)

    async def sources_changed(self) -> None:
        """Until a ConfigMap or Secret of the pod's namespace has changed."""
        self._sources.clear()
        await self._sources.wait()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside the pod's life; it ends with the pod."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Life

    def recall(self) -> None:
        """Take over what an earlier daemon left of this pod."""
        status = self.object.get("status") or {}
        known = {entry["name"]: entry
                 for section in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
                 for entry in status.get(section) or []}
        alive = [container.recall(known.get(container.name)) for container in self.everyone]
        if self.finished or status.get("phase") in ("Succeeded", "Failed"):
            return
        if any(container.process for container in self.containers):
            # They run, so the init containers have done their work, whether that was written down or not.
            for init in self.inits:
                init.assume_done()
        elif not any(alive):
            # Nothing of it runs any more: it starts anew, init containers included, as after a restart of a node.
            for init in self.inits:
                init.reset()

    @property
    def finished(self) -> bool:
        """Whether the pod has ended for good and only waits to be deleted."""
        return (self.object.get("status") or {}).get("phase") in ("Succeeded", "Failed")

    def begin(self) -> None:
        self._life = asyncio.create_task(self._live(), name=f"pod {self.paths.folder.name}")

    async def _live(self) -> None:
        if self.finished:
            return
        try:
            async with asyncio.timeout(self._deadline()):
                await self._run()
        except TimeoutError:
            await self._fail("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
        except Exception:
            # A defect of ours must show in the pod, not vanish with its task. Not as a failed pod: its owner would
            # make another, which meets the same defect, without end.
            log.exception("pod %s", self.paths.folder.name)
            why = f"the lab's node could not run this pod; see {self.host.settings.daemon_log}"
            self.event("Failed", why, warning=True)
            for container in self.everyone:
                if container.process is None:
                    container.state.state = {"waiting": {"reason": "NodeError", "message": why}}
            self.changed()

    def _deadline(self) -> float | None:
        seconds = self.object["spec"].get("activeDeadlineSeconds")
        if seconds is None:
            return None
        return max(0.0, float(seconds) - (datetime.now(UTC) - parse_time(self._started)).total_seconds())

    async def _run(self) -> None:
        while not self._set_up:
            try:
                self._prepare()
                await self._mount()
                self._set_up = True
            except (AddressError, OSError) as error:
                # A full disk, most likely: it may have room again.
                self.event("FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}", warning=True)
                self.changed()
                await asyncio.sleep(SETUP_RETRY)
        self.changed()
        self.guests.begin()
        # Whoever runs already (adopted) is attended to at once, whatever its place in the order.
        sidecars: list[asyncio.Task[None]] = []
        try:
            for init in self.inits:
                if init.role is Role.SIDECAR:
                    sidecars.append(asyncio.create_task(init.run()))
                    await init.started.wait()
                    continue
                await init.run()
                if not init.state.succeeded:
                    return
            for container in self.containers:
                if container.state.state.get("waiting", {}).get("reason") == "PodInitializing":
                    container.state.state = {"waiting": {"reason": "ContainerCreating"}}
            async with asyncio.TaskGroup() as group:
                for container in self.containers:
                    group.create_task(container.run())
        finally:
            for sidecar in sidecars:
                sidecar.cancel()
            await asyncio.gather(*sidecars, return_exceptions=True)
        for init in self.inits:
            if init.process is not None:
                await init.end(self.grace)
        self.changed()

    def _prepare(self) -> None:
        """Address and files that do not depend on anything else."""
        self.paths.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        meta = self.object["metadata"]
        self.address = self._own_address()
        self.host.addresses[self.uid] = self.address
        self.paths.describe(self.object, self.address, self.host.settings.network.local_of(self.address))
        self.host.pods.up(self.uid, self.address, meta["name"], meta["namespace"], self.paths.folder)
        self.host.write_kubeconfig(self.object, self.paths.kubeconfig)

    def _own_address(self) -> str:
        network = self.host.settings.network
        fixed = (self.object["metadata"].get("annotations") or {}).get(FIXED_ADDRESS)
        if fixed:
            return network.external if fixed == "external" else str(fixed)
        if kept := (self.object.get("status") or {}).get("podIP"):
            return str(kept)
        return pod_ip(self.uid, set(self.host.addresses.values()), network)

    async def _mount(self) -> None:
        """Write the volumes; wait for what they need."""
        while True:
            try:
                self._write_volumes()
                return
            except BadReference as error:
                self.event("FailedMount", f"MountVolume.SetUp failed for volume {error}", warning=True)
                self.changed()
                await self.sources_changed()

    def _write_volumes(self) -> None:
        meta, spec = self.object["metadata"], self.object["spec"]
        sources = Sources(
            data=lambda kind, name: self.host.data(kind, meta["namespace"], name),
            token=lambda audience: self.host.auth.issue(
                meta["namespace"], spec.get("serviceAccountName") or "default", pod=(meta["name"], meta["uid"]),
                audiences=[audience] if audience else None,
            ),
        )
        # status.podIP is offered to volumes too, and is ours to know first.
        described = {**self.object, "status": {**(self.object.get("status") or {}), "podIP": self.address}}
        disk = self.host.settings.disk
        for volume in self.host.volumes(self.object):
            folder = self.paths.volumes / volume["name"]
            try:
                if (place := elsewhere(self.host.api, disk, meta["namespace"], volume)) is not None:
                    link(folder, place)
                    continue
                files = contents(volume, described, sources)
            except BadReference as error:
                raise BadReference(f'"{volume["name"]}" : {error}') from None
            if files is None:
                folder.mkdir(parents=True, exist_ok=True)
            else:
                write(folder, files)

    def data_changed(self, kind: str, name: str) -> None:
        """A ConfigMap or Secret of the pod's namespace was written or deleted."""
        self._sources.set()
        if self._set_up and not self._end and (kind, name) in references(self.host.volumes(self.object)):
            try:
                self._write_volumes()
            except BadReference as error:
                self.event("FailedMount", f"MountVolume.SetUp failed for volume {error}", warning=True)

    def update(self, pod: Obj) -> None:
        """The API shows a newer version of the pod."""
        self.object = pod
        specs = {spec["name"]: spec for spec in
                 [*(pod["spec"].get("initContainers") or []), *pod["spec"]["containers"]]}
        self.guests.meet(pod)
        if self._set_up and self._end is None:
            self.guests.begin()
        for container in self.everyone:
            if container.name in specs:
                container.respecify(specs[container.name])
        if self._set_up and pod["spec"].get("readinessGates"):
            self.changed()  # a gate may have opened

    # Status

    def changed(self) -> None:
        """Publish the status soon: once for all that changes in this turn of the loop."""
        if not self._publishing:
            self._publishing = True
            asyncio.get_running_loop().call_soon(self._publish)

    def _publish(self) -> None:
        self._publishing = False
        resource, meta = self.host.api.kinds("Pod"), self.object["metadata"]
        try:
            current = self.host.api.get(resource, meta["namespace"], meta["name"])
            if current["metadata"]["uid"] != self.uid:
                return
            reason, message = self._verdict or ("", "")
            status = pod_status(
                current, [c.state for c in self.inits], [c.state for c in self.containers],
                [c.state for c in self.guests.all], address=self.address,
                host=self.host.settings.network.node, started=self._started, set_up=self._set_up, now=now(),
                reason=reason, message=message, failed=self._verdict is not None)
            if status != current.get("status"):
                self.object = self.host.api.update(resource, meta["namespace"], meta["name"],
                                                   {**current, "status": status}, subresource="status")
        except NotFound:
            return
        except Conflict:
            self.changed()
        except (ApiError, OSError) as error:
            log.warning("status of pod %s could not be written: %s", self.paths.folder.name, error)
            asyncio.get_running_loop().call_later(RETRY, self.changed)

    async def _fail(self, reason: str, message: str, grace: float | None = None) -> None:
        self._verdict = (reason, message)
        await self._kill_all(self.grace if grace is None else grace)
        self.changed()

    def evict(self, message: str) -> None:
        """The node cannot bear the pod any longer: it fails, and stays to be read."""
        if self._verdict is None and self._end is None and self._life is not None:
            self.event(EVICTED, message, warning=True)
            self._life.cancel()
            self._life = asyncio.create_task(self._fail(EVICTED, message, 0.0), name=f"eviction {self.uid}")

    # The end

    @property
    def stopping(self) -> bool:
        return self._end is not None

    def stop(self, grace: float) -> None:
        """End the pod and remove it from the API; a later call with less grace hastens the first."""
        hasten = self._patience is not None and grace < self._patience
        self._patience = grace if self._patience is None else min(grace, self._patience)
        if self._end is None:
            self._end = asyncio.create_task(self._finish(), name=f"end of pod {self.paths.folder.name}")
        elif hasten and self._killing:
            for container in self.everyone:
                if container.process is not None:
                    self.spawn(container.end(grace))

    async def _finish(self) -> None:
        await self._let_go()
        self._killing = True
        for container in self.everyone:
            if container.process is not None:
                self.event("Killing", f"Stopping container {container.name}",
                           field_path=f"spec.containers{{{container.name}}}")
        await self._kill_all(self.grace if self._patience is None else self._patience)
        self._publish()
        self.remove_files()
        meta = self.object["metadata"]
        try:
            self.host.api.delete(self.host.api.kinds("Pod"), meta["namespace"], meta["name"], uid=self.uid, grace=0)
        except (NotFound, Conflict):
            return  # gone already, or another of the same name

    def remove_files(self) -> None:
        """Whatever still runs under the pod's name, its files and its address."""
        kill_leftovers(self.host.mark(self.uid))
        self.host.pods.down(self.uid)
        self.host.addresses.pop(self.uid, None)
        shutil.rmtree(self.paths.folder, ignore_errors=True)
        (self.host.settings.sockets / f"{self.uid[:8]}.sock").unlink(missing_ok=True)

    async def _let_go(self) -> None:
        """End the coroutines that lead the pod; the processes do not notice."""
        tasks = [t for t in (self._life, *self._tasks) if t is not None and t is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _kill_all(self, grace: float) -> None:
        """The containers at once, their sidecars after them in the reverse order of their start; all within `grace`."""
        loop = asyncio.get_running_loop()
        end = loop.time() + grace
        sidecars = [init for init in self.inits if init.role is Role.SIDECAR]
        await asyncio.gather(*(each.end(grace) for each in self.everyone if each not in sidecars))
        for sidecar in reversed(sidecars):
            await sidecar.end(max(end - loop.time(), min(grace, LEAST_GRACE)))

    async def finished_stopping(self) -> None:
        """Until a `stop` has done its work."""
        if self._end is not None:
            await asyncio.shield(self._end)

    async def halt(self, grace: float) -> None:
        """The lab goes down: kill the processes and say so in the status, but keep the pod for the next start."""
        await self._let_go()
        await self._kill_all(grace)
        kill_leftovers(self.host.mark(self.uid))
        self.host.pods.down(self.uid)
        self._publish()

    async def abandon(self) -> None:
        """The daemon goes and the pod stays: its processes run on and will be adopted."""
        await self._let_go()
        for container in self.everyone:
            if container.process is not None:
                container.process.forget()

