"""The node's answer to how much its pods use."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from meshlab.cluster.api.streams import Sample
from meshlab.cluster.node.usage import PERIOD, Meter, Reading, machine, measure, tasks

if TYPE_CHECKING:
    from meshlab.cluster.node.pod import PodRunner

__all__ = ["Metering"]

#: (uid of the pod, name of the container, number of the run)
Key = tuple[str, str, int]
MACHINE: Key = ("", "", 0)


class Metering:
    """Measures the containers of some pods. `pods()` are those of now."""

    def __init__(self, pods: Callable[[], Iterable[PodRunner]]) -> None:
        self._pods = pods
        self._meter = Meter()

    async def run(self) -> None:
        """Keep a reading to compare with every `PERIOD` seconds, until cancelled."""
        while True:
            self._meter.keep(self.readings() | {MACHINE: machine(time.monotonic())})
            await asyncio.sleep(PERIOD)

    def readings(self) -> dict[Key, Reading]:
        """What has been used up to now."""
        leaders = {(pod.uid, container.name, container.process.record.restart): container.process.record.pid
                   for pod in self._pods() for container in pod.everyone if container.process is not None}
        return measure(leaders, tasks(), time.monotonic()) if leaders else {}

    def pods(self) -> Mapping[str, Mapping[str, Sample]]:
        """As `Usage` has it."""
        found: dict[str, dict[str, Sample]] = {}
        for (uid, name, _), sample in self._meter.samples(self.readings(), self._started()).items():
            found.setdefault(uid, {})[name] = sample
        return found

    def node(self) -> Sample:
        """As `Usage` has it; before the first comparison since the machine started."""
        now = time.monotonic()
        return self._meter.samples({MACHINE: machine(now)}, {MACHINE: now - time.clock_gettime(time.CLOCK_BOOTTIME)})[
            MACHINE]

    def _started(self) -> dict[Key, float]:
        here, moment = time.monotonic(), datetime.now(UTC)
        return {
            (pod.uid, container.name, container.process.record.restart):
                here - (moment - datetime.fromisoformat(container.process.record.started)).total_seconds()
            for pod in self._pods() for container in pod.everyone if container.process is not None
        }
