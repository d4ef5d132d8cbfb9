"""`python -m meshlab.addons.discovery FILE`: the pods of the cluster as targets of Prometheus, kept current.

Debian's Prometheus is built without its own discovery in Kubernetes. This program stands beside it, watches the
pods and writes a file of the form that `file_sd_configs` reads, with the labels that `kubernetes_sd_configs` of
role `pod` would give: the same relabelling serves both. It ends with the Prometheus that started it.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from meshlab.errors import MeshlabError

__all__ = ["main", "targets"]

#: Seconds of quiet before the file is written: a rollout is many changes.
QUIET = 0.2
#: prctl: the signal that a process gets when its parent ends.
_PARENT_DEATH = 1
_ILLEGAL = re.compile(r"[^a-zA-Z0-9_]")
Object = Mapping[str, Any]


def targets(pods: Iterable[Object]) -> list[dict[str, Any]]:
    """Target groups: one for each port of each container, and for each container without ports one at the pod's
    address. Pods without an address are left out."""
    return [group for pod in pods if (pod.get("status") or {}).get("podIP") for group in _of(pod)]


def _of(pod: Object) -> Iterator[dict[str, Any]]:
    meta, spec, status = pod["metadata"], pod.get("spec") or {}, pod["status"]
    ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions") or ())
    owner: Object = next((each for each in meta.get("ownerReferences") or () if each.get("controller")), {})
    common = {
        "namespace": meta.get("namespace", ""), "pod_name": meta["name"], "pod_uid": meta.get("uid", ""),
        "pod_ip": status["podIP"], "pod_host_ip": status.get("hostIP", ""), "pod_phase": status.get("phase", ""),
        "pod_ready": str(ready).lower(), "pod_node_name": spec.get("nodeName", ""),
        "pod_controller_kind": owner.get("kind", ""), "pod_controller_name": owner.get("name", ""),
    }
    for kind in ("label", "annotation"):
        for name, value in (meta.get(f"{kind}s") or {}).items():
            clean = _ILLEGAL.sub("_", name)
            common |= {f"pod_{kind}_{clean}": value, f"pod_{kind}present_{clean}": "true"}
    for key, init in (("initContainers", "true"), ("containers", "false")):
        for container in spec.get(key) or ():
            own = {"pod_container_name": container["name"], "pod_container_image": container.get("image", ""),
                   "pod_container_init": init}
            ports: Sequence[Object] = container.get("ports") or ({},)
            for port in ports:
                number = port.get("containerPort")
                at = {"pod_container_port_number": str(number), "pod_container_port_name": port.get("name", ""),
                      "pod_container_port_protocol": port.get("protocol", "TCP")} if number else {}
                yield {"targets": [f"{status['podIP']}:{number}" if number else status["podIP"]],
                       "labels": {f"__meta_kubernetes_{k}": v for k, v in (common | own | at).items()}}


class _Writer:
    def __init__(self, path: Path) -> None:
        self._path, self._changed, self._written = path, threading.Event(), ""
        self._pods: dict[tuple[str, str], Object] = {}
        self._lock = threading.Lock()

    def change(self, type_: str, pod: Object) -> None:
        meta = pod["metadata"]
        with self._lock:
            if type_ == "DELETED":
                self._pods.pop((meta.get("namespace", ""), meta["name"]), None)
            else:
                self._pods[meta.get("namespace", ""), meta["name"]] = pod
        self._changed.set()

    def run(self, stop: threading.Event, error: Callable[[], Exception | None]) -> None:
        """Until `stop`; tells of `error()` when it becomes another one."""
        told = None
        while not stop.is_set():
            if not self._changed.wait(1.0):
                if (now := str(error() or "")) != told and now:
                    print(f"discovery: {now}", file=sys.stderr, flush=True)
                told = now
                continue
            stop.wait(QUIET)
            self._changed.clear()
            with self._lock:
                text = json.dumps(targets(pod for _, pod in sorted(self._pods.items())))
            if text != self._written:
                draft = self._path.with_suffix(".new")
                draft.write_text(text)
                draft.replace(self._path)
                self._written = text


def main(argv: Sequence[str] | None = None) -> int:
    from meshlab.kube import Informer, Kube

    arguments = sys.argv[1:] if argv is None else argv
    if len(arguments) != 1:
        print("usage: python -m meshlab.addons.discovery FILE", file=sys.stderr)
        return 2
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    ctypes.CDLL(None).prctl(_PARENT_DEATH, signal.SIGTERM)
    if os.getppid() == 1:
        return 0  # it was gone before we could ask to be told
    writer = _Writer(Path(arguments[0]))
    try:
        informer = Informer(Kube.from_kubeconfig(None), ("v1", "pods")).start(writer.change)
    except MeshlabError as error:
        print(f"discovery: {error}", file=sys.stderr)
        return 1
    writer.run(stop, lambda: informer.error)
    informer.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
