"""APIServices: whether the groups that somebody else serves are available."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from meshlab.cluster.controllers.objects import Key, Obj, key_of, now, with_condition
from meshlab.cluster.controllers.queue import Source

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["ApiServiceController"]


class ApiServiceController:
    """Keeps the condition `Available`."""

    name = "apiservice-status-controller"

    def __init__(self, api: Api) -> None:
        self._api = api
        self._resource = api.kinds("APIService")

    @property
    def sources(self) -> Sequence[Source]:
        return [Source("APIService", lambda _, obj: [key_of(obj)]), Source("Service", self._behind),
                Source("Endpoints", self._behind)]

    def _behind(self, _: str, obj: Obj) -> Iterable[Key]:
        for found in self._api.list(self._resource)[0]:
            service = (found.get("spec") or {}).get("service") or {}
            if (service.get("namespace"), service.get("name")) == key_of(obj):
                yield key_of(found)

    def reconcile(self, key: Key) -> float | None:
        found = self._api.find(self._resource, None, key[1])
        if found is None:
            return None
        before = found.get("status") or {}
        good, reason, message = self._available((found.get("spec") or {}).get("service"))
        conditions = with_condition(before.get("conditions") or [], "Available", str(good), reason, message, now())
        for condition in conditions:
            condition.pop("lastUpdateTime", None)
        if conditions != before.get("conditions"):
            self._api.update(self._resource, None, key[1], {**found, "status": {**before, "conditions": conditions}},
                             subresource="status", user=self.name)
        return None

    def _available(self, service: Obj | None) -> tuple[bool, str, str]:
        if service is None:
            return True, "Local", "Local APIServices are always available"
        namespace, name = str(service.get("namespace")), str(service.get("name"))
        shown = f'service/{name} in "{namespace}"'
        if self._api.find(self._api.kinds("Service"), namespace, name) is None:
            return False, "ServiceNotFound", f"{shown} is not present"
        endpoints = self._api.find(self._api.kinds("Endpoints"), namespace, name) or {}
        if not any(subset.get("addresses") for subset in endpoints.get("subsets") or ()):
            return False, "MissingEndpoints", f"endpoints for {shown} have no addresses"
        return True, "Passed", "all checks passed"
