"""What the tests of objects share: the types, kubectl, and a recorder of what kubectl sends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from meshlab.cluster.api.schema import Schemas

Kubectl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def schemas() -> Schemas:
    return Schemas.load()


@pytest.fixture(scope="session")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    """Runs the real kubectl without a cluster and without anybody's configuration."""
    home = tmp_path_factory.mktemp("kubectl")
    program = Path(sys.executable).with_name("kubectl")
    env = {"HOME": str(home), "KUBECACHEDIR": str(home / "cache"), "PATH": os.environ["PATH"]}

    def run(*args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(program), *args], input=stdin, capture_output=True, text=True, env=env, timeout=180)

    return run


@pytest.fixture
def patch_local(kubectl: Kubectl) -> Callable[[Any, Any, str], Any]:
    """`kubectl patch --local`: the patched object, or the error's text."""

    def run(obj: Any, patch: Any, kind: str = "strategic") -> Any:
        done = kubectl("patch", "--local", "-f", "-", "--type", kind, "-p", json.dumps(patch), "-o", "json",
                       stdin=json.dumps(obj))  # fmt: skip
        return json.loads(done.stdout) if done.returncode == 0 else done.stderr.strip().removeprefix("error: ")

    return run


class Recorder(BaseHTTPRequestHandler):
    """Refuses every write, and keeps what was sent."""

    protocol_version = "HTTP/1.1"
    bodies: list[tuple[str, bytes]]

    def log_message(self, *_args: object) -> None:
        pass

    def _answer(self, code: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self._answer(404, {})

    def do_POST(self) -> None:
        size = int(self.headers["Content-Length"])
        self.bodies.append((self.headers["Content-Type"], self.rfile.read(size)))
        self._answer(403, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no",
                           "reason": "Forbidden", "code": 403})  # fmt: skip


@pytest.fixture(scope="session")
def recorder() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """(address, what was sent to it: content type and body)."""
    bodies: list[tuple[str, bytes]] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Recorder,), {"bodies": bodies}))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", bodies
    server.shutdown()
    server.server_close()
    thread.join()
