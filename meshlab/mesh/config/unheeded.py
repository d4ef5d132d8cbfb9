"""Fields of both generations that are stored and that nothing here acts on: the whole list, and why.

Whoever writes one is told so: by `lab.apply`, by istioctl, as a warning when it is stored through Pilot's webhook, and
by `istioctl analyze`. Tests walk every field of every schema and hold that each has an effect or stands here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from meshlab.mesh.config.kinds import GROUP
from meshlab.mesh.config.security import action_problem, trial_problem
from meshlab.mesh.config.today.kinds import GATEWAY_API, NETWORKING, SECURITY, TELEMETRY

__all__ = ["HEEDED", "UNHEEDED", "unheeded", "warnings"]

Place = tuple[str | int, ...]
_LOCALITY = "all pods of a lab run in one place"
_EDGE = "a gateway listens on its pod's address, on the port's own number"
_CHECKS = "certificates are checked by their authority and names alone"
_INBOUND = "what a pod takes in is not limited"
_CAPTURE = "how connections come to a sidecar is decided when its pod starts"
_POLICY: Mapping[str, str] = {
    "loadBalancer.localityLbSetting": _LOCALITY,
    "tls.caCrl": _CHECKS,
    "tls.credentialName": "sidecars read certificates from files, as istiod's do; it is for gateways",
    "tunnel": "sidecars do not tunnel",
    "proxyProtocol": "sidecars send no PROXY protocol",
    "retryBudget": "retries at a time are limited by connectionPool.http.maxRetries",
}
_TARGETS = "there are no waypoints, and gateways are chosen by selector"
_PLAIN = "endpoints that are no pods are called without mutual TLS"
_BY_NAME = "certificates come from a secret: write credentialName"
_OVERRIDE = "Envoy listens to no such header, as in 0.4.0"
_CUSTOM = "0.4.0 passed it on to nobody"

#: (group, kind) → field → why nothing acts on it. A list's items are [].
UNHEEDED: Mapping[tuple[str, str], Mapping[str, str]] = {
    (GROUP, "RouteRule"): {
        "match.tcp": "0.4.0 took it and did nothing with it",
        "route[].destination.labels": "write labels beside destination",
        "httpReqTimeout.simpleTimeout.overrideHeaderName": _OVERRIDE,
        "httpReqTimeout.custom": _CUSTOM,
        "httpReqRetries.simpleRetry.overrideHeaderName": _OVERRIDE,
        "httpReqRetries.custom": _CUSTOM,
        "httpFault.delay.overrideHeaderName": _OVERRIDE,
        "httpFault.abort.overrideHeaderName": _OVERRIDE,
        "httpFault.abort.http2Error": "0.4.0 took it and did nothing with it: write httpStatus",
    },
    (GROUP, "DestinationPolicy"): {
        "loadBalancing.custom": _CUSTOM,
        "circuitBreaker.custom": _CUSTOM,
        "circuitBreaker.simpleCb.httpMaxRetries": "0.4.0 never passed it on to Envoy",
        "custom": _CUSTOM,
    },
    ("networking.k8s.io", "Ingress"): {
        "ingressClassName": "the annotation kubernetes.io/ingress.class says the class, as in 0.4",
    },
    (NETWORKING, "VirtualService"): {
        "http[].retries.retryRemoteLocalities": _LOCALITY,
        "http[].websocketUpgrade": "websockets always pass, as with istiod",
        "tcp[].match[].sourceSubnet": "istiod ignores it, too; sourceLabels say which pods",
    },
    (NETWORKING, "DestinationRule"): {
        f"{where}.{name}": why
        for where in (
            "trafficPolicy",
            "trafficPolicy.portLevelSettings[]",
            "subsets[].trafficPolicy",
            "subsets[].trafficPolicy.portLevelSettings[]",
        )
        for name, why in _POLICY.items()
        if name not in ("tunnel", "proxyProtocol", "retryBudget") or not where.endswith("[]")
    }
    | {
        f"{where}.outlierDetection.consecutiveErrors": "istiod dropped it: write consecutive5xxErrors"
        for where in (
            "trafficPolicy",
            "trafficPolicy.portLevelSettings[]",
            "subsets[].trafficPolicy",
            "subsets[].trafficPolicy.portLevelSettings[]",
        )
    },
    (NETWORKING, "ServiceEntry"): {
        "endpoints[].network": _LOCALITY,
        "endpoints[].locality": _LOCALITY,
        "endpoints[].serviceAccount": _PLAIN,
    },
    (NETWORKING, "WorkloadEntry"): {"network": _LOCALITY, "locality": _LOCALITY, "serviceAccount": _PLAIN},
    (NETWORKING, "Gateway"): {
        "servers[].port.targetPort": "istiod ignores it, too",
        "servers[].bind": _EDGE,
        "servers[].defaultEndpoint": "a gateway's routes come from the rules bound to it",
        "servers[].name": "a name for people",
        "servers[].tls.serverCertificate": _BY_NAME,
        "servers[].tls.privateKey": _BY_NAME,
        "servers[].tls.caCertificates": "the clients' authority is the secret's own ca.crt",
        "servers[].tls.caCrl": _CHECKS,
        "servers[].tls.verifyCertificateSpki[]": _CHECKS,
        "servers[].tls.verifyCertificateHash[]": _CHECKS,
        "servers[].tls.cipherSuites[]": "Envoy's own list is offered",
        "servers[].tls.credentialNames[]": "one certificate for each server: write credentialName",
        "servers[].tls.caCertCredentialName": "the clients' authority is the secret's own ca.crt",
    },
    (NETWORKING, "Sidecar"): {
        "ingress[].port.targetPort": "istiod ignores it, too",
        "ingress[].bind": _CAPTURE,
        "ingress[].captureMode": _CAPTURE,
        "ingress[].defaultEndpoint": "the application is reached by port: write 127.0.0.1:PORT",
        "ingress[].connectionPool": _INBOUND,
        "inboundConnectionPool": _INBOUND,
        "ingress[].tls": "what a port takes is said by PeerAuthentication",
        "egress[].port.protocol": "the service's own port says it",
        "egress[].port.name": "a name for people",
        "egress[].port.targetPort": "istiod ignores it, too",
        "egress[].bind": _CAPTURE,
        "egress[].captureMode": _CAPTURE,
        "outboundTrafficPolicy.egressProxy": "what the mesh does not know is passed on directly",
    },
    (SECURITY, "AuthorizationPolicy"): {"targetRef": _TARGETS, "targetRefs[]": _TARGETS},
    (SECURITY, "RequestAuthentication"): {
        "targetRef": _TARGETS,
        "targetRefs[]": _TARGETS,
        "jwtRules[].spaceDelimitedClaims[]": "claims are compared whole, but scope",
    },
    (TELEMETRY, "Telemetry"): {
        "targetRef": _TARGETS,
        "targetRefs[]": _TARGETS,
        "tracing[].providers[].name": "there is one collector, that of the mesh",
        "tracing[].customTags": "spans carry Envoy's own tags",
        "tracing[].useRequestIdForTraceSampling": "Envoy samples by the request's id",
        "tracing[].enableIstioTags": "spans carry Envoy's own tags",
        "tracing[].disableContextPropagation": "what a service forwards is its own affair",
        "metrics[].providers[].name": "there is one Prometheus",
        "metrics[].overrides[].match.metric": "sidecars do not count it",
        "metrics[].overrides[].match.customMetric": "there are the standard metrics alone: write metric",
        "metrics[].reportingInterval": "Prometheus asks when it likes",
        "accessLogging[].providers[].name": "there is one access log, Envoy's",
    },
    (GATEWAY_API, "Gateway"): {
        "listeners[].tls.certificateRefs[].group": "certificates are Secrets",
        "listeners[].tls.certificateRefs[].kind": "certificates are Secrets",
        "listeners[].tls.options": "Envoy's own choices hold",
        "listeners[].tls.frontendValidation": "clients of these Gateways show no certificate",
        "listeners[].allowedRoutes.kinds[].group": "listeners take HTTPRoutes",
        "listeners[].allowedRoutes.kinds[].kind": "listeners take HTTPRoutes",
        "addresses[].type": "the address is that of istio-ingress",
        "addresses[].value": "the address is that of istio-ingress",
        "infrastructure": "no pods are made for a Gateway: istio-ingress serves it",
    },
    (GATEWAY_API, "HTTPRoute"): {
        "rules[].filters[].extensionRef": "there are no extensions",
        "parentRefs[].group": "Gateways and Services are told apart by kind",
        "rules[].backendRefs[].group": "backends are Services",
        "rules[].filters[].requestMirror.backendRef.group": "backends are Services",
        **{
            f"rules[].backendRefs[].filters[].{name}": "for one backend only headers can be changed"
            for name in ("requestMirror", "requestRedirect", "urlRewrite", "cors", "extensionRef")
        },
        "rules[].sessionPersistence": "write a DestinationRule with consistentHash",
    },
}

#: Values of such fields that say what happens anyway: (group, kind) → field → what a text of it is like.
HEEDED: Mapping[tuple[str, str], Mapping[str, str]] = {
    (NETWORKING, "Sidecar"): {"ingress[].defaultEndpoint": r"(127\.0\.0\.1|0\.0\.0\.0)?:[0-9]+"},
    (TELEMETRY, "Telemetry"): {
        "accessLogging[].providers[].name": "envoy",
        "metrics[].providers[].name": "prometheus",
        "metrics[].overrides[].match.metric": "(ALL_METRICS|REQUEST_.*|RESPONSE_SIZE|TCP_(?!OPENED).*)",
        "tracing[].providers[].name": "zipkin",
    },
    (GATEWAY_API, "Gateway"): {
        "listeners[].tls.certificateRefs[].group": "",
        "listeners[].tls.certificateRefs[].kind": "Secret",
        "listeners[].allowedRoutes.kinds[].group": GATEWAY_API,
        "listeners[].allowedRoutes.kinds[].kind": "HTTPRoute",
    },
    (GATEWAY_API, "HTTPRoute"): {
        "parentRefs[].group": GATEWAY_API,
        "rules[].backendRefs[].group": "|networking.istio.io",
        "rules[].filters[].requestMirror.backendRef.group": "|networking.istio.io",
    },
}


def unheeded(group: str, kind: str, spec: Any) -> Iterator[tuple[Place, str]]:
    """(place in the spec, why) of each field in it that nothing acts on."""
    known, fine = UNHEEDED.get((group, kind), {}), HEEDED.get((group, kind), {})
    for place, name, value in _fields(spec):
        if group == GROUP:  # which takes snake_case as well
            name = re.sub("_([a-z])", lambda found: found[1].upper(), name)
        if name in known and not (name in fine and re.fullmatch(fine[name], str(value))):
            yield place, known[name]


def _fields(value: Any, place: Place = (), name: str = "") -> Iterator[tuple[Place, str, Any]]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield (*place, key), (inner := f"{name}.{key}" if name else str(key)), each
            yield from _fields(each, (*place, key), inner)
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            if not isinstance(each, Mapping):
                yield (*place, number), f"{name}[]", each
            elif number == 0:
                yield place, f"{name}[]", each
            yield from _fields(each, (*place, number), f"{name}[]")


def warnings(obj: Mapping[str, Any]) -> list[str]:
    """Of a whole object, as an API server passes them on to who stores it."""
    group, kind, spec = str(obj.get("apiVersion") or "").partition("/")[0], str(obj.get("kind") or ""), obj.get("spec")
    told = [f"spec{_path(place)} has no effect in this lab: {why}" for place, why in unheeded(group, kind, spec)]
    if (group, kind) == (SECURITY, "AuthorizationPolicy") and isinstance(spec, Mapping):
        provider = spec.get("provider")
        asked = provider.get("name") if isinstance(provider, Mapping) else ""
        if reason := action_problem(str(spec.get("action") or ""), str(asked or "")):
            told.append(f"spec.action: {reason}")
        if reason := trial_problem((obj.get("metadata") or {}).get("annotations") or {}):
            told.append(reason)
    return told


def _path(place: Place) -> str:
    """`.http[0].retries`"""
    return "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in place)
