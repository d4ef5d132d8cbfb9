"""Schemas of security.istio.io and telemetry.istio.io."""

from __future__ import annotations

from meshlab.mesh.config.today.schema import (
    BOOL,
    DURATION,
    TEXT,
    Schema,
    array,
    enum,
    mapping,
    number,
    obj,
    text,
)

__all__ = ["authorization_policy", "peer_authentication", "request_authentication", "telemetry"]

_TEXTS = array(text(fewest=1))
_SELECTOR = obj(matchLabels=mapping(text(most=63), most=4096), _doc="Pods by their labels; none: all.")
_TARGET = obj(
    ("kind", "name"), group=text(most=253), kind=text(fewest=1, most=63), name=text(fewest=1, most=253), namespace=TEXT
)
_TARGETS = {"targetRef": _TARGET, "targetRefs": array(_TARGET, most=16)}
_ONE_TARGET = (("selector", "targetRef", "targetRefs"),)


def peer_authentication() -> Schema:
    mtls = obj(mode=enum("UNSET", "DISABLE", "PERMISSIVE", "STRICT"))
    return obj(
        selector=_SELECTOR,
        mtls=mtls,
        portLevelMtls=mapping(mtls, most=128, doc="By the port number of the workload.").but(fewest=1).with_rule(
            "self.all(key, 0 < int(key) && int(key) <= 65535)",
            "port must be between 1-65535",
            lambda ports: all(key.isdigit() and 0 < int(key) <= 65535 for key in ports),
        ),
        _doc="Whether pods take plain text or mutual TLS.",
    ).with_rule(
        "!has(self.portLevelMtls) || (has(self.selector) && has(self.selector.matchLabels) && "
        "size(self.selector.matchLabels) > 0)",
        "portLevelMtls requires selector",
        lambda spec: not spec.get("portLevelMtls") or bool((spec.get("selector") or {}).get("matchLabels")),
    )


def authorization_policy() -> Schema:
    source = {
        name: _TEXTS
        for base in ("principals", "requestPrincipals", "namespaces", "ipBlocks", "remoteIpBlocks", "serviceAccounts")
        for name in (base, f"not{base[0].upper()}{base[1:]}")
    }
    operation = {
        name: _TEXTS
        for base in ("hosts", "ports", "methods", "paths")
        for name in (base, f"not{base[0].upper()}{base[1:]}")
    }
    rule = obj(
        from_=array(obj(source=obj((), source)), most=512, doc="Who; one of them."),
        to=array(obj(operation=obj((), operation)), doc="What; one of them."),
        when=array(obj(("key",), key=text(fewest=1), values=array(TEXT), notValues=array(TEXT)), doc="All of them."),
    )
    return obj(
        (),
        _TARGETS,
        one=_ONE_TARGET,
        selector=_SELECTOR,
        rules=array(rule, most=512, doc="One of them must match. None: nothing matches."),
        action=enum("ALLOW", "DENY", "AUDIT", "CUSTOM"),
        provider=obj(name=TEXT),
        _doc="Which requests pods take.",
    ).with_rule(
        "has(self.action) && self.action == 'CUSTOM' ? has(self.provider) : !has(self.provider)",
        "provider is for the action CUSTOM, which needs one",
        lambda spec: (spec.get("action") == "CUSTOM") == (spec.get("provider") is not None),
    )


def request_authentication() -> Schema:
    header = obj(("name",), name=text(fewest=1), prefix=TEXT)
    uri = text(fewest=1, most=2048, pattern=r"^https?://.+")
    rule = obj(
        ("issuer",),
        one=(("jwks", "jwksUri", "jwks_uri"),),
        issuer=text(fewest=1),
        audiences=_TEXTS,
        jwksUri=uri,
        jwks_uri=uri,
        jwks=TEXT.but(doc="The key set itself, as JSON."),
        fromHeaders=array(header),
        fromParams=_TEXTS,
        fromCookies=_TEXTS,
        outputPayloadToHeader=TEXT,
        outputClaimToHeaders=array(
            obj(("header", "claim"), header=text(fewest=1, pattern="^[-_A-Za-z0-9]+$"), claim=text(fewest=1))
        ),
        forwardOriginalToken=BOOL,
        timeout=DURATION,
        spaceDelimitedClaims=_TEXTS,
    )
    return obj(
        (),
        _TARGETS,
        one=_ONE_TARGET,
        selector=_SELECTOR,
        jwtRules=array(rule, most=4096),
        _doc="Tokens that pods check. A request without any passes, unless an AuthorizationPolicy says otherwise.",
    )


def telemetry() -> Schema:
    provider = obj(("name",), name=text(fewest=1))
    mode = enum("CLIENT_AND_SERVER", "CLIENT", "SERVER")
    tag = obj(
        exactly=(("literal", "environment", "header", "formatter"),),
        literal=obj(("value",), value=text(fewest=1)),
        environment=obj(("name",), name=text(fewest=1), defaultValue=TEXT),
        header=obj(("name",), name=text(fewest=1), defaultValue=TEXT),
        formatter=obj(("value",), value=text(fewest=1)),
    )
    metric = enum(
        "ALL_METRICS",
        "REQUEST_COUNT",
        "REQUEST_DURATION",
        "REQUEST_SIZE",
        "RESPONSE_SIZE",
        "TCP_OPENED_CONNECTIONS",
        "TCP_CLOSED_CONNECTIONS",
        "TCP_SENT_BYTES",
        "TCP_RECEIVED_BYTES",
        "GRPC_REQUEST_MESSAGES",
        "GRPC_RESPONSE_MESSAGES",
    )
    change = obj(operation=enum("UPSERT", "REMOVE"), value=TEXT).with_rule(
        "((has(self.operation) ? self.operation : '') == 'UPSERT') ? (has(self.value) && self.value != '') : true",
        "value must be set when operation is UPSERT",
        lambda tag: tag.get("operation") != "UPSERT" or bool(tag.get("value")),
    )
    override = obj(
        match=obj(one=(("metric", "customMetric"),), metric=metric, customMetric=text(fewest=1), mode=mode),
        disabled=BOOL,
        tagOverrides=mapping(change),
    )
    return obj(
        (),
        _TARGETS,
        one=_ONE_TARGET,
        selector=_SELECTOR,
        tracing=array(
            obj(
                match=obj(mode=mode),
                providers=array(provider),
                randomSamplingPercentage=number(0, 100),
                disableSpanReporting=BOOL,
                customTags=mapping(tag),
                useRequestIdForTraceSampling=BOOL,
                enableIstioTags=BOOL,
                disableContextPropagation=BOOL,
            )
        ),
        metrics=array(obj(providers=array(provider), overrides=array(override), reportingInterval=DURATION)),
        accessLogging=array(
            obj(match=obj(mode=mode), providers=array(provider), disabled=BOOL, filter=obj(expression=TEXT))
        ),
        _doc="What sidecars report.",
    )
