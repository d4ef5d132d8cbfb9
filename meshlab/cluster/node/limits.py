"""Limits that a container can exceed: memory, which kills it, and disk, which evicts its pod.

Nothing here holds a program back, as a kernel's cgroup would: who takes too much is noticed at the next look.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from meshlab.cluster.api.quantity import canonical, parse
from meshlab.cluster.node.usage import measure, tasks

if TYPE_CHECKING:
    from meshlab.cluster.node.container import ContainerRunner
    from meshlab.cluster.node.pod import PodRunner

__all__ = ["DISK", "MEMORY", "disk", "memory"]

log = logging.getLogger(__name__)

#: Seconds between looks at memory (where something has such a limit) and at disk; a kubelet's for disk is 10.
MEMORY, DISK = 1.0, 10.0


def _limit(container: ContainerRunner, name: str) -> int | None:
    given = ((container.spec.get("resources") or {}).get("limits") or {}).get(name)
    return None if given is None else int(parse(given)[0])


def memory(pods: Iterable[PodRunner]) -> None:
    """Kill the containers that hold more memory than they may: they end as OOMKilled."""
    limits = {container: limit for pod in pods for container in pod.everyone
              if container.process is not None and (limit := _limit(container, "memory")) is not None}
    if not limits:
        return
    leaders = {container: container.process.record.pid for container in limits if container.process is not None}
    for container, reading in measure(leaders, tasks(), time.monotonic()).items():
        if reading.memory > limits[container]:
            log.info("container %s holds %d bytes and may %d", container.name, reading.memory, limits[container])
            container.kill_because("OOMKilled")


def disk(pods: Iterable[PodRunner]) -> None:
    """Evict the pods whose volumes or containers hold more than they may."""
    for pod in pods:
        if why := _excess(pod):
            pod.evict(why)


def _excess(pod: PodRunner) -> str:
    for volume in pod.object["spec"].get("volumes") or []:
        size = (volume.get("emptyDir") or {}).get("sizeLimit")
        if size and parse(size)[0] > 0 and _size(pod.paths.volumes / volume["name"]) > parse(size)[0]:
            return f'Usage of EmptyDir volume "{volume["name"]}" exceeds the limit "{canonical(size)}". '
    for container in pod.containers:
        limit = _limit(container, "ephemeral-storage")
        if limit is not None and _size(container.files.folder) > limit:
            return (f"Container {container.name} exceeded its local ephemeral storage limit "
                    f'"{canonical(container.spec["resources"]["limits"]["ephemeral-storage"])}". ')
    return ""


def _size(folder: Path) -> int:
    """Bytes on disk below a folder; links are not followed."""
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            with suppress(FileNotFoundError):
                total += (Path(place) / name).lstat().st_blocks * 512
    return total
