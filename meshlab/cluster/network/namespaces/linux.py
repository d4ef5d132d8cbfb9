"""The few system calls that namespaces need and that Python of this age does not offer."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

__all__ = [
    "NEW_MOUNTS",
    "NEW_NAMES",
    "NEW_NETWORK",
    "NEW_USER",
    "bind",
    "detach",
    "enter",
    "private_mounts",
    "set_hostname",
    "tmpfs",
    "unshare",
]

#: Flags of unshare(2) and setns(2), from <linux/sched.h>.
NEW_MOUNTS, NEW_NAMES, NEW_USER, NEW_NETWORK = 0x0002_0000, 0x0400_0000, 0x1000_0000, 0x4000_0000
#: Flags of mount(2) and umount2(2).
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
MNT_DETACH = 2


def _call(name: str, *words: int | bytes | None) -> None:
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    if function(*words) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Put the calling thread into new namespaces. OSError: EPERM or ENOSYS where the machine refuses them."""
    _call("unshare", flags)


def enter(descriptor: int, kind: int = 0) -> None:
    """Put the calling thread into the namespace behind this descriptor; `kind` 0 takes any."""
    _call("setns", descriptor, kind)


def private_mounts() -> None:
    """Let no mount of this namespace be seen in another, nor the other way round."""
    _call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)


def bind(source: Path, target: Path) -> None:
    """Show `source` in the place of `target`, which exists."""
    _call("mount", os.fsencode(source), os.fsencode(target), None, MS_BIND, None)


def tmpfs(target: Path) -> None:
    _call("mount", b"meshlab", os.fsencode(target), b"tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, b"mode=0700,size=1m")


def detach(target: Path) -> None:
    """Unmount `target` and all below it; whoever has it open keeps it."""
    _call("umount2", os.fsencode(target), MNT_DETACH)


def set_hostname(name: str) -> None:
    encoded = name.encode()[:64]  # Linux' limit
    _call("sethostname", encoded, len(encoded))
