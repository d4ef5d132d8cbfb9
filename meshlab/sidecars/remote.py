"""A command in a container, by the API server's `exec` over a WebSocket.

Subprotocol v5, or v4 of older servers: each message is a channel's number and data; the last one, on the error
channel, is a Status that says how the command ended.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from meshlab.errors import LabError
from meshlab.kube import Kube
from meshlab.upgrade import Upgrade, open_websocket

if TYPE_CHECKING:
    from websocket import WebSocket

__all__ = ["execute", "upgrade"]

STDOUT, STDERR, STATUS = 1, 2, 3
PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")


def upgrade(kube: Kube) -> Upgrade:
    """How this client opens WebSockets."""
    tls: dict[str, Any] = {"context": kube.tls} if kube.tls else {}
    if kube.server_name:
        tls["server_hostname"] = kube.server_name
    found = urlsplit(kube.proxy) if kube.proxy else None
    proxy = (found.hostname or "", found.port or 80) if found else None

    def opened(path: str, protocols: Sequence[str], timeout: float) -> WebSocket:
        return open_websocket(kube.server, path, protocols, timeout, headers=kube.headers, tls=tls, proxy=proxy)

    return opened


def execute(
    to: Upgrade, namespace: str, pod: str, container: str, command: Sequence[str], *, timeout: float = 30.0
) -> bytes:
    """What the command writes to its standard output.

    Raises `Rejected` if the server refuses, `LabError` if the command fails or nothing comes for `timeout` seconds.
    """
    from websocket import WebSocketException

    query = [("container", container), ("stdout", "true"), ("stderr", "true"), *(("command", each) for each in command)]
    path = f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(pod)}/exec?{urlencode(query)}"
    connection = to(path, PROTOCOLS, timeout)
    written: dict[int, bytes] = {STDOUT: b"", STDERR: b"", STATUS: b""}
    try:
        while message := connection.recv():
            data = message if isinstance(message, bytes) else message.encode()
            written[data[0]] = written.get(data[0], b"") + data[1:]
            if data[0] == STATUS:
                break
    except (OSError, WebSocketException) as error:
        raise LabError(
            f"{' '.join(command)} in pod {pod} was cut", why=str(error), then=f"kubectl -n {namespace} get pod {pod}"
        ) from error
    finally:
        connection.close(timeout=0)
    ended = json.loads(written[STATUS] or b"{}")
    if ended.get("status") != "Success":
        said = written[STDERR].decode("utf-8", "replace").strip()
        raise LabError(
            f"{' '.join(command)} failed in pod {pod}",
            why=said or str(ended.get("message") or "it ended without a word"),
            then=f"kubectl -n {namespace} get pod {pod}",
        )
    return written[STDOUT]
