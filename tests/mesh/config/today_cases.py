"""Documents of today's API that must be refused, each with a part of the reason; and documents that must pass."""

from __future__ import annotations

from typing import Any

Spec = dict[str, Any]
API = {
    "VirtualService": "networking.istio.io/v1", "DestinationRule": "networking.istio.io/v1",
    "ServiceEntry": "networking.istio.io/v1", "WorkloadEntry": "networking.istio.io/v1",
    "Gateway": "networking.istio.io/v1", "Sidecar": "networking.istio.io/v1",
    "PeerAuthentication": "security.istio.io/v1", "AuthorizationPolicy": "security.istio.io/v1",
    "RequestAuthentication": "security.istio.io/v1", "Telemetry": "telemetry.istio.io/v1",
    "HTTPRoute": "gateway.networking.k8s.io/v1", "GatewayClass": "gateway.networking.k8s.io/v1",
}  # fmt: skip


def obj(kind: str, spec: Spec, version: str = "") -> dict[str, Any]:
    return {"apiVersion": version or API[kind], "kind": kind, "metadata": {"name": "x", "namespace": "default"},
            "spec": spec}  # fmt: skip


def to(host: str = "svcb", **more: Any) -> Spec:
    return {"destination": {"host": host, **more}}


def http(**block: Any) -> Spec:
    return {"hosts": ["svcb"], "http": [{"route": [to()], **block}]}


def entry(**more: Any) -> Spec:
    ports = [{"number": 80, "name": "http", "protocol": "HTTP"}]
    return {"hosts": ["a.com"], "ports": ports, "resolution": "DNS", **more}


def server(protocol: str = "HTTP", number: int = 80, **more: Any) -> Spec:
    port = {"number": number, "protocol": protocol, "name": f"p{number}"}
    return {"selector": {"istio": "ingress"}, "servers": [{"port": port, "hosts": ["*"], **more}]}


