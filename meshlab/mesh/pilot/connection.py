"""One proxy's stream: what it was sent, what it acknowledged, what it refused. No I/O: messages go to `send`.

State of the world, on one stream, pipelined in make-before-break order: clusters, endpoints, listeners, routes.
Envoy handles them one after the other, so a route never gets ahead of its cluster. Some of its traits shape this:

- A cluster that is new or changed waits up to 15 s for its endpoints unless they are sent (again), even if they
  are the same: they always follow the clusters at once, under a new version.
- A listener that is replaced or removed keeps its connections for `DRAIN` seconds: until then the change is
  acknowledged but not in force.
- A cluster that is no longer needed is left in place for `LINGER` seconds and removed later. Requests under way
  keep it, and traffic that is shifted back finds it warm.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from meshlab.mesh.pilot.encode import embed
from meshlab.mesh.pilot.proxy import Proxy
from meshlab.mesh.pilot.snapshot import Kind, Resource, Snapshot, digest

__all__ = ["LINGER", "Connection", "Push", "Request", "Subscription"]

#: Seconds that an unused cluster stays.
LINGER = 30.0
#: Seconds for which a sidecar lets connections of an old listener be once it has the new one (`--drain-time-s`), and a
#: little more.
DRAIN = 1.05
#: Pushes remembered per connection, for "is it in force?".
HISTORY = 64


@dataclass(frozen=True, slots=True)
class Request:
    """A DiscoveryRequest, reduced to what matters. `error` is Envoy's reason for a refusal, "" for none."""

    kind: Kind
    names: frozenset[str] = frozenset()
    nonce: str = ""
    error: str = ""


@dataclass
class Subscription:
    """One kind of resource on one stream."""

    names: frozenset[str] = frozenset()
    #: Name → version as last sent.
    sent: dict[str, str] = field(default_factory=dict)
    version: str = ""
    nonce: str = ""
    #: Nonces of messages that are not answered yet, oldest first.
    open: list[str] = field(default_factory=list)
    acked: str = ""
    #: Envoy's reason, while what was sent last is refused.
    refused: str = ""

    def answered(self, nonce: str) -> list[str]:
        """The messages that an answer settles: Envoy answers several of one kind by the newest, if it is slow."""
        if nonce not in self.open:
            return []
        place = self.open.index(nonce) + 1
        settled, self.open = self.open[:place], self.open[place:]
        return settled


@dataclass(eq=False)
class Push:
    """What one change meant for one proxy. Times are of the monotonic clock, in seconds."""

    generation: int
    waiting: set[str] = field(default_factory=set)
    #: Route tables and certificates of new listeners, which Envoy has yet to ask for.
    expected: set[str] = field(default_factory=set)
    #: Seconds from the last acknowledgement until it is in force.
    drain: float = 0.0
    acknowledged: float | None = None
    done: float | None = None
    refused: str = ""

    @property
    def settled(self) -> bool:
        return self.done is not None or bool(self.refused)

    def check(self, now: float) -> bool:
        """Notes the last acknowledgement, and the end, if this is it. True where connections begin to drain now."""
        if self.waiting or self.expected or self.settled:
            return False
        begins = self.acknowledged is None
        if self.acknowledged is None:
            self.acknowledged = now
        if now >= self.acknowledged + self.drain:
            self.done = now
        return begins and not self.settled


