"""Values of the model as specs of networking.istio.io/v1: the inverse of `today`.

Only what v1alpha2 can say has to be said. Where today's silence means something else (retries, redirect codes,
balancing), the value is written out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from meshlab.mesh.config import routing
from meshlab.mesh.config.durations import Duration
from meshlab.mesh.config.labels import Labels
from meshlab.mesh.config.outside import ExternalService
from meshlab.mesh.config.routing import PatternKind
from meshlab.mesh.config.traffic import Balancer, ClientTls, Outlier, Traffic

__all__ = ["ROUND_ROBIN", "Names", "default_route", "http_route", "service_entry", "traffic_policy"]

Spec = dict[str, Any]
#: What 0.4.0 did where nothing was said; today's Istio would take LEAST_REQUEST.
ROUND_ROBIN = Balancer("ROUND_ROBIN")
_PSEUDO = {":scheme": "scheme", ":method": "method", ":authority": "authority"}


class Names:
    """How hosts and versions are called in the documents. `host` as a reference, `subset` by host and labels."""

    def __init__(self, host: Callable[[str], str], subset: Callable[[str, Labels], str]) -> None:
        self.host, self.subset = host, subset


def http_route(route: routing.Route, names: Names, source: Mapping[str, Any] | None = None) -> Spec:
    """One route as a block of `http`. `source`: the fields of its match that choose callers."""
    out: Spec = {"name": route.name}
    match = _match(route.match) | dict(source or {})
    if match:
        out["match"] = [match]
    if route.redirect is not None:
        out["redirect"] = _redirect(route.redirect)
    else:
        out["route"] = [_weighted(each, names, alone=len(route.destinations) == 1) for each in route.destinations]
        out["retries"] = _retries(route.retries)
    if route.rewrite is not None:
        out["rewrite"] = _kept({"uri": route.rewrite.path, "authority": route.rewrite.authority})
    if route.timeout is not None:
        out["timeout"] = str(route.timeout)
    if route.fault is not None:
        out["fault"] = _fault(route.fault)
    for mirror in route.mirrors:
        out["mirror"] = _destination(mirror.destination, names)
    if route.cors is not None:
        out["corsPolicy"] = _cors(route.cors)
    if route.request.add:
        out["headers"] = {"request": {"add": dict(route.request.add)}}
    return out


def default_route(host: str, names: Names) -> Spec:
    """What v1alpha2 did with requests that no rule matches."""
    everything = routing.Weighted(routing.Destination(host))
    return http_route(routing.Route("default-route", destinations=(everything,)), names)


def _kept(fields: Mapping[str, Any]) -> Spec:
    return {name: value for name, value in fields.items() if value not in (None, "", (), [], {}, 0)}


def _pattern(pattern: routing.Pattern) -> Spec:
    return {} if pattern.kind is PatternKind.PRESENT else {pattern.kind.value: pattern.value}


def _match(match: routing.RequestMatch) -> Spec:
    out: Spec = {}
    if match.path != routing.ANY_PATH:
        out["uri"] = _pattern(match.path)
    headers: Spec = {}
    for each in match.headers:
        if each.name in _PSEUDO:
            out[_PSEUDO[each.name]] = _pattern(each.pattern)
        else:
            headers[each.name] = _pattern(each.pattern)
    return out | ({"headers": headers} if headers else {})


def _destination(destination: routing.Destination, names: Names) -> Spec:
    out: Spec = {"host": names.host(destination.host)}
    if destination.labels:
        out["subset"] = names.subset(destination.host, destination.labels)
    return out


def _weighted(weighted: routing.Weighted, names: Names, *, alone: bool) -> Spec:
    out: Spec = {"destination": _destination(weighted.destination, names)}
    return out if alone else out | {"weight": weighted.weight}


def _redirect(redirect: routing.Redirect) -> Spec:
    return _kept({"uri": redirect.path, "authority": redirect.authority}) | {"redirectCode": redirect.code}


def _retries(retries: routing.Retries | None) -> Spec:
    """0.4.0 retried nothing unless told, and did not care where it had tried; today's default is the opposite."""
    if retries is None:
        return {"attempts": 0}
    out: Spec = {"attempts": retries.attempts}
    if retries.per_try_timeout is not None:
        out["perTryTimeout"] = str(retries.per_try_timeout)
    return out | {"retryOn": retries.retry_on, "retryIgnorePreviousHosts": retries.avoid_tried}


