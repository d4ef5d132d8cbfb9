"""Where a pod keeps its files, and how paths of its manifest become paths of this machine.

A container has no file system of its own here: its mounts are materialised below `root/`, and a path below a mount is
rewritten wherever an argument or a variable names it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["ContainerPaths", "PodPaths", "rewrite"]


@dataclass(frozen=True)
class ContainerPaths:
    """Files of one container of a pod."""

    folder: Path

    @property
    def root(self) -> Path:
        """What the container would see as `/`, as far as it has mounts."""
        return self.folder / "root"

    @property
    def record(self) -> Path:
        return self.folder / "process.json"

    def log(self, restart: int) -> Path:
        """Standard output and error of run number `restart`."""
        return self.folder / f"{restart}.log"


@dataclass(frozen=True)
class PodPaths:
    """Files of one pod: `pods/<namespace>_<name>_<uid>`. No name of Kubernetes holds an underscore."""

    folder: Path

    @classmethod
    def of(cls, pods: Path, pod: dict[str, Any]) -> PodPaths:
        meta = pod["metadata"]
        return cls(pods / f"{meta['namespace']}_{meta['name']}_{meta['uid']}")

    @property
    def uid(self) -> str:
        return self.folder.name.rpartition("_")[2]

    @property
    def description(self) -> Path:
        return self.folder / "pod.json"

    def describe(self, pod: dict[str, Any], address: str, local: str) -> None:
        """Write the description: who the pod is, for programs that stand in for parts of its network."""
        meta = pod["metadata"]
        draft = self.description.with_suffix(".tmp")
        draft.write_text(json.dumps({
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
            "ip": address,
            "local_ip": local,
            "labels": meta.get("labels") or {},
            "serviceAccount": pod["spec"].get("serviceAccountName") or "default",
        }))
        draft.rename(self.description)

    @property
    def capture(self) -> Path:
        """What the sidecar captures; written by the built-in proxy_init."""
        return self.folder / "capture.json"

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def volumes(self) -> Path:
        return self.folder / "volumes"

    def has(self, volume: str) -> bool:
        """Whether a volume was made."""
        return (self.volumes / volume).is_dir()

    @property
    def containers(self) -> Path:
        return self.folder / "containers"

    def container(self, name: str) -> ContainerPaths:
        return ContainerPaths(self.containers / name)


def rewrite(text: str, root: Path, mounts: Sequence[str]) -> str:
    """`text` with each path that lies below a mount replaced by where that mount is on this machine.

    >>> rewrite("-config=/etc/statsd/mapping.conf", Path("/r"), ["/etc/statsd"])
    '-config=/r/etc/statsd/mapping.conf'
    >>> rewrite("/data2 http://host/data", Path("/r"), ["/data"])
    '/data2 http://host/data'
    """
    if not mounts or "/" not in text:
        return text
    # The longest mount first, or /etc would win over /etc/certs. A path starts where no path, word or host ends,
    # which keeps the paths of URLs as they are.
    names = "|".join(re.escape(mount.rstrip("/")) for mount in sorted(mounts, key=len, reverse=True) if mount != "/")
    if not names:
        return text
    pattern = re.compile(rf"(?<![\w./~-])({names})(?=/|$|[^\w.-])")
    return pattern.sub(lambda found: f"{root}{found.group(1)}", text)
