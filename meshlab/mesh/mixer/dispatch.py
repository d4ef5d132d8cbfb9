"""From log entries to metrics and log lines, at the rate of a mesh under load.

Which rules match, who the two workloads are and which series an entry belongs to depend on few attributes:
the addresses, the response code, and whatever the configured matches and dimensions name. So those are
evaluated once per combination, a *plan*; an entry then costs one look-up and an addition per metric. Plans are
dropped when the configuration or the pods change.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from meshlab.mesh.exposition import Family, Histogram, Number, labels_text, render
from meshlab.mesh.mixer.accesslog import LogWriter
from meshlab.mesh.mixer.attributes import EXTRACTORS, Bag, Direction, Reporter
from meshlab.mesh.mixer.config import Action, Configuration, Instance, MetricInfo, Rule
from meshlab.mesh.mixer.expressions import Absent, Expression
from meshlab.mesh.mixer.workloads import Workloads, derive

__all__ = ["Dispatcher", "applies"]

#: Plans and series kept at most: an expression over request.path must not eat the memory.
MAX_PLANS = 20_000
MAX_SERIES = 20_000
#: Kinds of handlers that have a part in reports; the others answer checks.
REPORTING = ("kubernetesenv", "prometheus", "stdio")


@dataclass
class _Plan:
    """What to do with entries of one combination. `derived` are the adapters' attributes."""

    derived: Mapping[str, Any]
    counters: list[tuple[Number, Callable[[Any, Reporter, Mapping[str, Any]], float]]] = (
        field(default_factory=list))
    histograms: list[tuple[Histogram, Callable[[Any, Reporter, Mapping[str, Any]], float]]] = (
        field(default_factory=list))
    logs: list[LogWriter] = field(default_factory=list)


class Dispatcher:
    """Thread-safe. `write` receives the log lines of a batch as one text."""

    def __init__(self, workloads: Workloads, write: Callable[[str], None], *,
                 count_outbound: Callable[[], bool] = lambda: False) -> None:
        """`count_outbound` switches 0.4.0's double report on: see `observe`."""
        self._workloads, self._write, self._count_outbound = workloads, write, count_outbound
        self._lock = threading.Lock()
        self._configuration = Configuration()
        self._keys: tuple[Callable[[Any, Reporter], Any], ...] = ()
        self._plans: dict[tuple[Any, ...], _Plan] = {}
        self._pods = -1
        self._families: dict[str, Family] = {}
        self._writers: dict[tuple[str, str], LogWriter] = {}
        #: Totals since the start, for Mixer's own metrics.
        self.reports = 0
        self.ignored = 0
        self.dropped_series = 0
        self.dispatches: dict[tuple[str, str], int] = {}

    @property
    def configuration(self) -> Configuration:
        return self._configuration

    def configure(self, configuration: Configuration) -> None:
        """Takes a new configuration; what was counted by a metric that stays as it is, is kept."""
        with self._lock:
            before, self._configuration = self._configuration, configuration
            self._keys = tuple(EXTRACTORS[name] for name in sorted(_key_attributes(configuration)))
            self._plans.clear()
            self._writers.clear()
            same = set(before.metrics.values()) & set(configuration.metrics.values())
            kept = {"istio_" + info.name for info in same}
            self._families = {name: family for name, family in self._families.items() if name in kept}

    def observe(self, reporter: Reporter, entries: Iterable[Any]) -> None:
        """Counts and logs one batch of a stream.

        In 0.4.0 outbound listeners reported too, naming the caller's own service as the destination; such
        reports are taken only when `count_outbound()` says so.
        """
        batch = list(entries)
        if reporter.direction == Direction.OUTBOUND and not self._count_outbound():
            with self._lock:
                self.ignored += len(batch)
            return
        lines: list[str] = []
        with self._lock:
            if self._pods != self._workloads.generation:
                self._pods = self._workloads.generation
                self._plans.clear()
            keys, plans = self._keys, self._plans
            for entry in batch:
                key = (reporter, *[extract(entry, reporter) for extract in keys])
                try:
                    plan = plans.get(key)
                except TypeError:  # an unhashable attribute (a map): its text will do
                    key = (reporter, *map(str, key[1:]))
                    plan = plans.get(key)
                if plan is None:
                    if len(plans) >= MAX_PLANS:
                        plans.clear()
                    plan = plans[key] = self._plan(entry, reporter)
                derived = plan.derived
                for counter, value in plan.counters:
                    counter.value += value(entry, reporter, derived)
                for histogram, value in plan.histograms:
                    histogram.observe(value(entry, reporter, derived))
                if plan.logs:
                    bag = Bag(entry, reporter, derived)
                    lines.extend(writer.line(bag) for writer in plan.logs)
            self.reports += len(batch)
        if lines:
            self._write("".join(lines))

    def metrics(self) -> bytes:
        """The mesh's metrics, for Prometheus."""
        with self._lock:
            return render(self._families[name] for name in sorted(self._families))

    def _plan(self, entry: Any, reporter: Reporter) -> _Plan:
        bag = Bag(entry, reporter, {})
        derived: dict[str, Any] = {}
        for action in self._actions(bag, ("kubernetesenv",)):
            for instance in action.instances:
                inputs = {name: expression.get(bag) for name, expression in instance.fields.items()}
                derived.update(derive(self._workloads, inputs, look_up_ingress_source=bool(
                    action.settings.get("lookupIngressSourceAndOriginValues"))))
        plan = _Plan(derived)
        bag = Bag(entry, reporter, derived)
        for action in self._actions(bag, ("prometheus", "stdio")):
            for instance in action.instances:
                if action.handler_kind == "prometheus":
                    self._plan_metric(plan, instance, bag)
                else:
                    key = (action.handler, instance.name)
                    if key not in self._writers:
                        self._writers[key] = LogWriter(instance, action.settings)
                    plan.logs.append(self._writers[key])
                count = (action.handler, instance.kind)
                self.dispatches[count] = self.dispatches.get(count, 0) + 1
        return plan

    def _actions(self, bag: Bag, kinds: Sequence[str]) -> Iterator[Action]:
        for rule in self._configuration.rules:
            if applies(rule, bag):
                yield from (action for action in rule.actions if action.handler_kind in kinds)

    def _plan_metric(self, plan: _Plan, instance: Instance, bag: Bag) -> None:
        info = self._configuration.metrics.get(instance.name)
        if info is None or instance.value is None:
            return
        try:
            labels = labels_text({label: _text(instance.fields[label].evaluate(bag)) for label in info.labels})
        except (Absent, KeyError):
            return  # a dimension that this report cannot fill: the original drops the sample and logs
        series = self._series(info, labels)
        if series is None:
            self.dropped_series += 1
        elif isinstance(series, Histogram):
            plan.histograms.append((series, _number(instance.value)))
        else:
            plan.counters.append((series, _number(instance.value)))

    def _series(self, info: MetricInfo, labels: str) -> Number | Histogram | None:
        name = "istio_" + info.name
        family = self._families.get(name)
        if family is None:
            kind = {"COUNTER": "counter", "GAUGE": "gauge"}.get(info.kind, "histogram")
            family = self._families[name] = Family(name, kind, info.description or name)
        found = family.series.get(labels)
        if found is None and sum(len(f.series) for f in self._families.values()) < MAX_SERIES:
            found = Histogram(info.bounds) if family.kind == "histogram" else Number()
            family.series[labels] = found
        return found


