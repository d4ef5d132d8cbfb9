"""A collection of objects as it is and as it changes: list, watch, and go on when the watch breaks.

A watch ends for many reasons: its time is over, the connection broke, the server forgot the revision (410). None
of them is an error for somebody who waits for a condition; each is answered by watching on, or by listing again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from .access import Access
from .errors import LabError, Rejected

__all__ = ["States", "follow"]

Object = dict[str, Any]
#: namespace/name → object.
States = dict[tuple[str, str], Object]
#: Seconds. A watch is asked for at most this long, so that a connection that died silently is noticed.
_LONGEST = 60.0
#: Seconds between attempts at a watch that breaks at once, the first and the longest.
_PAUSE, _LONGEST_PAUSE = 0.05, 2.0


def follow(access: Access, path: str, timeout: float) -> Iterator[States]:
    """The collection's objects, first as they are and then after every change, for at most `timeout` seconds.

    `path` may carry a query (a selector). The mapping that is handed out is the same one each time.
    """
    end = time.monotonic() + timeout
    states: States = {}
    revision, pause = "", _PAUSE
    while (left := end - time.monotonic()) > 0:
        if not revision:
            listed = access.request("GET", path).json()
            revision = str(listed["metadata"]["resourceVersion"])
            states.clear()
            states.update((_key(item), item) for item in listed.get("items") or [])
            yield states
        moved = False
        try:
            for event in access.watch(path, revision, timeout=min(left, _LONGEST)):
                found = event["object"]
                if event["type"] == "ERROR":
                    raise Rejected(found)
                moved = True
                revision = str(found["metadata"]["resourceVersion"])
                if event["type"] == "BOOKMARK":
                    continue
                if event["type"] == "DELETED":
                    states.pop(_key(found), None)
                else:
                    states[_key(found)] = found
                yield states
                if time.monotonic() > end:
                    return
        except Rejected as error:
            if error.code in (401, 403):
                raise LabError(f"not allowed to watch {path}", why=str(error), then="meshlab preflight") from error
            revision = ""  # 410: that revision is forgotten; anything else may have passed, too
        if moved:
            pause = _PAUSE
        elif (left := end - time.monotonic()) > 0:
            time.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)


def _key(found: Object) -> tuple[str, str]:
    metadata = found["metadata"]
    return str(metadata.get("namespace") or ""), str(metadata["name"])
