"""Reading the logs of containers: tail, since, timestamps, follow.

A container writes straight into its file, so lines carry no time. A `LogClock` notes once a second how far each
file has grown; a line's time is when its offset was first seen, exact to that second. The notes are kept in a file
beside the log, for the daemon that comes next.
"""

from __future__ import annotations

import asyncio
import os
import re
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["FOLLOW", "LogClock", "LogOptions", "read_log"]

#: Seconds between looks at a file that somebody follows.
FOLLOW = 0.1
CHUNK = 64 * 1024
#: Bytes of a log that are always kept; a kubelet keeps files of 10 MiB.
KEPT = 10 * 1024 * 1024


@dataclass(frozen=True)
class LogOptions:
    """What `kubectl logs` asks for: `tail` lines, `since` in seconds since the epoch, `limit` in bytes."""

    follow: bool = False
    tail: int | None = None
    since: float | None = None
    timestamps: bool = False
    limit: int | None = None


class LogClock:
    """When each part of one log was written, and from where on it is kept."""

    def __init__(self, log: Path) -> None:
        self._log, self._notes = log, log.with_suffix(".idx")
        #: The part that starts at `_offsets[i]` was first seen at `_times[i]`.
        self._offsets: list[int] = []
        self._times: list[float] = []
        self._seen = 0
        with suppress(FileNotFoundError):
            for line in self._notes.read_text().splitlines():
                words = line.split()
                if len(words) != 3:
                    break  # cut off by a crash: what was read so far is good
                self._offsets.append(int(words[0]))
                self._times.append(float(words[2]))
                self._seen = int(words[1])

    @property
    def start(self) -> int:
        """Offset of the first byte that is kept."""
        return self._offsets[0] if self._offsets else 0

    def look(self, now: float) -> None:
        """Note the time of what has come since the last look."""
        size = self._size()
        if size <= self._seen:
            return
        with self._notes.open("a") as notes:
            notes.write(f"{self._seen} {size} {now:.3f}\n")
        self._offsets.append(self._seen)
        self._times.append(now)
        self._seen = size

    def trim(self) -> None:
        """Give the disk back what is older than the newest `KEPT` bytes, once it has doubled. OSError if it cannot.

        The file keeps its length: its beginning becomes a hole. So the writer, whose descriptor only appends, notices
        nothing, and every offset stays true.
        """
        if self._seen - self.start < 2 * KEPT:
            return
        cut = _next_line(self._log, self._seen - KEPT)
        last = max(0, bisect_right(self._offsets, cut) - 1)
        self._offsets, self._times = [cut, *self._offsets[last + 1:]], self._times[last:]
        ends = [*self._offsets[1:], self._seen]
        draft = self._notes.with_suffix(".tmp")
        draft.write_text("".join(f"{offset} {end} {when:.3f}\n" for offset, end, when
                                 in zip(self._offsets, ends, self._times, strict=True)))
        draft.rename(self._notes)
        _punch(self._log, cut)

    def time(self, offset: int) -> float:
        """When the byte at `offset` was written, in seconds since the epoch."""
        if not self._offsets:
            return self._log.stat().st_mtime
        return self._times[max(0, bisect_right(self._offsets, offset) - 1)]

    def first_since(self, when: float) -> int:
        """Offset of the first byte written at or after `when`; the present end if there is none."""
        for offset, noted in zip(self._offsets, self._times, strict=True):
            if noted >= when:
                return offset
        return self._seen

    def _size(self) -> int:
        try:
            return self._log.stat().st_size
        except FileNotFoundError:
            return 0


def _tail_offset(fd: int, lines: int, start: int) -> int:
    """Where the last `lines` lines of the file begin, not before `start`."""
    end = os.fstat(fd).st_size
    if lines <= 0:
        return end
    position, wanted = end, lines
    # A last line without its newline counts as a line.
    if end > start and os.pread(fd, 1, end - 1) == b"\n":
        position -= 1
    while position > start:
        size = min(CHUNK, position - start)
        block = os.pread(fd, size, position - size)
        at = len(block)
        while (at := block.rfind(b"\n", 0, at)) >= 0:
            wanted -= 1
            if wanted == 0:
                return position - size + at + 1
        position -= size
    return start


def _stamp(when: float) -> bytes:
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z ").encode()


def _next_line(log: Path, offset: int) -> int:
    """Offset of the first line that begins after `offset` (of `offset` itself where a line has no end in sight)."""
    with log.open("rb") as file:
        file.seek(offset)
        found = file.read(CHUNK).find(b"\n")
    return offset if found < 0 else offset + found + 1


def _punch(log: Path, length: int) -> None:
    """Make a hole of the file's first `length` bytes."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    keep_size, punch_hole = 1, 2
    with log.open("r+b") as file:
        if libc.fallocate(file.fileno(), keep_size | punch_hole, 0, length) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(log))


async def read_log(log: Path, clock: LogClock, options: LogOptions, *,
                   ended: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The log's bytes as they are asked for; when followed, until `ended()` and all of it is read."""
    try:
        fd = os.open(log, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        clock.look(datetime.now(UTC).timestamp())
        position = clock.start if options.since is None else clock.first_since(options.since)
        if options.tail is not None:
            position = _tail_offset(fd, options.tail, position)
        left = options.limit
        fresh_line = True
        while True:
            finished = ended()  # asked before reading: what was written before the end is read after it
            block = os.pread(fd, CHUNK, position)
            if not block:
                if not options.follow or finished:
                    return
                await asyncio.sleep(FOLLOW)
                clock.look(datetime.now(UTC).timestamp())
                continue
            offset, position = position, position + len(block)
            if options.timestamps:
                block, fresh_line = _timestamped(block, offset, clock, fresh_line)
            if left is not None:
                block = block[:left]
                left -= len(block)
            yield block
            if left == 0:
                return
            await asyncio.sleep(0)  # a long log must not hold up the whole daemon
    finally:
        os.close(fd)


def _timestamped(block: bytes, offset: int, clock: LogClock, fresh_line: bool) -> tuple[bytes, bool]:
    parts: list[bytes] = []
    # Not splitlines(): a carriage return is no end of line here.
    for line in re.findall(rb"[^\n]*\n|[^\n]+", block):
        if fresh_line:
            parts.append(_stamp(clock.time(offset)))
        parts.append(line)
        offset += len(line)
        fresh_line = line.endswith(b"\n")
    return b"".join(parts), fresh_line
