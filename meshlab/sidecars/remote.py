"""A command in a container, by the API server's `exec` over a WebSocket.

Subprotocol v5, or v4 of older servers: each message is a channel's number and data; the last one, on the error
channel, is a Status that says how the command ended.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import quote, urlencode

from meshlab.errors import LabError, Rejected
from meshlab.kube import Kube

__all__ = ["execute"]

STDOUT, STDERR, STATUS = 1, 2, 3
PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")


def execute(
    kube: Kube, namespace: str, pod: str, container: str, command: Sequence[str], *, timeout: float = 30.0
) -> bytes:
    """What the command writes to its standard output.

    Raises `Rejected` if the server refuses, `LabError` if the command fails or nothing comes for `timeout` seconds.
    """
    from websocket import WebSocketBadStatusException, WebSocketException, create_connection

    query = [("container", container), ("stdout", "true"), ("stderr", "true"), *(("command", each) for each in command)]
    path = f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(pod)}/exec?{urlencode(query)}"
    try:
        connection = create_connection(
            "ws" + kube.server.removeprefix("http") + path,
            timeout=timeout,
            header=kube.headers,
            subprotocols=PROTOCOLS,
            suppress_origin=True,
            sslopt={"context": kube.tls} if kube.tls else {},
            http_no_proxy=["*"],
        )
    except WebSocketBadStatusException as error:
        raise Rejected.answer(error.status_code, error.resp_body or b"") from error
    except (OSError, WebSocketException) as error:
        raise LabError(f"cannot run {' '.join(command)} in pod {pod}", why=str(error), then="meshlab status") from error
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
