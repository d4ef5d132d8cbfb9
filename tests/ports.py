"""Ports for programs that cannot be told to take any."""

from __future__ import annotations

import random
import socket

__all__ = ["free_port"]


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has, below those that Linux gives to whoever asks for any (32768 and more):
    nobody gets it by chance until the program binds it."""
    while True:
        port = random.randrange(10_000, 20_000)  # noqa: S311 (no secret)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
