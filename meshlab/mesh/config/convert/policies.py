"""Destination policies of v1alpha2, and the versions that rules name, as DestinationRules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from meshlab.mesh.config import legacy, model, routing
from meshlab.mesh.config.convert.render import ROUND_ROBIN, traffic_policy
from meshlab.mesh.config.convert.work import Converted, Note, Spec, Weight, Work, document, label
from meshlab.mesh.config.labels import NO_LABELS, Labels
from meshlab.mesh.config.model import Config
from meshlab.mesh.config.traffic import NO_TRAFFIC, Policy, Traffic

__all__ = ["destination_rules"]


def destination_rules(policies: Sequence[Config[model.DestinationPolicy]], work: Work) -> list[Converted]:
    """One for each host that has versions or policies, and one more for each group of callers."""
    hosts: dict[str, list[tuple[Config[model.DestinationPolicy], Policy]]] = {}
    for config in sorted(policies, key=lambda each: each.key):
        made = legacy.policy(config)
        hosts.setdefault(made.host, []).append((config, made))
    out = []
    originating = {key for key, service in work.external.items() if any(port.tls for port in service.ports)}
    for host in sorted({*hosts, *work.subsets, *originating}):
        listed = hosts.get(host, [])
        for _, made in listed:
            if made.labels:
                work.subset(host, made.labels)
        sources = list(dict.fromkeys(made.source for _, made in listed if made.source is not None))
        for source in (None, *sources):
            converted = _destination_rule(host, listed, source, work)
            if converted is not None:
                out.append(converted)
    return out


def _destination_rule(
    host: str,
    listed: Sequence[tuple[Config[model.DestinationPolicy], Policy]],
    source: routing.Source | None,
    work: Work,
) -> Converted | None:
    notes: list[Note] = []
    chosen: dict[Labels, Policy] = {}
    origins: list[str] = []
    for config, made in listed:
        if made.source not in (None, source):
            continue
        if made.labels in chosen:
            first = chosen[made.labels].origin
            if made.source == source:
                notes.append(Note(Weight.IDLE, config.key, f"{first.key if first else ''} is in force in its place"))
            continue
        chosen[made.labels] = made
        origins.append(config.key)
        if made.source == source:
            notes += _policy_losses(config)
    whole = chosen[NO_LABELS].traffic if NO_LABELS in chosen else NO_TRAFFIC
    if host not in work.external and (chosen or host in work.subsets):
        whole = replace(whole, balancer=whole.balancer or ROUND_ROBIN)
    spec: Spec = {"host": ""}
    if top := _top(host, whole, work):
        spec["trafficPolicy"] = top
    subsets = []
    for labels, name in sorted(work.subsets.get(host, {}).items(), key=lambda item: item[1]):
        entry: Spec = {"name": name, "labels": dict(labels)}
        own = chosen[labels].traffic if labels in chosen else NO_TRAFFIC
        if particular := traffic_policy(own, whole):
            entry["trafficPolicy"] = particular
        subsets.append(entry)
    if subsets:
        spec["subsets"] = subsets
    if len(spec) == 1:
        return Converted({}, tuple(origins), tuple(notes)) if notes else None
    namespace = listed[0][0].meta.namespace if listed else _home(host, work)
    name = label(host.split(".")[0] if host not in work.external else host) or "all"
    if source is not None:
        namespace, name = _for_callers(source, name, spec, notes, origins, work)
    spec["host"] = work.reference(host, namespace)
    written = document("DestinationRule", work.name("DestinationRule", namespace, name), namespace, spec)
    return Converted(written, tuple(origins), tuple(notes))


def _home(host: str, work: Work) -> str:
    if host in work.external:
        return work.external[host].namespace
    return host.split(".")[1] if host.count(".") else "default"


def _for_callers(
    source: routing.Source, name: str, spec: Spec, notes: list[Note], origins: Sequence[str], work: Work
) -> tuple[str, str]:
    """Namespace and name of a rule for some callers; it must stand where they are."""
    caller, _, rest = source.service.partition(".")
    namespace = rest.split(".")[0] if rest else "default"
    selector = work.selectors.get(source.service)
    labels = Labels({**(selector or {"app": caller}), **source.labels})
    spec["workloadSelector"] = {"matchLabels": dict(labels)}
    guess = "" if selector is not None else " (a guess, for its Service is not among the documents)"
    text = f"callers are pods of {namespace} labelled {labels}{guess}, no longer pods behind {source.service}"
    notes.append(Note(Weight.CHANGED, origins[0] if origins else source.service, text))
    return namespace, f"{name}-from-{label(caller)}"


def _top(host: str, whole: Traffic, work: Work) -> Spec:
    """The policy of the host, with the TLS that is originated on ports of an external service."""
    top = traffic_policy(whole)
    if host in work.external:
        ports = [
            {"port": {"number": port.number}, **traffic_policy(replace(whole, tls=port.tls))}
            for port in work.external[host].ports
            if port.tls is not None
        ]
        if ports:
            top["portLevelSettings"] = ports
    return top


def _policy_losses(config: Config[model.DestinationPolicy]) -> list[Note]:
    spec, out = config.spec, list[Note]()
    breaker = spec.circuit_breaker
    custom = spec.custom or (spec.load_balancing and spec.load_balancing.custom) or (breaker and breaker.custom)
    if custom:
        out.append(Note(Weight.LOST, config.key, "a custom policy was used for nothing"))
    if breaker is None or not breaker.simple:
        return out
    if breaker.http_max_retries:
        out.append(Note(Weight.IDLE, config.key, "httpMaxRetries was never used: left out"))
    for name, length in (
        ("sleepWindow", breaker.sleep_window),
        ("httpDetectionInterval", breaker.http_detection_interval),
    ):
        if length is not None and length.ns < legacy.SECOND:
            out.append(Note(Weight.IDLE, config.key, f"{name} of less than a second was ignored: left out"))
    return out
