"""What a container is to its pod."""

from __future__ import annotations

from enum import Enum

__all__ = ["Role"]


class Role(Enum):
    INIT = "init"
    #: An init container with restartPolicy Always: started before the others and kept running beside them.
    SIDECAR = "sidecar"
    APPLICATION = "application"
    #: Added to a pod that runs, to look into it: not started again, and of no account to the pod's own state.
    EPHEMERAL = "ephemeral"
