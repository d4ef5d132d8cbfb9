"""Rules of v1alpha2 to documents of networking.istio.io/v1: what belongs together, and what is lost on the way."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from meshlab.mesh.config import legacy, model, routing
from meshlab.mesh.config.convert.render import Names, default_route, http_route, service_entry, traffic_policy
from meshlab.mesh.config.egress import without_conflicts
from meshlab.mesh.config.labels import NO_LABELS, Labels
from meshlab.mesh.config.model import Config
from meshlab.mesh.config.order import destination_of, sort_route_rules
from meshlab.mesh.config.outside import PLACEHOLDER, ExternalService
from meshlab.mesh.config.traffic import NO_TRAFFIC, Policy, Traffic

__all__ = ["Converted", "Note", "Weight", "convert_rules"]

Spec = dict[str, Any]
API_VERSION = "networking.istio.io/v1"


class Weight(Enum):
    """How much a note matters."""

    #: Nothing says it any more.
    LOST = "lost"
    #: It is said, and means something slightly different.
    CHANGED = "changed"
    #: It was not in force before either.
    IDLE = "not in force"


@dataclass(frozen=True, slots=True)
class Note:
    """What a reader of the converted documents must know of one rule (`key`)."""

    weight: Weight
    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.weight.value}: {self.key}: {self.text}"


@dataclass(frozen=True)
class Converted:
    """One document, the rules it comes from, and what is to be said of it."""

    obj: Mapping[str, Any]
    origins: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()


@dataclass
class _Work:
    """What is known while one set of rules is converted."""

    domain: str
    #: Host → selector of the Service, as far as Services are known.
    selectors: Mapping[str, Labels]
    external: dict[str, ExternalService] = field(default_factory=dict)
    #: Host → labels → name of the subset.
    subsets: dict[str, dict[Labels, str]] = field(default_factory=dict)
    names: set[tuple[str, str, str]] = field(default_factory=set)

    def subset(self, host: str, labels: Labels) -> str:
        """A name for a version, the same for the same labels."""
        known = self.subsets.setdefault(host, {})
        if labels not in known:
            text = labels.get("version", "") if set(labels) == {"version"} else "-".join(labels.values())
            name = base = _label(text) or "all"
            number = 2
            while name in known.values():
                name, number = f"{base[:59]}-{number}", number + 1
            known[labels] = name
        return known[labels]

    def reference(self, host: str, namespace: str) -> str:
        """A host as written in a document of this namespace: short for its own services."""
        if host in self.external:
            return self.external_hosts(host)[0]
        return host.removesuffix(f".{namespace}.svc.{self.domain}") if namespace else host

    def external_hosts(self, host: str) -> list[str]:
        """The hosts of an external service's entry, which needs a name: a placeholder for an address."""
        found = self.external[host]
        return list(found.hosts) or [_label(host.replace("/", "-")) + PLACEHOLDER]

    def name(self, kind: str, namespace: str, wanted: str) -> str:
        """A free name for a document."""
        name, number = wanted, 2
        while (kind, namespace, name) in self.names:
            name, number = f"{wanted}-{number}", number + 1
        self.names.add((kind, namespace, name))
        return name


