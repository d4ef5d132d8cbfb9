"""Messages: what is wrong, how bad it is, and where. Codes and texts are today's istioctl's where it has them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from meshlab.mesh.config.analyze.subject import Broken, Subject

__all__ = ["CODES", "Level", "Message", "broken", "message"]


class Level(Enum):
    """In order of weight."""

    INFO = "Info"
    WARNING = "Warning"
    ERROR = "Error"


#: Code → (level, what it is about). ML codes are ours.
CODES = {
    "IST0101": (Level.ERROR, "something that is referred to does not exist"),
    "IST0103": (Level.WARNING, "a pod without a sidecar in a namespace that gives them"),
    "IST0106": (Level.ERROR, "an object is invalid"),
    "IST0109": (Level.ERROR, "virtual services for the same host"),
    "IST0110": (Level.ERROR, "sidecar objects that choose the same pods"),
    "IST0111": (Level.ERROR, "sidecar objects without selector in one namespace"),
    "IST0112": (Level.ERROR, "a destination whose port is ambiguous"),
    "IST0113": (Level.ERROR, "callers told to come otherwise than a port takes them"),
    "IST0118": (Level.WARNING, "a port whose name says no protocol"),
    "IST0127": (Level.WARNING, "a selector that chooses no pods"),
    "IST0130": (Level.WARNING, "a rule that can never match"),
    "IST0131": (Level.INFO, "a match that can never match"),
    "IST0134": (Level.WARNING, "a TCP service entry without addresses"),
    "IST0159": (Level.ERROR, "telemetry objects that choose the same pods"),
    "IST0160": (Level.ERROR, "telemetry objects without selector in one namespace"),
    "IST0173": (Level.ERROR, "a version without pods"),
    "ML0001": (Level.WARNING, "weights that hide a version"),
    "ML0002": (Level.ERROR, "egress rules that contradict each other"),
    "ML0003": (Level.WARNING, "rules of both generations for the same host"),
    "ML0004": (Level.WARNING, "a policy that nothing comes under"),
    "ML0005": (Level.WARNING, "a field that nothing acts on here"),
    "ML0006": (Level.WARNING, "a path of an Ingress to a port that is not HTTP"),
}


@dataclass(frozen=True)
class Message:
    """One finding. `place` is `file:line`, "" for an object of a live lab."""

    level: Level
    code: str
    kind: str
    namespace: str
    name: str
    place: str
    text: str

    def __str__(self) -> str:
        """As today's tool prints it: `Error [IST0101] (VirtualService default/svcb rules.yaml:12) Referenced …`."""
        what = f"{self.kind} {self.namespace}/{self.name}" if self.name else ""
        where = " ".join(part for part in (what, self.place) if part)
        return f"{self.level.value} [{self.code}] ({where}) {self.text}"

    def json(self) -> dict[str, str]:
        origin = f"{self.kind} {self.namespace}/{self.name}" if self.name else self.place
        found = {"code": self.code, "level": self.level.value, "origin": origin, "message": self.text}
        return found | ({"reference": self.place} if self.place else {})


def message(code: str, about: Subject, text: str, *path: str | int, place: str | None = None) -> Message:
    """A finding about one part of an object."""
    where = about.place(*path) if place is None else place
    return Message(CODES[code][0], code, about.kind, about.namespace, about.name, where, text)


def broken(document: Broken) -> Message:
    """A document that does not parse."""
    place = f"{document.file}:{document.line}"
    return Message(Level.ERROR, "IST0106", "", "", "", place, f"Schema validation error: {document.reason}")
