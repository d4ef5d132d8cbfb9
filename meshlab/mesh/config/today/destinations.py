"""Schema of networking.istio.io's DestinationRule."""

from __future__ import annotations

from meshlab.mesh.config.today.networking import EXPORT_TO, LABELS
from meshlab.mesh.config.today.schema import (
    BOOL,
    DURATION,
    FREE,
    INT,
    NUMBER,
    PORT,
    TEXT,
    Schema,
    array,
    enum,
    integer,
    obj,
    text,
)

__all__ = ["destination_rule"]

_COUNT = integer(0, 2**31 - 1)


def _balancer() -> Schema:
    cookie = obj(("name",), name=text(fewest=1), path=TEXT, ttl=text())
    return obj(
        one=(("simple", "consistentHash"),),
        simple=enum("UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST"),
        consistentHash=obj(
            one=(
                ("httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName"),
                ("ringHash", "maglev"),
            ),
            httpHeaderName=TEXT,
            httpCookie=cookie,
            useSourceIp=BOOL,
            httpQueryParameterName=TEXT,
            minimumRingSize=_COUNT,
            ringHash=obj(minimumRingSize=_COUNT),
            maglev=obj(tableSize=_COUNT),
        ),
        localityLbSetting=FREE,
        warmupDurationSecs=DURATION,
        warmup=obj(("duration",), duration=DURATION, minimumPercent=NUMBER, aggression=NUMBER),
    )


def _pool() -> Schema:
    keepalive = obj(probes=_COUNT, time=DURATION, interval=DURATION)
    return obj(
        tcp=obj(
            maxConnections=INT.but(low=1, high=2**31 - 1),
            connectTimeout=DURATION,
            tcpKeepalive=keepalive,
            maxConnectionDuration=DURATION,
            idleTimeout=DURATION,
        ),
        http=obj(
            http1MaxPendingRequests=_COUNT,
            http2MaxRequests=_COUNT,
            maxRequestsPerConnection=_COUNT,
            maxRetries=_COUNT,
            idleTimeout=DURATION,
            h2UpgradePolicy=enum("DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"),
            useClientProtocol=BOOL,
            maxConcurrentStreams=_COUNT,
        ),
    )


def _outlier() -> Schema:
    return obj(
        consecutiveErrors=_COUNT.but(doc="Deprecated: use consecutive5xxErrors."),
        splitExternalLocalOriginErrors=BOOL,
        consecutiveLocalOriginFailures=_COUNT,
        consecutiveGatewayErrors=_COUNT,
        consecutive5xxErrors=_COUNT,
        interval=DURATION,
        baseEjectionTime=DURATION,
        maxEjectionPercent=integer(0, 100),
        minHealthPercent=integer(0, 100),
    )


def _tls() -> Schema:
    return obj(
        mode=enum("DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"),
        clientCertificate=TEXT,
        privateKey=TEXT,
        caCertificates=TEXT,
        credentialName=TEXT,
        subjectAltNames=array(TEXT),
        sni=TEXT,
        insecureSkipVerify=BOOL,
        caCrl=TEXT,
    )


def _policy() -> Schema:
    fields = {
        "loadBalancer": _balancer(),
        "connectionPool": _pool(),
        "outlierDetection": _outlier(),
        "tls": _tls(),
    }
    port = obj((), fields, port=obj(number=PORT))
    return obj(
        (),
        fields,
        portLevelSettings=array(port, most=4096),
        tunnel=obj(("targetHost", "targetPort"), protocol=TEXT, targetHost=TEXT, targetPort=PORT),
        proxyProtocol=obj(version=enum("V1", "V2")),
        retryBudget=obj(percent=NUMBER, minRetryConcurrency=_COUNT),
    )


def destination_rule() -> Schema:
    policy = _policy()
    return obj(
        ("host",),
        host=text(fewest=1, doc="Name of a service, or a wildcard."),
        trafficPolicy=policy,
        subsets=array(
            obj(("name",), name=text(fewest=1), labels=LABELS, trafficPolicy=policy),
            doc="Versions of the service: names for sets of labels.",
        ),
        exportTo=EXPORT_TO,
        workloadSelector=obj(matchLabels=LABELS),
        _doc="Versions of a service, and how connections to it are made.",
    )
