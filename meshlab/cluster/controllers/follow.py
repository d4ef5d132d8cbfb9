"""List, then watch, for ever: how everything inside the daemon learns of changes.

The Api lives in the same process and answers at once, so nobody keeps a cache: an event says only *which* object
to look at, and the look itself is always at the present state. That is why controllers here need neither the
expectations nor the resync periods of their models.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from meshlab.cluster.api.status import Expired
from meshlab.cluster.controllers.objects import Obj

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api
    from meshlab.cluster.api.registry import Resource

__all__ = ["Handler", "follow"]

#: Called with ADDED, MODIFIED or DELETED, and the object.
Handler = Callable[[str, Obj], None]
#: Events handled before others in the daemon get their turn: about 2 ms of work.
TURN = 20


async def follow(api: Api, resource: Resource, handler: Handler) -> None:
    """Call `handler` for every object there is and for every change, until cancelled or the kind is no longer served.

    A watch that fell behind is begun anew: what is there comes as ADDED again, what has gone meanwhile as DELETED.
    """
    known: dict[str, Obj] = {}
    while True:
        items, revision = api.list(resource)
        present = {item["metadata"]["uid"]: item for item in items}
        for uid in known.keys() - present.keys():
            handler("DELETED", known[uid])
        known = present
        for count, item in enumerate(items):
            handler("ADDED", item)
            if count % TURN == TURN - 1:
                await asyncio.sleep(0)
        try:
            count = 0
            async for event in api.watch(resource, since=revision):
                if event.type == "BOOKMARK":
                    continue
                uid = event.object["metadata"]["uid"]
                if event.type == "DELETED":
                    known.pop(uid, None)
                else:
                    known[uid] = event.object
                handler(event.type, event.object)
                count += 1
                if count % TURN == 0:
                    await asyncio.sleep(0)
        except Expired:
            continue
        return
