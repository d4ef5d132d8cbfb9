"""One container of a pod: start it, see that it answers, wait for its end, start it again.

The loop is one coroutine; whoever cancels it leaves the process alone. So the daemon can go (and come back, and adopt)
without touching what runs, and only `PodRunner` decides to kill.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from signal import SIGKILL
from typing import TYPE_CHECKING, Any, TypeVar

from meshlab.cluster.controllers.objects import now
from meshlab.cluster.node.backoff import RestartBackoff, duration
from meshlab.cluster.node.builtins import explains, run_builtin
from meshlab.cluster.node.environment import BadReference, command_line, variables
from meshlab.cluster.node.health import watch_health
from meshlab.cluster.node.hooks import hook_of, run_hook
from meshlab.cluster.node.images import Builtin, Command, Image
from meshlab.cluster.node.interactive import Interactive
from meshlab.cluster.node.logs import LogClock
from meshlab.cluster.node.probes import Outcome, Target
from meshlab.cluster.node.process import Exit, Process, Record, adopt, kill_leftovers, spawn
from meshlab.cluster.node.pulling import pull
from meshlab.cluster.node.reach import target_of
from meshlab.cluster.node.role import Role
from meshlab.cluster.node.status import ContainerState
from meshlab.cluster.node.view import View

if TYPE_CHECKING:
    from meshlab.cluster.node.pod import PodRunner

__all__ = ["LEAST_GRACE", "ContainerRunner"]

T = TypeVar("T")

#: Seconds until a container whose files could not be made (a full disk) is tried again.
CREATE_RETRY = 5.0
#: Seconds from a program's start in which it may not listen yet although it counts as ready.
MOMENT = 3
#: Seconds that a container gets to end although its hook has used up its grace; a kubelet's number.
LEAST_GRACE = 2.0


class ContainerRunner:
    """Keeps one container as its restart policy wants it."""

    def __init__(self, pod: PodRunner, spec: Mapping[str, Any], role: Role) -> None:
        self._pod, self.spec, self.role = pod, spec, role
        self.name = str(spec["name"])
        self.files = pod.paths.container(self.name)
        self.view = View(self.files, spec)
        self.state = ContainerState(self.name, str(spec["image"]), sidecar=role is Role.SIDECAR)
        self.process: Process | None = None
        self.clock: LogClock | None = None
        #: The input of the present run, if it has one and this daemon has started it.
        self.interactive: Interactive | None = None
        #: Set once the container has started (its startup probe, if any, succeeded).
        self.started = asyncio.Event()
        self._backoff = RestartBackoff()
        #: Set when the pod was updated and this container with it.
        self.respecified = asyncio.Event()
        #: Why the present run was killed, where that is not for its program to say.
        self._verdict = ""
        self._ending = False

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
        if self.role in (Role.SIDECAR, Role.EPHEMERAL):
            return self.role is Role.SIDECAR
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
        self.wait_because("CrashLoopBackOff", f"back-off {duration(delay)} restarting failed {where}")
        self.event("BackOff", f"Back-off restarting failed container {self.name} in pod "
                               f"{meta['name']}_{meta['namespace']}({meta['uid']})", warning=True)
        await asyncio.sleep(delay)

    async def _start(self) -> Process | None:
        """A running process, or None if the container has come and gone already."""
        image = await pull(self)
        while True:
            try:
                return self._launch(image)
            except BadReference as error:
                self.wait_because("CreateContainerConfigError", str(error))
                self.event("Failed", f"Error: {error}", warning=True)
                await self._pod.sources_changed()
            except OSError as error:
                self.wait_because("CreateContainerError", str(error))
                self.event("Failed", f"Error: {error}", warning=True)
                await asyncio.sleep(CREATE_RETRY)

    def _launch(self, image: Image) -> Process | None:
        pod, host = self._pod, self._pod.host
        meta = pod.object["metadata"]
        own = variables(self.spec, pod.object, lambda kind, name: host.text(kind, meta["namespace"], name))
        files = self.files
        files.folder.mkdir(parents=True, exist_ok=True)
        self.view.make(pod.paths)
        run = self.state.restarts + 1 if self.state.container_id else 0
        log = files.log(run)
        log.touch(0o600)
        # From here on the run counts.
        self.state.restarts, self.state.container_id = run, self._identity(run)
        if self.state.terminated:
            self.state.last = dict(self.state.state)
        self._forget_old_logs(run)
        self.clock = LogClock(log)
        self.event("Created", f"Created container: {self.name}")
        builtin = image.builtin
        if builtin is None and explains(dict(self.spec), image.command is Command.HONOURED):
            builtin = Builtin.EXPLAINED
        started = now()
        if builtin is not None:
            code = run_builtin(builtin, dict(self.spec), capture=pod.paths.capture, log=log,
                               redirect=lambda port, ranges: host.pods.capture(pod.uid, port, ranges))
            self.event("Started", f"Started container {self.name}")
            self._terminated(code, "Error" if code else "Completed", started)
            return None
        environ = host.environment(pod.object, self.name, pod.paths, files, pod.address, shim=image.shim)
        external = host.settings.network.external
        environ |= {name: value.replace("{external}", external) for name, value in image.environment}
        self._merge(environ, {name: self.view.local(value) for name, value in own.items()})
        argv = command_line(self.spec, image, python=host.python, services=host.services, local=self.view.local,
                            known=own)
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
            self.event("Failed", f"Error: failed to start container {self.name}: {why}", warning=True)
            self._terminated(128, "StartError", started, f"failed to start container: {why}")
            return None
        self._verdict, self._ending = "", False
        self.state.ready = self.state.started = False
        self.started.clear()
        self.event("Started", f"Started container {self.name}")
        if hook_of(self.spec, "postStart") is None:
            self._runs(self.process)
        return self.process

    def _runs(self, process: Process) -> None:
        self.state.state = {"running": {"startedAt": process.record.started}}
        self._pod.changed()

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
        looking = asyncio.create_task(self._look_after(process))
        try:
            ended = await process.wait()
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
        self.settle(process, ended)

    async def _look_after(self, process: Process) -> None:
        """The hook after the start, without which nothing else begins, and then the probes."""
        target, hook = self.target(process), hook_of(self.spec, "postStart")
        if hook is not None and not self.state.running:
            outcome = await run_hook(hook, target)
            if not outcome.ok:
                self.event("FailedPostStartHook", "PostStartHook failed", warning=True)
                self._pod.spawn(self.kill("FailedPostStartHook"))
                return
            self._runs(process)
        await watch_health(self, target)

    def settle(self, process: Process, ended: Exit) -> None:
        """Note the end of a process, once."""
        code, known = ended.exit_code, ended.code is not None
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
        message = "the process was started by an earlier daemon, and its exit code was not to be had"
        if known:
            message = self.view.last_words(code, self.files.log(self.state.restarts))
        if self._verdict:
            reason, message = self._verdict, message if known else ""
        self._terminated(code, reason, process.record.started, message)

    # What health and pods ask for

    def target(self, process: Process) -> Target:
        """Whom this container's probes and hooks ask."""
        return target_of(self, process)

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

    async def kill(self, why: str, grace: float | None = None) -> None:
        """End the present run because a probe or hook says so; the policy decides what comes next."""
        if self.process is not None:
            self.event("Killing", why)
            await self._terminate(self.process, self._pod.grace if grace is None else grace)

    async def end(self, grace: float) -> None:
        """End the present run for good, for a pod that no longer attends to it."""
        process = self.process
        if process is not None:
            ended = await self._terminate(process, grace)
            self.settle(process, ended)

    async def _terminate(self, process: Process, grace: float) -> Exit:
        """The hook before the stop, within the grace; then the signals."""
        hook = hook_of(self.spec, "preStop")
        if hook is None or grace <= 0 or self._ending:
            return await process.terminate(max(grace, 0.01))
        self._ending = True
        loop = asyncio.get_running_loop()
        end = loop.time() + grace
        outcome = Outcome(False)
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                outcome = await run_hook(hook, self.target(process))
        if not outcome.ok:
            self.event("FailedPreStopHook", "PreStopHook failed", warning=True)
        return await process.terminate(max(end - loop.time(), min(grace, LEAST_GRACE)))

    def kill_because(self, verdict: str) -> None:
        """SIGKILL to the present run, whose end gets this reason."""
        if self.process is not None:
            self._verdict = verdict
            self.process.signal(SIGKILL)

    def unhealthy(self, probe: str, message: str) -> None:
        self.event("Unhealthy", f"{probe} probe failed: {message}", warning=True)

    def respecify(self, spec: Mapping[str, Any]) -> None:
        """The pod was updated; only a container's image can change in place."""
        changed = spec["image"] != self.spec["image"]
        self.spec, self.view = spec, View(self.files, spec)
        if changed:
            self.respecified.set()
            if self.process is not None:
                self._pod.spawn(self.kill(f"Container {self.name} definition changed, will be restarted"))

    # State

    def _identity(self, run: int) -> str:
        return "meshlab://" + hashlib.sha256(f"{self._pod.uid}/{self.name}/{run}".encode()).hexdigest()

    def wait_because(self, reason: str, message: str) -> None:
        self.state.state = {"waiting": {"reason": reason, "message": message}}
        self.state.ready = self.state.started = False
        self._pod.changed()

    def _terminated(self, code: int, reason: str, started: str, message: str = "") -> None:
        self.state.state = {"terminated": {
            "exitCode": code,
            "reason": reason,
            **({"message": message} if message else {}),
            "startedAt": started,
            "finishedAt": now(),
            "containerID": self.state.container_id,
        }}
        self.state.ready = self.state.started = False
        self.started.clear()
        self._pod.changed()

    def _forget_old_logs(self, run: int) -> None:
        # A kubelet keeps the run before the present one, for `kubectl logs --previous`.
        for old in (self.files.log(run - 2), self.files.log(run - 2).with_suffix(".idx")):
            old.unlink(missing_ok=True)

    def event(self, reason: str, message: str, *, warning: bool = False) -> None:
        section = {Role.APPLICATION: "containers", Role.EPHEMERAL: "ephemeralContainers"}.get(
            self.role, "initContainers")
        self._pod.event(reason, message, warning=warning, field_path=f"spec.{section}{{{self.name}}}")

    def look(self) -> None:
        """Note how far the log has grown, and bound it. OSError if that cannot be done."""
        if self.clock is not None and self.process is not None:
            self.clock.look(datetime.now(UTC).timestamp())
            self.clock.trim()

