"""Processes that an earlier daemon started."""

from __future__ import annotations

import os
import re
import subprocess
import sys

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

async def main():
    process = adopt(Record(pid, start_time(pid), "2026-01-01T00:00:00Z", "i", 0, boot_id()))
    assert process is not None and process.adopted
    threading.Thread(target=os.waitpid, args=(pid, 0)).start()
    ended = await process.wait()
    print(ended.code, ended.signal, ended.exit_code)

asyncio.run(main())
"""


@pytest.mark.skipif(tuple(int(n) for n in re.findall(r"\d+", os.uname().release)[:2]) < (6, 15),
                    reason="the kernel tells exit codes to parents only")
@pytest.mark.parametrize(("script", "expected"), [
    ("sleep 0.3; exit 0", "0 0 0"), ("sleep 0.3; exit 7", "7 0 7"), ("sleep 0.3; kill -9 $$", "9 9 137"),
])
def test_the_exit_code_of_an_adopted_process_is_learnt_from_the_kernel(script: str, expected: str):
    done = subprocess.run([sys.executable, "-c", STORY, script], capture_output=True, text=True, timeout=20)
    assert done.stdout.strip() == expected, done.stderr
