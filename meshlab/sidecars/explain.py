"""Follows one request through the mesh by what the proxies wrote down.

    caller ─→ (its proxy, way out) ─→ proxy, way in ─→ program ─→ proxy, way out ─→ …

From proxy to proxy a request is known by its x-request-id. Through a program that does not pass the id on, its calls
are known by time alone: they are this request's if the program was answering nothing else just then, and otherwise it
is said that nobody can know. Connections that are passed on as TCP, and such as are closed because no listener takes
them, have no line of their own: there the counters of before and after say what happened.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from meshlab.sidecars.accesslog import Line, Refusal, same_request
from meshlab.sidecars.counters import Change, Reading
from meshlab.sidecars.describe import describe, outcome_of
from meshlab.sidecars.dump import ClusterName
from meshlab.sidecars.evidence import Evidence, since, under_way
from meshlab.sidecars.explanation import Explanation, Fact, Hop, Outcome, Place
from meshlab.sidecars.order import Answered, Order, send
from meshlab.sidecars.sidecars import Pod, Sidecars
from meshlab.sidecars.verdict import verdict

__all__ = ["explain"]

#: How often logs are read again while a proxy has not written down what another one says it was sent.
TRIES = 5


def explain(sidecars: Sidecars, order: Order) -> Explanation:
    """Makes the request, and says what became of it. Raises LabError if nobody can send it."""
    url = urlsplit(order.url)
    source = order.source.partition("/")[0]
    evidence = Evidence(sidecars, (source, "default"))
    answered = send(sidecars.kube, order)
    walk = _Walk(evidence, order, answered)
    root = walk.root(url.hostname or "", url.port or (443 if url.scheme == "https" else 80))
    for _ in range(TRIES):
        if not walk.missing:
            break
        evidence.forget_logs()
        walk = _Walk(evidence, order, answered)
        root = walk.root(url.hostname or "", url.port or (443 if url.scheme == "https" else 80))
    unknown = [*walk.missing, *walk.unknown, *evidence.trouble]
    if evidence.left_out:
        unknown.append(f"counters of {evidence.left_out} more sidecars: they were not read before the request")
    request = f"{order.method} {order.url}" + "".join(f"  {name}: {value}" for name, value in order.headers.items())
    return Explanation(request, str(answered), verdict(root, answered), root, tuple(dict.fromkeys(unknown)))


class _Walk:
    """One reading of the evidence. `missing`: lines that must come yet; `unknown`: what will not be known."""

    def __init__(self, evidence: Evidence, order: Order, answered: Answered) -> None:
        self._evidence, self._order, self._answered = evidence, order, answered
        self.missing: list[str] = []
        self.unknown: list[str] = []
        self._seen: set[tuple[Pod, Line]] = set()

    def root(self, host: str, port: int) -> Hop:
        """The caller, and everything behind it."""
        namespace, _, name = self._order.source.rpartition("/")
        service = self._evidence.service(name, namespace or "default")
        pods = self._evidence.pods_of(service) if service else []
        caller = pods[0] if pods else None
        if caller is not None and caller.proxy:
            children = list(self._way_out(caller, self._ours(caller), entry=True, wanted=f"{host}:{port}"))
        else:
            children = [self._entry(host, port, caller)]
        facts = [Fact("sent", f"{self._order.method} {self._order.url}"), Fact("answer", str(self._answered))]
        if caller is not None and not caller.proxy:
            facts.insert(1, Fact("sidecar", "none: no rule for callers applies to it"))
        failed = not self._answered.status or self._answered.status >= 500
        return Hop(
            Place.CALLER,
            caller.id if caller else self._order.source,
            caller.app if caller else name,
            outcome=Outcome.FAILED if failed else Outcome.PASSED,
            facts=tuple(facts),
            code=self._answered.status,
            ms=self._answered.ms,
            children=tuple(children),
        )

    def _ours(self, pod: Pod) -> list[Line]:
        return [each for each in self._evidence.lines(pod) if same_request(each.request_id, self._order.request_id)]

    # The first proxy, of a caller that has none

    def _entry(self, host: str, port: int, caller: Pod | None) -> Hop:
        service = self._evidence.service(host, "default")
        pods = self._evidence.pods_of(service) if service else [p for p in [self._evidence.sidecars.at(host)] if p]
        for pod in (each for each in pods if each.proxy):
            lines = self._ours(pod)
            if lines:
                line = min(lines, key=since)
                if _inbound(line, pod):
                    return self._way_in(pod, line)
                return next(self._way_out(pod, [line], entry=True))  # a gateway
            if caller is not None and (refusal := self._refused(pod, caller.ip)) is not None:
                return _refusal_hop(pod, refusal)
        for pod in (each for each in pods if each.proxy):
            if self._evidence.connections(pod, "inbound"):
                return self._passed_in(pod, port, service)
        if any(each.proxy for each in pods):
            self.missing.append(f"no sidecar of {host} wrote a line about the request, or counted a connection")
        else:
            self.unknown.append(f"what happened at {host}: no pod with a sidecar is behind that name")
        return Hop(Place.OUTSIDE, host, host, outcome=Outcome.UNKNOWN, facts=(Fact("address", f"{host}:{port}"),))

    def _refused(self, pod: Pod, address: str) -> Refusal | Line | None:
        """The port's own word about a connection of `address` that it did not take."""
        for each in reversed(self._evidence.entries(pod)):
            if each.remote.rpartition(":")[0] != address:
                continue
            if isinstance(each, Refusal) or (not each.http and "NR" in each.flags.split(",")):
                return each
        return None

    # Ways in

    def _way_in(self, pod: Pod, line: Line, note: str = "") -> Hop:
        self._seen.add((pod, line))
        headers = self._order.sent_headers if same_request(line.request_id, self._order.request_id) else None
        taken = describe(line, self._evidence.dump(pod), self._evidence.after(pod), headers, self._evidence.names)
        outcome = outcome_of(line)
        children: tuple[Hop, ...] = ()
        if outcome is not Outcome.ENDED:
            children = (self._program(pod, line),)
        return Hop(
            Place.INBOUND,
            pod.id,
            pod.app,
            pod.version,
            outcome,
            (*taken.facts, Fact("known by", _known_by(line))),
            taken.rule,
            line.code,
            line.flags,
            float(line.ms),
            note,
            children,
        )

    def _program(self, pod: Pod, line: Line) -> Hop:
        """The program behind a proxy, and the calls that it made meanwhile."""
        facts = [Fact("answer", f"{line.code or 'none'} after {_waited(line)} ms")]
        calls, how = self._calls(pod, line)
        if how:
            facts.append(Fact("its calls", how))
        children = [*self._way_out(pod, calls), *self._uncounted(pod, calls)]
        return Hop(
            Place.PROGRAM,
            pod.id,
            pod.app,
            pod.version,
            facts=tuple(facts),
            code=line.code,
            ms=_waited(line),
            children=tuple(children),
        )

    def _calls(self, pod: Pod, parent: Line) -> tuple[list[Line], str]:
        """Lines of the calls that a program made for one request, and how that is known."""
        out = [each for each in self._evidence.lines(pod) if each.http and not _inbound(each, pod)]
        exact = [each for each in out if same_request(each.request_id, parent.request_id)]
        if exact:
            return exact, "known by x-request-id, which the program passes on"
        meanwhile = [each for each in out if under_way(parent, each.start)]
        rivals = [
            each
            for each in self._evidence.lines(pod)
            if each != parent and each.http and _inbound(each, pod) and any(under_way(each, c.start) for c in meanwhile)
        ]
        if not meanwhile:
            return [], ""
        if rivals:
            self.unknown.append(
                f"which of {len(meanwhile)} calls of {pod.app} belong to this request: {len(rivals) + 1} requests were "
                "under way there, and the program does not pass x-request-id on"
            )
            return [], ""
        return meanwhile, "known by time: the program passes no x-request-id on, and answered nothing else meanwhile"

    def _passed_in(self, pod: Pod, port: int, service: dict[str, object] | None) -> Hop:
        """A connection that was passed to the program unread."""
        change = self._evidence.connections(pod, "inbound")[0]
        facts = [
            Fact(
                "listener", "takes the port as TCP: the connection is passed on, no request is read, no route is asked"
            ),
            Fact("cluster", change.cluster),
            Fact("known by", "counters: a TCP connection is logged when it closes"),
        ]
        if service is not None and (why := self._why_tcp(service, port)):
            facts.insert(1, Fact("because", why))
        calls = [each for each in self._evidence.lines(pod) if each.http and not _inbound(each, pod)]
        calls = [each for each in calls if each.start >= self._evidence.moment and (pod, each) not in self._seen]
        how = (Fact("its calls", "known by time: all that it made since the request was sent"),) if calls else ()
        children = (*self._way_out(pod, calls), *self._uncounted(pod, calls))
        program = Hop(Place.PROGRAM, pod.id, pod.app, pod.version, facts=how, children=children)
        return Hop(Place.INBOUND, pod.id, pod.app, pod.version, facts=tuple(facts), children=(program,))

    def _why_tcp(self, service: dict[str, object], port: int) -> str:
        name = self._evidence.named_port(service, port)
        said = f"is called {name}" if name else "has no name"
        meta = service["metadata"]
        return (
            f"port {port} of service {meta['name']} {said}, which the mesh takes for TCP"
            if isinstance(meta, dict)
            else ""
        )

    # Ways out

    def _way_out(self, pod: Pod, lines: list[Line], *, entry: bool = False, wanted: str = "") -> Iterator[Hop]:
        for line in sorted(lines, key=since):
            if (pod, line) not in self._seen and not _inbound(line, pod):
                yield self._called(pod, line, entry=entry)
        if entry and not lines:
            yield from self._uncounted(pod, lines, wanted=wanted, entry=True)

    def _called(self, pod: Pod, line: Line, *, entry: bool) -> Hop:
        self._seen.add((pod, line))
        headers = self._order.sent_headers if entry else None
        reading = self._evidence.after(pod)
        taken = describe(line, self._evidence.dump(pod), reading, headers, self._evidence.names)
        facts = [*taken.facts, Fact("known by", _known_by(line))]
        children: list[Hop] = []
        if line.upstream:
            children += self._arrived(line, reading)
        for mirror in ((taken.route or {}).get("route") or {}).get("request_mirror_policies") or ():
            children += self._copies(str(mirror.get("cluster")), line, reading)
        return Hop(
            Place.OUTBOUND,
            pod.id,
            pod.app,
            pod.version,
            outcome_of(line),
            tuple(facts),
            taken.rule,
            line.code,
            line.flags,
            float(line.ms),
            children=tuple(children),
        )

    def _arrived(self, line: Line, reading: Reading) -> Iterator[Hop]:
        """Where a call came out: each attempt, at each endpoint of its cluster."""
        addresses = dict.fromkeys([*reading.endpoints(line.cluster), line.upstream])
        pods = [pod for each in addresses if (pod := self._evidence.sidecars.at(each.rpartition(":")[0])) is not None]
        found = [
            (pod, each)
            for pod in dict.fromkeys(pods)
            if pod.proxy
            for each in self._evidence.lines(pod)
            if _inbound(each, pod)
            and same_request(each.request_id, line.request_id)
            and not each.authority.partition(":")[0].endswith("-shadow")
        ]
        found.sort(key=lambda pair: since(pair[1]))
        for number, (pod, each) in enumerate(found, 1):
            yield self._way_in(pod, each, f"attempt {number} of {len(found)}" if len(found) > 1 else "")
        last = self._evidence.sidecars.at(line.upstream.rpartition(":")[0])
        if last in [pod for pod, _ in found]:
            return
        if last is not None and last.proxy:
            yield self._unwritten(last, line)
        else:
            yield Hop(
                Place.OUTSIDE,
                last.id if last else line.upstream,
                last.app if last else line.authority or line.upstream,
                last.version if last else "",
                facts=(
                    Fact("address", self._evidence.names.of(line.upstream)),
                    Fact("sidecar", "none: what it did is known by its answer only"),
                ),
                code=line.code,
                ms=float(line.upstream_ms) if line.upstream_ms is not None else None,
            )

    def _unwritten(self, pod: Pod, line: Line) -> Hop:
        """A proxy that was called and has no line of it."""
        if (refusal := self._refused(pod, line.upstream_local.rpartition(":")[0])) is not None:
            return _refusal_hop(pod, refusal)
        if self._evidence.connections(pod, "inbound") and not any(each.http for each in self._evidence.lines(pod)):
            return self._passed_in(pod, 0, None)
        if "UF" not in line.flags:
            self.missing.append(f"{pod.id} was called, and its sidecar wrote no line about it")
        return Hop(
            Place.INBOUND,
            pod.id,
            pod.app,
            pod.version,
            Outcome.UNKNOWN,
            (Fact("known by", "the caller's sidecar alone"),),
        )

    def _copies(self, cluster: str, line: Line, reading: Reading) -> Iterator[Hop]:
        """What became of a mirrored request; its answers are thrown away."""
        for address in reading.endpoints(cluster):
            pod = self._evidence.sidecars.at(address.rpartition(":")[0])
            for each in self._evidence.lines(pod) if pod is not None and pod.proxy else ():
                if pod is not None and same_request(each.request_id, line.request_id) and (pod, each) not in self._seen:
                    yield self._way_in(pod, each, "copy: its answer is thrown away")

    # What only counters know

    def _uncounted(self, pod: Pod, calls: list[Line], *, wanted: str = "", entry: bool = False) -> Iterator[Hop]:
        """Connections of a program that no line speaks of: passed on as TCP, or closed."""
        logged = {each.cluster for each in calls}
        for change in self._evidence.connections(pod, "outbound"):
            if change.cluster not in logged and not any(
                each.cluster == change.cluster for each in self._evidence.lines(pod) if each.http
            ):
                yield self._passed_out(pod, change)
        if number := self._evidence.blocked(pod):
            yield self._closed(pod, number, wanted)

    def _passed_out(self, pod: Pod, change: Change) -> Hop:
        name = ClusterName.of(change.cluster)
        service = self._evidence.service(name.host, pod.namespace) if name.host else None
        known = self._evidence.after(pod).endpoints(change.cluster)
        facts = [Fact("listener", "takes the port as TCP: the connection is passed on, no request is read")]
        if service is not None:
            ports = service["spec"].get("ports") or [{}]
            facts.append(Fact("because", self._why_tcp(service, int(ports[0].get("port") or 0))))
        facts += [Fact("route", "none: rules about requests are not asked"), Fact("cluster", change.cluster)]
        chosen = change.opened or change.used
        how = "a new connection" if change.opened else "a connection that was open already"
        children: list[Hop] = []
        if len(chosen) == 1:
            facts.append(Fact("endpoint", f"{self._evidence.names.of(chosen[0])}, 1 of {len(known)}: {how}"))
            to = self._evidence.sidecars.at(chosen[0].rpartition(":")[0])
            if to is not None and to.proxy:
                children.append(self._passed_in(to, 0, None))
            else:
                children.append(
                    Hop(
                        Place.OUTSIDE, to.id if to else chosen[0], to.app if to else chosen[0], to.version if to else ""
                    )
                )
        else:
            facts.append(Fact("endpoint", f"one of {len(known)}"))
            self.unknown.append(
                f"which endpoint of {change.cluster} the connection of {pod.app} leads to: {len(chosen)} have open ones"
            )
        facts.append(Fact("known by", "counters: a TCP connection is logged when it closes"))
        return Hop(Place.OUTBOUND, pod.id, pod.app, pod.version, facts=tuple(facts), children=tuple(children))

    def _closed(self, pod: Pod, number: int, wanted: str) -> Hop:
        where = f" to {wanted}" if wanted else ""
        facts = [
            Fact("listener", f"none takes a connection{where}: it came to `virtual`, which closes it"),
            Fact(
                "because", "no service and no rule has that address and port; callers see an end of file, not a status"
            ),
            Fact("known by", f"counters: {number} closed since the request was sent; nothing is logged"),
        ]
        if not wanted:
            said = self._evidence.program_log(pod)
            if said:
                facts.insert(2, Fact("its log", said[-300:]))
            self.unknown.append(
                f"where {pod.app} wanted to connect to: a closed connection is counted, its destination is not"
            )
        return Hop(
            Place.OUTBOUND, pod.id, pod.app, pod.version, Outcome.ENDED, tuple(facts), rule="(nothing allows it)"
        )


def _inbound(line: Line, pod: Pod) -> bool:
    """Whether a line is of what came to the pod: by its cluster, else by where the caller wanted to go."""
    direction = ClusterName.of(line.cluster).direction
    if direction:
        return direction.startswith("inbound")
    return bool(pod.ip) and line.local.rpartition(":")[0] == pod.ip


def _refusal_hop(pod: Pod, refusal: Refusal | Line) -> Hop:
    why = refusal.why if isinstance(refusal, Refusal) else "no filter chain of the port takes such a connection (NR)"
    facts = (
        Fact("listener", f"{refusal.local} closed the connection of {refusal.remote}"),
        Fact("because", why),
        Fact("known by", "the port's own line; there was no request to log"),
    )
    return Hop(Place.INBOUND, pod.id, pod.app, pod.version, Outcome.ENDED, facts, rule="mutual TLS only")


def _known_by(line: Line) -> str:
    return f"access log, {line.start:%H:%M:%S.%f}"[:-3] + (
        f", x-request-id {line.request_id}" if line.request_id else ""
    )


def _waited(line: Line) -> float:
    return float(line.upstream_ms if line.upstream_ms is not None else line.ms)
