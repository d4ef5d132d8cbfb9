"""Rules of v1alpha2 to documents of networking.istio.io/v1: what belongs together, and what is lost on the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from meshlab.mesh.config import legacy, model, routing
from meshlab.mesh.config.convert.policies import destination_rules
from meshlab.mesh.config.convert.render import Names, default_route, http_route, service_entry
from meshlab.mesh.config.convert.work import Converted, Note, Spec, Weight, Work, document, label
from meshlab.mesh.config.egress import without_conflicts
from meshlab.mesh.config.labels import Labels
from meshlab.mesh.config.model import Config
from meshlab.mesh.config.order import destination_of, sort_route_rules
from meshlab.mesh.config.outside import ExternalService

__all__ = ["convert_rules"]


def convert_rules(
    rules: Iterable[Config[Any]], selectors: Mapping[str, Labels] | None = None, domain: str = "cluster.local"
) -> list[Converted]:
    """Documents that say what these valid rules say: service entries, destination rules, virtual services.

    `selectors`: host → selector of its Service, for rules that choose callers by service. Rules without a
    namespace are taken for rules of `default`, and their documents have none either.
    """
    known = [_placed(each, domain) for each in rules]
    work = Work(domain, selectors or {})
    entries = _entries([each for each in known if isinstance(each.spec, model.EgressRule)], work)
    routes = [each for each in known if isinstance(each.spec, model.RouteRule)]
    policies = [each for each in known if isinstance(each.spec, model.DestinationPolicy)]
    services = _virtual_services(routes, work)
    made = destination_rules(policies, work)
    others = [
        Converted({}, (each.key,), (Note(Weight.LOST, each.key, _HINTS.get(each.meta.type, _NOTHING)),))
        for each in known
        if not isinstance(each.spec, (model.EgressRule, model.RouteRule, model.DestinationPolicy))
    ]
    return [*entries, *made, *services, *others]


_OPEN = "today's meshes let destinations out that nobody allowed, unless outboundTrafficPolicy is REGISTRY_ONLY"
_NOTHING = "today's networking API has nothing like it"
_HINTS = {
    "gateway": "0.4.0 stored this first Gateway and used it for nothing; write one of networking.istio.io/v1",
    "ingress-rule": "write an Ingress, or a Gateway and a VirtualService",
}


def _placed(config: Config[Any], domain: str) -> Config[Any]:
    """With a namespace and a domain, by which short names are completed."""
    meta = config.meta
    return replace(config, meta=replace(meta, namespace=meta.namespace or "default", domain=meta.domain or domain))


# Egress rules


def _entries(rules: Sequence[Config[model.EgressRule]], work: Work) -> list[Converted]:
    by_key = {each.key: each for each in rules}
    kept, conflicts = without_conflicts({key: each.spec for key, each in by_key.items()})
    out = [
        Converted({}, (each.rule,), (Note(Weight.IDLE, each.rule, f"{each.message}: not converted"),))
        for each in conflicts
    ]
    for number, key in enumerate(kept):
        rule = by_key[key]
        service, notes = _reachable(rule)
        if not number:
            notes = (*notes, Note(Weight.CHANGED, key, _OPEN))
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
        out.append(Converted(document("ServiceEntry", name, rule.meta.namespace, spec), (key,), notes))
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


def _virtual_services(rules: Sequence[Config[model.RouteRule]], work: Work) -> list[Converted]:
    hosts: dict[str, list[Config[model.RouteRule]]] = {}
    for rule in sort_route_rules(rules):
        hosts.setdefault(destination_of(rule), []).append(rule)
    return [_virtual_service(host, listed, work) for host, listed in sorted(hosts.items())]


def _virtual_service(host: str, rules: Sequence[Config[model.RouteRule]], work: Work) -> Converted:
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
    name = work.name("VirtualService", namespace, rules[0].meta.name if single else label(host.split(".")[0]) or "all")
    # Of an address it is the name that the ServiceEntry has for it: istiod finds services by their names only.
    spec = {"hosts": [names.host(host)], "http": blocks}
    origins = tuple(rule.key for rule in rules)
    return Converted(document("VirtualService", name, namespace, spec), origins, tuple(notes))


def _to_itself(route: routing.Route, host: str, notes: list[Note]) -> routing.Route:
    """Versions and weights mean nothing outside the mesh."""
    if not route.destinations or route.destinations == (routing.Weighted(routing.Destination(host)),):
        return route
    text = f"{host} is outside the mesh: versions, weights and other destinations meant nothing there"
    notes.append(Note(Weight.IDLE, route.origin.key if route.origin else "", text))
    return replace(route, destinations=(routing.Weighted(routing.Destination(host)),))


def _callers(rule: Config[Any], source: routing.Source | None, work: Work) -> tuple[Spec, list[Note]]:
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
