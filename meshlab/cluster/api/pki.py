"""The lab's certificates and keys: made once, kept in `home/pki`, readable by their owner only.

Making them imports `cryptography`, 12 MB that a daemon would keep for life; so whoever starts the daemon makes them,
and the daemon itself only reads.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from meshlab.settings import Settings

__all__ = ["Keys", "ensure"]


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


def ensure(settings: Settings) -> Keys:
    """The lab's keys, made where they are missing. Idempotent."""
    folder = settings.pki
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority, server = folder / "ca.pem", folder / f"server-{settings.network.slot}.pem"
    if not (authority.exists() and server.exists()):
        _certificates(settings, authority, server)
    token = _secret(folder / "token")
    return Keys(authority.read_bytes(), server, token, _secret(folder / "sa.key").encode())


def _certificates(settings: Settings, authority: Path, server: Path) -> None:
    import trustme

    key = authority.with_name("ca-key.pem")
    if authority.exists() and key.exists():
        ca = trustme.CA.from_pem(authority.read_bytes(), key.read_bytes())
    else:
        ca = trustme.CA(organization_name="meshlab", organization_unit_name="lab")
        _write(key, ca.private_key_pem.bytes())
    network = settings.network
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
    leaf = ca.issue_cert(network.node, "127.0.0.1", "localhost", f"{network.services}.0.1", *names)
    _write(server, leaf.private_key_and_cert_chain_pem.bytes())
    # Last: its presence says that the rest is there.
    _write(authority, ca.cert_pem.bytes())


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