class Connection:
    """The state of one ADS stream. All methods run on one thread."""

    def __init__(
        self, proxy: Proxy, send: Callable[[bytes], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.proxy, self._send, self._clock = proxy, send, clock
        self.opened = clock()
        self.snapshot: Snapshot | None = None
        self.subscriptions: dict[Kind, Subscription] = {}
        self.pushes: deque[Push] = deque(maxlen=HISTORY)
        #: Called when a sidecar begins to end the connections of listeners that a push replaced.
        self.draining: Callable[[Push], None] = lambda push: None
        self._lingering: dict[str, tuple[Resource, float]] = {}
        self._nonces = itertools.count(1)

    # What Envoy says

    def receive(self, request: Request) -> None:
        """Answers a subscription; notes an acknowledgement or refusal."""
        known = self.subscriptions.get(request.kind)
        if known is None:
            known = self.subscriptions[request.kind] = Subscription(names=request.names)
            self._answer(request.kind, known, None)
            return
        for nonce in known.answered(request.nonce):
            # Also of something older than the newest message: whoever waits for that waits for no other.
            wrong = request.error if nonce == request.nonce else ""
            self._settle(nonce, f"{request.kind.short}: {wrong}" if wrong else "")
        if request.nonce != known.nonce:
            return  # the answer to the newest message is on its way
        if request.error:
            known.refused = request.error
        else:
            known.acked, known.refused = known.version, ""
        fresh, gone = request.names - known.names, known.names - request.names
        known.names = request.names
        for name in gone:
            known.sent.pop(name, None)
        if fresh:
            self._answer(request.kind, known, fresh)

    def _answer(self, kind: Kind, known: Subscription, names: Iterable[str] | None) -> None:
        """Sends these names, or all that the subscription has (for clusters and listeners: all there are)."""
        if self.snapshot is None:
            return
        if kind in (Kind.CLUSTER, Kind.LISTENER):
            self._all(kind)
            if kind is Kind.CLUSTER and Kind.ENDPOINTS in self.subscriptions:
                # A sidecar that comes back asks for endpoints first. Clusters that have changed meanwhile wait for
                # theirs once more, and nothing is acknowledged until then.
                self._some(Kind.ENDPOINTS, self.subscriptions[Kind.ENDPOINTS].names)
        else:
            wanted = known.names if names is None else names
            nonce = self._some(kind, wanted)
            for push in self.pushes:
                if kind in (Kind.ROUTE, Kind.SECRET) and not push.settled and push.expected & set(wanted):
                    push.expected -= set(wanted)
                    push.waiting.add(nonce)
                    push.waiting.discard("")
                    self._check(push)

    def _settle(self, nonce: str, refused: str = "") -> None:
        for push in self.pushes:
            if nonce in push.waiting:
                push.waiting.discard(nonce)
                push.refused = push.refused or refused
                self._check(push)

    def _check(self, push: Push) -> None:
        if push.check(self._clock()):
            self.draining(push)

    # What we say

    def push(self, snapshot: Snapshot, generation: int) -> Push | None:
        """Sends what differs from what was sent before; None if nothing does."""
        before, self.snapshot = self.snapshot, snapshot
        if before is None:
            for kind, known in list(self.subscriptions.items()):
                self._answer(kind, known, None)
            return None
        push = Push(generation)
        self._linger(before, snapshot)
        # What is the same object was sent before: with each push, or when it was asked for.
        same = {kind for kind in Kind if before.of(kind) is snapshot.of(kind)}
        changed = [] if Kind.CLUSTER in same else self._changed(Kind.CLUSTER, snapshot)
        again = {name for each in changed for name in snapshot.of(Kind.CLUSTER)[each].needs}
        if changed:
            push.waiting.add(self._all(Kind.CLUSTER))
        if again or Kind.ENDPOINTS not in same:
            self._partly(Kind.ENDPOINTS, snapshot, again, push)
        old = self.subscriptions[Kind.LISTENER].sent if Kind.LISTENER in self.subscriptions else {}
        moved = [] if Kind.LISTENER in same else self._changed(Kind.LISTENER, snapshot, exactly=True)
        if moved:
            push.drain = DRAIN if any(name in old for name in moved) else 0.0
            push.waiting.add(self._all(Kind.LISTENER))
            needed = {name for each in snapshot.of(Kind.LISTENER).values() for name in each.needs}
            known = self.subscriptions.get(Kind.ROUTE, Subscription())
            push.expected = needed - known.names
        self._partly(Kind.ROUTE, snapshot, push.expected, push)
        self._partly(Kind.SECRET, snapshot, set(), push)
        secrets = self.subscriptions.get(Kind.SECRET, Subscription())
        push.expected |= snapshot.wanted_secrets - secrets.names
        push.waiting.discard("")
        if not push.waiting:
            return None  # whatever is expected then was expected by an earlier push, too
        self.pushes.append(push)
        return push

    def expire(self) -> None:
        """Removes clusters that nothing has used for a while."""
        now = self._clock()
        over = [name for name, (_, until) in self._lingering.items() if until <= now]
        for name in over:
            del self._lingering[name]
        if over and self.snapshot is not None and Kind.CLUSTER in self.subscriptions:
            self._all(Kind.CLUSTER)

    def _linger(self, before: Snapshot, now: Snapshot) -> None:
        until, there, was = self._clock() + LINGER, now.of(Kind.CLUSTER), before.of(Kind.CLUSTER)
        if there is was:
            return
        for name in was.keys() - there.keys():
            self._lingering.setdefault(name, (was[name], until))
        for name in [name for name in self._lingering if name in there]:
            del self._lingering[name]

    def _changed(self, kind: Kind, snapshot: Snapshot, *, exactly: bool = False) -> list[str]:
        """Names whose version was not sent; `exactly`: also those sent that are there no longer."""
        known = self.subscriptions.get(kind)
        if known is None:
            return []
        there = snapshot.of(kind)
        names = [name for name, each in there.items() if known.sent.get(name) != each.version]
        if exactly:
            names += [name for name in known.sent if name not in there]
        return names

    def _partly(self, kind: Kind, snapshot: Snapshot, more: set[str], push: Push) -> None:
        known = self.subscriptions.get(kind)
        if known is None:
            return
        there = snapshot.of(kind)
        names = {
            name for name in known.names if name in there and known.sent.get(name) != there[name].version
        } | {name for name in more if name in there}
        if names:
            push.waiting.add(self._some(kind, names))

    def _all(self, kind: Kind) -> str:
        known = self.subscriptions.get(kind)
        if known is None or self.snapshot is None:
            return ""
        there = dict(self.snapshot.of(kind))
        known.sent = {name: each.version for name, each in there.items()}
        if kind is Kind.CLUSTER:
            there |= {name: each for name, (each, _) in self._lingering.items()}
            known.sent |= {name: each.version for name, (each, _) in self._lingering.items()}
        return self._emit(kind, known, there.values())

    def _some(self, kind: Kind, names: Iterable[str]) -> str:
        known, there = self.subscriptions[kind], self.snapshot.of(kind) if self.snapshot else {}
        found: list[Resource] = []
        for name in sorted(names):
            each = there.get(name)
            if each is None and kind is Kind.SECRET:
                continue  # Envoy would refuse an empty one; it waits as long as it takes
            each = each or _empty(kind, name)
            known.sent[name] = each.version
            found.append(each)
        if not found:
            return ""
        return self._emit(kind, known, found)

    def _emit(self, kind: Kind, known: Subscription, resources: Iterable[Resource]) -> str:
        listed = list(resources)
        nonce = str(next(self._nonces))
        content = digest(f"{name} {version}\n".encode() for name, version in sorted(known.sent.items()))
        # A new version even for the same content: endpoints that are sent again must not look old.
        known.version, known.nonce = f"{content}/{nonce}", nonce
        known.open.append(nonce)
        url = kind.type_url.encode()
        parts = [embed(1, (known.version.encode(),))]
        for each in listed:
            parts += each.packed(url)
        self._send(b"".join((*parts, embed(4, (url,)), embed(5, (nonce.encode(),)))))
        return nonce

    # What others ask

    def since(self, generation: int) -> list[Push]:
        """Pushes of this generation and later ones."""
        return [push for push in self.pushes if push.generation >= generation]

    @property
    def synced(self) -> bool:
        """It has asked for clusters and listeners, and acknowledged all that it asked for."""
        return {Kind.CLUSTER, Kind.LISTENER} <= set(self.subscriptions) and all(
            known.acked == known.version for known in self.subscriptions.values()
        )

    @property
    def answered(self) -> bool:
        """It has taken or refused all that it was sent, and asked for the secrets that go with it."""
        secrets = self.subscriptions.get(Kind.SECRET, Subscription())
        if self.snapshot is not None and self.snapshot.wanted_secrets - secrets.names:
            return False
        return all(known.refused or known.acked == known.version for known in self.subscriptions.values())

    @property
    def lingering(self) -> list[str]:
        """Clusters that are needed no more and that the proxy has for a while yet."""
        return sorted(self._lingering)

    def status(self) -> dict[str, object]:
        """For /debug/syncz: per kind the version sent and acknowledged, and Envoy's reason for a refusal."""
        found: dict[str, object] = {
            each.short: {
                "sent": known.version, "acked": known.acked, "nack": known.refused or None,
                "state": "REFUSED" if known.refused else "SYNCED" if known.acked == known.version
                else "STALE",
            }
            for each, known in self.subscriptions.items()
        }
        return {"connectedSeconds": round(self._clock() - self.opened, 3), **found}


def _empty(kind: Kind, name: str) -> Resource:
    """A resource without content, for a name that is asked for and not (or no longer) there: silence costs 15 s."""
    # Its name is field 1 of both a ClusterLoadAssignment and a RouteConfiguration.
    data = embed(1, (name.encode(),))
    return Resource(name, (data,), digest((data,)))
