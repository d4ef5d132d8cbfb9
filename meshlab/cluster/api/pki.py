"""The lab's certificates and keys: made once, kept in `home/pki`, readable by their owner only.

Making them imports `cryptography`, 12 MB that a daemon would keep for life. So a process of its own makes them, while
the daemon imports what it needs itself: `maker = begin(settings)`, and later `keys(settings, maker)`.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from meshlab.errors import LabError
from meshlab.settings import SLOTS, Capture, Network, Settings

__all__ = ["Keys", "begin", "keys", "make"]


AUTHORITY, SERVER = "ca.pem", "server.pem"


@dataclass(frozen=True)
class Keys:
    """What the API server needs to prove itself and to know others."""

    #: PEM of the authority that clients trust.
    authority: bytes
    #: File with the server's key and certificate.
    server: Path
    #: The owner's bearer token.
    token: str
    #: Signs service accounts' tokens.
    signing: bytes


def begin(settings: Settings) -> subprocess.Popen[bytes] | None:
    """Starts to make the certificates if they are missing; pass the answer to `keys`."""
    if (settings.pki / AUTHORITY).exists():
        return None
    return subprocess.Popen([sys.executable, "-m", "meshlab.cluster.api.pki", str(settings.pki)])


def keys(settings: Settings, maker: subprocess.Popen[bytes] | None = None) -> Keys:
    """The lab's keys, as soon as `maker` is done. LabError where it failed."""
    if maker is not None and maker.wait(timeout=30.0):
        raise LabError(f"cannot make the lab's certificates in {settings.pki}", then="meshlab doctor")
    folder = settings.pki
    return Keys(
        (folder / AUTHORITY).read_bytes(), folder / SERVER, _secret(folder / "token"),
        _secret(folder / "sa.key").encode(),
    )


def make(folder: Path) -> None:
    """An authority, and a certificate for every address that this API server may have in any slot."""
    import trustme

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ca = trustme.CA(organization_name="meshlab", organization_unit_name="lab")
    _write(folder / "ca-key.pem", ca.private_key_pem.bytes())
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
    networks = [Network(slot) for slot in range(SLOTS)]
    networks.append(Network(capture=Capture.IPTABLES))  # the same in every slot
    addresses = [a for n in networks for a in (n.node, f"{n.services}.0.1")]
    leaf = ca.issue_cert("127.0.0.1", "localhost", *addresses, *names)
    _write(folder / SERVER, leaf.private_key_and_cert_chain_pem.bytes())
    # Last: its presence says that the rest is there.
    _write(folder / AUTHORITY, ca.cert_pem.bytes())


def _secret(file: Path) -> str:
    if not file.exists():
        _write(file, secrets.token_hex(24).encode())
    return file.read_text()


def _write(file: Path, data: bytes) -> None:
    """Atomically, with mode 0600 from the first byte."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(data)
    draft.replace(file)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
