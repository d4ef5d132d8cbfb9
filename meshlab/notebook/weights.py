"""The weight slider: how many of a hundred requests go to the new version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import ipywidgets as widgets

from meshlab.notebook.chance import Split, split
from meshlab.notebook.controls import Control, acknowledged
from meshlab.phrases import tr

if TYPE_CHECKING:
    from meshlab.inforce import InForce
    from meshlab.lab import Lab
    from meshlab.traffic import Answers

__all__ = ["WeightSlider", "split_rule", "versions_of"]


class WeightSlider(Control):
    """A slider that replaces the tutorial's RouteRule, and a button that counts what really happens.

    `set(30)` gives 30 of 100 to the second version, `measure(400)` counts, as slider and button do.
    At 0 and 100 the rule names one version only, as the tutorial's second rule does.
    """

    def __init__(
        self,
        lab: Lab,
        *,
        service: str = "svcb",
        versions: tuple[str, str] = ("v0.1", "v0.2"),
        name: str = "route-rules-svcb",
        url: str = "http://svca/pay",
    ) -> None:
        super().__init__(tr("Traffic: how much of {service} goes to {version}?", service=service, version=versions[1]))
        self._lab, self._service, self._versions, self._name, self._url = lab, service, versions, name, url
        found = self.weights
        start = int(found.get(versions[1], 0)) if found else 50
        self._slider = widgets.IntSlider(
            value=start,
            min=0,
            max=100,
            step=5,
            continuous_update=False,
            description=versions[1],
            readout_format="d",
        )
        self._slider.observe(lambda change: self.pressed(lambda: self.set(int(change["new"]))), "value")
        self._count = widgets.Button(
            description=tr("send 400 requests and count"), layout=widgets.Layout(width="max-content")
        )
        self._count.on_click(lambda _: self.pressed(lambda: self.measure(400)))
        self._picture = widgets.HTML("")
        self.assemble(self._slider, self._count, self._picture)
        self._show(start)
        if found is None:
            self.say(tr("no such rule yet: move the slider to create it"))

    def yaml(self, weight: int) -> str:
        """The RouteRule that gives `weight` of 100 to the second version."""
        first, second = self._versions
        return split_rule(self._name, self._service, {first: 100 - weight, second: weight})

    @property
    def weights(self) -> Mapping[str, float] | None:
        """The weights that the lab holds now, per version; None without the rule."""
        for rule in self._lab.rules():
            if rule.get("kind") == "RouteRule" and rule.get("metadata", {}).get("name") == self._name:
                routes = rule.get("spec", {}).get("route") or []
                if len(routes) == 1:
                    return {str(routes[0].get("labels", {}).get("version")): 100.0}
                return {str(route.get("labels", {}).get("version")): float(route.get("weight", 0)) for route in routes}
        return None

    def set(self, weight: int) -> InForce:
        """Give `weight` of 100 to the second version and return once every sidecar has acknowledged it."""
        if not 0 <= weight <= 100:
            raise ValueError(f"a weight is within 0..100, not {weight}")
        with self._lock:
            done = self._lab.apply(self.yaml(weight))
            self.quietly(lambda: self._place(weight))
            tone = "good" if done.proxies else "busy"
            self.say(f"{100 - weight}/{weight}: {acknowledged(done)}", tone=tone)
            return done

    def measure(self, n: int = 400) -> Split:
        """Send `n` requests and compare the versions that served them with the weights in force."""
        with self._lock:
            weights = self.weights
            if weights is None:
                weights = dict.fromkeys(self._versions, 50.0)
            answers = self._lab.curl(self._url, n=n, concurrency=4)
            result = split(versions_of(answers), {v: weights.get(v, 0.0) for v in self._versions})
            self._picture.value = result.svg()
            self.say(str(result), tone="good" if result.fits else "bad")
            return result

    def _place(self, weight: int) -> None:
        self._slider.value = weight
        self._show(weight)

    def _show(self, weight: int) -> None:
        self.show_yaml(self.yaml(weight), command=f"istioctl replace -f {self._name}.yaml   # {100 - weight}/{weight}")


def versions_of(answers: Answers) -> dict[str, int]:
    """Answers per version of the service behind: what `X-Upstream-Served-By: pod;version` says."""
    counts: dict[str, int] = {}
    for name, count in answers.by_upstream().items():
        version = str(name).rpartition(";")[2]
        counts[version] = counts.get(version, 0) + int(count)
    return counts


def split_rule(name: str, service: str, weights: Mapping[str, int]) -> str:
    """A RouteRule that splits the traffic of `service` by version; a version of weight 0 is not named."""
    lines = [
        "apiVersion: config.istio.io/v1alpha2",
        "kind: RouteRule",
        "metadata:",
        f"  name: {name}",
        "spec:",
        "  destination:",
        f"    name: {service}",
        "  precedence: 1",
        "  route:",
    ]
    for version, share in weights.items():
        if share:
            lines += ["  - labels:", f"      version: {version}", f"    weight: {share}"]
    return "\n".join(lines) + "\n"
