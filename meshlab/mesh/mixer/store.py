"""Where Mixer's configuration and its knowledge of pods come from: the cluster (`k8s://`) or a folder (`fs://`).

Both feed the same calls. From the cluster changes arrive by watch and take effect after a few quiet
milliseconds, because `kubectl apply` writes a rule, its handler and its instances one after the other.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from meshlab.errors import LabError, ManifestError, Rejected
from meshlab.kube import Informer, Kube
from meshlab.mesh.mixer.config import KINDS, Configuration, resolve
from meshlab.mesh.mixer.workloads import Workloads

__all__ = ["SWITCH", "Store"]

#: Annotation of the ConfigMap `istio` in Istio's namespace that switches 0.4.0's double report.
SWITCH = "meshlab.io/double-report"
GROUP = "config.istio.io/v1alpha2"
#: Seconds of quiet before a change takes effect, and the longest that it can be put off.
QUIET, LONGEST = 0.02, 0.2


class Store:
    """Collects objects and hands over a Configuration whenever they changed."""

    def __init__(self, workloads: Workloads, on_configuration: Callable[[Configuration], None], *,
                 namespace: str = "istio-system", double_report: bool = False) -> None:
        self._workloads, self._on_configuration = workloads, on_configuration
        self._namespace = namespace
        self._default_double_report = self.double_report = double_report
        self._objects: dict[tuple[str, str, str], Mapping[str, Any]] = {}
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._stop = threading.Event()
        self._configured = threading.Event()
        self._problems: tuple[str, ...] = ()
        self._informers: list[Informer] = []
        self._kube: Kube | None = None
        #: Changes taken, and how many of them the configuration in force knows; both under _moved.
        self._taken = self._known = 0
        self._moved = threading.Condition()
        self._thread: threading.Thread | None = None

    def open(self, url: str) -> None:
        """Starts reading `k8s://[kubeconfig]` or `fs://folder`. Raises LabError, ManifestError."""
        if url.startswith("fs://"):
            self._read(Path(url[len("fs://"):]))
        elif url.startswith("k8s://"):
            self._watch(Kube.from_kubeconfig(url[len("k8s://"):] or None))
        else:
            raise LabError(f"unknown configuration store: {url}", why="it must begin with k8s:// or fs://")
        self._thread = threading.Thread(target=self._configure, name="configuration", daemon=True)
        self._thread.start()

    def wait(self, timeout: float) -> bool:
        """Waits until everything stored has been read and is in force; whether it is, after `timeout` seconds.

        A Mixer that counted before it knows the pods would count them as unknown. It need not be true soon:
        when Istio is being installed the kinds themselves come after Mixer.
        """
        end = time.monotonic() + timeout
        for informer in self._informers:
            if not informer.synced.wait(max(0.0, end - time.monotonic())):
                return False
        return self._configured.wait(max(0.0, end - time.monotonic()))

    def in_force(self, plural: str, revision: int, timeout: float) -> bool:
        """Waits until every object of a kind is in force as it was stored at `revision`; whether it is in time."""
        end = time.monotonic() + timeout
        informer = next((each for each in self._informers if each.target == (GROUP, plural)), None)
        if informer is None or self._kube is None:
            return False
        while not (informer.revision >= revision or self._same(plural, revision)):
            with self._moved:
                if time.monotonic() >= end or self._stop.is_set():
                    return False
                self._moved.wait(min(0.1, max(0.0, end - time.monotonic())))
        with self._moved:
            taken = self._taken
            return self._moved.wait_for(lambda: self._known >= taken, max(0.0, end - time.monotonic()))

    def _same(self, plural: str, revision: int) -> bool:
        """Whether nothing of this kind is missing although no event of that revision came (there may be none)."""
        if self._kube is None:
            return False
        try:
            listed = self._kube.list((GROUP, plural))
        except (Rejected, LabError):
            return False
        theirs = {_identity(each) for each in listed["items"]}
        with self._lock:
            ours = {_identity(obj) for (kind, _, _), obj in self._objects.items() if kind == KINDS[plural]}
        return int(listed["metadata"]["resourceVersion"]) >= revision and theirs == ours

    def close(self) -> None:
        self._stop.set()
        self._changed.set()
        for informer in self._informers:
            informer.stop()
        if self._thread is not None:
            self._thread.join(2)

    def change(self, type_: str, obj: Mapping[str, Any]) -> None:
        """One object added, changed or deleted (types of a watch)."""
        kind, meta = obj["kind"], obj["metadata"]
        if kind == "Pod":
            self._workloads.change(type_, obj)
        elif kind == "ConfigMap":
            wish = (meta.get("annotations") or {}).get(SWITCH) if type_ != "DELETED" else None
            self.double_report = self._default_double_report if wish is None else wish == "true"
        else:
            with self._lock:
                key = (kind, meta.get("namespace", ""), meta["name"])
                if type_ == "DELETED":
                    self._objects.pop(key, None)
                else:
                    self._objects[key] = obj
                with self._moved:
                    self._taken += 1
                    self._moved.notify_all()
            self._changed.set()

    def _watch(self, kube: Kube) -> None:
        self._kube = kube
        self._informers = [Informer(kube, (GROUP, plural)) for plural in KINDS]
        self._informers.append(Informer(kube, ("v1", "pods")))
        self._informers.append(Informer(kube, ("v1", "configmaps", self._namespace),
                                        fieldSelector="metadata.name=istio"))
        for informer in self._informers:
            informer.start(self.change)
        self._changed.set()  # also where nothing is stored yet

    def _read(self, folder: Path) -> None:
        import yaml

        known = {*KINDS.values(), "Pod", "ConfigMap"}
        for path in sorted(folder.rglob("*.y*ml")):
            try:
                documents = list(yaml.safe_load_all(path.read_text()))
            except (OSError, yaml.YAMLError) as error:
                raise ManifestError(f"{path}: cannot be read", why=str(error)) from error
            for document in documents:
                if isinstance(document, dict) and document.get("kind") in known:
                    document["metadata"].setdefault("namespace", "default")
                    self.change("ADDED", document)
        self._changed.set()

    def _configure(self) -> None:
        while True:
            self._changed.wait()
            waited = 0.0
            while waited < LONGEST and not self._stop.is_set():
                self._changed.clear()
                waited += QUIET
                if not self._changed.wait(QUIET):
                    break
            if self._stop.is_set():
                return
            with self._lock, self._moved:
                objects, taken = list(self._objects.values()), self._taken
            configuration = resolve(objects, default_namespace=self._namespace)
            for problem in configuration.problems:
                if problem not in self._problems:
                    print(f"configuration: {problem}", file=sys.stderr, flush=True)
            self._problems = configuration.problems
            self._on_configuration(configuration)
            self._configured.set()
            with self._moved:
                self._known = taken
                self._moved.notify_all()


def _identity(obj: Mapping[str, Any]) -> tuple[str, str, str]:
    meta = obj["metadata"]
    return str(meta.get("namespace") or ""), str(meta["name"]), str(meta.get("resourceVersion") or "")
