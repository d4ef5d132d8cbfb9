"""Google's canonical status codes, in which Mixer answers a check, and what a sidecar makes of them.

A request that is refused with code 7 and `denyall.denier.default:Not allowed` gets HTTP 403 with the body
`PERMISSION_DENIED:denyall.denier.default:Not allowed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

__all__ = ["OK", "Code", "Status"]


class Code(IntEnum):
    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


#: Code → HTTP status, as 0.4.0's proxy maps them; others are 500.
_HTTP: Mapping[int, int] = {
    Code.OK: 200, Code.CANCELLED: 499, Code.INVALID_ARGUMENT: 400, Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404, Code.ALREADY_EXISTS: 409, Code.PERMISSION_DENIED: 403, Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400, Code.ABORTED: 409, Code.OUT_OF_RANGE: 400, Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503, Code.UNAUTHENTICATED: 401,
}


@dataclass(frozen=True, slots=True)
class Status:
    """The answer to a check. `code` may be a number that has no name."""

    code: int = Code.OK
    message: str = ""

    @property
    def ok(self) -> bool:
        return self.code == Code.OK

    @property
    def name(self) -> str:
        return Code(self.code).name if 0 <= self.code <= Code.UNAUTHENTICATED else str(self.code)

    @property
    def http(self) -> int:
        """The status that the caller sees."""
        return _HTTP.get(self.code, 500)

    def __str__(self) -> str:
        return f"{self.name}:{self.message}" if self.message else self.name


OK = Status()
