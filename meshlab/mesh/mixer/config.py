"""Mixer's configuration: the stored objects, resolved and compiled.

`resolve` is a pure function of the objects; it never fails. What is wrong with one of them (an expression that
does not parse, a handler that does not exist) leaves that part out and is listed in `problems`, so that one
bad rule does not blind the others. The names, defaults and namespace rules are 0.4.0's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from meshlab.mesh.mixer.expressions import Expression, ExpressionError, compile_expression

__all__ = ["KINDS", "Action", "Configuration", "Instance", "MetricInfo", "Rule", "buckets", "resolve"]

#: Kinds that Mixer reads, by their plural; those of its other adapters are stored but do nothing here.
KINDS: Mapping[str, str] = {
    "rules": "rule", "metrics": "metric", "logentries": "logentry", "kuberneteses": "kubernetes",
    "prometheuses": "prometheus", "stdios": "stdio", "kubernetesenvs": "kubernetesenv",
    "checknothings": "checknothing", "listentries": "listentry", "quotas": "quota",
    "deniers": "denier", "listcheckers": "listchecker", "memquotas": "memquota",
}
_INSTANCES = ("metric", "logentry", "kubernetes", "checknothing", "listentry", "quota")
#: Handlers, and what each can be given.
_TAKES = {
    "prometheus": ("metric",), "stdio": ("logentry", "metric"), "kubernetesenv": ("kubernetes",),
    "denier": ("checknothing", "listentry", "quota"), "listchecker": ("listentry",), "memquota": ("quota",),
}
_TRUE = "true"
_LEGAL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
#: What reading an object of another shape raises: the API server of 0.4 stored any shape.
_MALFORMED = (AttributeError, TypeError, ValueError, KeyError, ArithmeticError)
Object = Mapping[str, Any]


@dataclass(frozen=True)
class MetricInfo:
    """How the Prometheus handler exposes one metric instance. `bounds` are a histogram's upper bounds."""

    name: str
    kind: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...] = ()
    description: str = ""


@dataclass(frozen=True)
class Instance:
    """An instance of one of the kinds; `name` is `accesslog.logentry.istio-system`.

    `fields` are dimensions, variables or inputs (a list entry's is `value`); `value` is a metric's;
    `severity` and `timestamp` a log's.
    """

    name: str
    kind: str
    fields: Mapping[str, Expression]
    value: Expression | None = None
    severity: Expression | None = None
    timestamp: Expression | None = None


@dataclass(frozen=True)
class Action:
    handler: str
    handler_kind: str
    settings: Mapping[str, Any]
    instances: tuple[Instance, ...]


@dataclass(frozen=True)
class Rule:
    """`protocol` is http or tcp where a label limits the rule, else "". `namespace` "" applies everywhere."""

    name: str
    namespace: str
    match: Expression
    protocol: str
    actions: tuple[Action, ...]


@dataclass(frozen=True)
class Configuration:
    rules: tuple[Rule, ...] = ()
    #: Metric instance name → how the Prometheus handlers expose it.
    metrics: Mapping[str, MetricInfo] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def resolve(objects: Iterable[Object], *, default_namespace: str = "istio-system") -> Configuration:
    """The configuration that these objects (of KINDS) make. Rules are in the order of their names."""
    problems: list[str] = []
    by_name: dict[str, Object] = {}
    for obj in objects:
        by_name[_name(obj)] = obj
    instances: dict[str, Instance] = {}
    metrics: dict[str, MetricInfo] = {}
    rules: list[Rule] = []

    def each(kinds: tuple[str, ...], take: Callable[[str, Object], None]) -> None:
        for name, obj in sorted(by_name.items()):
            if obj["kind"] in kinds:
                try:
                    take(name, obj)
                except ExpressionError as error:
                    problems.append(f"{name}: {error}")
                except _MALFORMED as error:
                    problems.append(f"{name}: malformed: {error}")

    def take_instance(name: str, obj: Object) -> None:
        instances[name] = _instance(name, obj["kind"], obj.get("spec") or {})

    def take_handler(name: str, obj: Object) -> None:
        for info in (obj.get("spec") or {}).get("metrics") or ():
            key = str(_get(info, "instance_name", "instanceName", ""))
            try:
                metrics[_qualify(key, obj["metadata"]["namespace"])] = _metric_info(info)
            except _MALFORMED as error:
                problems.append(f"{name}: metric {key}: {error}")

    def take_rule(name: str, obj: Object) -> None:
        rule = _rule(name, obj, by_name, instances, default_namespace, problems)
        if rule is not None:
            rules.append(rule)

    each(_INSTANCES, take_instance)
    each(("prometheus",), take_handler)
    each(("rule",), take_rule)
    return Configuration(tuple(rules), metrics, tuple(problems))


def buckets(definition: Mapping[str, Any]) -> tuple[float, ...]:
    """Upper bounds of a histogram from linear, exponential or explicit buckets. Raises ValueError.

    n finite buckets have n + 1 bounds.
    """
    for names, make in (
        (("linear_buckets", "linearBuckets"), _linear),
        (("exponential_buckets", "exponentialBuckets"), _exponential),
        (("explicit_buckets", "explicitBuckets"), lambda d: tuple(float(b) for b in d.get("bounds") or ())),
    ):
        chosen = _get(definition, *names, None)
        if chosen is not None:
            return make(chosen)
    if definition:
        raise ValueError(f"unknown buckets: {', '.join(definition)}")
    return ()


