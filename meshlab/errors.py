"""Everything meshlab raises on purpose.

    MeshlabError
    ├── LabError           the lab is not up, was killed, or cannot start
    │   ├── Missing        a program or package is not on this machine
    │   └── Taken          an address, port or lock belongs to somebody else
    ├── ManifestError      a file does not parse or names an unknown kind
    ├── RuleError          a mesh rule is invalid
    ├── NotInForce         a rule was stored but not every sidecar acknowledged it
    ├── Rejected           the API server refused a request (keeps its Status)
    └── WaitTimeout        a condition did not come true in time

An error says what was seen, why, and the next command to type.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Self

__all__ = [
    "LabError",
    "ManifestError",
    "MeshlabError",
    "Missing",
    "NotInForce",
    "Rejected",
    "RuleError",
    "Taken",
    "WaitTimeout",
]


class MeshlabError(Exception):
    """An error with a cause in words and, where there is one, the command that helps.

    `seen` is what happened, `why` its reason, `then` the next command to type.
    """

    def __init__(self, seen: str, *, why: str = "", then: str = "") -> None:
        self.seen, self.why, self.then = seen, why, then
        super().__init__(seen)

    def __str__(self) -> str:
        lines = [self.seen]
        if self.why:
            lines.append(f"  because: {self.why}")
        if self.then:
            lines.append(f"  next:    {self.then}")
        return "\n".join(lines)


class LabError(MeshlabError):
    """The lab is not up, was killed, or cannot start."""


class Missing(LabError):
    """A program or package is not on this machine."""


class Taken(LabError):
    """An address, port or lock belongs to somebody else."""


class ManifestError(MeshlabError):
    """A file does not parse, or holds a document of an unknown kind."""


class RuleError(MeshlabError):
    """A mesh rule is invalid."""


class NotInForce(MeshlabError):
    """A rule was stored, but not every sidecar acknowledged it."""


class Rejected(MeshlabError):
    """The API server refused a request; `status` is its Status object."""

    def __init__(self, status: Mapping[str, Any], *, then: str = "") -> None:
        self.status = dict(status)
        self.code = int(status.get("code") or 0)
        self.reason = str(status.get("reason") or "")
        super().__init__(str(status.get("message") or self.reason), then=then)

    @classmethod
    def answer(cls, code: int, body: bytes) -> Self:
        """From the body of an answer. What is no Status, as of a proxy on the way, is its message."""
        try:
            status = json.loads(body)
        except ValueError:
            status = None
        if isinstance(status, dict) and status.get("kind") == "Status":
            return cls({"code": code, **status})
        message = body.decode("utf-8", "replace").strip() or f"HTTP {code}"
        return cls({"kind": "Status", "code": code, "message": message})


class WaitTimeout(MeshlabError):
    """A condition did not come true in time."""
