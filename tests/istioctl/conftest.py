"""A server of config.istio.io objects for the commands: HTTP, JSON, revisions; nothing of a cluster besides."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

BASE = "/apis/config.istio.io/v1alpha2"
PLURALS = {"RouteRule": "routerules", "EgressRule": "egressrules", "DestinationPolicy": "destinationpolicies",
           "stdio": "stdios"}


class Rules(ThreadingHTTPServer):
    """Objects by path. `installed` False: a cluster that has never heard of Istio."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, dict[str, Any]] = {}
        self.revision = 100
        self.installed = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Rules

    def log_message(self, format: str, *args: Any) -> None:
        """The test says what it did; the server need not."""

    def _answer(self, code: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _refuse(self, code: int, reason: str, message: str) -> None:
        self._answer(code, {"kind": "Status", "code": code, "reason": reason, "message": message})

    def _missing(self) -> None:
        plural, name = self.path.split("/")[-2:]
        self._refuse(404, "NotFound", f'{plural}.config.istio.io "{name}" not found')

    def _body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return body

    def _store(self, path: str, obj: dict[str, Any], code: int) -> None:
        self.server.revision += 1
        obj["metadata"]["resourceVersion"] = str(self.server.revision)
        self.server.objects[path] = obj
        self._answer(code, obj)

    def do_GET(self) -> None:
        objects = self.server.objects
        if self.path in objects:
            self._answer(200, objects[self.path])
        elif not self.server.installed and self.path.startswith(BASE):
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path == BASE:
            resources = [{"name": plural, "kind": kind, "namespaced": True} for kind, plural in PLURALS.items()]
            self._answer(200, {"resources": resources})
        elif self.path.split("/")[-1] in PLURALS.values():
            items = [obj for path, obj in sorted(objects.items()) if path.startswith(self.path + "/")]
            self._answer(200, {"kind": "List", "items": items})
        else:
            self._missing()

    def do_POST(self) -> None:
        obj = self._body()
        path = f"{self.path}/{obj['metadata']['name']}"
        if path in self.server.objects:
            plural, name = path.split("/")[-2:]
            self._refuse(409, "AlreadyExists", f'{plural}.config.istio.io "{name}" already exists')
        else:
            self._store(path, obj, 201)

    def do_PUT(self) -> None:
        if self.path in self.server.objects:
            self._store(self.path, self._body(), 200)
        else:
            self._missing()

    def do_DELETE(self) -> None:
        if self.server.objects.pop(self.path, None):
            self._answer(200, {"kind": "Status", "status": "Success"})
        else:
            self._missing()


@pytest.fixture
def rules() -> Iterator[Rules]:
    with Rules() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def kubeconfig(rules: Rules, tmp_path: Path) -> Path:
    path = tmp_path / "kubeconfig"
    config = {
        "clusters": [{"name": "c", "cluster": {"server": rules.url}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "current-context": "c",
    }
    path.write_text(json.dumps(config))
    return path