def _linear(d: Mapping[str, Any]) -> tuple[float, ...]:
    offset, width = float(d.get("offset", 0)), float(d.get("width", 0))
    return tuple(offset + n * width for n in range(_count(d) + 1))


def _exponential(d: Mapping[str, Any]) -> tuple[float, ...]:
    scale, growth = float(d.get("scale", 0)), float(_get(d, "growth_factor", "growthFactor", 0))
    return tuple(scale * growth ** n for n in range(_count(d) + 1))


def _count(d: Mapping[str, Any]) -> int:
    count = int(_get(d, "num_finite_buckets", "numFiniteBuckets", 0))
    if not 0 < count <= 1000:
        raise ValueError(f"numFiniteBuckets must be 1 to 1000, not {count}")
    return count


def _metric_info(info: Mapping[str, Any]) -> MetricInfo:
    kind = str(info.get("kind", "")).upper()
    if kind not in ("COUNTER", "GAUGE", "DISTRIBUTION"):
        raise ValueError(f"unknown metric kind {info.get('kind')!r}")
    name = _get(info, "instance_name", "instanceName", "") if not info.get("name") else info["name"]
    # Where a distribution says no buckets, the client library's own.
    bounds = buckets(info.get("buckets") or {}) or (.005, .01, .025, .05, .1, .25, .5, 1., 2.5, 5., 10.)
    labels = tuple(str(label) for label in _get(info, "label_names", "labelNames", None) or ())
    for word in (_clean(str(name)), *labels):
        if not _LEGAL.fullmatch(word):  # one would make the whole page unreadable to Prometheus
            raise ValueError(f"{word!r} is no name for a metric or label")
    return MetricInfo(_clean(str(name)), kind, labels,
                      bounds if kind == "DISTRIBUTION" else (), str(info.get("description") or ""))


def _instance(name: str, kind: str, spec: Mapping[str, Any]) -> Instance:
    if kind == "metric":
        return Instance(name, kind, _expressions(spec.get("dimensions") or {}), value=_expression(spec["value"])
                        if spec.get("value") is not None else compile_expression("1"))
    if kind == "logentry":
        return Instance(name, kind, _expressions(spec.get("variables") or {}),
                        severity=_expression(spec.get("severity", '"info"')),
                        timestamp=_expression(spec.get("timestamp", "context.time")))
    if kind == "quota":
        return Instance(name, kind, _expressions(spec.get("dimensions") or {}))
    return Instance(name, kind, _expressions({
        "".join("_" + c.lower() if c.isupper() else c for c in key): value for key, value in spec.items()}))


def _rule(name: str, obj: Object, by_name: Mapping[str, Object], instances: Mapping[str, Instance],
          default_namespace: str, problems: list[str]) -> Rule | None:
    spec, namespace = obj.get("spec") or {}, obj["metadata"]["namespace"]
    try:
        match = compile_expression(str(spec.get("match") or _TRUE))
    except ExpressionError as error:
        problems.append(f"{name}: {error}")
        return None
    actions = []
    for action in spec.get("actions") or ():
        handler = _qualify(str(action.get("handler", "")), namespace)
        target = by_name.get(handler)
        if target is None or target["kind"] not in _TAKES:
            problems.append(f"{name}: handler not found: {handler}")
            continue
        chosen = []
        for wanted in action.get("instances") or ():
            instance = instances.get(_qualify(str(wanted), namespace))
            if instance is None:
                problems.append(f"{name}: instance not found: {wanted}")
            elif instance.kind not in _TAKES[target["kind"]]:
                problems.append(f"{name}: {handler} cannot handle {instance.name}")
            else:
                chosen.append(instance)
        if chosen:
            actions.append(Action(handler, target["kind"], dict(target.get("spec") or {}), tuple(chosen)))
    if not actions:
        return None
    protocol = str((obj["metadata"].get("labels") or {}).get("istio-protocol", ""))
    return Rule(name, "" if namespace == default_namespace else namespace, match, protocol, tuple(actions))


def _expression(text: Any) -> Expression:
    """An expression; YAML gives numbers and booleans for unquoted ones."""
    if isinstance(text, bool):
        text = str(text).lower()
    return compile_expression(str(text))


def _expressions(spec: Mapping[str, Any]) -> dict[str, Expression]:
    return {str(key): _expression(value) for key, value in spec.items() if value is not None}


def _name(obj: Object) -> str:
    meta = obj["metadata"]
    return f"{meta['name']}.{obj['kind']}.{meta.get('namespace', '')}"


def _qualify(name: str, namespace: str) -> str:
    """`handler.stdio` in a rule means the one of the rule's namespace."""
    return name if name.count(".") >= 2 else f"{name}.{namespace}"


def _get(mapping: Mapping[str, Any], snake: str, camel: str, default: Any) -> Any:
    return mapping[snake] if snake in mapping else mapping.get(camel, default)


def _clean(name: str) -> str:
    """A Prometheus name: `/`, `.` and space become `_`, `-` vanishes."""
    return name.replace("/", "_").replace(".", "_").replace(" ", "_").replace("-", "")