def _percentage(millionths: int) -> Spec:
    percent = millionths / 10_000
    return {"value": int(percent) if percent.is_integer() else percent}


def _fault(fault: routing.Fault) -> Spec:
    out: Spec = {}
    if fault.delay is not None:
        out["delay"] = {"percentage": _percentage(fault.delay.millionths), "fixedDelay": str(fault.delay.fixed)}
    if fault.abort is not None:
        out["abort"] = {"percentage": _percentage(fault.abort.millionths), "httpStatus": fault.abort.http_status}
    return out


def _cors(cors: routing.Cors) -> Spec:
    out = _kept({
        "allowOrigins": [_pattern(each) for each in cors.origins],
        "allowMethods": list(cors.methods),
        "allowHeaders": list(cors.allow_headers),
        "exposeHeaders": list(cors.expose_headers),
    })  # fmt: skip
    if cors.max_age is not None:
        out["maxAge"] = f"{cors.max_age}s"
    if cors.credentials is not None:
        out["allowCredentials"] = cors.credentials
    return out


# Traffic policies


def traffic_policy(traffic: Traffic, inherited: Traffic | None = None) -> Spec:
    """A trafficPolicy. `inherited`: what a subset would take over; sections that it must not are reset."""
    out: Spec = {}
    if traffic.balancer is not None:
        out["loadBalancer"] = {"simple": traffic.balancer.name}
    elif inherited is not None and inherited.balancer not in (None, ROUND_ROBIN):
        out["loadBalancer"] = {"simple": ROUND_ROBIN.name}
    if pool := _pool(traffic):
        out["connectionPool"] = pool
    elif inherited is not None and _pool(inherited):
        out["connectionPool"] = {"tcp": {}}
    if traffic.outlier is not None:
        out["outlierDetection"] = _outlier(traffic.outlier)
    elif inherited is not None and inherited.outlier is not None:
        out["outlierDetection"] = {"consecutive5xxErrors": 0}
    if traffic.tls is not None:
        out["tls"] = _tls(traffic.tls)
    return out


def _pool(traffic: Traffic) -> Spec:
    http = _kept({
        "http1MaxPendingRequests": traffic.max_pending_requests,
        "http2MaxRequests": traffic.max_requests,
        "maxRequestsPerConnection": traffic.max_requests_per_connection,
    })  # fmt: skip
    return _kept({"tcp": _kept({"maxConnections": traffic.max_connections}), "http": http})


def _outlier(outlier: Outlier) -> Spec:
    out = _kept({"consecutive5xxErrors": outlier.consecutive_5xx})
    for name, length in (("interval", outlier.interval), ("baseEjectionTime", outlier.base_ejection)):
        if length is not None:
            out[name] = _duration(length)
    return out | {"maxEjectionPercent": outlier.max_ejection_percent}


def _duration(length: Duration) -> str:
    return str(length)


def _tls(tls: ClientTls) -> Spec:
    out: Spec = {"mode": tls.mode}
    if tls.sni:
        out["sni"] = tls.sni
    return out if tls.verify else out | {"insecureSkipVerify": True}


def service_entry(service: ExternalService, hosts: list[str]) -> Spec:
    """A ServiceEntry for what is reached at the address that the application chose."""
    ports = [
        {"number": port.number, "name": f"{port.protocol.value.lower()}-{port.number}",
         "protocol": port.protocol.value.upper()}
        for port in service.ports
    ]  # fmt: skip
    out: Spec = {"hosts": hosts}
    if service.addresses:
        out["addresses"] = list(service.addresses)
    return out | {"location": "MESH_EXTERNAL", "resolution": service.resolution.value, "ports": ports}
