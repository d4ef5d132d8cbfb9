"""A node that goes and one that comes: pods that run meanwhile are taken over, or cleared away."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

from node_lab import FOREVER, marked, node_lab, python

from meshlab.cluster.node.process import start_time


def test_a_new_node_adopts_what_runs_and_restarts_what_has_ended(tmp_path: Path):
    async def story() -> None:
        async with node_lab(tmp_path, kill=False) as lab:
            for name in ("stays", "dies", "goes"):
                lab.run(name, python(FOREVER))
            await lab.until(lambda: all(lab.ready(name) for name in ("stays", "dies", "goes")))
            records = {name: json.loads((lab.folder(name) / "containers/c/process.json").read_text())
                       for name in ("stays", "dies", "goes")}
        # Nobody looks after them now.
        assert all(start_time(record["pid"]) == record["start_time"] for record in records.values())
        os.kill(records["dies"]["pid"], signal.SIGKILL)
        async with node_lab(tmp_path) as lab:
            assert lab.ready("stays") and lab.container("stays")["restartCount"] == 0
            await lab.until(lambda: lab.ready("dies") and lab.container("dies")["restartCount"] == 1)
            assert lab.container("dies")["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"
            assert await lab.log("stays", tail=1) == "up\n"
            # Adopted processes are watched and stopped like any other.
            lab.delete("goes")
            await lab.until(lambda: lab.gone("goes"))
            os.kill(records["stays"]["pid"], signal.SIGKILL)
            await lab.until(lambda: lab.container("stays")["restartCount"] == 1 and lab.ready("stays"))
        assert marked(tmp_path) == []

    asyncio.run(story())


def test_what_was_deleted_while_no_node_was_there_is_cleared_away(tmp_path: Path):
    async def story() -> None:
        async with node_lab(tmp_path, kill=False) as lab:
            lab.run("p", python(FOREVER))
            await lab.until(lambda: lab.ready("p"))
            # The record is lost, as if the daemon had died before it was written; the pod is deleted by force.
            (lab.folder("p") / "containers/c/process.json").unlink()
            uid = lab.pod("p")["metadata"]["uid"]
        assert len(marked(tmp_path)) == 1
        async with node_lab(tmp_path, kill=False) as lab:
            # Nobody knows that it runs: it is killed, and the container started again.
            await lab.until(lambda: lab.ready("p") and lab.container("p")["restartCount"] == 1)
            assert len(marked(tmp_path)) == 1
            lab.delete("p", grace=0)
            uid = uid or ""
        async with node_lab(tmp_path) as lab:
            assert marked(tmp_path) == [] and list(lab.settings.pods.iterdir()) == []

    asyncio.run(story())


async def begun_at_another_time(tick: int) -> asyncio.subprocess.Process:
    """A process that the kernel's clock, which ticks every 10 ms, tells from one that began at `tick`."""
    while True:
        process = await asyncio.create_subprocess_exec("sleep", "600")
        if start_time(process.pid) != tick:
            return process
        process.kill()
        await process.wait()


def test_a_pid_that_means_another_process_by_now_is_left_alone(tmp_path: Path):
    async def story() -> None:
        async with node_lab(tmp_path, kill=False) as lab:
            lab.run("p", python(FOREVER))
            await lab.until(lambda: lab.ready("p"))
            file = lab.folder("p") / "containers/c/process.json"
            record = json.loads(file.read_text())
        os.kill(record["pid"], signal.SIGKILL)
        stranger = await begun_at_another_time(record["start_time"])
        file.write_text(json.dumps({**record, "pid": stranger.pid}))
        try:
            async with node_lab(tmp_path) as lab:
                await lab.until(lambda: lab.container("p")["restartCount"] == 1 and lab.ready("p"))
            assert stranger.returncode is None
        finally:
            stranger.kill()
            await stranger.wait()

    asyncio.run(story())


def test_going_down_stops_everything_and_coming_up_starts_it_again(tmp_path: Path):
    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            lab.run("p", python(FOREVER), initContainers=[python("print('init')", "i")])
            await lab.until(lambda: lab.ready("p"))
            address = lab.pod("p")["status"]["podIP"]
        assert marked(tmp_path) == []
        async with node_lab(tmp_path) as lab:
            await lab.until(lambda: lab.ready("p") and lab.container("p")["restartCount"] == 1)
            assert lab.pod("p")["status"]["podIP"] == address
            assert lab.container("p", section="initContainerStatuses")["restartCount"] == 1

    asyncio.run(story())
