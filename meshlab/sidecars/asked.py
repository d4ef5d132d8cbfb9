"""Debug pages that answer to their own pod only: Envoy's admin interface, istiod's debug interface.

Two ways come from there: a command in the container, and a port-forward, which ends at the pod's own loopback. Who may
not do the one may often do the other. A command costs the pod a process, of istiod's program some tenths of a second;
whoever asks often asks by a port-forward first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from meshlab.errors import LabError, Rejected
from meshlab.sidecars.remote import execute
from meshlab.tunnel import Tunnel, request
from meshlab.upgrade import Upgrade

__all__ = ["AGENT", "DISCOVERY", "Pages", "asked"]


@dataclass(frozen=True)
class Pages:
    """Where a program's pages are: its command that asks for one, `PROGRAM request METHOD PATH`, and their port."""

    program: str
    port: int


#: Those of a sidecar, and those of istiod.
AGENT, DISCOVERY = Pages("pilot-agent", 15000), Pages("pilot-discovery", 15014)


def asked(
    to: Upgrade,
    namespace: str,
    pod: str,
    container: str,
    pages: Pages,
    path: str,
    *,
    method: str = "GET",
    timeout: float = 30.0,
    often: bool = False,
) -> bytes:
    """What the page says. Raises `LabError`, with what was said to each way if none leads there."""
    command = (pages.program, "request", method, path)
    ways: list[tuple[str, Callable[[], bytes]]] = [
        ("exec", lambda: execute(to, namespace, pod, container, command, timeout=timeout)),
        ("port-forward", lambda: _forwarded(to, namespace, pod, pages.port, method, path, timeout)),
    ]
    refused: list[str] = []
    for way, ask in reversed(ways) if often else ways:
        try:
            return ask()
        except Rejected as error:
            if error.code not in (403, 405):
                raise
            refused.append(f"{way}: {error.seen}")
    raise LabError(
        f"nobody may ask {pod} for {path}",
        why="; ".join(refused),
        then=f"kubectl auth can-i create pods/exec -n {namespace}",
    )


def _forwarded(to: Upgrade, namespace: str, pod: str, port: int, method: str, path: str, timeout: float) -> bytes:
    where = "/" + path.lstrip("/")
    status, _, body = request(Tunnel.open(to, namespace, pod, port, timeout=timeout), method, where)
    if status >= 400:
        said = body.decode("utf-8", "replace").strip()[:300] or f"HTTP {status}"
        raise LabError(f"{pod} refuses {where}", why=said, then=f"kubectl -n {namespace} get pod {pod}")
    return body
