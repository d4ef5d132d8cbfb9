"""VirtualServices to the routing model, as istiod reads them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from meshlab.mesh.config import routing
from meshlab.mesh.config.labels import Labels
from meshlab.mesh.config.today.stored import Stored, duration, labels, texts

__all__ = ["DEFAULT_RETRIES", "RETRY_ON", "host_rules"]

Fields = Mapping[str, Any]
#: What istiod retries where nothing is said (since 1.24 no longer every 503).
RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
DEFAULT_RETRIES = routing.Retries(2, retry_on=RETRY_ON, avoid_tried=True)
#: Statuses of gRPC by name, which `retryOn` may hold, are not numbers; everything numeric is a status of HTTP.
_PSEUDO = {"scheme": ":scheme", "method": ":method", "authority": ":authority"}
_CODE = 301


def host_rules(stored: Stored) -> routing.HostRules:
    """One VirtualService. Matches of one block become routes of their own, in order."""
    spec = stored.spec
    routes = [
        made
        for block in spec.get("http") or ()
        if not block.get("delegate")
        for match in block.get("match") or (None,)
        for made in (_route(stored, block, match),)
    ]
    tcp = [_tcp(stored, block, tls=True) for block in spec.get("tls") or ()]
    tcp += [_tcp(stored, block, tls=False) for block in spec.get("tcp") or ()]
    return routing.HostRules(
        hosts=tuple(stored.host(each) for each in spec.get("hosts") or ()),
        routes=tuple(routes),
        tcp=tuple(tcp),
        gateways=stored.gateways(spec.get("gateways")) or (routing.MESH,),
        visible_in=stored.visible_in,
        namespace=stored.namespace,
        origin=stored.origin,
    )


def _route(stored: Stored, block: Fields, match: Fields | None) -> routing.Route:
    name = block.get("name") or ""
    if match and match.get("name"):
        name = f"{name}.{match['name']}" if name else match["name"]
    redirect, direct = block.get("redirect"), block.get("directResponse")
    answered = redirect is not None or direct is not None
    request, authority = _changes((block.get("headers") or {}).get("request"))
    return routing.Route(
        name=name or stored.name,
        match=request_match(stored, match or {}),
        destinations=() if answered else _destinations(stored, block.get("route") or ()),
        redirect=None if redirect is None else _redirect(redirect),
        direct=None if direct is None else _direct(direct),
        rewrite=_rewrite(block.get("rewrite"), authority),
        timeout=duration(block.get("timeout")),
        retries=None if answered else retries(block.get("retries")),
        fault=_fault(block.get("fault")),
        mirrors=_mirrors(stored, block),
        cors=_cors(block.get("corsPolicy")),
        request=request,
        response=_changes((block.get("headers") or {}).get("response"))[0],
        stat_prefix=(match or {}).get("statPrefix") or "",
        websocket=not answered,
        origin=stored.origin,
    )


# Matches


def pattern(fields: Fields, *, ignore_case: bool = False) -> routing.Pattern:
    """A StringMatch. Nothing (or `*` as regular expression) asks only that the header is there.

    Regular expressions say themselves whether case counts (VirtualService's reference, ignoreUriCase).
    """
    for kind in (routing.PatternKind.EXACT, routing.PatternKind.PREFIX, routing.PatternKind.REGEX):
        value = fields.get(kind.value)
        if value is not None and (kind.value, value) != ("regex", "*"):
            return routing.Pattern(kind, value, ignore_case and kind is not routing.PatternKind.REGEX)
    return routing.Pattern(routing.PatternKind.PRESENT)


def request_match(stored: Stored, match: Fields) -> routing.RequestMatch:
    path = routing.ANY_PATH
    if match.get("uri"):
        path = pattern(match["uri"], ignore_case=bool(match.get("ignoreUriCase")))
        if path.kind is routing.PatternKind.PRESENT or (
            path.kind is routing.PatternKind.PREFIX and path.value in ("", "/")
        ):
            path = routing.ANY_PATH
    conditions = [
        routing.Condition(header, pattern(match[name])) for name, header in _PSEUDO.items() if match.get(name)
    ]
    conditions += [
        routing.Condition(name.lower(), pattern(each or {})) for name, each in (match.get("headers") or {}).items()
    ]
    conditions += [
        routing.Condition(name.lower(), pattern(each or {}), inverted=True)
        for name, each in (match.get("withoutHeaders") or {}).items()
    ]
    query = [routing.Condition(name, pattern(each or {})) for name, each in (match.get("queryParams") or {}).items()]
    return routing.RequestMatch(
        path,
        tuple(sorted(conditions, key=lambda each: (each.name, each.inverted))),
        tuple(sorted(query, key=lambda each: each.name)),
        source=_source(match),
        port=int(match.get("port") or 0),
        gateways=stored.gateways(match.get("gateways")),
    )


def _source(match: Fields) -> routing.Source | None:
    wanted, namespace = labels(match.get("sourceLabels")), match.get("sourceNamespace") or ""
    return routing.Source(labels=wanted, namespace=namespace) if wanted or namespace else None


# Destinations


def _destination(stored: Stored, fields: Fields) -> routing.Destination:
    return routing.Destination(
        stored.host(fields["host"]),
        Labels(),
        fields.get("subset") or "",
        int((fields.get("port") or {}).get("number") or 0),
    )


def _destinations(stored: Stored, listed: Any) -> tuple[routing.Weighted, ...]:
    found = []
    for each in listed:
        changes = each.get("headers") or {}
        request, authority = _changes(changes.get("request"))
        found.append(
            routing.Weighted(
                _destination(stored, each["destination"]),
                # A single destination gets everything, whatever its weight says.
                int(each.get("weight") or 0) if len(listed) > 1 else 0,
                request,
                _changes(changes.get("response"))[0],
                authority,
            )
        )
    return tuple(found)


def _mirrors(stored: Stored, block: Fields) -> tuple[routing.Mirror, ...]:
    found = []
    if block.get("mirror"):
        whole = block.get("mirrorPercent")
        percent = {"value": whole} if block.get("mirrorPercentage") is None and whole is not None else None
        found.append((block["mirror"], percent or block.get("mirrorPercentage")))
    found += [(each["destination"], each.get("percentage")) for each in block.get("mirrors") or ()]
    made = [
        routing.Mirror(_destination(stored, destination), 1_000_000 if percent is None else millionths(percent))
        for destination, percent in found
    ]
    return tuple(each for each in made if each.millionths)


def millionths(percentage: Fields | None) -> int:
    """A Percent; without a value it is 0."""
    return round(float((percentage or {}).get("value") or 0) * 10_000)


# Actions


def retries(fields: Fields | None) -> routing.Retries | None:
    """Nothing said: istiod's default. `attempts: 0` (or none): no retries."""
    if fields is None:
        return DEFAULT_RETRIES
    attempts = int(fields.get("attempts") or 0)
    if attempts <= 0:
        return None
    words = [each.strip() for each in (fields.get("retryOn") or RETRY_ON).split(",") if each.strip()]
    codes = tuple(int(each) for each in words if each.isdigit())
    kept = [each for each in words if not each.isdigit()]
    if codes and "retriable-status-codes" not in kept:
        kept.append("retriable-status-codes")
    return routing.Retries(
        attempts,
        duration(fields.get("perTryTimeout")),
        ",".join(kept),
        codes,
        avoid_tried=fields.get("retryIgnorePreviousHosts") is not False,
        insists=fields.get("retryIgnorePreviousHosts") is True,
        backoff=duration(fields.get("backoff")),
    )


def _redirect(fields: Fields) -> routing.Redirect:
    port = int(fields.get("port") or 0)
    port = {"FROM_PROTOCOL_DEFAULT": -1, "FROM_REQUEST_PORT": -2}.get(fields.get("derivePort") or "", port)
    return routing.Redirect(
        fields.get("uri") or "",
        "",
        fields.get("authority") or "",
        fields.get("scheme") or "",
        port,
        int(fields.get("redirectCode") or _CODE),
    )


def _direct(fields: Fields) -> routing.DirectResponse:
    body = fields.get("body") or {}
    text = body.get("string") or base64.b64decode(body.get("bytes") or "").decode("utf-8", "replace")
    return routing.DirectResponse(int(fields["status"]), text)


def _rewrite(fields: Fields | None, authority: str) -> routing.Rewrite | None:
    known = fields or {}
    regex = known.get("uriRegexRewrite") or {}
    made = routing.Rewrite(
        known.get("uri") or "",
        known.get("authority") or authority,
        regex.get("match") or "",
        regex.get("rewrite") or "",
    )
    return made if made != routing.Rewrite() else None


def _fault(fields: Fields | None) -> routing.Fault | None:
    """Without a percentage nothing is injected."""
    if not fields:
        return None
    delay, abort = fields.get("delay") or {}, fields.get("abort") or {}
    waiting = millionths(delay.get("percentage") or {"value": delay.get("percent") or 0})
    fixed = duration(delay.get("fixedDelay"))
    aborting = millionths(abort.get("percentage"))
    status, grpc = int(abort.get("httpStatus") or 0), abort.get("grpcStatus") or ""
    found = routing.Fault(
        routing.Delay(waiting, fixed) if waiting and fixed is not None else None,
        routing.Abort(aborting, status, grpc) if aborting and (status or grpc) else None,
    )
    return found if found.delay or found.abort else None


def _cors(fields: Fields | None) -> routing.Cors | None:
    if fields is None:
        return None
    origins = [pattern(each) for each in fields.get("allowOrigins") or ()]
    origins += [routing.Pattern(routing.PatternKind.EXACT, each) for each in texts(fields.get("allowOrigin"))]
    age = duration(fields.get("maxAge"))
    return routing.Cors(
        tuple(origins),
        texts(fields.get("allowMethods")),
        texts(fields.get("allowHeaders")),
        texts(fields.get("exposeHeaders")),
        None if age is None else age.ns // 1_000_000_000,
        fields.get("allowCredentials"),
        fields.get("unmatchedPreflights") != "IGNORE",
    )


def _changes(fields: Fields | None) -> tuple[routing.HeaderChanges, str]:
    """Changes of headers, and the Host if it is among those that are set or added."""
    known = fields or {}
    host = ""
    kept: dict[str, list[tuple[str, str]]] = {"set": [], "add": []}
    for kind, listed in kept.items():
        for name, value in sorted((known.get(kind) or {}).items()):
            if name.lower() in ("host", ":authority"):
                host = value
            else:
                listed.append((name, value))
    changes = routing.HeaderChanges(tuple(kept["set"]), tuple(kept["add"]), tuple(sorted(texts(known.get("remove")))))
    return changes, host


# Connections


def _tcp(stored: Stored, block: Fields, *, tls: bool) -> routing.TcpRoute:
    matches = tuple(
        routing.TcpMatch(
            texts(each.get("destinationSubnets")),
            int(each.get("port") or 0),
            texts(each.get("sniHosts")),
            _source(each),
            stored.gateways(each.get("gateways")),
        )
        for each in block.get("match") or ()
    )
    return routing.TcpRoute(matches, _destinations(stored, block.get("route") or ()), tls)
