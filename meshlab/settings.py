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
from enum import Enum
from pathlib import Path

__all__ = ["Capture", "Network", "Settings", "bound_port", "unprivileged_port_start"]

SLOTS = 8
#: Added to ports that this user may not bind; see `bound_port`.
LOW_PORT_OFFSET = 20_000


class Capture(Enum):
    """How the connections of a pod's programs come to its sidecar."""

    #: A start-up shim of Python programs connects to the sidecar. Unprivileged, anywhere.
    SHIM = "shim"
    #: The kernel redirects them, in network namespaces: any program.
    IPTABLES = "iptables"


@dataclass(frozen=True)
class Network:
    """The networks of one slot (0 to 7).

    With the shim they are loopback networks, and a pod has two addresses: `10.40.0.5` of the tutorial is 127.40.0.5
    here, where everybody reaches it, and 127.41.0.5 stands for the 127.0.0.1 inside that pod, where its sidecar
    reaches its application. With iptables every lab has a network of its own, invisible from outside, so that
    all have the tutorial's addresses; the slot then only says where the API server listens for this machine.
    """

    slot: int = 0
    capture: Capture = Capture.SHIM

    @property
    def pods(self) -> str:
        """Prefix of pod addresses, /16: `127.40`, or `10.40`."""
        return "10.40" if self.capture is Capture.IPTABLES else f"127.{40 + 2 * self.slot}"

    @property
    def locals(self) -> str:
        """Prefix of the pods' private addresses with the shim, /16: `127.41`."""
        return f"127.{41 + 2 * self.slot}"

    @property
    def services(self) -> str:
        """Prefix of service addresses, /16: `127.105`, or `10.105`."""
        return "10.105" if self.capture is Capture.IPTABLES else f"127.{105 + self.slot}"

    @property
    def node(self) -> str:
        """The node's own address, where pods reach the API server: `127.40.0.1`, or `10.40.0.1`."""
        return f"{self.pods}.0.1"

    @property
    def api(self) -> str:
        """Where this machine's programs reach the API server: `127.40.0.1`. With the shim it is the node."""
        return f"127.{40 + 2 * self.slot}.0.1"

    @property
    def dns(self) -> str:
        """The address of the cluster's DNS server, which there is with iptables only: `10.105.0.10`."""
        return f"{self.services}.0.10"

    @property
    def external(self) -> str:
        """The host outside the mesh on which msgd runs: 10.100.35.27 in the tutorial."""
        if self.capture is Capture.IPTABLES:
            return "10.100.35.27"
        return "127.100.35.27" if self.slot == 0 else f"127.{120 + self.slot}.35.27"

    def local_of(self, pod_ip: str) -> str:
        """The private address of the pod with this address (an external host's, with the shim, is itself)."""
        if self.capture is Capture.IPTABLES:
            return "127.0.0.1"
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
        """MESHLAB_HOME, else XDG_STATE_HOME/meshlab, else ~/.local/state/meshlab; the slot and capture that it has."""
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
        try:
            capture = Capture((home / "capture").read_text().strip())
        except (FileNotFoundError, ValueError):
            capture = Capture.SHIM
        return cls(home, Network(slot, capture))

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
    def disk(self) -> Path:
        """The node's own disk, as `hostPath` and persistent volumes see it; kept until the lab is reset."""
        return self.home / "disk"

    @property
    def pods(self) -> Path:
        """One folder per pod: `pods/<namespace>_<name>_<uid>`."""
        return self.home / "pods"

    @property
    def network_file(self) -> Path:
        """What the shim and the mesh agent know of services and pods; written by the daemon, read by pods."""
        return self.home / "network.json"

    @property
    def capture_file(self) -> Path:
        """The lab's `Capture`, chosen at its first start; none is the shim."""
        return self.home / "capture"

    @property
    def namespaces(self) -> Path:
        """The record of the process that holds the lab's network namespaces, and where these are mounted."""
        return self.home / "namespaces"

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
        return Path(tempfile.gettempdir()) / f"meshlab-{_outer_uid()}-{digest}"


def _outer_uid() -> int:
    """This user's number as seen by the process that made the user namespace we may be in."""
    uid = os.getuid()
    try:
        lines = Path("/proc/self/uid_map").read_text().splitlines()
    except OSError:
        return uid  # a kernel without user namespaces
    for inside, outside, count in (map(int, line.split()) for line in lines):
        if inside <= uid < inside + count:
            return outside + uid - inside
    return uid


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
