"""Hops whose story is told at once: what a port refused, what nobody allowed, what stands outside the mesh."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshlab.phrases import later, tr
from meshlab.sidecars.accesslog import Line, Refusal
from meshlab.sidecars.explanation import Fact, Hop, Outcome, Place
from meshlab.sidecars.order import Answered
from meshlab.sidecars.sidecars import Pod

__all__ = ["COPY", "UNREAD", "closed", "hop_at", "not_sent", "outside", "refused", "why_tcp"]

#: How a hop begins at which no request was read.
UNREAD = later("takes the port as TCP: the connection is passed on, no request is read")
#: The note of a mirrored request.
COPY = later("copy: its answer is thrown away")


def hop_at(pod: Pod, place: Place, outcome: Outcome = Outcome.PASSED, **more: Any) -> Hop:
    """A hop in a pod."""
    return Hop(place, pod.id, pod.app, pod.version, outcome, **more)


def refused(pod: Pod, entry: Refusal | Line) -> Hop:
    """A port that closed a connection, by its own word."""
    why = entry.why if isinstance(entry, Refusal) else tr("no filter chain of the port takes such a connection (NR)")
    facts = (
        Fact("listener", tr("{port} closed the connection of {caller}", port=entry.local, caller=entry.remote)),
        Fact("because", why),
        Fact("known by", tr("the port's own line; there was no request to log")),
    )
    return hop_at(pod, Place.INBOUND, Outcome.ENDED, facts=facts, rule=tr("mutual TLS only"))


def closed(pod: Pod, wanted: str, known_by: str, log: str = "") -> Hop:
    """A connection of a program that nothing allows. `wanted`: where to, "" if nobody knows; `log`: its last line."""
    if wanted:
        taken = tr(
            "none takes a connection to {wanted}: it came to the one for all others, which closes it", wanted=wanted
        )
    else:
        taken = tr("none takes a connection: it came to the one for all others, which closes it")
    facts = [
        Fact("listener", taken),
        Fact(
            "because", tr("no service and no rule has that address and port; callers see an end of file, not a status")
        ),
        *([Fact("its log", log[-300:])] if log else []),
        Fact("known by", known_by),
    ]
    return hop_at(pod, Place.OUTBOUND, Outcome.ENDED, facts=tuple(facts), rule=tr("(nothing allows it)"))


def outside(pod: Pod | None, address: str, name: str, shown: str, code: int = 0, ms: float | None = None) -> Hop:
    """Who has no sidecar: a pod, or (None) `name` at `address`."""
    facts = (Fact("address", shown), Fact("sidecar", tr("none: what it did is known by its answer only")))
    if pod is not None:
        return hop_at(pod, Place.OUTSIDE, facts=facts, code=code, ms=ms)
    return Hop(Place.OUTSIDE, address, name or address, facts=facts, code=code, ms=ms)


def not_sent(answered: Answered, host: str, address: str) -> Hop:
    """A destination that the caller never got to."""
    unknown = "(6)" in answered.error
    said = tr("no name server has this name: nothing was sent") if unknown else tr("nobody listens there")
    facts = (
        Fact("address", address),
        Fact("because", said),
        Fact("known by", tr("the caller: {error}", error=answered.error)),
    )
    return Hop(Place.OUTSIDE, host, host, outcome=Outcome.ENDED, facts=facts)


def why_tcp(service: Mapping[str, Any], port: int) -> str:
    """Why the mesh takes a service's port for TCP, as far as its name says."""
    ports = [each for each in service["spec"].get("ports") or () if each.get("port") == port]
    named: Mapping[str, Any] = ports[0] if ports else {}
    name = named.get("name") or named.get("appProtocol")
    of = service["metadata"]["name"]
    if name:
        return tr(
            "port {port} of service {of} is called {name}, which the mesh takes for TCP", port=port, of=of, name=name
        )
    return tr("port {port} of service {of} has no name, which the mesh takes for TCP", port=port, of=of)
