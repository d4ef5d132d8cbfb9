"""Kubernetes' Gateway API (Gateway, HTTPRoute) to the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from meshlab.mesh.config import routing
from meshlab.mesh.config.grants import Reference
from meshlab.mesh.config.header_values import literal
from meshlab.mesh.config.labels import Labels
from meshlab.mesh.config.outside import GatewayServer, LabelSelector, MeshGateway, ServerTls
from meshlab.mesh.config.routing import Pattern, PatternKind
from meshlab.mesh.config.today.stored import Stored, duration, texts
from meshlab.mesh.config.today.virtual_services import DEFAULT_RETRIES, RETRY_ON

__all__ = ["CONTROLLER", "HOSTNAME", "NAME_LABEL", "host_rules", "merged", "mesh_gateway"]

Fields = Mapping[str, Any]
#: Of the GatewayClass that is ours.
CONTROLLER = "istio.io/gateway-controller"
#: What the pods of a gateway that was deployed for a Gateway object are labelled with.
NAME_LABEL = "gateway.networking.k8s.io/gateway-name"
#: The match of a rule without any.
_ANY: tuple[Fields, ...] = ({},)
#: What is named and not granted, or is of a kind that nobody serves, leads to this host, which nobody has.
REFUSED = "reference-not-permitted"
#: A backend that is the name of any host of the mesh, of a ServiceEntry too: (kind, group).
HOSTNAME = ("Hostname", "networking.istio.io")
NOTHING: frozenset[Reference] = frozenset()
#: The answer where no backend is named, and where none of those that are takes anything.
NOTHING_NAMED, NO_BACKEND = 404, 500
#: Of a `retry` that does not say how many; and what is retried where it names no statuses.
ATTEMPTS = 2
WITHOUT_CODES = RETRY_ON.removesuffix(",retriable-status-codes")
_PATHS = {
    "Exact": PatternKind.EXACT,
    "PathPrefix": PatternKind.SEGMENTS,
    "RegularExpression": PatternKind.REGEX,
}


def mesh_gateway(
    stored: Stored, selector: Labels | None = None, refused: frozenset[Reference] = NOTHING
) -> MeshGateway:
    """One Gateway. `selector`: the pods that are it; None: those labelled with its name.

    `refused`: what it names and is not granted.
    """
    servers = []
    for each in stored.spec.get("listeners") or ():
        tls = each.get("tls") or {}
        references = tls.get("certificateRefs") or ()
        secret = f"{references[0].get('namespace') or stored.namespace}/{references[0]['name']}" if references else ""
        lacking = [each for each in refused if secret == f"{each.namespace}/{each.name}"]
        mode = "PASSTHROUGH" if tls.get("mode") == "Passthrough" else "SIMPLE"
        spaces = (each.get("allowedRoutes") or {}).get("namespaces") or {}
        allowed = spaces.get("from") or "Same"
        where = "*" if allowed in ("All", "Selector") else "~" if allowed == "None" else stored.namespace
        servers.append(
            GatewayServer(
                int(each["port"]),
                each["protocol"],
                each["name"],
                ((where, each.get("hostname") or "*"),),
                ServerTls(mode, secret) if tls else None,
                lacking[0].refusal if lacking else "",
                _selector(spaces.get("selector") or {}) if allowed == "Selector" else None,
            )
        )
    chosen = Labels({NAME_LABEL: stored.name}) if selector is None else selector
    return MeshGateway(f"{stored.namespace}/{stored.name}", chosen, tuple(servers), stored.origin)


def _selector(fields: Fields) -> LabelSelector:
    exact = [(key, "In", (value,)) for key, value in (fields.get("matchLabels") or {}).items()]
    terms = fields.get("matchExpressions") or ()
    return LabelSelector((*exact, *((each["key"], each["operator"], texts(each.get("values"))) for each in terms)))


def host_rules(stored: Stored, refused: frozenset[Reference] = NOTHING) -> tuple[routing.HostRules, ...]:
    """One HTTPRoute: rules for the gateways it names as parents, and rules for each Service among them.

    A Service of another namespace has its rules for callers of the route's own namespace only. `refused`: what it names
    and is not granted, at gateways; in the mesh it takes no grant. A rule whose backends take nothing answers 500, one
    without any 404, as the API says. One that leads to others as well answers 503 for the share of those refused.
    A parent's one listener is the gateway `namespace/name/listener`.
    """
    parents = stored.spec.get("parentRefs") or ()
    gateways, found = [], list[routing.HostRules]()
    for each in parents:
        namespace = each.get("namespace") or stored.namespace
        if (each.get("kind") or "Gateway") == "Service":
            host, port = f"{each['name']}.{namespace}.svc.{stored.domain}", int(each.get("port") or 0)
            made = _rules(stored, (host,), (routing.MESH,), port, NOTHING)
            found.append(made if namespace == stored.namespace else replace(made, visible_in=(stored.namespace,)))
        else:
            section = f"/{each['sectionName']}" if each.get("sectionName") else ""
            gateways.append(f"{namespace}/{each['name']}{section}")
    if gateways:
        hosts = texts(stored.spec.get("hostnames")) or ("*",)
        found.insert(0, _rules(stored, hosts, tuple(gateways), 0, refused))
    return tuple(found)


def merged(listed: Iterable[routing.HostRules]) -> list[routing.HostRules]:
    """Rules of HTTPRoutes: for one Service and the same callers they are one list, in the order of precedence."""
    found: dict[object, routing.HostRules] = {}
    for each in listed:
        key: object = (each.hosts, each.visible_in) if each.gateways == (routing.MESH,) else id(each)
        if (before := found.get(key)) is not None:
            routes = tuple(sorted((*before.routes, *each.routes), key=_rank))
            each = replace(before, routes=routes)
        found[key] = each
    return list(found.values())


def _rules(
    stored: Stored, hosts: tuple[str, ...], gateways: tuple[str, ...], port: int, refused: frozenset[Reference]
) -> routing.HostRules:
    routes = [
        _route(stored, rule, position, match, port, refused)
        for position, rule in enumerate(stored.spec.get("rules") or ())
        for match in rule.get("matches") or _ANY
    ]
    routes.sort(key=_rank)
    return routing.HostRules(hosts, tuple(routes), gateways=gateways, namespace=stored.namespace, origin=stored.origin)


def _rank(route: routing.Route) -> tuple[int, int, int, int, int]:
    """The API's precedence: exact paths, longer prefixes, a method, more headers, more query parameters."""
    match = route.match
    method = any(each.name == ":method" for each in match.headers)
    order = {PatternKind.EXACT: 0, PatternKind.SEGMENTS: 1, PatternKind.PREFIX: 1, PatternKind.REGEX: 2}
    return (
        order.get(match.path.kind, 3), -len(match.path.value), -int(method), -len(match.headers), -len(match.query),
    )  # fmt: skip


