"""`pilot-agent request GET config_dump`, beside a proxy that runs: asks its Envoy's admin interface.

Run by `kubectl exec`, often many at a time: an HTTP client alone would take longer to load than all of this.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence

__all__ = ["admin_socket", "ask", "main"]

#: Seconds that Envoy's main thread may take to answer.
PATIENCE = 30.0


def admin_socket(env: Mapping[str, str]) -> str:
    """The path of the admin socket of the pod's Envoy: named by the pod's uid."""
    folder = env["MESHLAB_POD_DIR"]
    try:
        with open(f"{folder}/pod.json") as file:  # noqa: PTH123 - pathlib takes as long to load as all the rest
            uid = str(json.load(file)["uid"])
    except (FileNotFoundError, KeyError):
        uid = folder.rpartition("_")[2]
    return f"{env['MESHLAB_SOCKETS']}/{uid[:8]}.sock"


def ask(path: str, method: str, target: str) -> tuple[int, bytes]:
    """Status and body. Raises OSError if nobody listens at `path`."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(path)
        head = f"{method} /{target.lstrip('/')} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        connection.sendall(f"{head}Content-Length: 0\r\n\r\n".encode())
        pieces = []
        while piece := connection.recv(1 << 20):
            pieces.append(piece)
    head_, _, body = b"".join(pieces).partition(b"\r\n\r\n")
    lines = head_.decode("latin-1").lower().split("\r\n")
    if "transfer-encoding: chunked" in lines:
        body = _joined(body)
    return int(lines[0].split()[1]), body


def _joined(chunks: bytes) -> bytes:
    """A chunked body in one piece."""
    found = []
    while chunks:
        size, _, rest = chunks.partition(b"\r\n")
        length = int(size.partition(b";")[0], 16)
        if not length:
            break
        found.append(rest[:length])
        chunks = rest[length + 2 :]
    return b"".join(found)


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """The command `pilot-agent`. 1: Envoy does not answer, or not with 200; other commands are the agent's own."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] != ["request"]:
        from meshlab.mesh.agent import main as agent

        return agent(words, environ)
    if len(words) != 3 or words[1] not in ("GET", "POST"):
        print("Usage:\n  pilot-agent request GET|POST PATH", file=sys.stderr)
        return 2
    try:
        status, body = ask(admin_socket(os.environ if environ is None else environ), words[1], words[2])
    except (KeyError, OSError, ValueError, IndexError) as error:
        print(f"cannot reach Envoy's admin interface: {error}", file=sys.stderr)
        return 1
    sys.stdout.buffer.write(body)
    sys.stdout.buffer.flush()
    if status != 200:
        print(f"Error: unexpected status: {status}", file=sys.stderr)
    return int(status != 200)


if __name__ == "__main__":
    sys.exit(main())
