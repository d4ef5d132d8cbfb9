"""The scale slider: how many pods a Deployment has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as widgets

from meshlab.notebook.controls import Control
from meshlab.phrases import tr

if TYPE_CHECKING:
    from meshlab.lab import Lab

__all__ = ["ScaleSlider"]

#: A workshop's machine has one CPU and 1 GB; each pod of the demo takes about 45 MB with its sidecar.
MOST = 6


class ScaleSlider(Control):
    """A slider on the number of pods. `set(3)` does what moving it does, and returns the seconds until Ready."""

    def __init__(self, lab: Lab, deployment: str = "svcb", *, most: int = MOST) -> None:
        super().__init__(tr("Pods of {deployment}", deployment=deployment))
        self._lab, self._deployment, self._most = lab, deployment, most
        self._slider = widgets.IntSlider(
            value=self.pods, min=0, max=most, description=tr("pods"), continuous_update=False
        )
        self._slider.observe(lambda change: self.pressed(lambda: self.set(int(change["new"]))), "value")
        self.assemble(self._slider)
        self._show(self.pods)

    @property
    def pods(self) -> int:
        """How many pods the Deployment asks for now."""
        found = self._lab.access.find("apps/v1", "Deployment", "default", self._deployment)
        return int(found["spec"].get("replicas", 1)) if found else 0

    def set(self, pods: int) -> float:
        """Ask for this many pods and wait until they are there and every sidecar knows them."""
        if not 0 <= pods <= self._most:
            raise ValueError(f"pods are within 0..{self._most}, not {pods}")
        with self._lock:
            seconds = self._lab.scale(self._deployment, pods)
            self._lab.settled()
            self.quietly(lambda: setattr(self._slider, "value", pods))
            said = tr("{pods} pods, ready after {seconds:.1f} s", pods=pods, seconds=seconds)
            self.say(tr("1 pod, ready after {seconds:.1f} s", seconds=seconds) if pods == 1 else said, tone="good")
            self._show(pods)
            return seconds

    def _show(self, pods: int) -> None:
        text = (
            "apiVersion: autoscaling/v1\n"
            "kind: Scale\n"
            "metadata:\n"
            f"  name: {self._deployment}\n"
            "  namespace: default\n"
            "spec:\n"
            f"  replicas: {pods}\n"
        )
        self.show_yaml(text, command=f"kubectl scale deployment {self._deployment} --replicas={pods}")
