"""Events: what `kubectl describe` shows below an object.

The same event again does not make a second object: its count and last time go up, as a real recorder does it.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from meshlab.cluster.api.status import ApiError, NotFound
from meshlab.cluster.controllers.objects import Key, now

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["Recorder"]

#: Events remembered for counting; a real recorder keeps 4096 as well.
REMEMBERED = 4096


class Recorder:
    """Writes events of one component (`kubelet`, `deployment-controller` …)."""

    def __init__(self, api: Api, component: str, host: str = "") -> None:
        self._api = api
        self._component, self._host = component, host
        self._seen: OrderedDict[tuple[str, ...], tuple[Key, int]] = OrderedDict()

    def event(self, obj: Mapping[str, Any], kind: str, api_version: str, reason: str, message: str, *,
              warning: bool = False, field_path: str = "") -> None:
        """Record that `reason` happened to `obj`. Never raises for a refusal: an event is a remark, not a fact."""
        meta = obj["metadata"]
        identity = (meta["uid"], reason, message, field_path)
        # Events of what has no namespace are kept in default, as a real recorder does.
        namespace = str(meta.get("namespace") or "default")
        try:
            if identity in self._seen and self._again(identity):
                return
            name = f"{meta['name']}.{time.time_ns():x}"
            self._api.create(self._api.kinds("Event"), namespace, {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": name, "namespace": namespace},
                "involvedObject": {
                    "kind": kind,
                    **({"namespace": meta["namespace"]} if meta.get("namespace") else {}),
                    "name": meta["name"],
                    "uid": meta["uid"],
                    "apiVersion": api_version,
                    "resourceVersion": meta.get("resourceVersion", ""),
                    **({"fieldPath": field_path} if field_path else {}),
                },
                "reason": reason,
                "message": message[:1024],
                "source": {"component": self._component, **({"host": self._host} if self._host else {})},
                "firstTimestamp": now(),
                "lastTimestamp": now(),
                "count": 1,
                "type": "Warning" if warning else "Normal",
                "eventTime": None,
                "reportingComponent": self._component,
                "reportingInstance": self._host,
            })
        except ApiError:
            # The namespace is going, or the event is malformed in a way that only the server knows.
            return
        self._seen[identity] = ((namespace, name), 1)
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)

    def _again(self, identity: tuple[str, ...]) -> bool:
        (namespace, name), count = self._seen[identity]
        try:
            self._api.patch(self._api.kinds("Event"), namespace, name,
                            {"count": count + 1, "lastTimestamp": now()}, "merge")
        except NotFound:
            return False
        self._seen[identity] = ((namespace, name), count + 1)
        self._seen.move_to_end(identity)
        return True
