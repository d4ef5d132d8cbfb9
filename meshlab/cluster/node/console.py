"""Commands run beside a container's own, and clients attached to it: what `kubectl exec` and `attach` reach.

A command gets the variables, the folder, the network and the shim of the container's process. It is a process of the
container: marked like one, it ends with the container at the latest, and outlives the client that started it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from meshlab.cluster.api.streams import Client, KubeletError, Output, Size
from meshlab.cluster.node.interactive import END, ON_TERMINAL, set_size
from meshlab.cluster.node.logs import LogClock, LogOptions, read_log
from meshlab.cluster.node.process import UMASK
from meshlab.settings import Capture

if TYPE_CHECKING:
    from meshlab.cluster.node.container import ContainerRunner
    from meshlab.cluster.node.process import Process

__all__ = ["ContainerConsole"]

#: Bytes read at a time.
PIECE = 32 * 1024
#: Seconds without output after a command's end, where something that it left behind still has its output open.
LINGER = 0.5


class ContainerConsole:
    """The console of a container whose process runs."""

    def __init__(self, container: ContainerRunner, process: Process) -> None:
        self._container, self._process = container, process

    async def execute(self, command: Sequence[str], client: Client) -> int:
        """Runs a command until its end; its exit code. KubeletError if it cannot be started.

        Where the client goes first, a command on a terminal is hung up; any other runs on.
        """
        async with self._started(command, client) as (child, terminal):
            return await self._joined(child, terminal, client)

    async def _joined(self, child: asyncio.subprocess.Process, terminal: _Terminal | None, client: Client) -> int:
        outputs = [
            _Output(reader, source) for reader, source in (
                [(terminal.reader, Output.STDOUT)] if terminal else
                [(child.stdout, Output.STDOUT), (child.stderr, Output.STDERR)]
            ) if reader is not None
        ]
        pumps = [asyncio.create_task(output.pump(client)) for output in outputs]
        feeding = asyncio.create_task(_feed(client, terminal.writer if terminal else child.stdin, terminal))
        ended = asyncio.create_task(child.wait())
        try:
            await asyncio.wait({ended, feeding}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                raise ConnectionResetError("the client went away")
            while any(not task.done() for task in pumps):
                before = [output.taken for output in outputs]
                await asyncio.wait(pumps, timeout=LINGER)
                waiting = all(output.reading or task.done() for output, task in zip(outputs, pumps, strict=True))
                if waiting and before == [output.taken for output in outputs]:
                    break
            for task in pumps:
                if task.done():
                    task.result()
        finally:
            for waiting_for in (*pumps, feeding, ended):
                waiting_for.cancel()
            await asyncio.gather(*pumps, feeding, ended, return_exceptions=True)
        code = child.returncode
        assert code is not None  # noqa: S101 (it has ended)
        return code if code >= 0 else 128 - code

    @asynccontextmanager
    async def _started(
        self, command: Sequence[str], client: Client
    ) -> AsyncIterator[tuple[asyncio.subprocess.Process, _Terminal | None]]:
        container, target = self._container, self._container.target(self._process)
        host = container.pod.host
        environ = dict(target.environ)
        if host.settings.network.capture is Capture.SHIM:
            environ.setdefault("PYTHONPATH", str(host.shim))
        if client.tty:
            environ.setdefault("TERM", "xterm")
        argv = target.command(command)
        _find(str(command[0]), argv, environ, str(target.cwd))
        terminal = await _Terminal.open() if client.tty else None
        if terminal is not None:
            argv = ["/bin/sh", "-c", ON_TERMINAL, "sh", terminal.name, *argv]
            files = [terminal.slave] * 3
        else:
            files = [PIPE if wanted else DEVNULL for wanted in (client.stdin, client.stdout, client.stderr)]
        try:
            child = await asyncio.create_subprocess_exec(
                *argv, env=environ, cwd=target.cwd, start_new_session=True, limit=PIECE,
                stdin=files[0], stdout=files[1], stderr=files[2], umask=UMASK,
            )
        except OSError as error:
            if terminal is not None:
                terminal.close()
            raise KubeletError(_unable(str(command[0]), (error.strerror or str(error)).lower())) from None
        if terminal is not None:
            terminal.started()
        container.pod.spawn(_end_together(child, self._process))
        try:
            yield child, terminal
        finally:
            if terminal is not None:
                terminal.close()
            elif child.stdin is not None:
                child.stdin.close()

    async def attach(self, client: Client) -> int:
        """The container's output from now on, and its input if it has one; the exit code when it ends."""
        container, process, interactive = self._container, self._process, self._container.interactive
        file = container.files.log(process.record.restart)
        clock = container.clock or LogClock(file)

        async def show() -> None:
            options = LogOptions(follow=True, tail=0)
            async for block in read_log(file, clock, options, ended=lambda: container.process is not process):
                if client.stdout:
                    await client.output(Output.STDOUT, block)

        async def feed() -> None:
            async for item in client.input():
                if interactive is None:
                    continue
                with suppress(ConnectionError):  # the program reads no more
                    if isinstance(item, Size):
                        interactive.resize(item)
                    elif item:
                        await interactive.write(item)
                    else:
                        await interactive.end()

        showing, feeding = asyncio.create_task(show()), asyncio.create_task(feed())
        try:
            await asyncio.wait({showing, feeding}, return_when=asyncio.FIRST_COMPLETED)
            if not showing.done():
                raise ConnectionResetError("the client went away")
            await showing
        finally:
            for task in (showing, feeding):
                task.cancel()
            await asyncio.gather(showing, feeding, return_exceptions=True)
        return (await process.wait()).exit_code


