"""Sliders on one RouteRule: faults, timeout and retries; and the circuit breaker's DestinationPolicy.

Each slider's value is a part of one rule, because of several rules for one destination only the first is asked:
a fault of one rule and a timeout of another would not both act.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import yaml

from meshlab.notebook.controls import Control, acknowledged
from meshlab.phrases import tr

if TYPE_CHECKING:
    from meshlab.inforce import InForce
    from meshlab.lab import Lab

__all__ = ["CircuitBreaker", "RouteKnobs", "Setting"]

API = "config.istio.io/v1alpha2"


@dataclass(frozen=True)
class Setting:
    """What the sliders say: seconds, percent of requests, an HTTP status, seconds, further attempts. 0 is off."""

    delay: float = 0.0
    delay_percent: int = 100
    abort_percent: int = 0
    status: int = 503
    timeout: float = 0.0
    retries: int = 0

    def spec(self, destination: Mapping[str, str], match: Mapping[str, Any] | None) -> dict[str, Any]:
        """The RouteRule's spec."""
        spec: dict[str, Any] = {"destination": dict(destination), "precedence": 2}
        if match:
            spec["match"] = {"request": {"headers": dict(match)}}
        fault: dict[str, Any] = {}
        if self.delay:
            fault["delay"] = {"percent": self.delay_percent, "fixedDelay": f"{self.delay:g}s"}
        if self.abort_percent:
            fault["abort"] = {"percent": self.abort_percent, "httpStatus": self.status}
        if fault:
            spec["httpFault"] = fault
        if self.timeout:
            spec["httpReqTimeout"] = {"simpleTimeout": {"timeout": f"{self.timeout:g}s"}}
        if self.retries:
            spec["httpReqRetries"] = {"simpleRetry": {"attempts": self.retries, "perTryTimeout": "2s"}}
        return spec

    @property
    def off(self) -> bool:
        """Whether there is nothing to put in a rule."""
        return not (self.delay or self.abort_percent or self.timeout or self.retries)


def _sliders() -> Mapping[str, tuple[str, float, float, float]]:
    """Knob → label, least, most, step."""
    return {
        "delay": (tr("delay, s"), 0, 3, 0.1),
        "delay_percent": (tr("… of, %"), 0, 100, 5),
        "abort_percent": (tr("abort, %"), 0, 100, 5),
        "timeout": (tr("timeout, s"), 0, 3, 0.1),
        "retries": (tr("retries"), 0, 5, 1),
    }


class RouteKnobs(Control):
    """Sliders that store one RouteRule for `destination`, a service's name or an external address.

    `set(delay=0.5)` moves one knob and leaves the others, `clear()` deletes the rule; both return once every
    sidecar has acknowledged it. `headers` restricts the rule to requests that have them exactly so.
    """

    def __init__(
        self,
        lab: Lab,
        destination: str = "svcb",
        *,
        knobs: tuple[str, ...] = ("delay", "abort_percent", "timeout", "retries"),
        headers: Mapping[str, str] | None = None,
        name: str = "",
    ) -> None:
        super().__init__(tr("Requests to {destination}", destination=destination))
        self._lab = lab
        self._target = {"service" if "." in destination else "name": destination}
        self._match = {key: {"exact": value} for key, value in (headers or {}).items()}
        self.name = name or "knobs-" + destination.replace(".", "-")
        self.setting = Setting()
        self._sliders: dict[str, widgets.Widget] = {}
        for knob in knobs:
            text, low, high, step = _sliders()[knob]
            kind = widgets.IntSlider if isinstance(getattr(self.setting, knob), int) else widgets.FloatSlider
            slider = kind(
                value=getattr(self.setting, knob),
                min=low,
                max=high,
                step=step,
                description=text,
                continuous_update=False,
            )
            slider.observe(lambda change, knob=knob: self.pressed(lambda: self.set(**{knob: change["new"]})), "value")
            self._sliders[knob] = slider
        self.assemble(*self._sliders.values())
        self.say(tr("no such rule: move a slider to create it"))

    @property
    def yaml(self) -> str:
        """The rule as the knobs stand."""
        spec = self.setting.spec(self._target, self._match)
        rule = {"apiVersion": API, "kind": "RouteRule", "metadata": {"name": self.name}, "spec": spec}
        return yaml.safe_dump(rule, sort_keys=False)

    def set(self, **knobs: float) -> InForce:
        """Move these knobs (fields of `Setting`); with all at 0 the rule is deleted."""
        with self._lock:
            self.setting = replace(self.setting, **knobs)  # type: ignore[arg-type]
            done = self._lab.delete(self.yaml) if self.setting.off else self._lab.apply(self.yaml)
            self.quietly(self._place)
            self.show_yaml("" if self.setting.off else self.yaml, command=f"istioctl replace -f {self.name}.yaml")
            told = ", ".join(f"{k} {v:g}" for k, v in asdict(self.setting).items() if v and k in self._sliders)
            self.say(f"{told or tr('rule deleted')}: {acknowledged(done)}", tone="good")
            return done

    def clear(self) -> InForce:
        """Everything off: the rule is deleted. Harmless if there is none."""
        return self.set(**asdict(Setting()))

    def _place(self) -> None:
        for knob, slider in self._sliders.items():
            slider.value = getattr(self.setting, knob)


class CircuitBreaker(Control):
    """A toggle for a DestinationPolicy: how much may wait, and when a pod that fails is left out.

    `turn(True)` and `turn(False)` do what a press does. `errors` consecutive 5xx within an interval of a second
    take a pod out for `sleep` seconds; `connections` and `pending` bound what is under way at once (0: unbounded).
    """

    def __init__(
        self,
        lab: Lab,
        service: str = "svcb",
        *,
        errors: int = 3,
        sleep: int = 30,
        connections: int = 0,
        pending: int = 0,
    ) -> None:
        super().__init__(tr("Circuit breaker of {service}", service=service))
        self._lab, self.name = lab, f"breaker-{service}"
        simple: dict[str, Any] = {"sleepWindow": f"{sleep}s", "httpDetectionInterval": "1s"}
        if errors:
            simple |= {"httpConsecutiveErrors": errors, "httpMaxEjectionPercent": 100}
        if connections:
            simple["maxConnections"] = connections
        if pending:
            simple["httpMaxPendingRequests"] = pending
        self.yaml = yaml.safe_dump(
            {
                "apiVersion": API,
                "kind": "DestinationPolicy",
                "metadata": {"name": self.name},
                "spec": {"destination": {"name": service}, "circuitBreaker": {"simpleCb": simple}},
            },
            sort_keys=False,
        )
        self._button = widgets.ToggleButton(
            value=False, description=tr("off"), tooltip=tr("store or delete the policy")
        )
        self._button.observe(lambda change: self.pressed(lambda: self.turn(bool(change["new"]))), "value")
        self.show_yaml(self.yaml, command=f"istioctl create -f {self.name}.yaml")
        self.assemble(self._button)

    def turn(self, on: bool) -> InForce:
        """Store or delete the policy; returns once it is in force."""
        with self._lock:
            done = self._lab.apply(self.yaml) if on else self._lab.delete(self.yaml)
            self.quietly(lambda: self._draw(on))
            self.say(f"{tr('on') if on else tr('off')}: {acknowledged(done)}", tone="good")
            return done

    def _draw(self, on: bool) -> None:
        self._button.value = on
        self._button.description = tr("on") if on else tr("off")
        self._button.button_style = "success" if on else ""
