"""All controllers of the lab in one place: one watch per kind, shared; one queue per controller."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from meshlab.cluster.api.streams import Usage
from meshlab.cluster.controllers.apiservices import ApiServiceController
from meshlab.cluster.controllers.autoregister import AutoRegisterController
from meshlab.cluster.controllers.autoscaling import HorizontalController
from meshlab.cluster.controllers.autoscaling.metrics import Fetch
from meshlab.cluster.controllers.cronjob import CronJobController
from meshlab.cluster.controllers.daemonset import DaemonSetController
from meshlab.cluster.controllers.deployment import DeploymentController
from meshlab.cluster.controllers.disruption import DisruptionController
from meshlab.cluster.controllers.endpoints import EndpointsController
from meshlab.cluster.controllers.endpointslices import EndpointSliceController
from meshlab.cluster.controllers.follow import Handler, follow
from meshlab.cluster.controllers.garbage import GarbageCollector
from meshlab.cluster.controllers.job import JobController
from meshlab.cluster.controllers.namespace import NamespaceController
from meshlab.cluster.controllers.nodes import NodeController
from meshlab.cluster.controllers.objects import Obj
from meshlab.cluster.controllers.queue import Controller, WorkQueue
from meshlab.cluster.controllers.quota import QuotaController
from meshlab.cluster.controllers.replicaset import ReplicaSetController, ReplicationControllerController
from meshlab.cluster.controllers.scheduler import Scheduler
from meshlab.cluster.controllers.serviceaccount import ServiceAccountController
from meshlab.cluster.controllers.signer import CertificateSigner
from meshlab.cluster.controllers.statefulset import StatefulSetController
from meshlab.cluster.controllers.storage import ClaimController, VolumeController
from meshlab.settings import Settings

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["controllers_of", "run", "run_controllers"]


def controllers_of(api: Api, settings: Settings) -> list[Controller]:
    """The controllers of a lab, in the order in which their queues are started."""
    return [
        AutoRegisterController(api),
        ServiceAccountController(api, settings),
        NamespaceController(api),
        DeploymentController(api),
        ReplicaSetController(api),
        ReplicationControllerController(api),
        StatefulSetController(api),
        DaemonSetController(api),
        JobController(api),
        CronJobController(api),
        DisruptionController(api),
        NodeController(api),
        ApiServiceController(api),
        ClaimController(api),
        VolumeController(api, settings.disk),
        Scheduler(api),
        EndpointsController(api),
        EndpointSliceController(api),
    ]


async def run_controllers(api: Api, settings: Settings, *, usage: Usage | None = None,
                          fetch: Fetch | None = None) -> None:
    """Never returns; cancel it to stop. What it does is in the API, so that it can be stopped at any moment.

    Autoscalers ask `usage` what pods use, and `fetch` for metrics that others serve.
    """
    async with asyncio.TaskGroup() as group:
        group.create_task(run(api, controllers_of(api, settings)), name="controllers")
        group.create_task(GarbageCollector(api).run(), name="garbage collector")
        group.create_task(CertificateSigner(api, settings).run(), name="certificates")
        group.create_task(QuotaController(api).run(), name="quotas")
        group.create_task(HorizontalController(api, usage, fetch).run(), name="autoscalers")


async def run(api: Api, controllers: Sequence[Controller]) -> None:
    """Run some controllers: each kind that any of them wants is watched once."""
    queues = [WorkQueue(controller, api) for controller in controllers]
    interested: dict[str, list[Handler]] = {}
    for queue in queues:
        for source in queue.controller.sources:
            def handle(kind: str, obj: Obj, queue: WorkQueue = queue, source: object = source.keys) -> None:
                for key in source(kind, obj):  # type: ignore[operator]
                    queue.add(key)

            interested.setdefault(source.kind, []).append(handle)

    def spread(handlers: list[Handler]) -> Handler:
        def handler(kind: str, obj: Obj) -> None:
            for handle in handlers:
                handle(kind, obj)

        return handler

    async with asyncio.TaskGroup() as group:
        for queue in queues:
            group.create_task(queue.run(), name=queue.controller.name)
        for kind, handlers in interested.items():
            group.create_task(follow(api, api.kinds(kind), spread(handlers)), name=f"controllers: {kind}")
