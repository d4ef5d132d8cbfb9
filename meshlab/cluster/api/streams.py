"""What the API server asks of the node: a pod's logs, its address, its consoles and its ports.

The node implements `Kubelet`; the daemon hands it to the HTTP layer. Without one, these requests are answered as by a
cluster whose kubelet cannot be reached.
"""

from __future__ import annotations

from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol

__all__ = ["Client", "Console", "Dial", "Input", "Kubelet", "KubeletError", "Output", "Sample", "Size", "Usage"]

#: Opens a connection to a port inside a pod, as from a process of that pod. OSError where nothing answers.
Dial = Callable[[int], Awaitable[tuple[StreamReader, StreamWriter]]]


class KubeletError(Exception):
    """The node cannot do what was asked; the message is for the user. Becomes a 400 (or 404 if `missing`)."""

    def __init__(self, message: str, *, missing: bool = False) -> None:
        self.missing = missing
        super().__init__(message)


@dataclass(frozen=True)
class Size:
    """A terminal's size in characters."""

    columns: int
    rows: int


@dataclass(frozen=True)
class Sample:
    """What something used in the `window` seconds before `at`: CPU in cores, and bytes of memory at its end."""

    at: datetime
    window: float
    cpu: float
    memory: int


class Usage(Protocol):
    """Who knows what is used: `kubectl top` and autoscalers ask it."""

    def pods(self) -> Mapping[str, Mapping[str, Sample]]:
        """By the pod's uid and the container's name; a container that does not run is left out."""
        ...

    def node(self) -> Sample:
        """The machine's."""
        ...


class Output(Enum):
    """Where output comes from; a terminal has STDOUT only."""

    STDOUT = 1
    STDERR = 2


#: What comes from a client: bytes for standard input, b"" for its end, a new size of its terminal.
Input = bytes | Size


class Client(Protocol):
    """The far end of `exec` or `attach`, and which of its streams are wanted."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool

    def input(self) -> AsyncIterator[Input]:
        """What the client sends. It ends when the client has gone: not with the end of standard input."""
        ...

    async def output(self, source: Output, data: bytes) -> None:
        """Sends a piece, and waits while the client is slow."""
        ...


class Console(Protocol):
    """A running container, seen by someone who wants to work in it."""

    async def execute(self, command: Sequence[str], client: Client) -> int:
        """Runs a command beside the container's own; its exit code. KubeletError if it cannot be started."""
        ...

    async def attach(self, client: Client) -> int:
        """Joins the container's own input and output until it ends; its exit code."""
        ...


class Kubelet(Protocol):
    """The node as the API server sees it."""

    def logs(
        self, namespace: str, pod: str, container: str, *, follow: bool, previous: bool, tail: int | None,
        since_seconds: int | None, since_time: str | None, timestamps: bool, limit_bytes: int | None,
    ) -> AsyncIterator[bytes]:
        """The container's output in pieces; with `follow` until the container ends.

        Raises KubeletError before the first piece where there is no log yet.
        """
        ...

    def address(self, namespace: str, pod: str) -> str:
        """The pod's public address, POD_IP. KubeletError if it has none yet."""
        ...

    def console(self, namespace: str, pod: str, container: str) -> Console:
        """The console of a container. KubeletError if that does not run."""
        ...

    def dialer(self, namespace: str, pod: str) -> Dial:
        """How to reach the pod's ports. KubeletError if the pod does not run."""
        ...
