"""The egress switch: whether the mesh lets svcb talk to the message service outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as widgets

from meshlab.notebook.controls import Control, acknowledged
from meshlab.phrases import tr

if TYPE_CHECKING:
    from meshlab.inforce import InForce
    from meshlab.lab import Lab

__all__ = ["EgressSwitch"]


class EgressSwitch(Control):
    """A toggle that creates or deletes the tutorial's EgressRule, and says how long it took to be in force.

    `turn(True)` and `turn(False)` do what a press does. `allowed` is what the lab holds now.
    """

    def __init__(
        self, lab: Lab, *, name: str = "enable-svcb-engress-rule", port: int = 9997, protocol: str = "http"
    ) -> None:
        super().__init__(tr("Egress: may svcb reach the external service?"))
        self._lab, self._name = lab, name
        self.yaml = (
            "apiVersion: config.istio.io/v1alpha2\n"
            "kind: EgressRule\n"
            "metadata:\n"
            f"  name: {name}\n"
            "spec:\n"
            "  destination:\n"
            f"    service: {lab.network.external}\n"
            "  ports:\n"
            f"    - port: {port}\n"
            f"      protocol: {protocol}\n"
        )
        self._button = widgets.ToggleButton(
            value=self.allowed,
            description=tr("allowed") if self.allowed else tr("blocked"),
            tooltip=tr("create or delete the EgressRule {name}", name=name),
        )
        self._button.observe(lambda change: self.pressed(lambda: self.turn(bool(change["new"]))), "value")
        self.show_yaml(self.yaml, command=f"istioctl create -f {name}.yaml")
        self.assemble(self._button)

    @property
    def allowed(self) -> bool:
        """Whether the lab holds the rule."""
        return any(
            rule.get("kind") == "EgressRule" and rule.get("metadata", {}).get("name") == self._name
            for rule in self._lab.rules()
        )

    def turn(self, on: bool) -> InForce | None:
        """Allow or block the external service; None when that was so already. Returns once it is in force."""
        with self._lock:
            try:
                if on == self.allowed:
                    self.say(tr("in force already: nothing was changed"))
                    return None
                done = self._lab.apply(self.yaml) if on else self._lab.delete(self.yaml)
                self.say(f"{tr('allowed') if on else tr('blocked')}: {acknowledged(done)}", tone="good")
                return done
            finally:
                self.quietly(self._draw)

    def _draw(self) -> None:
        self._button.value = self.allowed
        self._button.description = tr("allowed") if self.allowed else tr("blocked")
        self._button.button_style = "success" if self.allowed else ""
