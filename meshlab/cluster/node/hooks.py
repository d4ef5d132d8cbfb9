"""Lifecycle hooks: what a container does right after its start, and before it is told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from meshlab.cluster.node.probes import Outcome, Target, ask

__all__ = ["hook_of", "run_hook"]


def hook_of(spec: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """The handler of `postStart` or `preStop`, if the container has one."""
    handler: Mapping[str, Any] | None = (spec.get("lifecycle") or {}).get(name)
    return handler


async def run_hook(handler: Mapping[str, Any], target: Target) -> Outcome:
    """Until it is done, however long that takes."""
    if (pause := handler.get("sleep")) is not None:
        await asyncio.sleep(float(pause.get("seconds") or 0))
        return Outcome(True)
    return await ask(handler, target)
