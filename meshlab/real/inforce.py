"""When is a change in force? Asked of istiod, on its debug interface.

    /debug/configz   the configuration as istiod knows it: has it seen what was stored? Services: /debug/registryz
    /debug/syncz     per proxy and kind of resource, the nonce of what was sent last and of what was acknowledged

A nonce is the version of a push and a UUID; the version is a time and the push's number (pilot/pkg/xds/discovery.go,
the same since 1.2). So: istiod knows the change, a push has a higher number than any before it, and every proxy that
it went to has acknowledged it. Pushes come some 100 ms after a change (istiod waits for more); a proxy that is not
concerned gets none.

These pages answer to istiod's own pod (others get 401), so they are asked for there: by a port-forward, which ends at
the pod's loopback, or `pilot-discovery request`. Where a request through the API server's proxy is answered, that is
quicker. An istiod with ENABLE_DEBUG_ON_HTTP=false has no pages at all, for its own istioctl neither
(pilot/pkg/xds/debug.go).
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..access import Access
from ..errors import LabError, NotInForce
from ..sidecars.asked import DISCOVERY, asked

__all__ = ["Change", "Istiod", "Sync"]

#: A UUID's length, with which a nonce ends.
_UUID = 36
#: Seconds without a further push after which the last one is taken for the last: istiod collects changes for 0.1 s.
_QUIET = 0.4
#: Seconds after which a change that moved no proxy is taken for one that concerns none.
_NOBODY = 3.0
#: Seconds between questions, the first and the longest.
_PAUSE, _LONGEST_PAUSE = 0.02, 0.25


@dataclass(frozen=True)
class Change:
    """An object that was stored (`revision`), or removed (None)."""

    kind: str
    namespace: str
    name: str
    revision: int | None


@dataclass(frozen=True)
class Sync:
    """One proxy: the number of the last push to it, what it has not acknowledged, and what it refused."""

    proxy: str
    push: int
    waiting: tuple[str, ...] = ()
    error: str = ""

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Sync:
        """Of an entry of /debug/syncz: `resources` where istiod gives them, else the fields of older versions."""
        pairs: dict[str, tuple[str, str]] = {}
        error = ""
        for url, each in (entry.get("resources") or {}).items():
            name = str(url).rpartition(".")[2]
            pairs[name] = (str(each.get("sent") or ""), str(each.get("acked") or ""))
            error = error or (f"{name}: {each['lastError']}" if each.get("lastError") else "")
        if not pairs:
            for name in ("cluster", "listener", "route", "endpoint"):
                pairs[name] = (str(entry.get(f"{name}_sent") or ""), str(entry.get(f"{name}_acked") or ""))
        waiting = tuple(sorted(name for name, (sent, acked) in pairs.items() if sent and sent != acked))
        push = max((_number(sent) for sent, _ in pairs.values()), default=0)
        return cls(str(entry.get("proxy") or "unknown"), push, waiting, error)


def _number(nonce: str) -> int:
    """12 of `2026-11-22T23:14:06Z/12<uuid>`; 0 where nothing was sent."""
    digits = nonce[:-_UUID].rpartition("/")[2]
    return int(digits) if digits.isdigit() else 0


class Istiod:
    """The debug interface of every pod of one istiod."""

    def __init__(self, access: Access, namespace: str, deployment: str = "istiod", revision: str = "default") -> None:
        self._access, self._namespace, self._deployment = access, namespace, deployment
        self._revision = revision
        self._inside = False

    def pods(self) -> list[str]:
        """Names of its running pods; another revision in the same namespace has its own."""
        found = self._access.items("v1", "Pod", self._namespace, labelSelector="app=istiod")
        return sorted(
            str(each["metadata"]["name"])
            for each in found
            if (each.get("status") or {}).get("phase") == "Running"
            and "deletionTimestamp" not in each["metadata"]
            and (each["metadata"].get("labels") or {}).get("istio.io/rev", self._revision) == self._revision
        )

    def ask(self, pod: str, path: str, *, timeout: float = 10.0) -> Any:
        """What a page of one pod says, as JSON. Raises `LabError` where it cannot be had."""
        refused = ""
        if not self._inside:
            try:
                reply = self._access.pod(self._namespace, pod, 15014, path, timeout=timeout, check=False)
                if reply.status == 200:
                    return _json(reply.text, path)
                refused = f"through the proxy {reply.status}: {reply.text.strip()[:200]}"
            except LabError as error:
                refused = f"{error.seen}: {error.why}"
        try:
            upgrade = self._access.upgrade
            said = asked(upgrade, self._namespace, pod, "discovery", DISCOVERY, path, timeout=timeout, often=True)
        except LabError as error:
            why = "; ".join(filter(None, [refused, error.seen, error.why]))
            raise LabError(f"istiod's pod {pod} does not answer {path}", why=why, then=error.then) from error
        self._inside = True  # that way works, and the other one did not
        return _json(said.decode(), path)

    def sync(self) -> dict[str, Sync]:
        """Every proxy that is connected, by its name `pod.namespace`."""
        found: dict[str, Sync] = {}
        for pod in self.pods():
            for entry in self.ask(pod, "/debug/syncz") or ():
                each = Sync.read(entry)
                found[each.proxy] = each
        return found

    def knows(self, changes: Sequence[Change]) -> bool:
        """Has every pod seen these changes? Revisions grow."""
        known = [self._known(pod, changes) for pod in self.pods()]
        return all(_seen(each, change) for each in known for change in changes)

    def _known(self, pod: str, changes: Sequence[Change]) -> dict[tuple[str, str, str], str]:
        """Revisions of what one pod knows, of the kinds that the changes are of."""
        known: dict[tuple[str, str, str], str] = {}
        if any(each.kind == "Service" for each in changes):
            for each in self.ask(pod, "/debug/registryz") or ():
                about = each.get("Attributes") or {}
                key = ("Service", str(about.get("Namespace") or ""), str(about.get("Name") or ""))
                known[key] = str(each.get("ResourceVersion") or "")
        if any(each.kind != "Service" for each in changes):
            for each in self.ask(pod, "/debug/configz") or ():
                metadata = each["metadata"]
                key = (str(each["kind"]), str(metadata.get("namespace") or ""), str(metadata["name"]))
                known[key] = str(metadata.get("resourceVersion") or "")
        return known

    def settled(self, timeout: float) -> None:
        """Waits until every running sidecar is connected and has acknowledged what it was sent. Raises `NotInForce`."""
        end, pause = time.monotonic() + timeout, _PAUSE
        while True:
            states, wanted = self.sync(), _sidecars(self._access, self._namespace)
            behind = sorted(name for name in wanted if name not in states or states[name].waiting)
            if not behind:
                return
            if time.monotonic() > end:
                raise NotInForce(
                    f"{', '.join(behind)}: not up to date within {timeout:g} s",
                    why="; ".join(f"{name}: {states[name].error}" for name in behind if name in states)
                    or "istiod does not know them",
                    then="istioctl proxy-status",
                )
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_PAUSE)

    def wait(
        self, changes: Sequence[Change], before: Mapping[str, Sync], since: float, timeout: float
    ) -> dict[str, float]:
        """Waits until these changes are in force; milliseconds per proxy from `since` to its acknowledgement.

        `since` (time.monotonic()) is when they were stored, `before` is `sync()` as it was then. The pages are asked a
        few times a second, so the figures are upper bounds. A proxy that is not concerned is not in the answer.
        Raises `NotInForce`.
        """
        start = time.monotonic()
        last_push = max((each.push for each in before.values()), default=0)
        acknowledged: dict[str, float] = {}
        known, moved, seen = 0.0, start, dict[str, int]()
        pause = _PAUSE
        while (now := time.monotonic()) - start < timeout:
            if not known and self.knows(changes):
                known = moved = now
            states = self.sync() if known else {}
            now = time.monotonic()
            pushed = {name: each for name, each in states.items() if each.push > last_push}
            if rejected := {name: each.error for name, each in pushed.items() if each.error}:
                raise NotInForce(
                    "a sidecar rejected the change; what it had before stays in force",
                    why="; ".join(f"{name}: {why}" for name, why in rejected.items()),
                    then="correct the rule and apply it again",
                )
            numbers = {name: each.push for name, each in pushed.items()}
            if numbers != seen:
                seen, moved = numbers, now
            for name, each in pushed.items():
                if not each.waiting:
                    acknowledged.setdefault(name, round((now - since) * 1000, 1))
            quiet = now - moved > (_QUIET if pushed else _NOBODY)
            if known and quiet and len(acknowledged) == len(pushed):
                return acknowledged
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_PAUSE)
        raise NotInForce(
            f"stored, but not acknowledged by every sidecar within {timeout:g} s",
            why=f"acknowledged so far: {sorted(acknowledged)}" if known else "istiod has not seen the change",
            then=f"kubectl -n {self._namespace} logs deployment/{self._deployment}",
        )


def _sidecars(access: Access, without: str) -> set[str]:
    """Running pods with a sidecar, as istiod calls them, `pod.namespace`; not those of istiod's own namespace."""
    found = set()
    for pod in access.items("v1", "Pod"):
        metadata, spec = pod["metadata"], pod["spec"]
        containers = [*spec["containers"], *(spec.get("initContainers") or [])]
        if (
            any(each["name"] == "istio-proxy" for each in containers)
            and (pod.get("status") or {}).get("phase") == "Running"
            and "deletionTimestamp" not in metadata
            and metadata["namespace"] != without
        ):
            found.add(f"{metadata['name']}.{metadata['namespace']}")
    return found


def _seen(known: Mapping[tuple[str, str, str], str], change: Change) -> bool:
    found = known.get((change.kind, change.namespace, change.name))
    if change.revision is None:
        return found is None
    # A page that gives no revision says only that the object is there.
    return found is not None and (not found.isdigit() or int(found) >= change.revision)


def _json(text: str, path: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise LabError(f"istiod answers {path} with something else than JSON", why=text.strip()[:200]) from error