def _route(
    stored: Stored, rule: Fields, position: int, match: Fields, port: int, refused: frozenset[Reference]
) -> routing.Route:
    filters = {each["type"]: each for each in rule.get("filters") or ()}
    redirect = filters.get("RequestRedirect", {}).get("requestRedirect")
    backends = rule.get("backendRefs") or ()
    weighted = [each for each in backends if each.get("weight") != 0]
    destinations = tuple(_backend(stored, each, refused, alone=len(weighted) == 1) for each in weighted)
    direct = None
    if redirect is None and all(each.destination.host == REFUSED for each in destinations):
        # Without any backend to send it to a request fails: so the API says.
        direct, destinations = routing.DirectResponse(NO_BACKEND if backends else NOTHING_NAMED), ()
    timeouts, retry = rule.get("timeouts") or {}, rule.get("retry")
    limit, each_try = duration(timeouts.get("request")), duration(timeouts.get("backendRequest"))
    retries = None if redirect is not None or direct else DEFAULT_RETRIES if retry is None else _retries(retry)
    if each_try is not None and each_try.ns:
        # Without a word of retries there is one try as far as anybody asked: it may take that long.
        if retry is None:
            limit = each_try
        elif retries is not None:
            retries = replace(retries, per_try_timeout=each_try)
    return routing.Route(
        name=rule.get("name") or f"{stored.namespace}.{stored.name}.{position}",
        match=_match(match, port),
        destinations=() if redirect is not None or direct else destinations,
        redirect=None if redirect is None else _redirect(redirect),
        direct=direct,
        rewrite=_rewrite(filters.get("URLRewrite", {}).get("urlRewrite")),
        timeout=limit,
        retries=retries,
        mirrors=tuple(
            _mirror(stored, each["requestMirror"])
            for each in rule.get("filters") or ()
            if each["type"] == "RequestMirror" and _named(stored, each["requestMirror"]["backendRef"]) not in refused
        ),
        cors=_cors(filters.get("CORS", {}).get("cors")),
        request=_changes(filters.get("RequestHeaderModifier", {}).get("requestHeaderModifier")),
        response=_changes(filters.get("ResponseHeaderModifier", {}).get("responseHeaderModifier")),
        websocket=redirect is None and direct is None,
        unknown=NO_BACKEND,
        origin=stored.origin,
    )


def _match(match: Fields, port: int) -> routing.RequestMatch:
    path = match.get("path") or {}
    wanted = Pattern(_PATHS[path.get("type") or "PathPrefix"], path.get("value") or "/")
    if wanted == Pattern(PatternKind.SEGMENTS, "/"):
        wanted = routing.ANY_PATH
    conditions = [_condition(each, each["name"].lower()) for each in match.get("headers") or ()]
    if match.get("method"):
        conditions.append(routing.Condition(":method", Pattern(PatternKind.EXACT, match["method"])))
    query = [_condition(each, each["name"]) for each in match.get("queryParams") or ()]
    return routing.RequestMatch(
        wanted,
        tuple(sorted(conditions, key=lambda each: each.name)),
        tuple(sorted(query, key=lambda each: each.name)),
        port=port,
    )