def applies(rule: Rule, bag: Mapping[str, Any]) -> bool:
    """Whether a rule holds for what these attributes describe; no, where its match needs one that is absent."""
    if rule.protocol and rule.protocol != bag["context.protocol"]:
        return False
    try:
        if rule.namespace and bag["destination.namespace"] != rule.namespace:
            return False
        return rule.match.evaluate(bag) is True
    except Absent:
        return False


def _key_attributes(configuration: Configuration) -> set[str]:
    """Attributes of an entry on which a plan depends: those of matches, dimensions and adapters' inputs.

    Attributes that adapters add depend on the adapters' inputs, which are among them.
    """
    names: set[str] = set()
    for rule in configuration.rules:
        reporting = [action for action in rule.actions if action.handler_kind in REPORTING]
        if reporting:
            names |= rule.match.attributes
        for action in reporting:
            if action.handler_kind != "stdio":
                for instance in action.instances:
                    for expression in instance.fields.values():
                        names |= expression.attributes
    return {name for name in names if name in EXTRACTORS}


def _number(expression: Expression) -> Callable[[Any, Reporter, Mapping[str, Any]], float]:
    """A metric's value as a quick function of the entry; what is absent or no number counts nothing."""
    if expression.simple is not None:
        attribute, default = expression.simple
        fixed = _float(default)
        if attribute is None:
            return lambda entry, reporter, derived: fixed
        if attribute in EXTRACTORS:
            extract = EXTRACTORS[attribute]

            def quick(entry: Any, reporter: Reporter, derived: Mapping[str, Any]) -> float:
                value = extract(entry, reporter)
                return fixed if value is None else value

            return quick
    return lambda entry, reporter, derived: _float(expression.get(Bag(entry, reporter, derived), 0.0))


def _float(value: Any) -> float:
    try:
        return float(value or 0.0)
    except (TypeError, ValueError):
        return 0.0


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
