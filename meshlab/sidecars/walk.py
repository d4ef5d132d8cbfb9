"""From hop to hop, by the evidence.

Each way in leads to a program, each program to its ways out, each way out to where it arrived; lines belong together by
their x-request-id or, through a program, by time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from meshlab.phrases import tr
from meshlab.sidecars.accesslog import Line, Refusal, same_request
from meshlab.sidecars.counters import Change, Reading
from meshlab.sidecars.describe import NOTHING, Known, describe, outcome_of
from meshlab.sidecars.dump import ClusterName
from meshlab.sidecars.evidence import Evidence, since, under_way
from meshlab.sidecars.explanation import Fact, Hop, Outcome, Place
from meshlab.sidecars.hops import COPY, UNREAD, closed, hop_at, not_sent, outside, refused, why_tcp
from meshlab.sidecars.matching import find_listener, http_manager
from meshlab.sidecars.order import Answered, Order
from meshlab.sidecars.sidecars import Pod

__all__ = ["Walk"]

PASSTHROUGH, BLACK_HOLE = "PassthroughCluster", "BlackHoleCluster"
#: What the caller's program says when nothing was sent: no such name, nobody listens.
NOT_SENT = ("(6)", "(7)")


class Walk:
    """One reading of the evidence. `missing`: lines that must come yet; `unknown`: what will not be known."""

    def __init__(self, evidence: Evidence, order: Order, answered: Answered) -> None:
        self._evidence, self._order, self._answered = evidence, order, answered
        self.missing: list[str] = []
        self.unknown: list[str] = []
        self._seen: set[tuple[Pod, Line]] = set()
        #: Pods whose counters have been told: they do not say which of several requests they count.
        self._counted: set[Pod] = set()
        #: Of the request as it left its caller.
        self._sent = Known(order.sent_headers, complete=True)

    def root(self, host: str, port: int) -> Hop:
        """The caller, and everything behind it."""
        namespace, _, name = self._order.source.rpartition("/")
        service = self._evidence.service(name, namespace or "default")
        pods = self._evidence.pods_of(service) if service else []
        caller = pods[0] if pods else None
        facts = [Fact("sent", f"{self._order.method} {self._order.url}"), Fact("answer", str(self._answered))]
        if caller is not None and caller.proxy:
            children = list(self._way_out(caller, self._ours(caller), self._sent))
            if not children:
                children = list(self._unlogged(caller, wanted=f"{host}:{port}"))
        else:
            facts.insert(1, Fact("sidecar", tr("none: no rule for callers applies to it")))
            children = [self._entry(host, port, caller)]
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
        service, address = self._evidence.service(host, "default"), f"{host}:{port}"
        direct = self._evidence.sidecars.at(host)
        pods = self._evidence.pods_of(service) if service else [direct] if direct else []
        proxies = [each for each in pods if each.proxy]
        if self._answered.error.startswith(NOT_SENT):
            return not_sent(self._answered, host, address)
        for pod in proxies:
            if lines := self._ours(pod):
                line = min(lines, key=since)
                if _inbound(line, pod):
                    return self._way_in(pod, line, known=self._sent)
                return self._called(pod, line, self._sent)
            if caller is not None and (refusal := self._refused(pod, caller.ip)) is not None:
                return refused(pod, refusal)
        for pod in proxies:
            if self._came_unread(pod):
                return self._passed_in(pod, port, service)
        if proxies:
            self.missing.append(
                tr(
                    "no sidecar of {host} wrote a line about the request, or counted a connection: is its access log "
                    "on (accessLogFile of the mesh, Telemetry)?",
                    host=host,
                )
            )
            return Hop(Place.OUTSIDE, host, host, outcome=Outcome.UNKNOWN, facts=(Fact("address", address),))
        only = pods[0] if len(pods) == 1 else None
        return outside(only, host, host, self._evidence.names.of(address), self._answered.status)

    def _refused(self, pod: Pod, address: str) -> Refusal | Line | None:
        """The port's own word about a connection of `address` that it did not take."""
        for each in reversed(self._evidence.entries(pod)):
            if each.remote.rpartition(":")[0] != address or each.start < self._evidence.moment:
                continue
            if isinstance(each, Refusal) or (not each.http and "NR" in each.flags.split(",")):
                return each
        return None

    # Ways in

    def _way_in(self, pod: Pod, line: Line, note: str = "", known: Known = NOTHING) -> Hop:
        self._seen.add((pod, line))
        taken = describe(line, self._evidence.dump(pod), self._evidence.after(pod), known, self._evidence.names)
        outcome = outcome_of(line)
        return hop_at(
            pod,
            Place.INBOUND,
            outcome,
            facts=(*taken.facts, _known_by(line)),
            rule=taken.rule,
            code=line.code,
            flags=line.flags,
            ms=float(line.ms),
            note=note,
            children=() if outcome is Outcome.ENDED else (self._program(pod, line),),
        )

    def _program(self, pod: Pod, line: Line) -> Hop:
        """The program behind a proxy, and the calls that it made meanwhile."""
        waited = float(line.upstream_ms if line.upstream_ms is not None else line.ms)
        facts = [Fact("answer", tr("{code} after {ms:g} ms", code=line.code or tr("none"), ms=waited))]
        calls, how = self._calls(pod, line)
        if how:
            facts.append(Fact("its calls", how))
        if pod in self._counted and self._evidence.blocked(pod):
            told = tr("connections that were closed: told where the request came here first")
            facts.append(Fact("its calls", told))
        children = (*self._way_out(pod, calls), *self._unlogged(pod))
        return hop_at(pod, Place.PROGRAM, facts=tuple(facts), code=line.code, ms=waited, children=children)

    def _calls(self, pod: Pod, parent: Line) -> tuple[list[Line], str]:
        """Lines of the calls that a program made for one request, and how that is known."""
        out = [each for each in self._evidence.lines(pod) if each.http and not _inbound(each, pod)]
        exact = [each for each in out if same_request(each.request_id, parent.request_id)]
        if exact:
            return exact, tr("known by x-request-id, which the program passes on")
        meanwhile = [each for each in out if under_way(parent, each.start)]
        rivals = [
            each
            for each in self._evidence.lines(pod)
            if each != parent and each.http and _inbound(each, pod) and any(under_way(each, c.start) for c in meanwhile)
        ]
        if rivals:
            self.unknown.append(
                tr(
                    "which of {count} calls of {app} belong to this request: {requests} requests were under way "
                    "there, and the program does not pass x-request-id on",
                    count=len(meanwhile),
                    app=pod.app,
                    requests=len(rivals) + 1,
                )
            )
            return [], ""
        by_time = tr("known by time: the program passes no x-request-id on, and answered nothing else meanwhile")
        return meanwhile, by_time if meanwhile else ""

    def _came_unread(self, pod: Pod) -> str:
        """The cluster of a pod's own port to which something was passed as TCP since the request was sent; "" if none.

        Node's probes come through ports that are read, too: there a request without a line is none of ours.
        """
        for each in self._evidence.connections(pod, "inbound"):
            port = ClusterName.of(each.cluster).port
            listener = find_listener(self._evidence.dump(pod), f"{pod.ip}:{port}")
            if listener is None or http_manager(listener) is None:
                return each.cluster
        return ""

    def _passed_in(self, pod: Pod, port: int, service: Mapping[str, Any] | None) -> Hop:
        """A connection that was passed to the program unread."""
        facts = [
            Fact("listener", tr("{unread}, no route is asked", unread=tr(UNREAD))),
            *([Fact("because", why_tcp(service, port))] if service is not None else []),
            Fact("cluster", self._came_unread(pod)),
            _by_counters(),
        ]
        calls = [
            each
            for each in self._evidence.lines(pod)
            if each.http and not _inbound(each, pod) and each.start >= self._evidence.moment
        ]
        how = (Fact("its calls", tr("known by time: all that it made since the request was sent")),) if calls else ()
        children = (*self._way_out(pod, calls), *self._unlogged(pod))
        program = hop_at(pod, Place.PROGRAM, facts=how, children=children)
        return hop_at(pod, Place.INBOUND, facts=tuple(facts), children=(program,))

    # Ways out

    def _way_out(self, pod: Pod, lines: list[Line], known: Known = NOTHING) -> Iterator[Hop]:
        for line in sorted(lines, key=since):
            if (pod, line) not in self._seen and not _inbound(line, pod):
                yield self._called(pod, line, known)

    def _called(self, pod: Pod, line: Line, known: Known) -> Hop:
        self._seen.add((pod, line))
        reading = self._evidence.after(pod)
        taken = describe(line, self._evidence.dump(pod), reading, known, self._evidence.names)
        # What a proxy passes on has the headers that it got, and more.
        passed = Known(known.headers)
        children = list(self._arrived(line, reading, passed)) if line.upstream else []
        for mirror in ((taken.route or {}).get("route") or {}).get("request_mirror_policies") or ():
            children += self._copies(str(mirror.get("cluster")), line, reading)
        return hop_at(
            pod,
            Place.OUTBOUND if pod.programs else Place.GATEWAY,
            outcome_of(line),
            facts=(*taken.facts, _known_by(line)),
            rule=taken.rule,
            code=line.code,
            flags=line.flags,
            ms=float(line.ms),
            children=tuple(children),
        )

    def _arrived(self, line: Line, reading: Reading, known: Known) -> Iterator[Hop]:
        """Where a call came out: each attempt, at each endpoint of its cluster."""
        addresses = dict.fromkeys([*reading.endpoints(line.cluster), line.upstream])
        pods = [pod for each in addresses if (pod := self._at(each)) is not None and pod.proxy]
        if (service := self._evidence.service(line.upstream.rpartition(":")[0], "")) is not None:
            pods += [each for each in self._evidence.pods_of(service) if each.proxy]  # it was sent to its address
        found = [
            (pod, each)
            for pod in dict.fromkeys(pods)
            for each in self._evidence.lines(pod)
            if _inbound(each, pod)
            and same_request(each.request_id, line.request_id)
            and not each.authority.partition(":")[0].endswith("-shadow")
        ]
        found.sort(key=lambda pair: since(pair[1]))
        for number, (pod, each) in enumerate(found, 1):
            yield self._way_in(
                pod,
                each,
                tr("attempt {number} of {all}", number=number, all=len(found)) if len(found) > 1 else "",
                known,
            )
        last = self._at(line.upstream)
        if last in [pod for pod, _ in found] or (last is None and found):
            return
        if last is not None and last.proxy:
            yield self._unwritten(last, line)
        else:
            ms = float(line.upstream_ms) if line.upstream_ms is not None else None
            yield outside(last, line.upstream, line.authority, self._evidence.names.of(line.upstream), line.code, ms)

    def _unwritten(self, pod: Pod, line: Line) -> Hop:
        """A proxy that was called and has no line of it."""
        if (refusal := self._refused(pod, line.upstream_local.rpartition(":")[0])) is not None:
            return refused(pod, refusal)
        if self._came_unread(pod):
            return self._passed_in(pod, 0, None)
        if "UF" not in line.flags:
            self.missing.append(tr("{pod} was called, and its sidecar wrote no line about it", pod=pod.id))
        return hop_at(pod, Place.INBOUND, Outcome.UNKNOWN, facts=(Fact("known by", tr("the caller's sidecar alone")),))

    def _copies(self, cluster: str, line: Line, reading: Reading) -> Iterator[Hop]:
        """What became of a mirrored request; its answers are thrown away."""
        for pod in filter(None, map(self._at, reading.endpoints(cluster))):
            for each in self._evidence.lines(pod) if pod.proxy else ():
                if same_request(each.request_id, line.request_id) and (pod, each) not in self._seen:
                    yield self._way_in(pod, each, tr(COPY))

    def _at(self, address: str) -> Pod | None:
        return self._evidence.sidecars.at(address.rpartition(":")[0])

    # What only counters know

    def _unlogged(self, pod: Pod, wanted: str = "") -> Iterator[Hop]:
        """Connections of a program that no line speaks of: passed on as TCP, or closed. Of each program once."""
        if pod in self._counted:
            return
        self._counted.add(pod)
        logged = {each.cluster for each in self._evidence.lines(pod) if each.http}
        found = [
            self._passed_out(pod, change)
            for change in self._evidence.connections(pod, "outbound")
            if change.cluster not in logged
        ]
        found += self._nowhere(pod, wanted)
        others = [
            each
            for each in self._evidence.lines(pod)
            if _inbound(each, pod)
            and each.http
            and each.start >= self._evidence.moment
            and (pod, each) not in self._seen
        ]
        if found and others:
            self.unknown.append(
                tr(
                    "whether all that the counters of {app} say is this request: {count} more came meanwhile",
                    app=pod.app,
                    count=len(others),
                )
            )
        yield from found

    def _nowhere(self, pod: Pod, wanted: str) -> Iterator[Hop]:
        """Connections of a program that nothing allows: istiod's sidecars log them, ours count them."""
        logged = [
            each
            for each in self._evidence.lines(pod)
            if not each.http and each.cluster == BLACK_HOLE and each.start >= self._evidence.moment
        ]
        for each in logged:
            yield closed(pod, each.local, _known_by(each).text)
        number = self._evidence.blocked(pod)
        if logged or not number:
            return
        if not wanted:
            self.unknown.append(
                tr(
                    "where {app} wanted to connect to: a closed connection is counted, its destination is not",
                    app=pod.app,
                )
            )
        log = "" if wanted else self._evidence.program_log(pod)
        known = tr("counters: {number} closed since the request was sent; nothing is logged", number=number)
        yield closed(pod, wanted, known, log)

    def _passed_out(self, pod: Pod, change: Change) -> Hop:
        name = ClusterName.of(change.cluster)
        service = self._evidence.service(name.host, pod.namespace) if name.host else None
        known = self._evidence.after(pod).endpoints(change.cluster)
        facts = [Fact("listener", tr(UNREAD))]
        if service is not None:
            ports = [each for each in service["spec"].get("ports") or () if (each.get("name") or "") == name.port]
            facts.append(Fact("because", why_tcp(service, int(ports[0]["port"]) if ports else int(name.port or 0))))
        elif change.cluster == PASSTHROUGH:
            facts.append(Fact("because", tr("the mesh does not know its destination, and lets such through")))
        facts += [Fact("route", tr("none: rules about requests are not asked")), Fact("cluster", change.cluster)]
        chosen = change.opened or change.used
        children: tuple[Hop, ...] = ()
        if len(chosen) == 1:
            shown, to = self._evidence.names.of(chosen[0]), self._at(chosen[0])
            how = tr("a new connection") if change.opened else tr("a connection that was open already")
            facts.append(Fact("endpoint", tr("{which}, 1 of {count}: {how}", which=shown, count=len(known), how=how)))
            unread = to is not None and to.proxy and self._came_unread(to)
            children = (self._passed_in(to, 0, None) if to and unread else outside(to, chosen[0], "", shown),)
        else:
            facts.append(Fact("endpoint", tr("one of {count}", count=len(known))))
            self.unknown.append(
                tr(
                    "which endpoint of {cluster} the connection of {app} leads to: {count} have open ones",
                    cluster=change.cluster,
                    app=pod.app,
                    count=len(chosen),
                )
            )
        return hop_at(pod, Place.OUTBOUND, facts=(*facts, _by_counters()), children=children)


def _inbound(line: Line, pod: Pod) -> bool:
    """Whether a line is of what came to the pod's program: by its cluster, else by where the caller wanted to go."""
    direction = ClusterName.of(line.cluster).direction
    if direction:
        return direction.startswith("inbound")
    return bool(pod.ip and pod.programs) and line.local.rpartition(":")[0] == pod.ip


def _known_by(line: Line) -> Fact:
    number = f", x-request-id {line.request_id}" if line.request_id else ""
    return Fact("known by", tr("access log, {time}", time=f"{line.start:%H:%M:%S.%f}"[:-3]) + number)


def _by_counters() -> Fact:
    return Fact("known by", tr("counters: a TCP connection is logged when it closes"))
