"""Ephemeral containers: added to a pod that runs, by `kubectl debug`, to look into it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshlab.cluster.controllers.objects import Obj
from meshlab.cluster.node.container import ContainerRunner
from meshlab.cluster.node.role import Role

if TYPE_CHECKING:
    from meshlab.cluster.node.pod import PodRunner

__all__ = ["Guests"]


class Guests:
    """The ephemeral containers of one pod, in the order in which they came."""

    def __init__(self, pod: PodRunner) -> None:
        self._pod = pod
        self.all: list[ContainerRunner] = []
        self._begun: set[str] = set()
        self.meet(pod.object)

    def meet(self, pod: Obj) -> None:
        """Those that the pod has now; none ever goes."""
        known = {guest.name for guest in self.all}
        self.all += [ContainerRunner(self._pod, spec, Role.EPHEMERAL)
                     for spec in pod["spec"].get("ephemeralContainers") or [] if spec["name"] not in known]

    def begin(self) -> None:
        """Run those that have not begun; none is started twice."""
        for guest in self.all:
            if guest.name not in self._begun:
                self._begun.add(guest.name)
                self._pod.spawn(guest.run())
