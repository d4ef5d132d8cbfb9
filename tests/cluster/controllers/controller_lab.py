"""A cluster without a node: the real Api and the real controllers, in this test's event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from meshlab.cluster.api.api import Api
from meshlab.cluster.api.store import Store
from meshlab.cluster.controllers import run_controllers
from meshlab.settings import Network, Settings

T = TypeVar("T")
Obj = dict[str, Any]


class ControllerLab:
    """`pods` are moved by hand with `ready`, `gone` …: there is nobody who runs them."""

    def __init__(self, api: Api) -> None:
        self.api = api
        #: Names of pods that the played node does not get to run.
        self.idle: set[str] = set()

    async def until(self, look: Callable[[], T], seconds: float = 60.0) -> T:
        """The first true value of `look`; AssertionError with its last value after `seconds`."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not (value := look()):
            assert loop.time() < end, f"still {value!r} after {seconds} s"
            await asyncio.sleep(0.002)
        return value

    async def quiet(self) -> int:
        """Until nothing has been written for 50 turns of the event loop; the revision then."""
        still, revision = 0, -1
        while still < 50:
            await asyncio.sleep(0)
            now = self.api.list(self.api.kinds("Namespace"))[1]
            still, revision = (still + 1, now) if now == revision else (0, now)
        return revision

    def create(self, obj: Obj, namespace: str = "default") -> Obj:
        resource = self.api.resource(obj["apiVersion"], obj["kind"])
        return self.api.create(resource, namespace if resource.namespaced else None, obj)

    def change(self, kind: str, name: str, patch: Obj, namespace: str = "default") -> Obj:
        return self.api.patch(self.api.kinds(kind), namespace, name, patch, "merge")

    def delete(self, kind: str, name: str, namespace: str | None = "default", **options: Any) -> None:
        self.api.delete(self.api.kinds(kind), namespace, name, **options)

    def find(self, kind: str, name: str, namespace: str | None = "default") -> Obj | None:
        return self.api.find(self.api.kinds(kind), namespace, name)

    def get(self, kind: str, name: str, namespace: str | None = "default") -> Obj:
        return self.api.get(self.api.kinds(kind), namespace, name)

    def all(self, kind: str, namespace: str | None = "default", selector: str = "") -> list[Obj]:
        return self.api.list(self.api.kinds(kind), namespace, label_selector=selector)[0]

    def pods(self, namespace: str = "default", selector: str = "") -> list[Obj]:
        """Those that are not being deleted."""
        return [p for p in self.all("Pod", namespace, selector) if not p["metadata"].get("deletionTimestamp")]

    def set_status(self, pod: Obj, *, ready: bool = True, phase: str = "Running", ip: str = "127.54.0.9") -> Obj:
        """What a node would say of the pod."""
        meta = pod["metadata"]
        current = self.get("Pod", meta["name"], meta["namespace"])
        conditions = [{"type": "Ready", "status": "True" if ready else "False",
                       "lastTransitionTime": "2026-01-01T00:00:00Z"}]
        status = {**(current.get("status") or {}), "phase": phase, "podIP": ip, "podIPs": [{"ip": ip}],
                  "conditions": conditions}
        return self.api.update(self.api.kinds("Pod"), meta["namespace"], meta["name"], {**current, "status": status},
                               subresource="status")

    def end(self, pod: Obj) -> None:
        """The node has stopped a pod that was being deleted."""
        self.delete("Pod", pod["metadata"]["name"], pod["metadata"]["namespace"], grace=0)

    async def play_node(self) -> None:
        """Every pod becomes ready, and goes at once when it is deleted; until cancelled."""
        number = 10
        async for event in self.api.watch(self.api.kinds("Pod")):
            if event.type == "DELETED":
                continue
            pod = self.find("Pod", event.object["metadata"]["name"], event.object["metadata"]["namespace"])
            if pod is None:
                continue
            if pod["metadata"].get("deletionTimestamp"):
                self.end(pod)
            elif pod["status"].get("phase") == "Pending" and pod["metadata"]["name"] not in self.idle:
                number += 1
                self.set_status(pod, ip=f"127.54.0.{number % 250}")


@asynccontextmanager
async def controller_lab(home: Path, *, node: bool = False) -> AsyncIterator[ControllerLab]:
    """Controllers on an empty store; `node` also plays a node on which everything works."""
    store = Store(home / "lab.db")
    lab = ControllerLab(Api(store, Network(7)))
    lab.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})
    tasks = [asyncio.create_task(run_controllers(lab.api, Settings(home, Network(7))))]
    if node:
        tasks.append(asyncio.create_task(lab.play_node()))
    try:
        yield lab
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        store.close()
        assert all(isinstance(result, asyncio.CancelledError) for result in results), results


def deployment(name: str = "web", replicas: int = 3, image: str = "python:3.12", **spec: Any) -> Obj:
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}},
                         "spec": {"containers": [{"name": "c", "image": image,
                                                  "ports": [{"name": "web", "containerPort": 8080}]}]}},
            **spec,
        },
    }


#: A machine on which every pod is scheduled at once.
NODE: Obj = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "meshlab"},
             "status": {"allocatable": {"pods": "110"}}}


def condition(obj: Obj, kind: str) -> str:
    """`True NewReplicaSetAvailable`: status and reason."""
    found = next((c for c in (obj.get("status") or {}).get("conditions") or [] if c["type"] == kind), None)
    return f"{found['status']} {found['reason']}" if found else ""
