"""From config.istio.io/v1alpha2 objects to the model.

`decode` takes a spec as JSON; `config_from_object` a whole Kubernetes object. Decoding says only whether a
document can be read; whether the rule makes sense is `validate`'s matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from meshlab.errors import RuleError
from meshlab.mesh.config import model
from meshlab.mesh.config.kinds import hyphenated
from meshlab.mesh.config.labels import Labels
from meshlab.mesh.config.protojson import DecodeError, decode, encode
from meshlab.mesh.config.schema import Message, messages
from meshlab.mesh.config.schema_client import client_messages

__all__ = ["config_from_object", "decode_spec", "encode_spec", "message_of", "spec_from_fields"]

Fields = Mapping[str, Any]


@cache
def _messages() -> dict[str, Message]:
    return messages() | client_messages()


def message_of(type_name: str) -> Message:
    """The message of a hyphenated type; KeyError for a type that Pilot does not know."""
    return _messages()[type_name]


def decode_spec(type_name: str, spec: Any) -> dict[str, Any]:
    """Fields of a spec by protobuf's rules. Raises DecodeError. A missing spec is an empty one."""
    return decode(message_of(type_name), {} if spec is None else spec)


def encode_spec(type_name: str, fields: Fields) -> dict[str, Any]:
    """The canonical JSON of a spec: what istioctl stores and prints."""
    return encode(message_of(type_name), fields)


def config_from_object(obj: Mapping[str, Any], domain: str = "cluster.local") -> model.Config[Any]:
    """A stored rule (a Kubernetes object as JSON) as Pilot reads it. Raises RuleError with the decoder's reason."""
    meta = obj.get("metadata") or {}
    type_name = hyphenated(str(obj.get("kind") or ""))
    key = f"{type_name}/{meta.get('namespace') or ''}/{meta.get('name') or ''}"
    try:
        fields = decode_spec(type_name, obj.get("spec"))
    except KeyError:
        raise RuleError(f"{key}: kind {obj.get('kind')} is not one that Pilot knows") from None
    except DecodeError as error:
        raise RuleError(f"{key}: {error}", why="the stored rule was not written with istioctl, which checks") from None
    return model.Config(
        model.Meta(
            type=type_name,
            name=str(meta.get("name") or ""),
            namespace=str(meta.get("namespace") or ""),
            domain=domain,
            labels=Labels(meta.get("labels") or {}),
            annotations=Labels(meta.get("annotations") or {}),
            resource_version=str(meta.get("resourceVersion") or ""),
        ),
        spec_from_fields(type_name, fields),
    )


def spec_from_fields(type_name: str, fields: Fields) -> Any:
    """The model of decoded fields; the fields themselves for Mixer's client kinds, which have no model."""
    builders = {
        "route-rule": _route_rule,
        "egress-rule": _egress_rule,
        "destination-policy": _destination_policy,
        "ingress-rule": _ingress_rule,
        "gateway": _gateway,
    }
    build = builders.get(type_name)
    return build(fields) if build else dict(fields)


def _service(fields: Fields | None) -> model.IstioService | None:
    if fields is None:
        return None
    return model.IstioService(
        name=fields.get("name", ""),
        namespace=fields.get("namespace", ""),
        domain=fields.get("domain", ""),
        service=fields.get("service", ""),
        labels=Labels(fields.get("labels", {})),
    )


def _opaque(fields: Fields | None) -> model.Opaque | None:
    return None if fields is None else model.Opaque(fields["@type"])


def _match(fields: Fields | None) -> model.Match | None:
    if fields is None:
        return None
    request = fields.get("request")
    headers = None
    if request is not None:
        headers = {name: _string_match(match) for name, match in request.get("headers", {}).items()}
    return model.Match(
        source=_service(fields.get("source")),
        tcp=_l4(fields.get("tcp")),
        udp=_l4(fields.get("udp")),
        headers=headers,
    )


def _string_match(fields: Fields) -> model.StringMatch:
    for kind in model.MatchKind:
        if kind.value in fields:
            return model.StringMatch(kind, fields[kind.value])
    return model.StringMatch()


def _l4(fields: Fields | None) -> model.L4Match | None:
    if fields is None:
        return None
    return model.L4Match(tuple(fields.get("source_subnet", ())), tuple(fields.get("destination_subnet", ())))


def _route_rule(fields: Fields) -> model.RouteRule:
    route = fields.get("route")
    redirect, rewrite = fields.get("redirect"), fields.get("rewrite")
    return model.RouteRule(
        destination=_service(fields.get("destination")),
        precedence=fields.get("precedence", 0),
        match=_match(fields.get("match")),
        route=None if route is None else tuple(_weight(entry) for entry in route),
        redirect=None if redirect is None else model.Redirect(**redirect),
        rewrite=None if rewrite is None else model.Rewrite(**rewrite),
        websocket_upgrade=fields.get("websocket_upgrade", False),
        timeout=_timeout(fields.get("http_req_timeout")),
        retries=_retries(fields.get("http_req_retries")),
        fault=_fault(fields.get("http_fault")),
        l4_fault=_l4_fault(fields.get("l4_fault")),
        mirror=_service(fields.get("mirror")),
        cors=_cors(fields.get("cors_policy")),
        append_headers=Labels(fields.get("append_headers", {})),
    )


def _weight(fields: Fields) -> model.DestinationWeight:
    return model.DestinationWeight(
        labels=Labels(fields.get("labels", {})),
        weight=fields.get("weight", 0),
        destination=_service(fields.get("destination")),
    )


