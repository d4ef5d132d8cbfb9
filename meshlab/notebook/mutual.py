"""The mutual-TLS switch: whether a service takes plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as widgets

from meshlab.notebook.controls import Control, acknowledged
from meshlab.phrases import tr

if TYPE_CHECKING:
    from meshlab.inforce import InForce
    from meshlab.lab import Lab

__all__ = ["MutualTLSSwitch"]

MODES = ("DISABLE", "PERMISSIVE", "STRICT")
#: What Istio 0.4 had for it: one switch for all, and exceptions.
THEN = """\
# In the ConfigMap istio of istio-system, for the whole mesh; there was no PERMISSIVE:
authPolicy: MUTUAL_TLS
# and an exception, as an annotation of a Service:
auth.istio.io/80: NONE
"""


class MutualTLSSwitch(Control):
    """Three buttons for a PeerAuthentication. `set("STRICT")` does what a press does, `clear()` deletes it."""

    def __init__(self, lab: Lab, app: str = "svcb") -> None:
        super().__init__(tr("Mutual TLS at {app}", app=app))
        self._lab, self._app = lab, app
        self._buttons = widgets.ToggleButtons(
            options=MODES, value=None, tooltips=[tr("plain text"), tr("both"), tr("TLS only")]
        )
        self._buttons.observe(
            lambda change: self.pressed(lambda: self.set(str(change["new"]))) if change["new"] else None, "value"
        )
        self.assemble(self._buttons)
        self._show("STRICT")

    def yaml(self, mode: str) -> str:
        """The PeerAuthentication with this mode."""
        return (
            "apiVersion: security.istio.io/v1\n"
            "kind: PeerAuthentication\n"
            "metadata:\n"
            f"  name: {self._app}-mtls\n"
            "spec:\n"
            "  selector:\n"
            "    matchLabels:\n"
            f"      app: {self._app}\n"
            "  mtls:\n"
            f"    mode: {mode}\n"
        )

    def set(self, mode: str) -> InForce:
        """DISABLE, PERMISSIVE or STRICT; returns once every sidecar concerned has acknowledged it."""
        if mode not in MODES:
            raise ValueError(f"a mode is one of {', '.join(MODES)}, not {mode}")
        with self._lock:
            done = self._lab.apply(self.yaml(mode))
            self.quietly(lambda: setattr(self._buttons, "value", mode))
            self._show(mode)
            self.say(f"{mode}: {acknowledged(done)}", tone="good")
            return done

    def clear(self) -> InForce:
        """Delete the PeerAuthentication: the mesh's default holds again."""
        with self._lock:
            done = self._lab.delete(self.yaml("STRICT"))
            self.quietly(lambda: setattr(self._buttons, "value", None))
            self.say(tr("deleted: {how}", how=acknowledged(done)))
            return done

    def _show(self, mode: str) -> None:
        self.show_yaml(self.yaml(mode), command=f"kubectl apply -f {self._app}-mtls.yaml", then=THEN)
