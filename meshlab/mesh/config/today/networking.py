"""Schemas of networking.istio.io: VirtualService, ServiceEntry, WorkloadEntry, Gateway and Sidecar."""

from __future__ import annotations

from meshlab.mesh.config.today.schema import (
    BOOL,
    DURATION,
    FREE,
    INT,
    PORT,
    TEXT,
    Schema,
    array,
    enum,
    integer,
    mapping,
    number,
    obj,
    text,
)

__all__ = ["EXPORT_TO", "LABELS", "gateway", "service_entry", "sidecar", "virtual_service", "workload_entry"]

LABELS = mapping(TEXT)
EXPORT_TO = array(TEXT, doc="Namespaces that see it: a name, . (its own) or * (all); none given: all.")
_TEXTS = array(TEXT)
_PERCENT = obj(value=number(0, 100))
_HOSTS = array(text(fewest=1), fewest=1)


def _string_match() -> Schema:
    return obj(one=(("exact", "prefix", "regex"),), exact=TEXT, prefix=TEXT, regex=TEXT)


def _destination() -> Schema:
    return obj(
        ("host",),
        host=text(fewest=1, doc="Name of a service; a short one is completed by the rule's own namespace."),
        subset=text(doc="Name of a subset of the host's DestinationRule."),
        port=obj(number=PORT),
        _doc="Where the request goes.",
    )


def _headers() -> Schema:
    changes = obj(set=mapping(TEXT), add=mapping(TEXT), remove=_TEXTS)
    return obj(request=changes, response=changes)


def _http_match() -> Schema:
    pattern = _string_match()
    return obj(
        name=TEXT,
        uri=pattern,
        scheme=pattern,
        method=pattern,
        authority=pattern,
        headers=mapping(pattern),
        port=integer(0, 65535, doc="Of the destination, as it was called."),
        sourceLabels=LABELS.but(doc="Labels of the calling pod."),
        gateways=_TEXTS,
        queryParams=mapping(pattern),
        ignoreUriCase=BOOL,
        withoutHeaders=mapping(pattern),
        sourceNamespace=TEXT,
        statPrefix=TEXT,
        _doc="Conditions, all of which must hold; of several matches one.",
    )


def _fault() -> Schema:
    percent = {"percentage": _PERCENT, "percent": integer(0, 100, doc="Deprecated: use percentage.")}
    return obj(
        delay=obj(
            (), percent, one=(("fixedDelay", "exponentialDelay"),), fixedDelay=DURATION, exponentialDelay=DURATION
        ),
        abort=obj(
            one=(("httpStatus", "grpcStatus", "http2Error"),),
            httpStatus=integer(200, 599),
            grpcStatus=TEXT,
            http2Error=TEXT,
            percentage=_PERCENT,
        ),
    )


def _http_route() -> Schema:
    destination = _destination()
    return obj(
        one=(("redirect", "directResponse"),),
        name=TEXT,
        match=array(_http_match()),
        route=array(
            obj(
                ("destination",),
                destination=destination,
                weight=integer(0, doc="Share relative to the other destinations' weights."),
                headers=_headers(),
            )
        ),
        redirect=obj(
            one=(("port", "derivePort"),),
            uri=TEXT,
            authority=TEXT,
            port=integer(1, 65535),
            scheme=TEXT,
            derivePort=enum("FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"),
            redirectCode=integer(300, 399),
        ),
        directResponse=obj(
            ("status",), status=integer(200, 599), body=obj(one=(("string", "bytes"),), string=TEXT, bytes=TEXT)
        ),
        delegate=obj(name=TEXT, namespace=TEXT),
        rewrite=obj(uri=TEXT, authority=TEXT, uriRegexRewrite=obj(match=TEXT, rewrite=TEXT)),
        timeout=DURATION,
        websocketUpgrade=BOOL,
        retries=obj(
            attempts=integer(0),
            perTryTimeout=DURATION,
            retryOn=TEXT,
            retryRemoteLocalities=BOOL,
            retryIgnorePreviousHosts=BOOL,
            backoff=DURATION,
        ),
        fault=_fault(),
        mirror=destination,
        mirrors=array(obj(("destination",), destination=destination, percentage=_PERCENT)),
        mirrorPercentage=_PERCENT,
        mirrorPercent=integer(0, 100, doc="Deprecated: use mirrorPercentage."),
        corsPolicy=obj(
            allowOrigin=_TEXTS.but(doc="Deprecated: use allowOrigins."),
            allowOrigins=array(_string_match()),
            allowMethods=_TEXTS,
            allowHeaders=_TEXTS,
            exposeHeaders=_TEXTS,
            maxAge=DURATION,
            allowCredentials=BOOL,
            unmatchedPreflights=enum("UNSPECIFIED", "FORWARD", "IGNORE"),
        ),
        headers=_headers(),
    )


def virtual_service() -> Schema:
    route = array(obj(("destination",), destination=_destination(), weight=integer(0)))
    connection = {
        "destinationSubnets": _TEXTS,
        "port": integer(0, 65535),
        "sourceLabels": LABELS,
        "gateways": _TEXTS,
        "sourceNamespace": TEXT,
    }
    return obj(
        hosts=array(text(fewest=1), doc="Hosts whose requests are routed."),
        gateways=array(text(fewest=1), doc="Gateways (namespace/name) that route so; mesh: all sidecars."),
        http=array(_http_route(), doc="Routes of HTTP requests, the first that matches is taken."),
        tls=array(
            obj(
                ("match",),
                match=array(obj(("sniHosts",), connection, sniHosts=_HOSTS), fewest=1),
                route=route,
            )
        ),
        tcp=array(obj(match=array(obj((), connection, sourceSubnet=TEXT)), route=route)),
        exportTo=EXPORT_TO,
        _doc="How requests for hosts are routed.",
    ).with_rule(
        "has(self.http) || has(self.tls) || has(self.tcp)",
        "http, tcp or tls must be provided in virtual service",
        lambda spec: any(spec.get(name) is not None for name in ("http", "tls", "tcp")),
    )