def _label(text: str) -> str:
    """The text as a DNS label, "" if nothing of it is left."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower().replace("*", "wildcard")).strip("-")[:63].strip("-")


def convert_rules(
    rules: Iterable[Config[Any]], selectors: Mapping[str, Labels] | None = None, domain: str = "cluster.local"
) -> list[Converted]:
    """Documents that say what these valid rules say: service entries, destination rules, virtual services.

    `selectors`: host → selector of its Service, for rules that choose callers by service. Rules without a
    namespace are taken for rules of `default`, and their documents have none either.
    """
    known = [_placed(each, domain) for each in rules]
    work = _Work(domain, selectors or {})
    entries = _entries([each for each in known if isinstance(each.spec, model.EgressRule)], work)
    routes = [each for each in known if isinstance(each.spec, model.RouteRule)]
    policies = [each for each in known if isinstance(each.spec, model.DestinationPolicy)]
    services = _virtual_services(routes, work)
    made = _destination_rules(policies, work)
    others = [
        Converted({}, (each.key,), (Note(Weight.LOST, each.key, _HINTS.get(each.meta.type, _NOTHING)),))
        for each in known
        if not isinstance(each.spec, (model.EgressRule, model.RouteRule, model.DestinationPolicy))
    ]
    return [*entries, *made, *services, *others]


_NOTHING = "today's networking API has nothing like it"
_HINTS = {
    "gateway": "0.4.0 stored this first Gateway and used it for nothing; write one of networking.istio.io/v1",
    "ingress-rule": "write an Ingress, or a Gateway and a VirtualService",
}


def _placed(config: Config[Any], domain: str) -> Config[Any]:
    """With a namespace and a domain, by which short names are completed."""
    meta = config.meta
    return replace(config, meta=replace(meta, namespace=meta.namespace or "default", domain=meta.domain or domain))


def _document(kind: str, name: str, namespace: str, spec: Spec) -> Spec:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


# Egress rules


def _entries(rules: Sequence[Config[model.EgressRule]], work: _Work) -> list[Converted]:
    by_key = {each.key: each for each in rules}
    kept, conflicts = without_conflicts({key: each.spec for key, each in by_key.items()})
    out = [
        Converted({}, (each.rule,), (Note(Weight.IDLE, each.rule, f"{each.message}: not converted"),))
        for each in conflicts
    ]
    for key in kept:
        rule = by_key[key]
        service, notes = _reachable(rule)
        if not service.ports:
            out.append(Converted({}, (key,), notes))
            continue
        work.external[service.key] = service
        hosts = work.external_hosts(service.key)
        if service.addresses:
            text = f"a ServiceEntry must have a host name: {hosts[0]} stands for the address and resolves nowhere"
            notes = (*notes, Note(Weight.CHANGED, key, text))
        name = work.name("ServiceEntry", rule.meta.namespace, rule.meta.name)
        spec = service_entry(service, hosts)
        out.append(Converted(_document("ServiceEntry", name, rule.meta.namespace, spec), (key,), notes))
    return out


def _reachable(rule: Config[model.EgressRule]) -> tuple[ExternalService, tuple[Note, ...]]:
    """The rule as an external service, without the ports that cannot be said today."""
    service = legacy.egress_service(rule)
    if service.hosts == ("*",):
        text = "no ServiceEntry is for every host; let all traffic out by outboundTrafficPolicy: {mode: ALLOW_ANY}"
        return replace(service, ports=()), (Note(Weight.LOST, rule.key, text),)
    notes = []
    ports = []
    for port in service.ports:
        if service.hosts and not port.protocol.is_http:
            text = f"port {port.number} ({port.protocol.value}) of a name was routed nowhere by 0.4.0: left out"
            notes.append(Note(Weight.IDLE, rule.key, text))
        else:
            ports.append(port)
        if port.tls is not None:
            text = f"port {port.number}: TLS is originated by the DestinationRule; the certificate is still not checked"
            notes.append(Note(Weight.CHANGED, rule.key, text))
    return replace(service, ports=tuple(ports)), tuple(notes)


# Route rules


def _virtual_services(rules: Sequence[Config[model.RouteRule]], work: _Work) -> list[Converted]:
    hosts: dict[str, list[Config[model.RouteRule]]] = {}
    for rule in sort_route_rules(rules):
        hosts.setdefault(destination_of(rule), []).append(rule)
    return [_virtual_service(host, listed, work) for host, listed in sorted(hosts.items())]


def _virtual_service(host: str, rules: Sequence[Config[model.RouteRule]], work: _Work) -> Converted:
    namespace = rules[0].meta.namespace
    names = Names(lambda other: work.reference(other, namespace), work.subset)
    notes: list[Note] = []
    blocks: list[Spec] = []
    caught = ""
    for rule in rules:
        if caught:
            text = f"{caught} takes every request before it: not converted"
            notes.append(Note(Weight.IDLE, rule.key, text))
            continue
        route = legacy.route(rule)
        if host in work.external:
            route = _to_itself(route, host, notes)
        source, more = _callers(rule, route.match.source, work)
        notes += [*more, *_losses(rule)]
        if rule.meta.namespace != namespace:
            text = f"joined with the rules of namespace {namespace} for the same host"
            notes.append(Note(Weight.CHANGED, rule.key, text))
        blocks.append(http_route(route, names, source))
        if route.match.catches_all and route.match.source is None:
            caught = rule.key
    if not caught:
        blocks.append(default_route(host, names))
    single = len(rules) == 1
    name = work.name("VirtualService", namespace, rules[0].meta.name if single else _label(host.split(".")[0]) or "all")
    hosts = [host] if host in work.external and work.external[host].addresses else [names.host(host)]
    spec = {"hosts": hosts, "http": blocks}
    origins = tuple(rule.key for rule in rules)
    return Converted(_document("VirtualService", name, namespace, spec), origins, tuple(notes))


def _to_itself(route: routing.Route, host: str, notes: list[Note]) -> routing.Route:
    """Versions and weights mean nothing outside the mesh."""
    if not route.destinations or route.destinations == (routing.Weighted(routing.Destination(host)),):
        return route
    text = f"{host} is outside the mesh: versions, weights and other destinations meant nothing there"
    notes.append(Note(Weight.IDLE, route.origin.key if route.origin else "", text))
    return replace(route, destinations=(routing.Weighted(routing.Destination(host)),))


def _callers(rule: Config[Any], source: routing.Source | None, work: _Work) -> tuple[Spec, list[Note]]:
    """The fields of a match that choose callers: their pods' labels, not the service they are behind."""
    if source is None:
        return {}, []
    selector = work.selectors.get(source.service)
    name, _, rest = source.service.partition(".")
    namespace = rest.split(".")[0] if rest else rule.meta.namespace
    guessed = selector is None
    labels = Labels({**(selector or {"app": name}), **source.labels})
    how = "a guess, for its Service is not among the documents" if guessed else "the selector of that Service"
    text = f"callers were pods behind {source.service}; now they are pods of {namespace} labelled {labels} ({how})"
    spec = {"sourceLabels": dict(labels), "sourceNamespace": namespace}
    return spec, [Note(Weight.CHANGED, rule.key, text)]


