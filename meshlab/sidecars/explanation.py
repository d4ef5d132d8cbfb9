"""What became of one request, hop by hop: plain data, which prints as text and draws as a picture.

Each hop says how it is known. What cannot be known is in words, never filled in.
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from meshlab.columns import columns
from meshlab.phrases import later, tr

__all__ = ["Explanation", "Fact", "Hop", "Outcome", "Place"]


class Place(Enum):
    """Where in a pod something happened."""

    CALLER = later("caller")
    INBOUND = later("sidecar, way in")
    PROGRAM = later("program")
    OUTBOUND = later("sidecar, way out")
    #: A proxy without a program, at the mesh's edge.
    GATEWAY = later("gateway")
    #: A pod without a sidecar, or a host outside the cluster.
    OUTSIDE = later("outside the mesh")


class Outcome(Enum):
    PASSED = later("passed on")
    #: The proxy itself answered or closed; nobody behind it was asked.
    ENDED = later("ended here")
    #: It was passed on, and no good answer came back.
    FAILED = later("failed behind")
    UNKNOWN = later("cannot be known")


@dataclass(frozen=True)
class Fact:
    """`listener`: `http_0.0.0.0_80`. Facts of one hop may share a label."""

    label: str
    text: str


@dataclass(frozen=True)
class Hop:
    """One station. `rule` is what took the request there, `ms` how long it was there (with all behind it)."""

    place: Place
    #: `pod.namespace`, or an address.
    where: str
    app: str
    version: str = ""
    outcome: Outcome = Outcome.PASSED
    facts: tuple[Fact, ...] = ()
    rule: str = ""
    code: int = 0
    flags: str = ""
    ms: float | None = None
    #: "copy", "attempt 2": why it is not the only one of its parent.
    note: str = ""
    children: tuple[Hop, ...] = ()

    def fact(self, label: str) -> str:
        """The first fact with this label, "" if there is none."""
        return next((each.text for each in self.facts if each.label == label), "")

    def facts_of(self, label: str) -> list[str]:
        return [each.text for each in self.facts if each.label == label]

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Hop]]:
        """This hop and all behind it, with their depths, in the order of their way."""
        yield depth, self
        for each in self.children:
            yield from each.walk(depth + 1)


@dataclass(frozen=True)
class Explanation:
    """`request` as it was sent, `answer` as its caller saw it, `verdict` in a sentence or two."""

    request: str
    answer: str
    verdict: str
    root: Hop
    #: What could not be found out, and why.
    unknown: tuple[str, ...] = ()

    @property
    def hops(self) -> list[Hop]:
        """All of them, in the order of their way."""
        return [hop for _, hop in self.root.walk()]

    def find(self, app: str, place: Place) -> list[Hop]:
        """Hops of one app (its label `app`) at one place."""
        return [hop for hop in self.hops if hop.app == app and hop.place is place]

    def __str__(self) -> str:
        lines = [f"{self.request}", f"  → {self.answer}", ""]
        for number, (_, hop) in enumerate(self.root.walk(), 1):
            lines += _hop_lines(number, hop)
        lines += ["", self.verdict]
        lines += [tr("not known: {what}", what=each) for each in self.unknown]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from meshlab.sidecars.house import house

        words = f"<summary>{tr('every hop, in words')}</summary><pre>{html.escape(str(self))}</pre>"
        return f"{house(self)}<details>{words}</details>"


def _hop_lines(number: int, hop: Hop) -> Iterator[str]:
    who = f"{hop.app} {hop.version}".strip()
    head = f"{number:2}  {who}: {tr(hop.place.value)}"
    if hop.note:
        head += f" ({hop.note})"
    if hop.where and hop.where != hop.app:
        head += f"  [{hop.where}]"
    if hop.outcome is not Outcome.PASSED:
        head += f"  ✗ {tr(hop.outcome.value)}"
    yield head
    last = ""
    for fact in hop.facts:
        label = tr(fact.label) if fact.label != last else ""
        last = fact.label
        yield f"      {label}{' ' * (10 - columns(label))} {fact.text}"