#: Refused by the schema: by an API server on write, too.
BY_SCHEMA: list[tuple[str, Spec, str]] = [
    ("VirtualService", {"hosts": ["a"]}, "http, tcp or tls must be provided"),
    ("VirtualService", {"hosts": "a", "http": []}, "must be of type array"),
    ("VirtualService", http(route=[{**to(), "weight": -1}]), "weight: -1 must be at least 0"),
    ("VirtualService", http(route=[{"weight": 1}]), "route[0].destination: is required"),
    ("VirtualService", http(route=[{"destination": {}}]), "destination.host: is required"),
    ("VirtualService", http(route=[to(port={"number": 70000})]), "must be in the range 1..65535"),
    ("VirtualService", http(timeout="5"), '"5" is not a duration'),
    ("VirtualService", http(timeout="1d"), '"1d" is not a duration'),
    ("VirtualService", http(timeout="1us"), "must be a valid duration greater than 1ms"),
    ("VirtualService", http(retries={"attempts": -1}), "attempts: -1 must be at least 0"),
    ("VirtualService", http(match=[{"uri": {"exact": "/a", "prefix": "/b"}}]), "only one of exact and prefix"),
    ("VirtualService", http(match=[{"uri": "/a"}]), "must be of type object, not string"),
    ("VirtualService", http(fault={"delay": {"percentage": {"value": 101}, "fixedDelay": "1s"}}), "range 0..100"),
    ("VirtualService", http(fault={"abort": {"httpStatus": 600}}), "range 200..599"),
    ("VirtualService", http(corsPolicy={"maxAge": "x"}), "is not a duration"),
    ("DestinationRule", {"subsets": []}, "spec.host: is required"),
    ("DestinationRule", {"host": "a", "trafficPolicy": {"loadBalancer": {"simple": "LEAST"}}}, 'unknown value "LEAST"'),
    ("DestinationRule", {"host": "a", "trafficPolicy": {"outlierDetection": {"maxEjectionPercent": 101}}}, "0..100"),
    ("DestinationRule", {"host": "a", "trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": -1}}}}, "1.."),
    ("DestinationRule", {"host": "a", "trafficPolicy": {"tls": {"mode": "mutual"}}}, "unknown value"),
    ("DestinationRule", {"host": "a", "subsets": [{"labels": {"a": "b"}}]}, "subsets[0].name: is required"),
    ("DestinationRule", {"host": "a", "trafficPolicy": {"loadBalancer": {"simple": "RANDOM", "consistentHash": {}}}},
     "only one of simple and consistentHash"),
    ("ServiceEntry", {"ports": []}, "spec.hosts: is required"),
    ("ServiceEntry", entry(hosts=["*"]), "invalid host *"),
    ("ServiceEntry", entry(hosts=[]), "must have at least 1 items"),
    ("ServiceEntry", entry(resolution="NONE", endpoints=[{"address": "1.1.1.1"}]), "NONE mode cannot set endpoints"),
    ("ServiceEntry", entry(endpoints=[], workloadSelector={}), "only one of WorkloadSelector or Endpoints"),
    ("ServiceEntry", entry(location="OUTSIDE"), "unknown value"),
    ("ServiceEntry", entry(ports=[{"number": 80, "name": "a"}, {"number": 80, "name": "b"}]), "cannot be duplicated"),
    ("WorkloadEntry", {"labels": {"app": "a"}}, "Address is required"),
    ("Gateway", {"servers": []}, "must have at least 1 items"),
    ("Gateway", {"servers": [{"hosts": ["*"]}]}, "servers[0].port: is required"),
    ("Sidecar", {"egress": [{"hosts": ["svcb"]}]}, "does not match"),
    ("Sidecar", {"outboundTrafficPolicy": {"mode": "REGISTRY"}}, "must be one of REGISTRY_ONLY, ALLOW_ANY"),
    ("PeerAuthentication", {"mtls": {"mode": "strict"}}, "must be one of UNSET, DISABLE, PERMISSIVE, STRICT"),
    ("PeerAuthentication", {"selector": {"matchLabels": {"a": "b"}}, "portLevelMtls": {}}, "at least 1 entries"),
    ("PeerAuthentication", {"portLevelMtls": {"80": {"mode": "STRICT"}}}, "portLevelMtls requires selector"),
    ("PeerAuthentication", {"selector": {"matchLabels": {"a": "b"}}, "portLevelMtls": {"0": {}}}, "between 1-65535"),
    ("AuthorizationPolicy", {"action": "REFUSE"}, "unknown value"),
    ("AuthorizationPolicy", {"action": "CUSTOM", "rules": [{}]}, "provider is for the action CUSTOM"),
    ("AuthorizationPolicy", {"rules": [{"when": [{"values": ["a"]}]}]}, "when[0].key: is required"),
    ("RequestAuthentication", {"jwtRules": [{"jwks": "{}"}]}, "issuer: is required"),
    ("RequestAuthentication", {"jwtRules": [{"issuer": "a", "jwks": "{}", "jwksUri": "http://a/b"}]}, "only one of"),
    ("RequestAuthentication", {"jwtRules": [{"issuer": "a", "jwksUri": "ftp://a"}]}, "does not match"),
    ("Telemetry", {"tracing": [{"randomSamplingPercentage": 101}]}, "range 0..100"),
    ("Telemetry", {"tracing": [{"customTags": {"a": {}}}]}, "one of literal, environment, header"),
    ("HTTPRoute", {"rules": [{"matches": [{"path": {"value": "a"}}]}]}, "start with '/'"),
    ("HTTPRoute", {"rules": [{"matches": [{"method": "FETCH"}]}]}, "unknown value"),
    ("HTTPRoute", {"rules": [{"backendRefs": [{"port": 80}]}]}, "name: is required"),
    ("HTTPRoute", {"rules": [{"filters": [{"type": "URLRewrite"}]}]}, "exactly the filter that type names"),
    ("GatewayClass", {"controllerName": "istio"}, "does not match"),
]
#: Refused by istiod's rules alone.
BY_RULES: list[tuple[str, Spec, str]] = [
    ("VirtualService", {"hosts": ["A"], "http": [{"route": [to()]}]}, 'domain name "A" invalid'),
    ("VirtualService", {"hosts": ["*"], "http": [{"route": [to()]}]}, "wildcard host * is not allowed"),
    ("VirtualService", {"hosts": ["*.a.com", "b.a.com"], "http": [{"route": [to()]}]}, "duplicate hosts"),
    ("VirtualService", {"hosts": ["a"], "http": [{}]}, "HTTP route, redirect or direct_response is required"),
    ("VirtualService", {"hosts": ["a"], "gateways": ["a/b/c"], "http": [{"route": [to()]}]}, "gateway name"),
    ("VirtualService", http(redirect={"uri": "/a"}), "cannot contain both route and redirect"),
    ("VirtualService", {"hosts": ["a"], "http": [{"redirect": {}}]}, "redirect must specify"),
    ("VirtualService", {"hosts": ["a"], "http": [{"redirect": {"uri": "/", "redirectCode": 305}}]}, "305"),
    ("VirtualService", http(route=[{**to(), "weight": 0}, to("a")]), "total destination weight = 0"),
    ("VirtualService", http(route=[to(subset="V_1")]), "subset name is invalid"),
    ("VirtualService", http(route=[to("*")]), "invalid destination host *"),
    ("VirtualService", http(rewrite={}), "rewrite must specify"),
    ("VirtualService", http(retries={"perTryTimeout": "1s"}), "attempts are set to 0"),
    ("VirtualService", http(retries={"attempts": 1, "retryOn": "sometimes"}), '"sometimes" is not a valid retryOn'),
    ("VirtualService", http(fault={}), "must have an abort and/or a delay"),
    ("VirtualService", http(fault={"delay": {"exponentialDelay": "1s"}}), "exponentialDelay not supported"),
    ("VirtualService", http(match=[{"uri": {"regex": "("}}]), "error parsing regexp"),
    ("VirtualService", http(match=[{"headers": {"a": {"regex": "(?=a)"}}}]), "error parsing regexp"),
    ("VirtualService", http(corsPolicy={"allowMethods": ["get"]}), '"get" is not a supported HTTP method'),
    ("VirtualService", http(corsPolicy={"maxAge": "1.5s"}), "seconds precision"),
    ("VirtualService", {"hosts": ["a"], "tcp": [{"route": []}]}, "a route is required"),
    ("VirtualService", {"hosts": ["a.com"], "tls": [{"match": [{"sniHosts": ["b.com"]}], "route": [to()]}]},
     "not a compatible subset"),
    ("DestinationRule", {"host": "a", "subsets": [{"name": "a"}, {"name": "a"}]}, "duplicate subset name"),
    ("DestinationRule", {"host": "a", "trafficPolicy": {}}, "traffic policy must have at least one field"),
    ("DestinationRule", {"host": "a", "trafficPolicy": {"connectionPool": {}}}, "connection pool must have"),
    ("DestinationRule", {"host": "a", "trafficPolicy": {"tls": {"mode": "MUTUAL"}}}, "client certificate required"),
    ("DestinationRule", {"host": "a", "trafficPolicy": {"loadBalancer": {"consistentHash": {
        "useSourceIp": True, "maglev": {"tableSize": 1000}}}}}, "1000 is no prime number"),
    ("DestinationRule", {"host": "a", "trafficPolicy": {"loadBalancer": {"consistentHash": {
        "useSourceIp": True, "maglev": {}}}}}, "tableSize must be set for maglev"),
    ("DestinationRule", {"host": "a", "trafficPolicy": {"loadBalancer": {"simple": "ROUND_ROBIN", "warmup": {
        "duration": "1s", "aggression": 0.5}}}}, "aggression must be at least 1"),
    ("ServiceEntry", entry(hosts=["a.com", "b.com"], ports=[{"number": 1, "name": "t", "protocol": "TCP"}]),
     "multiple hosts provided with non-HTTP, non-TLS ports"),
    ("ServiceEntry", entry(hosts=["10.0.0.1"]), "cannot be all-numeric"),
    ("ServiceEntry", entry(addresses=["10.0.0.0/8"]), "CIDR addresses are allowed only for NONE/STATIC"),
    ("ServiceEntry", entry(resolution="STATIC", endpoints=[{"address": "a.com"}]), "not a valid IP address"),
    ("ServiceEntry", entry(hosts=["*.a.com"]), "hosts must be FQDN"),
    ("ServiceEntry", entry(ports=[{"number": 1, "name": "a", "protocol": "SPDY"}]), "is not supported"),
    ("Gateway", server("HTTPS", 443), "server must have TLS settings"),
    ("Gateway", server("HTTP", tls={"mode": "SIMPLE"}), "cannot have TLS settings"),
    ("Gateway", server("HTTPS", 443, tls={"mode": "SIMPLE"}), "requires a server certificate"),
    ("Gateway", {"servers": [*server()["servers"], *server()["servers"]]}, "must be unique"),
    ("Sidecar", {"egress": [{"hosts": ["*/*"]}, {"hosts": ["./*"]}]}, "only one egress listener"),
    ("VirtualService", http() | {"exportTo": ["~"]}, "(none) is not allowed for Istio configuration objects"),
    ("DestinationRule", {"host": "a", "exportTo": ["~"]}, "(none) is not allowed for Istio configuration objects"),
    ("Sidecar", {"egress": [{"hosts": ["./svcb"]}]}, "short names (non FQDN) are not allowed"),
    ("Sidecar", {"workloadSelector": {"labels": {"app": "a"}}}, "empty configuration provided"),
    ("AuthorizationPolicy", {"action": "DENY"}, "meaningless"),
    ("AuthorizationPolicy", {"rules": [{"from": []}]}, "`from` cannot be empty, found at rule 0"),
    ("AuthorizationPolicy", {"rules": [{"from": [{"source": {}}]}]}, "must have at least one field set"),
    ("AuthorizationPolicy", {"rules": [{"to": [{"operation": {"ports": ["0"]}}]}]}, "invalid port 0"),
    ("AuthorizationPolicy", {"rules": [{"when": [{"key": "request.body", "values": ["a"]}]}]}, "unknown attribute"),
    ("AuthorizationPolicy", {"rules": [{"when": [{"key": "source.ip"}]}]}, "at least one of `values`"),
    ("RequestAuthentication", {"jwtRules": [{"issuer": "a", "jwks": "no"}]}, "failed to parse jwks"),
    *(("VirtualService", http(match=[{"headers": {name: {"exact": "a"}}}]), "is not a valid header name")
      for name in ("x a", "x:y", ":other", "é", "a,b", "x\n")),
    *(("VirtualService", http(headers={"request": {"set": {name: "a"}}}), "is not a valid header name")
      for name in ("x a", ":path", "x\n")),
    ("VirtualService", http(headers={"response": {"set": {"host": "a"}}}), "it cannot be changed"),
    ("VirtualService", http(headers={"request": {"remove": ["Host"]}}), "it cannot be changed"),
    ("VirtualService", http(headers={"request": {"set": {"x": "a\nb"}}}), "header value configuration"),
    ("VirtualService", http(headers={"request": {"set": {"x": "100%"}}}), "Un-escaped %: a percent sign is written %%"),
    ("VirtualService", http(headers={"response": {"add": {"x": "%NOTHING%"}}}), "Envoy knows no %NOTHING%"),
    ("VirtualService", http(headers={"request": {"add": {":authority": "a"}}}, rewrite={"authority": "b"}),
     "authority header cannot be set multiple times"),
    ("VirtualService", http(corsPolicy={"exposeHeaders": ["x a"]}), "is not a valid header name"),
    ("VirtualService", http(match=[{"headers": {"x": {"prefix": ""}}}]), "prefix string match should not be empty"),
    ("VirtualService", http(match=[{"uri": {"regex": "a" * 1025}}]), "max length allowed is 1024"),
    ("VirtualService", http(fault={"abort": {"grpcStatus": "NO"}}), 'gRPC status "NO" is not supported'),
    ("VirtualService", http(route=[], redirect={"scheme": "ftp"}), "invalid redirect scheme"),
    ("VirtualService", http(match=[{"headers": {"@request.auth.claims.sub": {"exact": "a"}}}]), "by claims of tokens"),
    ("DestinationRule", {"host": "a", "trafficPolicy": {"loadBalancer": {"consistentHash": {"httpHeaderName": "\0"}}}},
     "is no name of a header"),
    ("DestinationRule", {"host": "a", "trafficPolicy": {"tls": {"mode": "SIMPLE", "sni": "a" * 256}}}, "255 bytes"),
    ("AuthorizationPolicy", {"rules": [{"when": [{"key": "request.headers[\n]", "values": ["a"]}]}]}, "no name of"),
    ("RequestAuthentication", {"jwtRules": [{"issuer": "a", "fromHeaders": [{"name": "x\r"}]}]}, "no name of"),
    ("RequestAuthentication", {"jwtRules": [{"issuer": "a", "outputPayloadToHeader": "\0"}]}, "no name of"),
    ("WorkloadEntry", {"address": "unix://run/a"}, "UDS must be an absolute path"),
    ("WorkloadEntry", {"address": "unix:///run/"}, "UDS may not be a dir"),
    # Of later versions of Istio, not served: an API server leaves them out, unless told to be strict.
    ("VirtualService", http(route=[], redirect={"prefixRewrite": "/"}), 'unknown field "prefixRewrite"'),
    ("DestinationRule", {"host": "a", "trafficPolicy": {"connectionPool": {"http": {"http2KeepAlive": {}}}}},
     'unknown field "http2KeepAlive"'),
    ("AuthorizationPolicy", {"rules": [{"from": [{"source": {"trustDomains": ["a"]}}]}]}, 'field "trustDomains"'),
    ("RequestAuthentication", {"jwtRules": [{"issuer": "a", "presence": "REQUIRED"}]}, 'unknown field "presence"'),
]  # fmt: skip
VALID: list[tuple[str, Spec]] = [
    ("VirtualService", http()),
    ("VirtualService", {"hosts": ["10.1.2.3"], "http": [{"route": [to()]}]}),
    ("VirtualService", {"hosts": ["*"], "gateways": ["g"], "http": [{"route": [to()]}]}),
    ("VirtualService", http(match=[{"uri": {"prefix": "/a"}, "headers": {"x": {}}}], timeout="1.5s")),
    ("VirtualService", http(retries={"attempts": 0})),
    ("VirtualService", http(fault={"abort": {"httpStatus": 503, "percentage": {"value": 0.1}}})),
    ("VirtualService", http(corsPolicy={"maxAge": "24h", "allowOrigins": [{"exact": "*"}]})),
    ("VirtualService", {"hosts": ["a"], "http": [{"directResponse": {"status": 503, "body": {"string": "no"}}}]}),
    ("DestinationRule", {"host": "svcb", "subsets": [{"name": "v1", "labels": {"version": "v1"}}]}),
    ("DestinationRule", {"host": "*.local", "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}}),
    ("ServiceEntry", entry()),
    ("ServiceEntry", entry(resolution="STATIC")),
    ("ServiceEntry", entry(ports=[])),
    ("ServiceEntry", entry(exportTo=["~"])),
    ("ServiceEntry", entry(hosts=["a.com", "b.com"])),
    ("ServiceEntry", entry(hosts=["x.invalid"], addresses=["10.0.0.0/8"], resolution="NONE")),
    ("WorkloadEntry", {"address": "10.0.0.1", "labels": {"app": "a"}}),
    ("Gateway", server()),
    ("Gateway", server("HTTPS", 443, tls={"mode": "SIMPLE", "credentialName": "c"})),
    ("Gateway", server(tls={"httpsRedirect": True})),
    ("Sidecar", {"egress": [{"hosts": ["./*", "istio-system/*"]}], "outboundTrafficPolicy": {"mode": "ALLOW_ANY"}}),
    ("PeerAuthentication", {}),
    ("PeerAuthentication", {"mtls": {"mode": "STRICT"}}),
    ("AuthorizationPolicy", {}),
    ("AuthorizationPolicy", {"action": "DENY", "rules": [{"to": [{"operation": {"paths": ["/a*"]}}]}]}),
    ("RequestAuthentication", {"jwtRules": [{"issuer": "a", "jwks": '{"keys": []}'}]}),
    ("Telemetry", {"tracing": [{"randomSamplingPercentage": 12.5}], "accessLogging": [{"disabled": True}]}),
    ("HTTPRoute", {"parentRefs": [{"name": "g"}], "rules": [{"backendRefs": [{"name": "svcb", "port": 80}]}]}),
    ("GatewayClass", {"controllerName": "istio.io/gateway-controller"}),
    ("VirtualService", http(match=[{"headers": {":path": {"exact": ""}}, "withoutHeaders": {"x": {"regex": "*"}},
                                    "uri": {"prefix": ""}}], headers={"request": {"add": {"Host": "a"}}})),
    ("VirtualService", http(corsPolicy={"allowHeaders": ["*"]}, fault={"abort": {"grpcStatus": "NOT_FOUND"}})),
]  # fmt: skip
