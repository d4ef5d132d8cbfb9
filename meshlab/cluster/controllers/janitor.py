"""Events are kept for an hour, as a real server keeps them."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from meshlab.cluster.api.status import ApiError, NotFound
from meshlab.cluster.controllers.objects import key_of, parse_time

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["KEPT", "sweep_events"]

log = logging.getLogger(__name__)

#: Seconds that an event is kept after its last time; a kube-apiserver's --event-ttl.
KEPT = 3600.0
#: Seconds between sweeps.
PERIOD = 300.0


async def sweep_events(api: Api) -> None:
    """Delete old events, until cancelled."""
    while True:
        try:
            sweep(api, datetime.now(UTC))
        except ApiError as error:
            log.warning("old events could not be deleted: %s", error)
        await asyncio.sleep(PERIOD)


def sweep(api: Api, at: datetime) -> None:
    resource = api.kinds("Event")
    for event in api.list(resource)[0]:
        last = event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"]
        if (at - parse_time(last)).total_seconds() > KEPT:
            try:
                api.delete(resource, *key_of(event))
            except NotFound:
                continue
