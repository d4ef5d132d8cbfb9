"""Schemas of gateway.networking.k8s.io: GatewayClass, Gateway, HTTPRoute and ReferenceGrant."""

from __future__ import annotations

from meshlab.mesh.config.today.schema import (
    BOOL,
    FREE,
    INT,
    PORT,
    TEXT,
    Schema,
    array,
    enum,
    integer,
    mapping,
    obj,
    text,
)

__all__ = ["gateway", "gateway_class", "gateway_status", "http_route", "reference_grant", "route_status"]

_HOST = text(
    fewest=1,
    most=253,
    pattern=r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
)
_NAME = text(fewest=1, most=253)
_SECTION = text(fewest=1, most=253, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_HEADER = text(fewest=1, most=256, pattern=r"^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+$")
#: Durations of the Gateway API: a subset of Go's.
_SHORT = text(pattern=r"^([0-9]{1,5}(h|m|s|ms)){1,4}$")
_LABEL = text(fewest=1, most=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")


def gateway_class() -> Schema:
    return obj(
        ("controllerName",),
        controllerName=text(
            fewest=1,
            most=253,
            pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/[A-Za-z0-9\/\-._~%!$&'()*+,;=:]+$",
        ),
        description=text(most=64),
        parametersRef=obj(("group", "kind", "name"), group=TEXT, kind=TEXT, name=_NAME, namespace=TEXT),
    )


def gateway() -> Schema:
    requirement = obj(
        ("key", "operator"), key=TEXT, operator=enum("In", "NotIn", "Exists", "DoesNotExist"), values=array(TEXT)
    )
    selector = obj(matchLabels=mapping(TEXT), matchExpressions=array(requirement))
    certificate = obj(("name",), group=TEXT, kind=TEXT, name=_NAME, namespace=_LABEL)
    listener = obj(
        ("name", "port", "protocol"),
        name=_SECTION,
        hostname=_HOST,
        port=PORT,
        protocol=text(
            fewest=1, most=255, pattern=r"^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$|^[a-z0-9.-]+/[A-Za-z0-9]+$"
        ),
        tls=obj(
            mode=enum("Terminate", "Passthrough"),
            certificateRefs=array(certificate, most=64),
            options=mapping(TEXT, most=16),
            frontendValidation=FREE,
        ).with_rule(
            "!has(self.mode) || self.mode != 'Terminate' || "
            "(has(self.certificateRefs) && size(self.certificateRefs) > 0) || "
            "(has(self.options) && size(self.options) > 0)",
            "certificateRefs or options must be specified when mode is Terminate",
            lambda tls: tls.get("mode") != "Terminate" or bool(tls.get("certificateRefs") or tls.get("options")),
        ),
        allowedRoutes=obj(
            namespaces=obj(from_=enum("All", "Selector", "Same", "None"), selector=selector),
            kinds=array(obj(("kind",), group=TEXT, kind=text(fewest=1)), most=8),
        ),
    )
    return obj(
        ("gatewayClassName", "listeners"),
        gatewayClassName=_NAME,
        listeners=array(listener, fewest=1, most=64)
        .with_rule(
            "self.all(l, l.protocol in ['HTTP', 'TCP', 'UDP'] ? !has(l.tls) : true)",
            "tls must not be specified for protocols ['HTTP', 'TCP', 'UDP']",
            lambda listed: not any(x["protocol"] in ("HTTP", "TCP", "UDP") and x.get("tls") for x in listed),
        )
        .with_rule(
            "self.all(l1, self.exists_one(l2, l1.name == l2.name))",
            "Listener name must be unique within the Gateway",
            lambda listed: len({x["name"] for x in listed}) == len(listed),
        ),
        addresses=array(obj(type=TEXT, value=TEXT), most=16),
        infrastructure=obj(labels=mapping(TEXT), annotations=mapping(TEXT), parametersRef=FREE),
    )


def _match() -> Schema:
    def header(name: Schema) -> Schema:
        return obj(
            ("name", "value"),
            type=enum("Exact", "RegularExpression"),
            name=name,
            value=text(fewest=1, most=4096),
        )

    return obj(
        path=obj(type=enum("Exact", "PathPrefix", "RegularExpression"), value=text(most=1024)).with_rule(
            "has(self.type) && self.type == 'RegularExpression' || !has(self.value) || self.value.startsWith('/')",
            "value must be an absolute path and start with '/'",
            lambda path: path.get("type") == "RegularExpression" or path.get("value", "/").startswith("/"),
        ),
        headers=array(header(_HEADER), most=16),
        queryParams=array(header(_HEADER), most=16),
        method=enum("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"),
    )


def _filter(reference: Schema) -> Schema:
    header = obj(("name", "value"), name=_HEADER, value=text(fewest=1, most=4096))
    changes = obj(set=array(header, most=16), add=array(header, most=16), remove=array(TEXT, most=16))
    path = obj(
        ("type",),
        type=enum("ReplaceFullPath", "ReplacePrefixMatch"),
        replaceFullPath=text(most=1024),
        replacePrefixMatch=text(most=1024),
    ).with_rule(
        "self.type == 'ReplaceFullPath' ? has(self.replaceFullPath) : has(self.replacePrefixMatch)",
        "replaceFullPath or replacePrefixMatch must be specified, as type says",
        lambda p: p.get("replaceFullPath" if p["type"] == "ReplaceFullPath" else "replacePrefixMatch") is not None,
    )
    kinds = {
        "RequestHeaderModifier": "requestHeaderModifier",
        "ResponseHeaderModifier": "responseHeaderModifier",
        "RequestMirror": "requestMirror",
        "RequestRedirect": "requestRedirect",
        "URLRewrite": "urlRewrite",
        "CORS": "cors",
        "ExtensionRef": "extensionRef",
    }
    return obj(
        ("type",),
        type=enum(*kinds),
        requestHeaderModifier=changes,
        responseHeaderModifier=changes,
        requestMirror=obj(
            ("backendRef",),
            one=(("percent", "fraction"),),
            backendRef=reference,
            percent=integer(0, 100),
            fraction=obj(("numerator",), numerator=integer(0), denominator=integer(1)),
        ),
        requestRedirect=obj(
            scheme=enum("http", "https"),
            hostname=_HOST,
            path=path,
            port=PORT,
            statusCode=integer(301, 308),
        ),
        urlRewrite=obj(hostname=_HOST, path=path),
        cors=obj(
            allowOrigins=array(TEXT, most=64),
            allowCredentials=BOOL,
            allowMethods=array(TEXT, most=9),
            allowHeaders=array(_HEADER, most=64),
            exposeHeaders=array(_HEADER, most=64),
            maxAge=INT,
        ),
        extensionRef=FREE,
    ).with_rule(
        " && ".join(f"(self.type == '{kind}') == has(self.{name})" for kind, name in kinds.items()),
        "exactly the filter that type names must be specified",
        lambda f: {name for name in kinds.values() if f.get(name) is not None} == {kinds[f["type"]]},
    )


def http_route() -> Schema:
    reference = obj(
        ("name",), group=text(most=253), kind=text(fewest=1, most=63), name=_NAME, namespace=_LABEL, port=PORT
    )
    named = reference.properties
    filters = array(_filter(reference), most=16)
    backend = obj(("name",), named, weight=integer(0, 1_000_000), filters=filters)
    parent = obj(("name",), named, sectionName=_SECTION)
    rule = obj(
        name=_SECTION,
        matches=array(_match(), most=64),
        filters=filters,
        backendRefs=array(backend, most=16),
        timeouts=obj(request=_SHORT, backendRequest=_SHORT),
        retry=obj(codes=array(integer(400, 599)), attempts=INT, backoff=_SHORT),
        sessionPersistence=FREE,
    ).with_rule(
        "!has(self.filters) || !self.filters.exists(f, has(f.requestRedirect)) || !has(self.backendRefs) || "
        "size(self.backendRefs) == 0",
        "RequestRedirect filter must not be used together with backendRefs",
        lambda r: not (r.get("backendRefs") and any(f.get("requestRedirect") for f in r.get("filters") or ())),
    )
    return obj(
        parentRefs=array(parent, most=32),
        hostnames=array(_HOST, most=16),
        rules=array(rule, most=16),
        _doc="How HTTP requests are routed.",
    )


def reference_grant() -> Schema:
    group = text(most=253)
    kind = text(fewest=1, most=63, pattern=r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$")
    source = obj(("group", "kind", "namespace"), group=group, kind=kind, namespace=_LABEL)
    target = obj(("group", "kind"), group=group, kind=kind, name=_NAME)
    return obj(
        ("from", "to"),
        from_=array(source, fewest=1, most=16),
        to=array(target, fewest=1, most=16),
        _doc="Which objects of other namespaces may name objects of this one.",
    )


def gateway_status() -> Schema:
    return obj(addresses=array(FREE), conditions=array(FREE), listeners=array(FREE))


def route_status() -> Schema:
    return obj(parents=array(FREE))
