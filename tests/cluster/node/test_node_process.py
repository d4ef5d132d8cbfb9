"""Processes that an earlier daemon started."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

#: The part of process 1: it adopts an orphan and reaps it. The orphan's record is read by one who is not its parent.
STORY = """
import asyncio, ctypes, os, subprocess, sys, threading
from meshlab.cluster.node.process import Record, adopt, boot_id, start_time

ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
reader, writer = os.pipe()
if os.fork() == 0:
    orphan = subprocess.Popen(["sh", "-c", sys.argv[1]], start_new_session=True)
    os.write(writer, b"%d\\n" % orphan.pid)
    os._exit(0)
pid = int(os.read(reader, 20))
os.wait()
go = os.open(sys.argv[2], os.O_RDWR)

async def main():
    process = adopt(Record(pid, start_time(pid), "2026-01-01T00:00:00Z", "i", 0, boot_id()))
    assert process is not None and process.adopted
    threading.Thread(target=os.waitpid, args=(pid, 0)).start()
    os.write(go, b"\\n")
    ended = await process.wait()
    print(ended.code, ended.signal, ended.exit_code)

asyncio.run(main())
"""


@pytest.mark.skipif(tuple(int(n) for n in re.findall(r"\d+", os.uname().release)[:2]) < (6, 15),
                    reason="the kernel tells exit codes to parents only")
@pytest.mark.parametrize(("script", "expected"), [
    ("exit 0", "0 0 0"), ("exit 7", "7 0 7"), ("kill -9 $$", "9 9 137"),
])
def test_the_exit_code_of_an_adopted_process_is_learnt_from_the_kernel(tmp_path: Path, script: str, expected: str):
    os.mkfifo(tmp_path / "go")  # the process ends when it has been adopted
    story = [sys.executable, "-c", STORY, f'read go < "{tmp_path}/go"; {script}', str(tmp_path / "go")]
    done = subprocess.run(story, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == expected, done.stderr
