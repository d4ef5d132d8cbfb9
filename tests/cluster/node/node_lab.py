"""A node with its API and controllers in this test's event loop; its pods are real processes."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from meshlab.cluster.api.api import Api
from meshlab.cluster.api.store import Store
from meshlab.cluster.controllers import run_controllers
from meshlab.cluster.node import Node
from meshlab.cluster.node.images import CATALOGUE, Answers, Catalogue, Image, ReadyHint
from meshlab.cluster.node.process import leftovers
from meshlab.settings import Network, Settings

T = TypeVar("T")
Obj = dict[str, Any]
#: Networks that no lab uses, whose slots are 0 to 7: clusters of tests may run at the same time.
NETWORK = Network(86 + os.getpid() % 16)

#: A program in the place of Envoy: it answers LIVE on its admin socket once `/ready` of its volume is there.
FAKE_ENVOY = """
import http.server, os, pathlib, socketserver
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if pathlib.Path(os.environ["GATE"]).exists() else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def address_string(self): return "unix"
path = os.path.join(os.environ["MESHLAB_SOCKETS"], os.environ["POD_UID"][:8] + ".sock")
class Server(socketserver.UnixStreamServer): pass
Server(path, Handler).serve_forever()
"""


class Tokens:
    """Issues what nobody checks."""

    def issue(self, namespace: str, name: str, **_: Any) -> str:
        return f"token-of-{namespace}-{name}"


class NodeLab:
    def __init__(self, api: Api, settings: Settings, node: Node) -> None:
        self.api, self.settings, self.node = api, settings, node

    async def until(self, look: Callable[[], T], seconds: float = 60.0) -> T:
        """The first true value of `look`; AssertionError with its last value after `seconds`."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not (value := look()):
            assert loop.time() < end, f"still {value!r} after {seconds} s"
            await asyncio.sleep(0.01)
        return value

    def create(self, obj: Obj) -> Obj:
        return self.api.create(self.api.resource(obj["apiVersion"], obj["kind"]), "default", obj)

    def config(self, name: str, **data: str) -> Obj:
        return self.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})

    def run(self, name: str, *containers: Obj, annotations: Obj | None = None, **spec: Any) -> Obj:
        return self.create({"apiVersion": "v1", "kind": "Pod",
                            "metadata": {"name": name, "labels": {"app": name}, "annotations": annotations or {}},
                            "spec": {"containers": list(containers), "terminationGracePeriodSeconds": 2, **spec}})

    def pod(self, name: str) -> Obj:
        return self.api.get(self.api.kinds("Pod"), "default", name)

    def delete(self, name: str, **options: Any) -> None:
        self.api.delete(self.api.kinds("Pod"), "default", name, **options)

    def gone(self, name: str) -> bool:
        return self.api.find(self.api.kinds("Pod"), "default", name) is None

    def container(self, name: str, number: int = 0, section: str = "containerStatuses") -> Obj:
        found = (self.pod(name).get("status") or {}).get(section) or []
        return found[number] if found else {"state": {"waiting": {}}, "lastState": {}, "ready": False,
                                            "restartCount": 0}

    def state(self, name: str, number: int = 0, section: str = "containerStatuses") -> str:
        """`running`, or the reason why not."""
        [(kind, detail)] = self.container(name, number, section)["state"].items()
        return kind if kind == "running" else str(detail.get("reason"))

    def ready(self, name: str) -> bool:
        return any(c["type"] == "Ready" and c["status"] == "True"
                   for c in self.pod(name)["status"].get("conditions") or [])

    def phase(self, name: str) -> str:
        return str(self.pod(name)["status"].get("phase"))

    def folder(self, name: str) -> Path:
        meta = self.pod(name)["metadata"]
        return self.settings.pods / f"default_{name}_{meta['uid']}"

    async def log(self, name: str, container: str | None = None, **options: Any) -> str:
        return b"".join([part async for part in self.node.logs("default", name, container, **options)]).decode()

    def events(self, name: str) -> list[str]:
        return [f"{e['reason']}: {e['message']}" for e in self.api.list(self.api.kinds("Event"), "default")[0]
                if e["involvedObject"]["name"] == name]


def catalogue() -> Catalogue:
    return Catalogue([
        Image("envoy", r"envoy", (sys.executable, "-c", FAKE_ENVOY), ready=ReadyHint(Answers.ENVOY)), *CATALOGUE])


@asynccontextmanager
async def node_lab(home: Path, *, kill: bool = True) -> AsyncIterator[NodeLab]:
    """A node on the store of `home`; at the end its pods are killed, or left to the next one on the same store."""
    settings = Settings(home, NETWORK)
    store = Store(home / "lab.db")
    api = Api(store, NETWORK)
    namespaces = api.kinds("Namespace")
    if api.find(namespaces, None, "default") is None:
        api.create(namespaces, None, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})
    node = Node(api, settings, Tokens(), catalogue=catalogue())
    await node.start()
    controllers = asyncio.create_task(run_controllers(api, settings))
    try:
        yield NodeLab(api, settings, node)
    except BaseException:
        kill = True
        raise
    finally:
        controllers.cancel()
        await asyncio.gather(controllers, return_exceptions=True)
        await node.stop(kill_pods=kill)
        store.close()


def python(code: str, name: str = "c", **container: Any) -> Obj:
    """A container that runs a line of Python."""
    return {"name": name, "image": "python:3.12-slim", "command": ["python", "-c", code], **container}


FOREVER = "import time; print('up', flush=True); time.sleep(600)"


def marked(home: Path) -> list[str]:
    """Processes of the lab in `home` that live."""
    found = []
    for mark, pidfd in leftovers(f"{home}|"):
        os.close(pidfd)
        found.append(mark)
    return found
