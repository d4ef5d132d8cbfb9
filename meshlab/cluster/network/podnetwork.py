"""What the node asks of the network for one pod. There are two: loopback addresses and a shim, or namespaces."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TypeVar

from meshlab.settings import Capture, Settings

__all__ = ["LoopbackPods", "PodNetwork", "pod_network"]

T = TypeVar("T")


class PodNetwork(ABC):
    """The networks of all pods of the node, by uid. All methods are quick; OSError: the kernel refuses."""

    @abstractmethod
    def up(self, uid: str, address: str, name: str, namespace: str, folder: Path) -> None:
        """Give a pod its address; nothing if it has it. `folder` is the pod's own, for files that belong to it."""

    @abstractmethod
    def down(self, uid: str) -> None:
        """Take a pod's network away, if it has one; when its processes have ended."""

    @abstractmethod
    def keep(self, uids: Collection[str]) -> None:
        """Take away the networks of all pods but these."""

    @abstractmethod
    def capture(self, uid: str, port: int, ranges: str) -> str:
        """Lead the TCP connections of a pod to its sidecar's port; in words, or rules, what was done."""

    @abstractmethod
    def start(self, uid: str, folder: Path, name: str, start: Callable[[], T]) -> T:
        """`start()`, which starts a program, where the pod's programs run."""

    @abstractmethod
    def beside(self, pid: int, argv: Sequence[str], cwd: Path) -> list[str]:
        """The command line that runs `argv` where the container with this process runs."""

    @abstractmethod
    def socket(self, uid: str) -> socket.socket:
        """A TCP socket from which the pod's private address can be reached."""


class LoopbackPods(PodNetwork):
    """All pods share the machine's network; their addresses are loopback addresses, which are always there."""

    def __init__(self, settings: Settings) -> None:
        self._node = settings.network.node

    def up(self, uid: str, address: str, name: str, namespace: str, folder: Path) -> None:
        del uid, address, name, namespace, folder  # nothing to do

    def down(self, uid: str) -> None:
        del uid

    def keep(self, uids: Collection[str]) -> None:
        del uids

    def capture(self, uid: str, port: int, ranges: str) -> str:
        del uid  # the shim reads what init left in the pod's folder
        taken = "all destinations" if ranges == "*" else ranges
        return (
            f"no iptables rules are written on this machine; the pod's start-up shim captures {taken} "
            f"to port {port} instead, the proxy itself excepted\n"
        )

    def start(self, uid: str, folder: Path, name: str, start: Callable[[], T]) -> T:
        del uid, folder, name
        return start()

    def beside(self, pid: int, argv: Sequence[str], cwd: Path) -> list[str]:
        del pid, cwd
        return list(argv)

    def socket(self, uid: str) -> socket.socket:
        del uid
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.bind((self._node, 0))
        return made


def pod_network(settings: Settings, domain: str) -> PodNetwork:
    """The one of this lab."""
    if settings.network.capture is Capture.SHIM:
        return LoopbackPods(settings)
    from meshlab.cluster.network.namespaces.pods import NamespacedPods

    return NamespacedPods(settings, domain)
