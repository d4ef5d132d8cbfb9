"""Where a lab keeps its files and which addresses it uses.

A lab is one folder, `home`, of mode 0700. Several labs can live on one machine: each takes a *slot*,
a set of loopback networks of its own. Slot 0 has the addresses of the tutorial with 10 replaced by 127.
The lock of a slot is the API server's own listening socket: it is gone when its process is.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Network", "Settings", "bound_port", "unprivileged_port_start"]

SLOTS = 8
#: Added to ports that this user may not bind; see `bound_port`.
LOW_PORT_OFFSET = 20_000


@dataclass(frozen=True)
class Network:
    """The loopback networks of one slot (0 to 7).

    A pod has two addresses: `10.40.0.5` of the tutorial is 127.40.0.5 here, where everybody reaches it,
    and 127.41.0.5 stands for the 127.0.0.1 inside that pod, where its sidecar reaches its application.
    """

    slot: int = 0

    @property
    def pods(self) -> str:
        """Prefix of pod addresses, /16: `127.40`."""
        return f"127.{40 + 2 * self.slot}"

    @property
    def locals(self) -> str:
        """Prefix of the pods' private addresses, /16: `127.41`."""
        return f"127.{41 + 2 * self.slot}"

    @property
    def services(self) -> str:
        """Prefix of service addresses, /16: `127.105`."""
        return f"127.{105 + self.slot}"

    @property
    def node(self) -> str:
        """The node's own address, where the API server listens."""
        return f"{self.pods}.0.1"

    @property
    def external(self) -> str:
        """The host outside the mesh on which msgd runs: 10.100.35.27 in the tutorial."""
        return "127.100.35.27" if self.slot == 0 else f"127.{120 + self.slot}.35.27"

    def local_of(self, pod_ip: str) -> str:
        """The private address of the pod with this address (an external host's own is the address itself)."""
        if not pod_ip.startswith(self.pods + "."):
            return pod_ip
        return self.locals + pod_ip[len(self.pods) :]


@dataclass(frozen=True)
class Settings:
    """Files and network of one lab. `Settings.load()` reads the environment; nothing is read at import."""

    home: Path
    network: Network = field(default_factory=Network)
    #: Port of the API server on `network.node`.
    api_port: int = 6443

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """MESHLAB_HOME, else XDG_STATE_HOME/meshlab, else ~/.local/state/meshlab; the slot that it last had."""
        env = os.environ if environ is None else environ
        if chosen := env.get("MESHLAB_HOME"):
            home = Path(chosen)
        else:
            state = env.get("XDG_STATE_HOME")
            home = (Path(state) if state else Path.home() / ".local" / "state") / "meshlab"
        home = home.expanduser().absolute()
        try:
            slot = int((home / "slot").read_text())
        except (FileNotFoundError, ValueError):
            slot = 0
        return cls(home, Network(slot))

    @property
    def kubeconfig(self) -> Path:
        return self.home / "kubeconfig"

    @property
    def database(self) -> Path:
        return self.home / "lab.db"

    @property
    def pki(self) -> Path:
        return self.home / "pki"

    @property
    def pods(self) -> Path:
        """One folder per pod: `pods/<namespace>_<name>_<uid>`."""
        return self.home / "pods"

    @property
    def network_file(self) -> Path:
        """What the shim and the mesh agent know of services and pods; written by the daemon, read by pods."""
        return self.home / "network.json"

    @property
    def daemon_log(self) -> Path:
        return self.home / "daemon.log"

    @property
    def daemon_file(self) -> Path:
        """`{"pid", "start_time", "server", "version"}` of the running daemon."""
        return self.home / "daemon.json"

    @property
    def bin(self) -> Path:
        """Programs put on the PATH of notebooks and pods: kubectl, istioctl, meshlab."""
        return self.home / "bin"

    @property
    def tools(self) -> Path:
        """Programs unpacked from Debian packages without root: prometheus. All labs of an environment share them."""
        return Path(sys.prefix) / "share" / "meshlab" / "tools"

    @property
    def sockets(self) -> Path:
        """Folder of Unix sockets. Linux allows 107 bytes for a socket's path, so a deep home gets a short twin."""
        own = self.home / "run"
        if len(str(own)) <= 60:
            return own
        digest = hashlib.sha256(str(self.home).encode()).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"meshlab-{os.getuid()}-{digest}"


def unprivileged_port_start() -> int:
    """The first port this process may bind: 0 for root, else what the kernel says (1024 where it says nothing)."""
    if os.geteuid() == 0:
        return 0
    try:
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except (OSError, ValueError):
        return 1024


def bound_port(port: int, start: int | None = None) -> int:
    """The port on which `port` of a pod or service really listens on this machine.

    The same number, except for ports this user may not bind: those are moved up by 20,000 by everybody
    who binds or connects, so that no table has to be shared.

    >>> bound_port(8080, start=1024), bound_port(80, start=1024), bound_port(80, start=0)
    (8080, 20080, 80)
    """
    limit = unprivileged_port_start() if start is None else start
    return port if port >= limit else port + LOW_PORT_OFFSET
