"""Hops whose story is told at once: what a port refused, what nobody allowed, what stands outside the mesh."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshlab.sidecars.accesslog import Line, Refusal
from meshlab.sidecars.explanation import Fact, Hop, Outcome, Place
from meshlab.sidecars.order import Answered
from meshlab.sidecars.sidecars import Pod

__all__ = ["UNREAD", "closed", "hop_at", "not_sent", "outside", "refused", "why_tcp"]

#: How a hop begins at which no request was read.
UNREAD = "takes the port as TCP: the connection is passed on, no request is read"


def hop_at(pod: Pod, place: Place, outcome: Outcome = Outcome.PASSED, **more: Any) -> Hop:
    """A hop in a pod."""
    return Hop(place, pod.id, pod.app, pod.version, outcome, **more)


def refused(pod: Pod, entry: Refusal | Line) -> Hop:
    """A port that closed a connection, by its own word."""
    why = entry.why if isinstance(entry, Refusal) else "no filter chain of the port takes such a connection (NR)"
    facts = (
        Fact("listener", f"{entry.local} closed the connection of {entry.remote}"),
        Fact("because", why),
        Fact("known by", "the port's own line; there was no request to log"),
    )
    return hop_at(pod, Place.INBOUND, Outcome.ENDED, facts=facts, rule="mutual TLS only")


def closed(pod: Pod, wanted: str, known_by: str, log: str = "") -> Hop:
    """A connection of a program that nothing allows. `wanted`: where to, "" if nobody knows; `log`: its last line."""
    where = f" to {wanted}" if wanted else ""
    facts = [
        Fact("listener", f"none takes a connection{where}: it came to the one for all others, which closes it"),
        Fact("because", "no service and no rule has that address and port; callers see an end of file, not a status"),
        *([Fact("its log", log[-300:])] if log else []),
        Fact("known by", known_by),
    ]
    return hop_at(pod, Place.OUTBOUND, Outcome.ENDED, facts=tuple(facts), rule="(nothing allows it)")


def outside(pod: Pod | None, address: str, name: str, shown: str, code: int = 0, ms: float | None = None) -> Hop:
    """Who has no sidecar: a pod, or (None) `name` at `address`."""
    facts = (Fact("address", shown), Fact("sidecar", "none: what it did is known by its answer only"))
    if pod is not None:
        return hop_at(pod, Place.OUTSIDE, facts=facts, code=code, ms=ms)
    return Hop(Place.OUTSIDE, address, name or address, facts=facts, code=code, ms=ms)


def not_sent(answered: Answered, host: str, address: str) -> Hop:
    """A destination that the caller never got to."""
    said = "no name server has this name: nothing was sent" if "(6)" in answered.error else "nobody listens there"
    facts = (Fact("address", address), Fact("because", said), Fact("known by", f"the caller: {answered.error}"))
    return Hop(Place.OUTSIDE, host, host, outcome=Outcome.ENDED, facts=facts)


def why_tcp(service: Mapping[str, Any], port: int) -> str:
    """Why the mesh takes a service's port for TCP, as far as its name says."""
    ports = [each for each in service["spec"].get("ports") or () if each.get("port") == port]
    named: Mapping[str, Any] = ports[0] if ports else {}
    name = named.get("name") or named.get("appProtocol")
    said = f"is called {name}" if name else "has no name"
    return f"port {port} of service {service['metadata']['name']} {said}, which the mesh takes for TCP"
