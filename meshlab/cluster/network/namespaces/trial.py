"""Tries, in a process of its own, what capture by iptables needs: `python -m meshlab.cluster.network.namespaces.trial`.

Exit status 0, or 1 with the reason on standard error. Nothing is left behind but what the kernel removes by itself.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from meshlab.cluster.network.namespaces import linux
from meshlab.cluster.network.namespaces.firewall import load
from meshlab.cluster.network.namespaces.lab import LOOPBACK, run_apart
from meshlab.cluster.network.namespaces.netlink import Netlink
from meshlab.cluster.network.namespaces.rules import redirect
from meshlab.errors import MeshlabError
from meshlab.settings import Settings

__all__ = ["main"]


def main() -> int:
    settings = Settings.load()

    def attempt() -> None:
        linux.private_mounts()
        with tempfile.TemporaryDirectory() as folder:
            linux.tmpfs(Path(folder))
            linux.detach(Path(folder))
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        with Netlink() as link:
            link.up(LOOPBACK)
            own = os.open("/proc/self/ns/net", os.O_RDONLY)
            link.pair("meshlab0", "meshlab1", own)
            os.close(own)
            link.remove("meshlab0")
        load(settings, redirect(15001, "*"))
        linux.unshare(linux.NEW_NAMES)
        linux.set_hostname("trial")

    try:
        os.waitpid(run_apart(attempt, lambda: None), 0)
    except MeshlabError as error:
        print(error.why or error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
