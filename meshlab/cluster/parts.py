"""How much of a cluster is wanted."""

from __future__ import annotations

from enum import Enum

__all__ = ["Parts"]


class Parts(Enum):
    """Each has what the one before it has."""

    #: The API server alone: what is stored stays as it is.
    API = "api"
    #: And the controllers: Deployments make ReplicaSets make Pods, which stay Pending.
    CONTROLLERS = "controllers"
    #: And a node and its network: pods run.
    ALL = "all"
