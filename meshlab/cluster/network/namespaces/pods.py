"""The namespaces of pods: a network each, and for each container mounts and a host name of its own.

    lab's network ── v1a2b3c4d ═══ eth0 ── pod's network
     10.40.0.1        (a cable, one route each way)      10.40.3.7

A pod's network is mounted as a file, which keeps it while containers come and go, and through a kill of the daemon.
What has to happen inside happens in a thread that goes there and never comes back: namespaces belong to threads, and a
program that such a thread starts inherits them.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from meshlab.cluster.network.namespaces import linux
from meshlab.cluster.network.namespaces.firewall import load
from meshlab.cluster.network.namespaces.lab import LOOPBACK, pins
from meshlab.cluster.network.namespaces.netlink import Netlink
from meshlab.cluster.network.namespaces.rules import redirect
from meshlab.cluster.network.podnetwork import PodNetwork
from meshlab.settings import Settings

__all__ = ["NamespacedPods"]

T = TypeVar("T")

#: Index of the cable's end in a pod that has `lo` only.
CABLE = 2
ETC = Path("/etc")


class NamespacedPods(PodNetwork):
    """Pods in network namespaces. The daemon is in the lab's (`lab.enter`)."""

    def __init__(self, settings: Settings, domain: str) -> None:
        self._settings, self._domain = settings, domain

    def up(self, uid: str, address: str, name: str, namespace: str, folder: Path) -> None:
        (folder / "resolv.conf").write_text(
            f"nameserver {self._settings.network.dns}\n"
            f"search {namespace}.svc.{self._domain} svc.{self._domain} {self._domain}\noptions ndots:5\n"
        )
        (folder / "hosts").write_text(f"127.0.0.1\tlocalhost\n{address}\t{name}\n")
        (folder / "hostname").write_text(f"{name}\n")
        pin = self._pin(uid)
        if pin.exists() and pin.stat().st_dev != pin.parent.stat().st_dev:
            return  # an earlier daemon made it
        pin.touch()
        with Netlink() as lab:
            lab.remove(_cable(uid))  # what a daemon that was killed in the middle of this left
            try:
                index = _apart(lambda: self._make(lab, pin, uid, address))
                lab.up(index)
                lab.route(f"{address}/32", index, source=self._settings.network.node)
            except OSError:
                self.down(uid)
                raise

    def _make(self, lab: Netlink, pin: Path, uid: str, address: str) -> int:
        """In a thread of its own; the index of the lab's end of the cable."""
        node = self._settings.network.node
        linux.unshare(linux.NEW_NETWORK)
        own = Path("/proc/thread-self/ns/net")
        descriptor = os.open(own, os.O_RDONLY | os.O_CLOEXEC)
        try:
            lab.pair(_cable(uid), "eth0", descriptor)
            linux.bind(own, pin)
        finally:
            os.close(descriptor)
        with suppress(FileNotFoundError):  # a kernel without IPv6
            # As in a cluster of 2018: programs see IPv4 only.
            Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")
        with Netlink() as pod:
            pod.up(LOOPBACK)
            pod.up(CABLE)
            pod.address(CABLE, address)
            pod.route(f"{node}/32", CABLE, source=address)
            pod.route("0.0.0.0/0", CABLE, source=address, gateway=node)
        return lab.index(_cable(uid))

    def down(self, uid: str) -> None:
        pin = self._pin(uid)
        with Netlink() as lab:
            lab.remove(_cable(uid))
        if pin.exists():
            with suppress(OSError):  # it was not mounted yet
                linux.detach(pin)
            pin.unlink()

    def keep(self, uids: Collection[str]) -> None:
        for pin in pins(self._settings).iterdir():
            if pin.name not in uids:
                self.down(pin.name)

    def capture(self, uid: str, port: int, ranges: str) -> str:
        table = redirect(port, ranges)
        self._inside(uid, lambda: load(self._settings, table))
        return table

    def start(self, uid: str, folder: Path, name: str, start: Callable[[], T]) -> T:
        def here() -> T:
            linux.unshare(linux.NEW_MOUNTS | linux.NEW_NAMES)
            for file in ("resolv.conf", "hosts", "hostname"):
                if (ETC / file).exists():
                    linux.bind(folder / file, ETC / file)
            linux.detach(pins(self._settings))  # another pod's network must not live as long as this container
            linux.set_hostname(name)
            return start()

        return self._inside(uid, here)

    def beside(self, pid: int, argv: Sequence[str], cwd: Path) -> list[str]:
        kinds = (("net", "net"), ("mount", "mnt"), ("uts", "uts"))
        spaces = (f"--{kind}=/proc/{pid}/ns/{short}" for kind, short in kinds)
        return ["nsenter", *spaces, f"--wd={cwd}", "--", *argv]

    def socket(self, uid: str) -> socket.socket:
        return self._inside(uid, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))

    def _inside(self, uid: str, function: Callable[[], T]) -> T:
        """`function()` in the pod's network. OSError where there is none."""
        descriptor = os.open(self._pin(uid), os.O_RDONLY | os.O_CLOEXEC)
        try:

            def there() -> T:
                linux.enter(descriptor, linux.NEW_NETWORK)
                return function()

            return _apart(there)
        finally:
            os.close(descriptor)

    def _pin(self, uid: str) -> Path:
        return pins(self._settings) / uid


def _cable(uid: str) -> str:
    """The lab's end; a name has at most 15 characters."""
    return f"v{uid.replace('-', '')[:12]}"


def _apart(function: Callable[[], T]) -> T:
    """Run in a thread that ends afterwards, so that its namespaces are nobody else's."""
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            results.append(function())
        except BaseException as error:  # raised again in the caller
            errors.append(error)

    thread = threading.Thread(target=body, name="pod's namespaces")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
