"""One container of a pod: start it, see that it answers, wait for its end, start it again.

The loop is one coroutine; whoever cancels it leaves the process alone. So the daemon can go (and come back, and adopt)
without touching what runs, and only `PodRunner` decides to kill.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

from meshlab.cluster.controllers.objects import now
from meshlab.cluster.node.backoff import RestartBackoff
from meshlab.cluster.node.builtins import explains, run_builtin
from meshlab.cluster.node.environment import BadReference, beside, command_line, interpreted, variables
from meshlab.cluster.node.health import watch_health
from meshlab.cluster.node.images import Builtin, Command, Image
from meshlab.cluster.node.interactive import Interactive
from meshlab.cluster.node.logs import LogClock
from meshlab.cluster.node.paths import rewrite
from meshlab.cluster.node.probes import Target
from meshlab.cluster.node.process import Process, Record, adopt, environment_of, kill_leftovers, spawn
from meshlab.cluster.node.status import ContainerState
from meshlab.cluster.node.volumes import mount

if TYPE_CHECKING:
    from meshlab.cluster.node.pod import PodRunner

__all__ = ["ContainerRunner", "Role"]

T = TypeVar("T")

#: Seconds for which a container shows ErrImagePull before it shows ImagePullBackOff, as the two take turns on a node.
PULL_ERROR = 2.0
#: Seconds until a container whose files could not be made (a full disk) is tried again.
CREATE_RETRY = 5.0
#: Seconds from a program's start in which it may not listen yet although it counts as ready.
MOMENT = 3
#: Bytes of log kept as termination message with FallbackToLogsOnError, as a kubelet does.
MESSAGE = 2048


class Role(Enum):
    """What a container is to its pod."""

    INIT = "init"
    #: An init container with restartPolicy Always: started before the others and kept running beside them.
    SIDECAR = "sidecar"
    APPLICATION = "application"


class ContainerRunner:
    """Keeps one container as its restart policy wants it."""

    def __init__(self, pod: PodRunner, spec: Mapping[str, Any], role: Role) -> None:
        self._pod, self.spec, self.role = pod, spec, role
        self.name = str(spec["name"])
        self.files = pod.paths.container(self.name)
        self.state = ContainerState(self.name, str(spec["image"]), sidecar=role is Role.SIDECAR)
        self.process: Process | None = None
        self.clock: LogClock | None = None
        #: The input of the present run, if it has one and this daemon has started it.
        self.interactive: Interactive | None = None
        #: Set once the container has started (its startup probe, if any, succeeded).
        self.started = asyncio.Event()
        self._backoff = RestartBackoff()
        self._respecified = asyncio.Event()

    # What an earlier daemon left

    def recall(self, status: Mapping[str, Any] | None) -> bool:
        """Take over from the API's last status and the record of the process; True if that still runs."""
        if status is not None:
            self.state.state, self.state.last = dict(status["state"]), dict(status.get("lastState") or {})
            self.state.restarts = int(status.get("restartCount") or 0)
            self.state.container_id = str(status.get("containerID") or "")
            self.state.ready, self.state.started = bool(status.get("ready")), bool(status.get("started"))
        record = Record.read(self.files.record)
        if record is not None:
            self.state.restarts, self.state.container_id = record.restart, self._identity(record.restart)
            self.process = adopt(record)
            if self.process is not None:
                self.state.state = {"running": {"startedAt": record.started}}
                self.clock = LogClock(self.files.log(record.restart))
                if self.state.started:
                    self.started.set()
                return True
            self.files.record.unlink()
        if record is not None or self.state.running:
            started = record.started if record else self.state.state["running"].get("startedAt")
            self._terminated(137, "ContainerStatusUnknown", started or now(),
                             "the process ended while the lab's daemon was not running")
        self.state.ready = self.state.started = False
        return False

    def assume_done(self) -> None:
        """The pod is past this init container although its success was not written down."""
        if self.role is Role.INIT and not self.state.succeeded and self.process is None:
            self._terminated(0, "Completed", now())

    def reset(self) -> None:
        """Forget that an init container has finished: the pod starts anew."""
        if self.state.terminated:
            self.state.last, self.state.state = self.state.state, {"waiting": {"reason": "PodInitializing"}}

    # Life

    async def run(self) -> None:
        """Until the container has ended and its policy does not start it again."""
        while True:
            process = self.process
            if process is None:
                if self.state.terminated and not self._again():
                    return
                process = await self._start()
            if process is not None:
                await self._attend(process)
            if not self._again():
                return
            await self._wait_before_restart()

    def _again(self) -> bool:
        policy = str(self._pod.object["spec"].get("restartPolicy") or "Always")
        if self.role is Role.SIDECAR:
            return True
        if self.state.succeeded and (self.role is Role.INIT or policy == "OnFailure"):
            return False
        return policy != "Never"

    async def _wait_before_restart(self) -> None:
        ended = self.state.terminated
        if ended is None:
            return
        ran = 0.0
        if ended.get("startedAt") and ended.get("finishedAt"):
            ran = (datetime.fromisoformat(ended["finishedAt"])
                   - datetime.fromisoformat(ended["startedAt"])).total_seconds()
        delay = self._backoff.next(ran)
        if delay <= 0:
            return
        meta = self._pod.object["metadata"]
        where = f"container={self.name} pod={meta['name']}_{meta['namespace']}({meta['uid']})"
        self.state.last = dict(self.state.state)
        self._wait("CrashLoopBackOff", f"back-off {_duration(delay)} restarting failed {where}")
        self._event("BackOff", f"Back-off restarting failed container {self.name} in pod "
                               f"{meta['name']}_{meta['namespace']}({meta['uid']})", warning=True)
        await asyncio.sleep(delay)

    async def _start(self) -> Process | None:
        """A running process, or None if the container has come and gone already."""
        image = await self._image()
        while True:
            try:
                return self._launch(image)
            except BadReference as error:
                self._wait("CreateContainerConfigError", str(error))
                self._event("Failed", f"Error: {error}", warning=True)
                await self._pod.sources_changed()
            except OSError as error:
                self._wait("CreateContainerError", str(error))
                self._event("Failed", f"Error: {error}", warning=True)
                await asyncio.sleep(CREATE_RETRY)

    async def _image(self) -> Image:
        while True:
            name = str(self.spec["image"])
            self.state.image = name
            image = self._pod.host.catalogue.find(name)
            if image is not None:
                self._event("Pulled", f'Container image "{name}" already present on machine')
                return image
            known = ", ".join(self._pod.host.catalogue.known)
            why = f'failed to pull image "{name}": this lab has no registry; it knows: {known}'
            self._event("Failed", f'Failed to pull image "{name}": not in the lab\'s catalogue, which has {known}',
                        warning=True)
            self._event("Failed", "Error: ErrImagePull", warning=True)
            self._respecified.clear()
            self._wait("ErrImagePull", why)
            try:
                await asyncio.wait_for(self._respecified.wait(), PULL_ERROR)
            except TimeoutError:
                self._wait("ImagePullBackOff", f'Back-off pulling image "{name}": ErrImagePull: {why}')
                self._event("BackOff", f'Back-off pulling image "{name}"', warning=True)
                self._event("Failed", "Error: ImagePullBackOff", warning=True)
                await self._respecified.wait()

    def _launch(self, image: Image) -> Process | None:
        pod, host = self._pod, self._pod.host
        meta = pod.object["metadata"]
        own = variables(self.spec, pod.object, lambda kind, name: host.text(kind, meta["namespace"], name))
        files = self.files
        files.folder.mkdir(parents=True, exist_ok=True)
        mount(files, pod.paths, self.spec.get("volumeMounts") or [])
        run = self.state.restarts + 1 if self.state.container_id else 0
        log = files.log(run)
        log.touch(0o600)
        # From here on the run counts.
        self.state.restarts, self.state.container_id = run, self._identity(run)
        if self.state.terminated:
            self.state.last = dict(self.state.state)
        self._forget_old_logs(run)
        self.clock = LogClock(log)
        self._event("Created", f"Created container: {self.name}")
        builtin = image.builtin
        if builtin is None and explains(dict(self.spec), image.command is Command.HONOURED):
            builtin = Builtin.EXPLAINED
        started = now()
        if builtin is not None:
            code = run_builtin(builtin, dict(self.spec), capture=pod.paths.capture, log=log,
                               redirect=lambda port, ranges: host.pods.capture(pod.uid, port, ranges))
            self._event("Started", f"Started container {self.name}")
            self._terminated(code, "Error" if code else "Completed", started)
            return None
        mounts = [str(entry["mountPath"]) for entry in self.spec.get("volumeMounts") or []]
        environ = host.environment(pod.object, self.name, pod.paths, files, pod.address, shim=image.shim)
        external = host.settings.network.external
        environ |= {name: value.replace("{external}", external) for name, value in image.environment}
        self._merge(environ, {name: rewrite(value, files.root, mounts) for name, value in own.items()})
        argv = command_line(self.spec, image, python=host.python, services=host.services, root=files.root, known=own)
        place = files.root
        if where := self.spec.get("workingDir"):
            place = files.root / str(where).lstrip("/")
            place.mkdir(parents=True, exist_ok=True)
        self.interactive = interactive = Interactive.of(self.spec)
        try:
            self.process = spawn(argv, environ=environ, cwd=place, log=log, record=files.record,
                                 image=self.state.image, started=started, restart=run, interactive=interactive,
                                 place=self._place)
            if interactive is not None:
                interactive.started(log)
        except OSError as error:
            if interactive is not None:
                interactive.close()
            why = f'exec: "{argv[0]}": {(error.strerror or str(error)).lower()}'
            self._event("Failed", f"Error: failed to start container {self.name}: {why}", warning=True)
            self._terminated(128, "StartError", started, f"failed to start container: {why}")
            return None
        self.state.state = {"running": {"startedAt": started}}
        self.state.ready = self.state.started = False
        self.started.clear()
        self._event("Started", f"Started container {self.name}")
        self._pod.changed()
        return self.process

    def _place(self, start: Callable[[], T]) -> T:
        pod = self._pod
        return pod.host.pods.start(pod.uid, pod.paths.folder, str(pod.object["metadata"]["name"]), start)

    @staticmethod
    def _merge(environ: dict[str, str], own: Mapping[str, str]) -> None:
        # A container that extends Python's search path keeps the shim in front of it.
        if "PYTHONPATH" in environ and "PYTHONPATH" in own:
            own = {**own, "PYTHONPATH": f"{environ['PYTHONPATH']}:{own['PYTHONPATH']}"}
        environ.update(own)

    async def _attend(self, process: Process) -> None:
        health = asyncio.create_task(watch_health(self, self.target(process)))
        try:
            ended = await process.wait()
        finally:
            health.cancel()
            await asyncio.gather(health, return_exceptions=True)
        self.settle(process, ended.exit_code, ended.signal, known=ended.code is not None)

    def settle(self, process: Process, code: int, signal: int, *, known: bool) -> None:
        """Note the end of a process, once."""
        if self.process is not process:
            return
        self.process = None
        if self.interactive is not None:
            self.interactive.close()
        if process.adopted:
            # Not our child: whatever it left in its group is found by its mark.
            kill_leftovers(self._pod.host.mark(self._pod.uid, self.name))
        self.files.record.unlink(missing_ok=True)
        reason = ("Completed" if code == 0 else "Error") if known else "ContainerStatusUnknown"
        message = "" if known else "the process was started by an earlier daemon, and its exit code was not to be had"
        if known and code and self.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            message = self._last_words()
        self._terminated(code, reason, process.record.started, message, signal)

    # What health and pods ask for

    def target(self, process: Process) -> Target:
        """Whom this container's probes ask."""
        pod = self._pod
        ports = {str(port["name"]): int(port["containerPort"]) for port in self.spec.get("ports") or []
                 if port.get("name")}
        mounts = [str(entry["mountPath"]) for entry in self.spec.get("volumeMounts") or []]
        # Asked of the process itself: an adopted one has the variables of the day on which it was started.
        environ = environment_of(process.record.pid)

        def command(argv: Sequence[str]) -> list[str]:
            line = [rewrite(part, self.files.root, mounts) for part in beside(argv, self.image, pod.host.python)]
            return pod.host.pods.beside(process.record.pid, interpreted(line, pod.host.python), self.files.root)

        network = pod.host.settings.network
        return Target(address=pod.address, local=network.local_of(pod.address), node=network.node, ports=ports,
                      environ=environ, cwd=self.files.root, command=command,
                      dial=lambda: pod.host.pods.socket(pod.uid))

    @property
    def starting(self) -> bool:
        """Whether it runs and may not answer yet: until it is ready, or for a moment where no probe asks."""
        if self.process is None or (self.state.ready and {"readinessProbe", "startupProbe"} & self.spec.keys()):
            return False
        started = datetime.fromisoformat(self.process.record.started)
        return not self.state.ready or (datetime.now(UTC) - started).seconds < MOMENT

    @property
    def pod(self) -> PodRunner:
        return self._pod

    @property
    def image(self) -> Image | None:
        return self._pod.host.catalogue.find(self.state.image)

    def set_ready(self, ready: bool) -> None:
        if self.state.ready is not ready and self.process is not None:
            self.state.ready = ready
            self._pod.changed()

    def set_started(self) -> None:
        self.started.set()
        if not self.state.started:
            self.state.started = True
            self._pod.changed()

    async def kill(self, why: str) -> None:
        """End the present run because a probe says so; the policy decides what comes next."""
        if self.process is not None:
            self._event("Killing", why)
            await self.process.terminate(self._pod.grace)

    def unhealthy(self, probe: str, message: str) -> None:
        self._event("Unhealthy", f"{probe} probe failed: {message}", warning=True)

    def respecify(self, spec: Mapping[str, Any]) -> None:
        """The pod was updated; only a container's image can change in place."""
        changed = spec["image"] != self.spec["image"]
        self.spec = spec
        if changed:
            self._respecified.set()
            if self.process is not None:
                self._pod.spawn(self.kill(f"Container {self.name} definition changed, will be restarted"))

    # State

    def _identity(self, run: int) -> str:
        return "meshlab://" + hashlib.sha256(f"{self._pod.uid}/{self.name}/{run}".encode()).hexdigest()

    def _wait(self, reason: str, message: str) -> None:
        self.state.state = {"waiting": {"reason": reason, "message": message}}
        self.state.ready = self.state.started = False
        self._pod.changed()

    def _terminated(self, code: int, reason: str, started: str, message: str = "", signal: int = 0) -> None:
        self.state.state = {"terminated": {
            "exitCode": code,
            **({"signal": signal} if signal else {}),
            "reason": reason,
            **({"message": message} if message else {}),
            "startedAt": started,
            "finishedAt": now(),
            "containerID": self.state.container_id,
        }}
        self.state.ready = self.state.started = False
        self.started.clear()
        self._pod.changed()

    def _last_words(self) -> str:
        log = self.files.log(self.state.restarts)
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - MESSAGE))
            return file.read().decode(errors="replace")

    def _forget_old_logs(self, run: int) -> None:
        # A kubelet keeps the run before the present one, for `kubectl logs --previous`.
        for old in (self.files.log(run - 2), self.files.log(run - 2).with_suffix(".idx")):
            old.unlink(missing_ok=True)

    def _event(self, reason: str, message: str, *, warning: bool = False) -> None:
        section = "containers" if self.role is Role.APPLICATION else "initContainers"
        self._pod.event(reason, message, warning=warning, field_path=f"spec.{section}{{{self.name}}}")

    def look(self) -> None:
        """Note how far the log has grown, and bound it. OSError if that cannot be done."""
        if self.clock is not None and self.process is not None:
            self.clock.look(datetime.now(UTC).timestamp())
            self.clock.trim()


def _duration(seconds: float) -> str:
    """As Go prints it: 10s, 1m20s, 5m0s."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
