"""Running a synchronous write that webhooks take part in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from meshlab.cluster.api.status import ApiError, InternalError
from meshlab.cluster.api.webhooks.review import Attributes, Pending
from meshlab.cluster.api.webhooks.webhooks import Asker, Webhooks

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["admitted"]

Object = dict[str, Any]
T = TypeVar("T")

#: Runs of one call. A write needs three at most, but begins anew whenever somebody else changes its object
#: meanwhile; and a controller's look at one of its objects may write a hundred others.
RUNS = 500


async def admitted(
    api: Api,
    call: Callable[[], T],
    *,
    user: Mapping[str, Any],
    options: Mapping[str, Any] | None = None,
    warn: Callable[[str], None] | None = None,
    converts: bool = False,
) -> T:
    """What `call()` answers, a function that writes through `api`, with every webhook asked that wants to be.

    `converts` says that what it writes may be of a kind whose versions a webhook converts.

    `call` is run again after each question and must be fit for that: nothing but its writes may have an effect.
    """
    webhooks = api.webhooks
    if webhooks is None or not (webhooks.any() or converts):
        return call()
    recorder = _Recorder(webhooks, Asker(user, options or {}, warn or (lambda _: None)))
    for _ in range(RUNS):
        try:
            with api.reviewed_by(recorder), api.types.conversions.asked():
                return call()
        except Pending as pending:
            await pending.ask()
    raise InternalError.because("the object changed each time that admission webhooks had been asked about it")


class _Recorder:
    """The answers to one write. A refusal is an answer too: it is raised where the write asked."""

    def __init__(self, webhooks: Webhooks, asker: Asker) -> None:
        self._webhooks, self._asker = webhooks, asker
        self._mutated: tuple[Attributes, Object | ApiError | None] | None = None
        self._allowed: tuple[Attributes, ApiError | None] | None = None
        self._made: dict[str, Any] = {}

    def mutate(self, attributes: Attributes) -> Object | None:
        if not self._webhooks.mutating(attributes, self._asker):
            return None
        if self._mutated is None or self._mutated[0] != attributes:
            raise Pending(lambda: self._ask_mutating(attributes))
        outcome = self._mutated[1]
        if isinstance(outcome, ApiError):
            self._mutated = None
            raise outcome
        return outcome

    def validate(self, attributes: Attributes) -> None:
        self._webhooks.policies.check(attributes, self._asker)
        if not self._webhooks.validating(attributes, self._asker):
            return
        if self._allowed is None or self._allowed[0] != attributes:
            raise Pending(lambda: self._ask_validating(attributes))
        refusal = self._allowed[1]
        if refusal is not None:
            self._allowed = None
            raise refusal

    async def _ask_mutating(self, attributes: Attributes) -> None:
        outcome: Object | ApiError | None
        try:
            outcome = await self._webhooks.mutate(attributes, self._asker)
        except ApiError as error:
            outcome = error
        self._mutated = (attributes, outcome)

    async def _ask_validating(self, attributes: Attributes) -> None:
        refusal: ApiError | None = None
        try:
            await self._webhooks.validate(attributes, self._asker)
        except ApiError as error:
            refusal = error
        self._allowed = (attributes, refusal)

    def remember(self, key: str, make: Callable[[], T]) -> T:
        if key not in self._made:
            self._made[key] = make()
        made: T = self._made[key]
        return made

    def done(self) -> None:
        self._mutated = self._allowed = None
        self._made = {}