def _timeout(fields: Fields | None) -> model.Timeout | None:
    if fields is None:
        return None
    simple = fields.get("simple_timeout")
    known = simple or {}
    return model.Timeout(
        simple=simple is not None,
        timeout=known.get("timeout"),
        override_header_name=known.get("override_header_name", ""),
        custom=_opaque(fields.get("custom")),
    )


def _retries(fields: Fields | None) -> model.Retries | None:
    if fields is None:
        return None
    simple = fields.get("simple_retry")
    known = simple or {}
    return model.Retries(
        simple=simple is not None,
        attempts=known.get("attempts", 0),
        per_try_timeout=known.get("per_try_timeout"),
        override_header_name=known.get("override_header_name", ""),
        custom=_opaque(fields.get("custom")),
    )


def _fault(fields: Fields | None) -> model.Fault | None:
    if fields is None:
        return None
    delay, abort = fields.get("delay"), fields.get("abort")
    return model.Fault(
        delay=None
        if delay is None
        else model.Delay(
            percent=delay.get("percent", 0.0),
            fixed=delay.get("fixed_delay"),
            exponential=delay.get("exponential_delay"),
            override_header_name=delay.get("override_header_name", ""),
        ),
        abort=None if abort is None else model.Abort(**abort),
    )


def _l4_fault(fields: Fields | None) -> model.L4Fault | None:
    if fields is None:
        return None
    throttle, terminate = fields.get("throttle"), fields.get("terminate")
    return model.L4Fault(
        throttle=None
        if throttle is None
        else model.Throttle(
            percent=throttle.get("percent", 0.0),
            downstream_limit_bps=throttle.get("downstream_limit_bps", 0),
            upstream_limit_bps=throttle.get("upstream_limit_bps", 0),
            after_period=throttle.get("throttle_after_period"),
            after_bytes=throttle.get("throttle_after_bytes", 0.0),
            for_period=throttle.get("throttle_for_period"),
        ),
        terminate=None
        if terminate is None
        else model.Terminate(terminate.get("percent", 0.0), terminate.get("terminate_after_period")),
    )


def _cors(fields: Fields | None) -> model.CorsPolicy | None:
    if fields is None:
        return None
    return model.CorsPolicy(
        allow_origin=tuple(fields.get("allow_origin", ())),
        allow_methods=tuple(fields.get("allow_methods", ())),
        allow_headers=tuple(fields.get("allow_headers", ())),
        expose_headers=tuple(fields.get("expose_headers", ())),
        max_age=fields.get("max_age"),
        allow_credentials=fields.get("allow_credentials"),
    )


def _egress_rule(fields: Fields) -> model.EgressRule:
    return model.EgressRule(
        destination=_service(fields.get("destination")),
        ports=tuple(model.EgressPort(**port) for port in fields.get("ports", ())),
        use_egress_proxy=fields.get("use_egress_proxy", False),
    )


def _destination_policy(fields: Fields) -> model.DestinationPolicy:
    balancing, breaker = fields.get("load_balancing"), fields.get("circuit_breaker")
    return model.DestinationPolicy(
        destination=_service(fields.get("destination")),
        source=_service(fields.get("source")),
        load_balancing=None if balancing is None else _load_balancing(balancing),
        circuit_breaker=None if breaker is None else _circuit_breaker(breaker),
        custom=_opaque(fields.get("custom")),
    )


def _load_balancing(fields: Fields) -> model.LoadBalancing:
    names = {0: "ROUND_ROBIN", 1: "LEAST_CONN", 2: "RANDOM"}
    number = fields.get("name")
    return model.LoadBalancing(
        name=None if number is None else names.get(number, str(number)),
        custom=_opaque(fields.get("custom")) if fields.get("custom") else None,
        chosen="name" in fields or "custom" in fields,
    )


def _circuit_breaker(fields: Fields) -> model.CircuitBreaker:
    simple = fields.get("simple_cb")
    return model.CircuitBreaker(
        simple=simple is not None, custom=_opaque(fields.get("custom")), **(simple or {})
    )


def _ingress_rule(fields: Fields) -> model.IngressRule:
    return model.IngressRule(
        destination=_service(fields.get("destination")),
        port=fields.get("port", 0),
        tls_secret=fields.get("tls_secret", ""),
        precedence=fields.get("precedence", 0),
        match=_match(fields.get("match")),
        destination_port=fields.get("destination_port"),
        destination_port_name=fields.get("destination_port_name"),
    )


def _gateway(fields: Fields) -> model.Gateway:
    return model.Gateway(tuple(_gateway_server(server) for server in fields.get("servers", ())))


def _gateway_server(fields: Fields) -> model.GatewayServer:
    port, tls = fields.get("port"), fields.get("tls")
    modes = {0: "PASSTHROUGH", 1: "SIMPLE", 2: "MUTUAL"}
    return model.GatewayServer(
        port=None if port is None else (port.get("number", 0), port.get("protocol", ""), port.get("name", "")),
        domains=tuple(fields.get("domains", ())),
        tls=None
        if tls is None
        else model.ServerTls(
            https_redirect=tls.get("https_redirect", False),
            mode=modes.get(tls.get("mode", 0), str(tls.get("mode"))),
            server_certificate=tls.get("server_certificate", ""),
            client_ca_bundle=tls.get("client_ca_bundle", ""),
        ),
    )
