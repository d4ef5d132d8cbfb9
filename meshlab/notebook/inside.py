"""A caller inside the mesh: the client's program in a pod with a sidecar, to try what a service would see.

`lab.curl` sends from outside the mesh, as the author's shell did. What a sidecar does to outgoing requests can
only be seen from behind one, and the demo services call fixed addresses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from meshlab.capability import Capability
from meshlab.starts import PROBE
from meshlab.states import not_ready
from meshlab.traffic import Answer, Answers, Load, Traffic

if TYPE_CHECKING:
    from meshlab.lab import Lab

__all__ = ["Inside", "caller"]

_MANIFEST = """\
apiVersion: {version}
kind: Deployment
metadata:
  name: {name}
spec:
  replicas: 1
  selector:
    matchLabels:
      app: {name}
  template:
    metadata:
      labels:
        app: {name}
        version: v1
    spec:
      containers:
      - name: {name}
        image: docker.io/meshlab/client:v0.1
---
apiVersion: v1
kind: Service
metadata:
  name: {name}
  annotations:
    auth.istio.io/8080: NONE  # orders come from outside the mesh, also when the whole mesh asks for certificates
spec:
  ports:
  - name: tcp-orders
    port: 8080
  selector:
    app: {name}
"""


class Inside:
    """A pod with a sidecar that sends requests on order. Use as a context manager: it is removed at the end.

    `ranges` goes to `istioctl kube-inject --includeIPRanges`: only these destinations are led into the sidecar.
    """

    def __init__(self, lab: Lab, *, name: str = PROBE.name, ranges: str = "") -> None:
        self._lab, self._name, self._ranges = lab, name, ranges
        # kube-inject of 0.4 leaves apps/v1 alone, and clusters of today have nothing else
        version = "extensions/v1beta1" if lab.engine.can(Capability.LEGACY_CONTROL_PLANE) else "apps/v1"
        self.manifest = _MANIFEST.format(name=name, version=version)
        self._traffic = Traffic(lab.access, "default", name)

    def start(self) -> Inside:
        """Bring the pod up, if it is not there, and wait until it is ready."""
        option = f" --includeIPRanges={self._ranges}" if self._ranges else ""
        injected = self._lab.istioctl(f"kube-inject -f -{option}", stdin=self.manifest)
        self._lab.kubectl("apply -f -", stdin=str(injected))
        self._lab.wait(self._name)
        self._lab.settled()
        return self

    def stop(self) -> None:
        """Take the pod away. Harmless if it is not there."""
        self._lab.kubectl("delete -f - --ignore-not-found --wait=true --cascade=foreground", stdin=self.manifest)

    def __enter__(self) -> Inside:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def curl(self, url: str, *, headers: Mapping[str, str] | None = None, timeout: float = 5.0) -> Answer:
        """One request from behind the sidecar. A connection that breaks is an Answer with `error`, no exception."""
        return self.send(url, headers=headers, timeout=timeout)[0]

    def send(
        self,
        url: str,
        n: int = 1,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = 5.0,
        concurrency: int = 1,
    ) -> Answers:
        """`n` requests from behind the sidecar, `concurrency` at a time: by default one after the other."""
        return self._traffic.curl(url, n, headers=headers, timeout=timeout, concurrency=concurrency)

    def load(
        self, url: str, *, rps: float = 20.0, seconds: float = 60.0, concurrency: int = 1, alone: bool = False
    ) -> Load:
        """A stream of requests from behind the sidecar, for at most `seconds`. `alone`: others end first."""
        return self._traffic.load(url, rps, seconds, concurrency, None, alone)


@contextmanager
def caller(lab: Lab) -> Iterator[Inside]:
    """A pod inside the mesh for a moment: the lesson's own if it runs, else one that is removed afterwards."""
    if not_ready(lab.access, [PROBE]):
        with Inside(lab, name="judge") as judge:
            yield judge
    else:
        yield Inside(lab)
