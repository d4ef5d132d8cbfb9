"""The APIServices of custom kinds: one for each group and version that some definition serves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from meshlab.cluster.api.apiservices import AUTOMANAGED, api_service
from meshlab.cluster.controllers.objects import Key
from meshlab.cluster.controllers.queue import Source

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["AutoRegisterController"]


class AutoRegisterController:
    """Its keys are ("", group of a definition)."""

    name = "crd-autoregister-controller"

    def __init__(self, api: Api) -> None:
        self._api = api
        self._services = api.kinds("APIService")

    @property
    def sources(self) -> Sequence[Source]:
        return [Source("CustomResourceDefinition", lambda _, obj: [("", obj["spec"]["group"])])]

    def reconcile(self, key: Key) -> float | None:
        group = key[1]
        resources = [resource for resource in self._api.registry.all() if resource.group == group]
        if any(not resource.custom for resource in resources):
            return None  # built-in groups have theirs
        wanted = {f"{resource.version}.{group}": resource.version for resource in resources}
        for obj in self._api.list(self._services, label_selector=f"{AUTOMANAGED}=true")[0]:
            name = obj["metadata"]["name"]
            if obj["spec"].get("group") == group and wanted.pop(name, None) is None:
                self._api.delete(self._services, None, name)
        for name, version in wanted.items():
            if self._api.find(self._services, None, name) is None:
                self._api.create(self._services, None, api_service(group, version, custom=True), user=self.name)
        return None
