"""What the proxies themselves hold about one stretch of time; each thing is asked once, and only of those concerned."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from meshlab.errors import MeshlabError
from meshlab.kube import Kube
from meshlab.phrases import later, tr
from meshlab.sidecars.accesslog import Line, Refusal, parse
from meshlab.sidecars.counters import Change, Reading, blocked, changes, read_counters
from meshlab.sidecars.dump import ClusterName, ConfigDump
from meshlab.sidecars.names import Names
from meshlab.sidecars.sidecars import Pod, Sidecars, in_parallel

__all__ = ["Evidence"]

#: What a sidecar is asked for, in words.
BEFORE, COUNTERS = later("counters before"), later("counters")
LOG, TABLES = later("access log"), later("configuration")
#: Sidecars whose counters are read before a request. In a larger mesh those of the namespaces concerned come first.
MOST = 12
#: A log's clock is read in whole milliseconds.
TICK = timedelta(milliseconds=1)
#: Seconds that clocks of a cluster's nodes may differ.
CLOCKS = 2
T = TypeVar("T")
U = TypeVar("U")


class Evidence:
    """Begins before the request: counters are read now, logs and tables when somebody asks."""

    def __init__(self, sidecars: Sidecars, namespaces: tuple[str, ...]) -> None:
        self.sidecars = sidecars
        self._services = sidecars.kube.list(("v1", "services"))["items"]
        proxies = [each for each in sidecars.pods if each.proxy and each.labels.get("istio") not in ("pilot", "mixer")]
        proxies.sort(key=lambda each: each.namespace not in namespaces)
        #: What could not be read, in words.
        self.trouble: list[str] = []
        self._kept: dict[tuple[str, Pod], Any] = {}
        #: Pods whose counters are known from before.
        self.before: Mapping[Pod, Reading | None] = in_parallel(self._read_before, proxies[:MOST])
        self.left_out = len(proxies[MOST:])
        self.begun = time.monotonic()
        #: When this began, by the clock of the cluster, as a log would write it.
        self.moment = datetime.now(UTC) + _clock_ahead(sidecars.kube) - TICK
        self.names = Names(sidecars.pods, self._services)

    def _read_before(self, pod: Pod) -> Reading | None:
        return self._once(BEFORE, pod, lambda: read_counters(self.sidecars, pod), None)

    def _once(self, what: str, pod: Pod, read: Callable[[], T], otherwise: U) -> T | U:
        """Kept from the first time on; what a proxy does not answer is said once and goes on without it."""
        if (what, pod) not in self._kept:
            try:
                self._kept[what, pod] = read()
            except MeshlabError as error:
                seen = error.seen if error.seen else error
                self.trouble.append(tr("the {what} of {pod}: {seen}", what=tr(what), pod=pod.id, seen=seen))
                self._kept[what, pod] = otherwise
        found: T | U = self._kept[what, pod]
        return found

    def forget_logs(self) -> None:
        """They may have grown."""
        self._kept = {key: value for key, value in self._kept.items() if key[0] != LOG}

    def entries(self, pod: Pod) -> list[Line | Refusal]:
        """What a pod's proxy logged since this began, or shortly before."""
        passed = math.ceil(time.monotonic() - self.begun) + CLOCKS
        return self._once(LOG, pod, lambda: list(parse(self.sidecars.log(pod, seconds=passed))), [])

    def lines(self, pod: Pod) -> list[Line]:
        return [each for each in self.entries(pod) if isinstance(each, Line)]

    def dump(self, pod: Pod) -> ConfigDump:
        return self._once(TABLES, pod, lambda: self.sidecars.dump(pod, ""), ConfigDump([]))

    def after(self, pod: Pod) -> Reading:
        return self._once(COUNTERS, pod, lambda: read_counters(self.sidecars, pod), Reading())

    def connections(self, pod: Pod, direction: str) -> list[Change]:
        """Where bytes or new connections went since this began, by the pod's counters."""
        before = self.before.get(pod)
        if before is None:
            return []
        return [
            each
            for each in changes(before, self.after(pod))
            if ClusterName.of(each.cluster).direction.startswith(direction)
            or (direction == "outbound" and each.cluster in ("PassthroughCluster", "out.orig-dst-cluster-tcp"))
        ]

    def blocked(self, pod: Pod) -> int:
        """Connections of its program that no listener took."""
        before = self.before.get(pod)
        return blocked(before, self.after(pod)) if before is not None else 0

    def program_log(self, pod: Pod) -> str:
        """The last line that the pod's program wrote since this began, "" if none."""
        for name in pod.programs[:1]:
            passed = math.ceil(time.monotonic() - self.begun) + CLOCKS
            path = self.sidecars.kube.path(("v1", "pods", pod.namespace, pod.name, "log"))
            answer = self.sidecars.kube.raw(
                "GET", path, query={"container": name, "sinceSeconds": passed, "tailLines": 1}
            )
            if answer.status == 200:
                return answer.text.strip()
        return ""

    # Services

    def service(self, name: str, namespace: str) -> dict[str, Any] | None:
        """By name (`b`, `b.default`, …) as a program in `namespace` may call it, or by its address."""
        short, _, rest = name.partition(".")
        space = rest.partition(".")[0] or namespace
        for each in self._services:
            found = each["metadata"]
            if name == each["spec"].get("clusterIP") or (short, space) == (found["name"], found["namespace"]):
                return dict(each)
        return None

    def pods_of(self, service: Mapping[str, Any]) -> list[Pod]:
        """Pods that a service selects."""
        selector = (service["spec"].get("selector") or {}).items()
        space = service["metadata"]["namespace"]
        return [
            each
            for each in self.sidecars.pods
            if selector and each.namespace == space and selector <= dict(each.labels).items()
        ]


def _clock_ahead(kube: Kube) -> timedelta:
    """By how much the cluster's clock is ahead of ours: its answers say the time, in whole seconds."""
    said = kube.raw("GET", "/version").headers.get("date")
    if not said:
        return timedelta()
    ahead = parsedate_to_datetime(said) - datetime.now(UTC)
    return ahead if abs(ahead) > timedelta(seconds=CLOCKS) else timedelta()


def under_way(line: Line, moment: datetime) -> bool:
    """Whether a request was being answered at a moment."""
    return line.start <= moment <= line.end + TICK


def since(line: Line) -> datetime:
    """For sorting lines and refusals alike."""
    return line.start.astimezone(UTC)