class _Output:
    """One output of a command on its way to the client."""

    def __init__(self, reader: asyncio.StreamReader, source: Output) -> None:
        self._reader, self._source = reader, source
        #: Bytes sent, and whether we wait for the command rather than for the client.
        self.taken, self.reading = 0, False

    async def pump(self, client: Client) -> None:
        while True:
            self.reading = True
            try:
                data = await self._reader.read(PIECE)
            except OSError:
                return  # a terminal that nobody has open any more answers so
            self.reading = False
            if not data:
                return
            await client.output(self._source, data)
            self.taken += len(data)


class _Terminal:
    """A pseudo-terminal; `name` is the command's end of it."""

    def __init__(self, master: int, slave: int) -> None:
        self._master, self.slave = master, slave
        self.name = os.ttyname(slave)
        self.reader = asyncio.StreamReader(PIECE)
        self.writer: asyncio.StreamWriter
        self._transports: list[asyncio.BaseTransport] = []

    @classmethod
    async def open(cls) -> _Terminal:
        master, slave = os.openpty()
        made, loop = cls(master, slave), asyncio.get_running_loop()
        protocol = asyncio.StreamReaderProtocol(made.reader)
        reading, _ = await loop.connect_read_pipe(lambda: protocol, os.fdopen(os.dup(master), "rb", buffering=0))
        writing, flow = await loop.connect_write_pipe(
            lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), os.fdopen(os.dup(master), "wb", buffering=0))
        made.writer = asyncio.StreamWriter(writing, flow, None, loop)
        made._transports = [reading, writing]
        return made

    def started(self) -> None:
        """The command has its end open; ours is not needed, or we would never see it closed."""
        os.close(self.slave)
        self.slave = -1

    def resize(self, size: Size) -> None:
        set_size(self._master, size)

    def close(self) -> None:
        for transport in self._transports:
            if isinstance(transport, asyncio.WriteTransport):
                transport.abort()
            else:
                transport.close()
        for descriptor in (self._master, self.slave):
            if descriptor >= 0:
                os.close(descriptor)
        self._master = self.slave = -1


async def _feed(client: Client, writer: asyncio.StreamWriter | None, terminal: _Terminal | None) -> None:
    """Everything that the client sends, until it has gone."""
    async for item in client.input():
        if isinstance(item, Size):
            if terminal is not None:
                terminal.resize(item)
            continue
        if writer is None:
            continue
        with suppress(ConnectionError):  # the command reads no more
            if item or terminal is not None:
                writer.write(item or END)
                await writer.drain()
            else:
                writer.close()


async def _end_together(child: asyncio.subprocess.Process, process: Process) -> None:
    """Until the command has ended, which it does with its container at the latest."""
    waits: list[Callable[[], Awaitable[object]]] = [child.wait, process.wait]
    tasks = [asyncio.ensure_future(wait()) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if child.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            await child.wait()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _find(program: str, argv: Sequence[str], environ: dict[str, str], cwd: str) -> None:
    """KubeletError if there is no such program; whoever starts it in between would only say 127."""
    wanted = program if program in argv else argv[0]
    if "/" in wanted:
        path = os.path.join(cwd, wanted)  # noqa: PTH118 - wanted may be absolute
        if not os.access(path, os.X_OK):
            why = "permission denied" if os.path.exists(path) else "no such file or directory"  # noqa: PTH110
            raise KubeletError(_unable(program, why))
    elif shutil.which(wanted, path=environ.get("PATH", os.defpath)) is None:
        hint = "; kubectl cp needs tar on this machine" if program == "tar" else ""
        raise KubeletError(_unable(program, f"executable file not found in $PATH{hint}"))


def _unable(program: str, why: str) -> str:
    return f'failed to exec in container: failed to start exec: exec: "{program}": {why}'
