"""What the write path asks of admission, and the null answer.

The write path calls `mutate` once an object has its defaults, and `validate` once it is complete. Both either answer
at once or raise `Pending`, which nobody between them and `admitted` catches: a write has no effect before `validate`
has answered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from meshlab.cluster.api.registry import Resource

__all__ = ["Attributes", "Pending", "Review", "Unreviewed"]

Object = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Attributes:
    """One write. Objects are in the version of `resource`."""

    resource: Resource
    #: CREATE, UPDATE or DELETE.
    operation: str
    namespace: str
    #: "" for an object whose name is still to be generated.
    name: str
    #: None for DELETE.
    new: Object | None
    #: None for CREATE.
    old: Object | None
    subresource: str = ""
    dry_run: bool = False
    #: (apiVersion, kind) of the objects, where these are no objects of the resource: a Scale.
    kind: tuple[str, str] | None = None

    @classmethod
    def of(
        cls, resource: Resource, operation: str, new: Object | None, old: Object | None, subresource: str | None,
        dry_run: bool,
    ) -> Attributes:
        """With the name and namespace that the object has."""
        meta = (new or old or {}).get("metadata") or {}
        return cls(
            resource, operation, meta.get("namespace", ""), meta.get("name", ""), new, old, subresource or "", dry_run
        )


class Review(Protocol):
    """Admission by others than the server itself."""

    def mutate(self, attributes: Attributes) -> Object | None:
        """The object as changed; None where nobody changed it. Raises Pending or ApiError."""

    def validate(self, attributes: Attributes) -> None:
        """Raises Pending, or an ApiError where somebody refuses."""

    def remember(self, key: str, make: Callable[[], T]) -> T:
        """What `make` made in the first run of this write: names and uids are the same in each."""

    def done(self) -> None:
        """The write has happened; what follows is another."""


class Pending(Exception):
    """Somebody else must be asked first: await `ask()`, then run the write again."""

    def __init__(self, ask: Callable[[], Awaitable[None]]) -> None:
        super().__init__("an admission webhook is to be asked")
        self.ask = ask


class Unreviewed:
    """Nobody is asked."""

    def mutate(self, attributes: Attributes) -> Object | None:
        return None

    def validate(self, attributes: Attributes) -> None:
        return None

    def remember(self, key: str, make: Callable[[], T]) -> T:
        return make()

    def done(self) -> None:
        return None