def _condition(fields: Fields, name: str) -> routing.Condition:
    kind = PatternKind.REGEX if fields.get("type") == "RegularExpression" else PatternKind.EXACT
    return routing.Condition(name, Pattern(kind, fields["value"]))


def _reference(stored: Stored, fields: Fields) -> routing.Destination:
    namespace = fields.get("namespace") or stored.namespace
    kind = fields.get("kind") or "Service", fields.get("group") or ""
    if kind == HOSTNAME:
        return routing.Destination(fields["name"], port=int(fields.get("port") or 0))
    if kind != ("Service", "") or not fields.get("port"):
        return routing.Destination(REFUSED)
    return routing.Destination(f"{fields['name']}.{namespace}.svc.{stored.domain}", port=int(fields.get("port") or 0))


def _named(stored: Stored, fields: Fields) -> Reference:
    return Reference(fields.get("kind") or "Service", fields.get("namespace") or stored.namespace, fields["name"])


def _backend(stored: Stored, fields: Fields, refused: frozenset[Reference], *, alone: bool) -> routing.Weighted:
    changes = {each["type"]: each for each in fields.get("filters") or ()}
    weight = fields.get("weight")
    return routing.Weighted(
        routing.Destination(REFUSED) if _named(stored, fields) in refused else _reference(stored, fields),
        0 if alone else 1 if weight is None else int(weight),
        _changes(changes.get("RequestHeaderModifier", {}).get("requestHeaderModifier")),
        _changes(changes.get("ResponseHeaderModifier", {}).get("responseHeaderModifier")),
    )


def _mirror(stored: Stored, fields: Fields) -> routing.Mirror:
    share = 1_000_000
    if fields.get("percent") is not None:
        share = int(fields["percent"]) * 10_000
    elif part := fields.get("fraction"):
        share = int(part["numerator"]) * 1_000_000 // int(part.get("denominator") or 100)
    return routing.Mirror(_reference(stored, fields["backendRef"]), share)


def _redirect(fields: Fields) -> routing.Redirect:
    path = fields.get("path") or {}
    scheme = fields.get("scheme") or ""
    port = int(fields.get("port") or 0)
    whole = path.get("type") == "ReplaceFullPath"
    return routing.Redirect(
        (path.get("replaceFullPath") or "") if whole else "",
        "" if whole else _new_prefix(path),
        fields.get("hostname") or "",
        scheme,
        port or (-1 if scheme else 0),
        int(fields.get("statusCode") or 302),
    )


def _rewrite(fields: Fields | None) -> routing.Rewrite | None:
    if fields is None:
        return None
    path = fields.get("path") or {}
    if path.get("type") == "ReplaceFullPath":
        # Of the whole path, whatever was matched.
        return routing.Rewrite(
            authority=fields.get("hostname") or "", regex="/.*", substitution=path["replaceFullPath"]
        )
    return routing.Rewrite(_new_prefix(path), fields.get("hostname") or "")


def _new_prefix(path: Fields) -> str:
    """What takes the place of the matched prefix; a prefix that becomes nothing leaves the / of every path."""
    return (path.get("replacePrefixMatch") or "/") if path.get("type") == "ReplacePrefixMatch" else ""


def _retries(fields: Fields) -> routing.Retries | None:
    attempts = ATTEMPTS if fields.get("attempts") is None else int(fields["attempts"])
    codes = tuple(int(each) for each in fields.get("codes") or ())
    found = routing.Retries(
        attempts, retry_on=RETRY_ON if codes else WITHOUT_CODES, codes=codes, avoid_tried=True,
        backoff=duration(fields.get("backoff")),
    )  # fmt: skip
    return found if attempts > 0 else None


def _changes(fields: Fields | None) -> routing.HeaderChanges:
    known = fields or {}
    return routing.HeaderChanges(
        tuple(sorted((each["name"], literal(each["value"])) for each in known.get("set") or ())),
        tuple(sorted((each["name"], literal(each["value"])) for each in known.get("add") or ())),
        tuple(sorted(texts(known.get("remove")))),
    )


def _cors(fields: Fields | None) -> routing.Cors | None:
    if fields is None:
        return None
    age = fields.get("maxAge")
    return routing.Cors(
        tuple(_origin(each) for each in texts(fields.get("allowOrigins"))),
        texts(fields.get("allowMethods")),
        texts(fields.get("allowHeaders")),
        texts(fields.get("exposeHeaders")),
        None if age is None else int(age),
        fields.get("allowCredentials"),
        # A filter for CORS answers preflights itself, those that it does not allow, too.
        forward_unmatched_preflights=False,
    )


def _origin(text: str) -> Pattern:
    if "*" not in text or text == "*":
        return Pattern(PatternKind.EXACT, text)
    head, _, tail = text.partition("*")
    return Pattern(PatternKind.REGEX, f"{_quoted(head)}[^/]*{_quoted(tail)}")


def _quoted(text: str) -> str:
    return "".join(f"\\{char}" if char in ".*+?()[]{}|^$\\" else char for char in text)
