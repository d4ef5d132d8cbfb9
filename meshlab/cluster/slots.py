"""Which set of addresses a lab gets: a slot is whoever's that listens at the address of its API server.

A daemon that was killed listens no more, but its pods live on and wait for the next one: their addresses stay theirs.
"""

from __future__ import annotations

import logging
import os
import socket
from dataclasses import replace

from meshlab.errors import LabError, Taken
from meshlab.settings import LOW_PORT_OFFSET, SLOTS, Capture, Network, Settings

__all__ = ["bind", "claim"]

log = logging.getLogger(__name__)


def claim(settings: Settings) -> tuple[Settings, socket.socket]:
    """The settings with the lab's slot, and the listening socket of its API, which claims it. Raises Taken."""
    file = settings.home / "slot"
    asked = file.read_text().strip() if file.exists() else os.environ.get("MESHLAB_SLOT", "")
    if not asked:
        slots = list(range(SLOTS))
    elif asked.isdigit() and int(asked) < SLOTS:
        slots = [int(asked)]
    else:
        where = file if file.exists() else "MESHLAB_SLOT"
        then = "meshlab reset" if file.exists() else "unset MESHLAB_SLOT"
        raise LabError(f"{where} says {asked!r}, which is no slot", why=f"slots are 0 to {SLOTS - 1}", then=then)
    for slot in slots:
        chosen = replace(settings, network=replace(settings.network, slot=slot))
        if not file.exists() and _kept(chosen.network):
            log.info("slot %d is kept by a lab, whose daemon may have been killed", slot)
            continue
        try:
            listener = bind(chosen.network.api, chosen.api_port)
        except OSError as error:
            log.info("slot %d is taken: %s", slot, error)
            continue
        file.write_text(f"{slot}\n")
        return chosen, listener
    where = ", ".join(f"{Network(s).api}:{settings.api_port}" for s in slots)
    raise Taken(
        f"cannot listen on {where}",
        why="another lab, or another program, has this address, or pods of a lab whose daemon was killed live on there",
        then=f"ss -ltnp 'sport = :{settings.api_port}'; or meshlab down with the MESHLAB_HOME of that lab",
    )


def _kept(network: Network) -> bool:
    """Whether a lab has this slot although its daemon is dead: its pods live on, and so does its kube-proxy.

    That answers for the service `kubernetes`, at the port of root or at that of others. Only loopback is asked:
    services of a lab with iptables have addresses that are somebody else's out here, and its pods hold none of ours.
    """
    services = replace(network, capture=Capture.SHIM).services
    for port in (443, 443 + LOW_PORT_OFFSET):
        with socket.socket() as asking:
            if asking.connect_ex((f"{services}.0.1", port)) == 0:
                return True
    return False


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises OSError where somebody else does."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # Only against TIME_WAIT: on Linux two listeners still exclude each other.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(512)
    except OSError:
        listener.close()
        raise
    return listener
