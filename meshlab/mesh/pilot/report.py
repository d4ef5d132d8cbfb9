"""Writes statuses back to the cluster (see `status`): after each change of the world, what differs, and no more.

The writing is done in a thread, one object at a time; a conflict or a refusal is logged and tried again with the next
change. Nobody waits for it: proxies are served whether or not a status could be written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from meshlab.errors import LabError, Rejected
from meshlab.kube import Kube
from meshlab.mesh.config.ingress import is_ours
from meshlab.mesh.config.today.kinds import GATEWAY_API
from meshlab.mesh.config.today.kubernetes_routes import CONTROLLER
from meshlab.mesh.pilot.registry import Registry
from meshlab.mesh.pilot.rulebook import CLASS, GATEWAYS
from meshlab.mesh.pilot.status import Wanted, gateway_status, ingress_status, merged, route_status
from meshlab.mesh.pilot.world import World

__all__ = ["Reporter"]

log = logging.getLogger("meshlab.pilot")

VERSION = f"{GATEWAY_API}/v1"


class Reporter:
    """Keeps statuses as they should be. `changed` on the loop, after each World."""

    def __init__(self, kube: Kube, registry: Registry) -> None:
        self._kube, self._registry = kube, registry
        self._wake = asyncio.Event()
        #: What was written last, by target.
        self._written: dict[tuple[str, str, str, str], dict[str, Any]] = {}

    def changed(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            world = self._registry.world()
            wanted = list(self._wanted(world))
            known = {each.target for each in wanted}
            self._written = {target: status for target, status in self._written.items() if target in known}
            fresh = [each for each in wanted if self._written.get(each.target) != each.status]
            unclassed = self._registry.rules.serves_gateway_api and not self._registry.rules.entries("gatewayclasses")
            if fresh or unclassed:
                await asyncio.to_thread(self._write_all, fresh, unclassed)

    def _wanted(self, world: World) -> Iterator[Wanted]:
        rules, config = self._registry.rules, self._registry.config
        for (namespace, name), obj in self._registry.ingresses().items():
            annotations = (obj.get("metadata") or {}).get("annotations")
            if is_ours(annotations, config.ingress_controller_mode, config.ingress_class):
                yield Wanted(("networking.k8s.io/v1", "ingresses", namespace, name), ingress_status(world))
        routes = [entry.stored for entry in rules.entries("httproutes")]
        ours = {}
        for entry in rules.entries(GATEWAYS):
            if rules.is_ours(entry.stored):
                gateway = ours[entry.value.name] = rules.granted(GATEWAYS, entry)
                found = gateway_status(world, entry.stored, gateway, routes)
                yield Wanted((VERSION, "gateways", entry.stored.namespace, entry.stored.name), found)
        for each in routes:
            yield Wanted((VERSION, "httproutes", each.namespace, each.name), route_status(world, each, ours))
        for entry in rules.entries("gatewayclasses"):
            if entry.stored.spec.get("controllerName") == CONTROLLER:
                accepted = {"type": "Accepted", "status": "True", "reason": "Accepted", "message": ""}
                yield Wanted((VERSION, "gatewayclasses", "", entry.stored.name), {"conditions": [accepted]})

    def _write_all(self, wanted: list[Wanted], unclassed: bool) -> None:
        if unclassed:
            self._class()
        for each in wanted:
            try:
                self._write(each)
                self._written[each.target] = each.status
            except Rejected as error:
                if error.code != 404:
                    log.warning("the status of %s %s/%s is not written: %s", *each.target[1:], error)
            except LabError as error:
                log.warning("statuses are not written: %s", error)
                return

    def _write(self, wanted: Wanted) -> None:
        version, plural, namespace, name = wanted.target
        target = (version, plural, namespace or None, name)
        obj = self._kube.get(target)
        before: Mapping[str, Any] = obj.get("status") or {}
        generation = int(obj["metadata"].get("generation") or 0)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        status = merged(before, wanted.status, generation, now)
        if status != before:
            self._kube.patch((*target, "status"), {"status": status}, "merge")

    def _class(self) -> None:
        """The class of Gateways that is ours, as istiod makes it."""
        body = {
            "apiVersion": VERSION, "kind": "GatewayClass", "metadata": {"name": CLASS},
            "spec": {"controllerName": CONTROLLER, "description": "The mesh's own: served by istio-ingress"},
        }
        try:
            self._kube.create((VERSION, "gatewayclasses"), body)
        except Rejected as error:
            if error.code != 409:
                log.warning("the GatewayClass %s is not made: %s", CLASS, error)
        except LabError as error:
            log.warning("the GatewayClass %s is not made: %s", CLASS, error)