def _losses(rule: Config[model.RouteRule]) -> list[Note]:
    spec, out = rule.spec, list[Note]()

    def note(weight: Weight, text: str) -> None:
        out.append(Note(weight, rule.key, text))

    if not spec.websocket_upgrade and spec.redirect is None:
        note(Weight.CHANGED, "without websocketUpgrade 0.4.0 let no websocket through; today every route does")
    if spec.match is not None and (spec.match.tcp is not None or spec.match.udp is not None):
        note(Weight.IDLE, "match.tcp had no effect: left out")
    for what, said in (("httpReqTimeout", spec.timeout), ("httpReqRetries", spec.retries)):
        if said is not None and said.override_header_name:
            note(Weight.LOST, f"{what}.overrideHeaderName: callers can no longer change it by a header")
        if said is not None and said.custom is not None:
            note(Weight.LOST, f"{what}.custom was used for nothing")
    if spec.fault is not None:
        out += _fault_losses(rule.key, spec.fault)
    for name, wanted in (spec.match.headers or {}).items() if spec.match else ():
        if wanted.kind is model.MatchKind.REGEX:
            text = f"the regular expression of {name} is read as RE2 now"
            note(Weight.CHANGED, f"{text}; 0.4.0 compared uri expressions with nothing" if name == "uri" else text)
    if spec.mirror is not None:
        note(Weight.CHANGED, "mirrors work today; in 0.4.0 they led nowhere")
    return out


def _fault_losses(key: str, fault: model.Fault) -> list[Note]:
    out = []
    delay, abort = fault.delay, fault.abort
    for name, percent in (("delay", delay.percent if delay else None), ("abort", abort.percent if abort else None)):
        if percent is None:
            continue
        if int(percent) == 0:
            out.append(Note(Weight.IDLE, key, f"httpFault.{name} of {percent:g} % injected nothing: left out"))
        elif percent != int(percent):
            out.append(Note(Weight.CHANGED, key, f"httpFault.{name}: {percent:g} % was cut to {int(percent)} %"))
    for name, header in (
        ("delay", delay and delay.override_header_name),
        ("abort", abort and abort.override_header_name),
    ):
        if header:
            out.append(Note(Weight.LOST, key, f"httpFault.{name}.overrideHeaderName"))
    if abort is not None and int(abort.percent) and not 200 <= (abort.http_status or 0) < 600:
        what = "http2Error" if abort.http2_error else f"httpStatus {abort.http_status or 0}"
        out.append(Note(Weight.IDLE, key, f"httpFault.abort with {what} had no effect: left out"))
    return out


# Destination policies


def _destination_rules(policies: Sequence[Config[model.DestinationPolicy]], work: _Work) -> list[Converted]:
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
    work: _Work,
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
    name = _label(host.split(".")[0] if host not in work.external else host) or "all"
    if source is not None:
        namespace, name = _for_callers(source, name, spec, notes, origins, work)
    spec["host"] = work.reference(host, namespace)
    document = _document("DestinationRule", work.name("DestinationRule", namespace, name), namespace, spec)
    return Converted(document, tuple(origins), tuple(notes))


def _home(host: str, work: _Work) -> str:
    if host in work.external:
        return work.external[host].namespace
    return host.split(".")[1] if host.count(".") else "default"


def _for_callers(
    source: routing.Source, name: str, spec: Spec, notes: list[Note], origins: Sequence[str], work: _Work
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
    return namespace, f"{name}-from-{_label(caller)}"


def _top(host: str, whole: Traffic, work: _Work) -> Spec:
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
