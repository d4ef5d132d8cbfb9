"""security.istio.io and telemetry.istio.io to the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshlab.mesh.config import security, telemetry
from meshlab.mesh.config.labels import Labels
from meshlab.mesh.config.security import PeerMode, Values
from meshlab.mesh.config.today.stored import Stored, duration, labels, texts

__all__ = ["authorization", "peer_authentication", "request_authentication", "telemetry_of"]

Fields = Mapping[str, Any]
_SOURCES = {
    "principals": "source.principal",
    "requestPrincipals": "request.auth.principal",
    "namespaces": "source.namespace",
    "ipBlocks": "source.ip",
    "remoteIpBlocks": "remote.ip",
    "serviceAccounts": "source.serviceAccount",
}
_OPERATIONS = {
    "hosts": "request.host",
    "ports": "request.port",
    "methods": "request.method",
    "paths": "request.path",
}


def _selector(stored: Stored) -> Labels:
    return labels((stored.spec.get("selector") or {}).get("matchLabels"))


def peer_authentication(stored: Stored) -> security.PeerAuthentication:
    spec = stored.spec
    ports = spec.get("portLevelMtls") or {}
    return security.PeerAuthentication(
        stored.namespace,
        stored.name,
        _selector(stored),
        _mode(spec.get("mtls")),
        tuple((int(number), _mode(each)) for number, each in sorted(ports.items(), key=lambda item: int(item[0]))),
        stored.created,
        stored.origin,
    )


def _mode(fields: Fields | None) -> PeerMode:
    return PeerMode((fields or {}).get("mode") or "UNSET")


def authorization(stored: Stored) -> security.Authorization:
    spec = stored.spec
    return security.Authorization(
        stored.namespace,
        stored.name,
        _selector(stored),
        security.Action(spec.get("action") or "ALLOW"),
        tuple(_rule(each or {}) for each in spec.get("rules") or ()),
        (spec.get("provider") or {}).get("name") or "",
        stored.origin,
    )


def _rule(fields: Fields) -> security.Rule:
    return security.Rule(
        tuple(_group(each.get("source") or {}, _SOURCES) for each in fields.get("from") or ()),
        tuple(_group(each.get("operation") or {}, _OPERATIONS) for each in fields.get("to") or ()),
        tuple(
            (each["key"], Values(texts(each.get("values")), texts(each.get("notValues"))))
            for each in fields.get("when") or ()
        ),
    )


def _group(fields: Fields, names: Mapping[str, str]) -> tuple[tuple[str, Values], ...]:
    found = []
    for name, attribute in names.items():
        values = Values(texts(fields.get(name)), texts(fields.get(f"not{name[0].upper()}{name[1:]}")))
        if values:
            found.append((attribute, values))
    return tuple(found)


def request_authentication(stored: Stored) -> security.RequestAuthentication:
    rules = tuple(_jwt(each) for each in stored.spec.get("jwtRules") or ())
    return security.RequestAuthentication(stored.namespace, stored.name, _selector(stored), rules, stored.origin)


def _jwt(fields: Fields) -> security.JwtRule:
    wait = duration(fields.get("timeout"))
    return security.JwtRule(
        fields["issuer"],
        texts(fields.get("audiences")),
        fields.get("jwks") or "",
        fields.get("jwksUri") or fields.get("jwks_uri") or "",
        tuple((each["name"], each.get("prefix") or "") for each in fields.get("fromHeaders") or ()),
        texts(fields.get("fromParams")),
        texts(fields.get("fromCookies")),
        fields.get("outputPayloadToHeader") or "",
        tuple((each["header"], each["claim"]) for each in fields.get("outputClaimToHeaders") or ()),
        bool(fields.get("forwardOriginalToken")),
        5.0 if wait is None else wait.seconds,
    )


def telemetry_of(stored: Stored) -> telemetry.Telemetry:
    spec = stored.spec
    logging, tracing, metrics = (spec.get(name) for name in ("accessLogging", "tracing", "metrics"))
    return telemetry.Telemetry(
        stored.namespace,
        stored.name,
        _selector(stored),
        None if logging is None else tuple(_log(each) for each in logging),
        None if tracing is None else tuple(_tracing(each) for each in tracing),
        None
        if metrics is None
        else tuple(_metric(change) for each in metrics for change in each.get("overrides") or ()),
        stored.created,
        stored.origin,
    )


def _match(fields: Fields) -> str:
    return (fields.get("match") or {}).get("mode") or "CLIENT_AND_SERVER"


def _log(fields: Fields) -> telemetry.AccessLogging:
    return telemetry.AccessLogging(
        _match(fields),
        fields.get("disabled"),
        (fields.get("filter") or {}).get("expression") or "",
    )


def _tracing(fields: Fields) -> telemetry.Tracing:
    sampling = fields.get("randomSamplingPercentage")
    return telemetry.Tracing(
        _match(fields),
        None if sampling is None else float(sampling),
        fields.get("disableSpanReporting"),
    )


def _metric(fields: Fields) -> telemetry.MetricOverride:
    match = fields.get("match") or {}
    name = match.get("metric") or match.get("customMetric") or ""
    tags = {
        tag: "" if each.get("operation") == "REMOVE" else each.get("value") or ""
        for tag, each in (fields.get("tagOverrides") or {}).items()
    }
    return telemetry.MetricOverride(
        "" if name == "ALL_METRICS" else name,
        match.get("mode") or "CLIENT_AND_SERVER",
        fields.get("disabled"),
        tuple(sorted(tags.items())),
    )