def _workload() -> dict[str, Schema]:
    return {
        "address": text(most=256, doc="An IP address, a host name or unix:///path."),
        "ports": mapping(PORT, most=128, doc="By name of the service entry's port."),
        "labels": LABELS,
        "network": text(most=2048),
        "locality": text(most=2048),
        "weight": integer(0),
        "serviceAccount": text(most=253),
    }


def workload_entry() -> Schema:
    return obj((), _workload(), _doc="A workload outside Kubernetes.").with_rule(
        "has(self.address) || has(self.network)",
        "Address is required",
        lambda spec: bool(spec.get("address") or spec.get("network")),
    )


def service_entry() -> Schema:
    port = obj(
        ("number", "name"),
        number=PORT,
        protocol=text(most=256, doc="HTTP, HTTPS, HTTP2, GRPC, GRPC-WEB, TCP, TLS, MONGO, REDIS or MYSQL."),
        name=text(fewest=1, most=256),
        targetPort=PORT,
    )
    endpoint = obj((), _workload())
    return (
        obj(
            ("hosts",),
            hosts=array(text(fewest=1), fewest=1, most=256).with_rule(
                "self.all(h, h != '*')", "invalid host *", lambda hosts: "*" not in hosts
            ),
            addresses=array(text(most=64), most=256, doc="Virtual addresses of the service: IPs or CIDRs."),
            ports=array(port, most=256).with_rule(
                "self.all(l1, self.exists_one(l2, l1.number == l2.number))",
                "port number cannot be duplicated",
                lambda ports: len({p["number"] for p in ports}) == len(ports),
            ),
            location=enum("MESH_EXTERNAL", "MESH_INTERNAL"),
            resolution=enum("NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"),
            endpoints=array(endpoint, most=4096),
            workloadSelector=obj(labels=LABELS),
            exportTo=EXPORT_TO,
            subjectAltNames=_TEXTS,
            _doc="A service that Kubernetes does not know, mostly outside the mesh.",
        )
        .with_rule(
            "(has(self.workloadSelector) ? 1 : 0) + (has(self.endpoints) ? 1 : 0) <= 1",
            "only one of WorkloadSelector or Endpoints can be set",
            lambda spec: not (spec.get("workloadSelector") is not None and spec.get("endpoints") is not None),
        )
        .with_rule(
            "!has(self.endpoints) || size(self.endpoints) == 0 || (has(self.resolution) && self.resolution != 'NONE')",
            "NONE mode cannot set endpoints",
            lambda spec: not (spec.get("endpoints") and spec.get("resolution", "NONE") in (None, "NONE")),
        )
    )


def gateway() -> Schema:
    tls = obj(
        mode=enum("PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"),
        httpsRedirect=BOOL,
        serverCertificate=TEXT,
        privateKey=TEXT,
        caCertificates=TEXT,
        caCrl=TEXT,
        credentialName=TEXT,
        credentialNames=_TEXTS,
        caCertCredentialName=TEXT,
        subjectAltNames=_TEXTS,
        verifyCertificateSpki=_TEXTS,
        verifyCertificateHash=_TEXTS,
        minProtocolVersion=enum("TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"),
        maxProtocolVersion=enum("TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"),
        cipherSuites=_TEXTS,
    )
    server = obj(
        ("port", "hosts"),
        port=obj(
            ("number", "protocol", "name"), number=PORT, protocol=text(fewest=1), name=text(fewest=1), targetPort=INT
        ),
        bind=TEXT,
        hosts=_HOSTS,
        tls=tls,
        defaultEndpoint=TEXT,
        name=TEXT,
    )
    return obj(
        ("servers",),
        servers=array(server, fewest=1),
        selector=LABELS.but(doc="Labels of the pods that are this gateway."),
        _doc="Ports that a proxy at the edge of the mesh opens.",
    )


def sidecar() -> Schema:
    port = obj(number=PORT, protocol=TEXT, name=TEXT, targetPort=INT)
    host = text(fewest=1, pattern=r"^(\.|\*|~|[a-z0-9]([-a-z0-9]*[a-z0-9])?)/.+$")
    return obj(
        workloadSelector=obj(labels=LABELS),
        ingress=array(
            obj(
                ("port",),
                port=port,
                bind=TEXT,
                captureMode=enum("DEFAULT", "IPTABLES", "NONE"),
                defaultEndpoint=TEXT,
                connectionPool=FREE,
                tls=obj(mode=TEXT, serverCertificate=TEXT, privateKey=TEXT, caCertificates=TEXT),
            )
        ),
        egress=array(
            obj(
                ("hosts",),
                port=port,
                bind=TEXT,
                captureMode=enum("DEFAULT", "IPTABLES", "NONE"),
                hosts=array(host, fewest=1, doc="namespace/host; * for all, . for the own namespace, ~ for none."),
            )
        ),
        outboundTrafficPolicy=obj(mode=enum("REGISTRY_ONLY", "ALLOW_ANY"), egressProxy=_destination()),
        inboundConnectionPool=FREE,
        _doc="What the sidecars of some pods know of the mesh.",
    )
