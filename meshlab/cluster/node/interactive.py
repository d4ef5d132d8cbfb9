"""The input of a container with `stdin: true`, and its terminal with `tty: true`, for clients that attach.

Both are held by the daemon: a container with a terminal is hung up when the daemon is killed, one with an input reads
its end. Its output goes into its log in either case, as any other's, so that attached clients follow the log.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import termios
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from meshlab.cluster.api.streams import Size

__all__ = ["END", "ON_TERMINAL", "Interactive", "set_size"]

#: A session leader that opens a terminal gets it as its own: so no code has to run between fork and exec.
ON_TERMINAL = 'terminal=$1; shift; exec "$@" <"$terminal" >"$terminal" 2>&1'
#: End of transmission, as typed with Ctrl-D: a terminal has no other end of input.
END = b"\x04"
PIECE = 32 * 1024


def set_size(terminal: int, size: Size) -> None:
    """Of the terminal behind a descriptor; who runs on it gets SIGWINCH."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", size.rows, size.columns, 0, 0))


class Interactive:
    """One run's input. `once`: its end is the end of the first client's, as `stdinOnce` says."""

    def __init__(self, *, tty: bool, once: bool) -> None:
        self.tty, self._once = tty, once
        if tty:
            self._ours, self.theirs = os.openpty()
        else:
            self.theirs, self._ours = os.pipe()
        os.set_blocking(self._ours, False)
        self._log = -1

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> Interactive | None:
        """What a container asks for; None for most."""
        if not (spec.get("stdin") or spec.get("tty")):
            return None
        return cls(tty=bool(spec.get("tty")), once=bool(spec.get("stdinOnce")))

    def command_line(self, argv: list[str]) -> list[str]:
        """What to run so that `argv` has the terminal as its own."""
        return ["/bin/sh", "-c", ON_TERMINAL, "sh", os.ttyname(self.theirs), *argv] if self.tty else argv

    def started(self, log: Path) -> None:
        """The program has its end: what it writes to a terminal goes into the log from now on."""
        os.close(self.theirs)
        self.theirs = -1
        if self.tty:
            self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            asyncio.get_running_loop().add_reader(self._ours, self._copy)

    async def write(self, data: bytes) -> None:
        """Everything, as fast as it is read. ConnectionError if nobody reads it any more."""
        while data and self._ours >= 0:
            try:
                data = data[os.write(self._ours, data):]
            except BlockingIOError:
                await self._writable()

    async def end(self) -> None:
        """The client's input has ended."""
        if self.tty:
            await self.write(END)
        elif self._once:
            self.close()

    def resize(self, size: Size) -> None:
        if self.tty and self._ours >= 0:
            set_size(self._ours, size)

    def close(self) -> None:
        """The run has ended: its last words are read."""
        if self._ours < 0:
            return
        if self.tty and self._log >= 0:
            while self._copy():
                continue
        self._forget()

    def _copy(self) -> bool:
        try:
            data = os.read(self._ours, PIECE)
        except BlockingIOError:
            return False
        except OSError:
            data = b""  # nobody has the terminal open any more
        if data:
            os.write(self._log, data)
            return True
        asyncio.get_running_loop().remove_reader(self._ours)
        return False

    async def _writable(self) -> None:
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        loop.add_writer(self._ours, ready.set)
        try:
            await ready.wait()
        finally:
            with suppress(ValueError):  # closed meanwhile
                loop.remove_writer(self._ours)

    def _forget(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._ours)
        loop.remove_writer(self._ours)
        for descriptor in (self._ours, self.theirs, self._log):
            if descriptor >= 0:
                os.close(descriptor)
        self._ours = self.theirs = self._log = -1
