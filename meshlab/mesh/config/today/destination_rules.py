"""DestinationRules to the model: subsets and, for each, the policy that holds once inheritance is settled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshlab.mesh.config.labels import NO_LABELS, Labels
from meshlab.mesh.config.routing import Source
from meshlab.mesh.config.today.stored import Stored, duration, labels, texts
from meshlab.mesh.config.traffic import (
    Balancer,
    ClientTls,
    HostTraffic,
    Outlier,
    Policy,
    Traffic,
    Version,
)

__all__ = ["host_traffic"]

Fields = Mapping[str, Any]
#: What a subset's policy replaces as a whole, and otherwise inherits.
_SECTIONS = ("loadBalancer", "connectionPool", "outlierDetection", "tls")


def host_traffic(stored: Stored) -> HostTraffic:
    """One DestinationRule."""
    spec = stored.spec
    host, own = stored.host(spec["host"]), spec.get("trafficPolicy") or {}
    chosen = labels((spec.get("workloadSelector") or {}).get("matchLabels"))
    source = Source(labels=chosen, namespace=stored.namespace) if chosen else None
    subsets = spec.get("subsets") or ()
    policies = _policies(stored, host, NO_LABELS, "", own, own)
    for each in subsets:
        particular = each.get("trafficPolicy") or {}
        merged = {name: own.get(name) if particular.get(name) is None else particular[name] for name in _SECTIONS}
        ports = particular if particular.get("portLevelSettings") else own
        policies += _policies(stored, host, labels(each.get("labels")), each["name"], merged, ports)
    return HostTraffic(
        host,
        tuple(Version(each["name"], labels(each.get("labels"))) for each in subsets),
        tuple(policies),
        stored.visible_in,
        source,
        stored.namespace,
        stored.origin,
    )


def _policies(stored: Stored, host: str, wanted: Labels, subset: str, fields: Fields, ports: Fields) -> list[Policy]:
    """The policy of one version, and those of single ports, which inherit nothing."""
    made = [(0, traffic(fields))]
    for each in ports.get("portLevelSettings") or ():
        if number := (each.get("port") or {}).get("number"):
            made.append((int(number), traffic(each)))
    return [
        Policy(host, wanted, subset, port, traffic=each, namespace=stored.namespace, origin=stored.origin)
        for port, each in made
    ]


def traffic(fields: Fields) -> Traffic:
    """One TrafficPolicy."""
    pool = fields.get("connectionPool") or {}
    tcp, http = pool.get("tcp") or {}, pool.get("http") or {}
    alive = tcp.get("tcpKeepalive")
    return Traffic(
        balancer=_balancer(fields.get("loadBalancer")),
        max_connections=int(tcp.get("maxConnections") or 0),
        max_pending_requests=int(http.get("http1MaxPendingRequests") or 0),
        max_requests=int(http.get("http2MaxRequests") or 0),
        max_requests_per_connection=int(http.get("maxRequestsPerConnection") or 0),
        max_retries=int(http.get("maxRetries") or 0),
        connect_timeout=duration(tcp.get("connectTimeout")),
        idle_timeout=duration(http.get("idleTimeout")),
        tcp_idle_timeout=duration(tcp.get("idleTimeout")),
        max_connection_duration=duration(tcp.get("maxConnectionDuration")),
        keepalive=None
        if alive is None
        else (int(alive.get("probes") or 0), duration(alive.get("time")), duration(alive.get("interval"))),
        client_protocol=bool(http.get("useClientProtocol")),
        max_streams=int(http.get("maxConcurrentStreams") or 0),
        http2_upgrade={"UPGRADE": True, "DO_NOT_UPGRADE": False}.get(http.get("h2UpgradePolicy") or ""),
        outlier=_outlier(fields.get("outlierDetection")),
        tls=_tls(fields.get("tls")),
    )


def _balancer(fields: Fields | None) -> Balancer | None:
    if not fields:
        return None
    warm = fields.get("warmup") or {}
    warmup = duration(fields.get("warmupDurationSecs") or warm.get("duration"))
    if chosen := fields.get("consistentHash"):
        cookie = chosen.get("httpCookie") or {}
        ring = (chosen.get("ringHash") or {}).get("minimumRingSize") or chosen.get("minimumRingSize")
        maglev = chosen.get("maglev")
        return Balancer(
            "RING_HASH" if maglev is None else "MAGLEV",
            hash_header=chosen.get("httpHeaderName") or "",
            hash_cookie=cookie.get("name") or "",
            cookie_ttl=duration(cookie.get("ttl")),
            cookie_path=cookie.get("path") or "",
            hash_source_ip=bool(chosen.get("useSourceIp")),
            hash_query=chosen.get("httpQueryParameterName") or "",
            ring_size=int(ring or 0),
            table_size=int((maglev or {}).get("tableSize") or 0),
        )
    simple = fields.get("simple") or "UNSPECIFIED"
    if simple == "UNSPECIFIED" and warmup is None:
        return None
    name = "LEAST_REQUEST" if simple in ("LEAST_CONN", "UNSPECIFIED") else simple
    return Balancer(
        name, warmup=warmup, warmup_percent=warm.get("minimumPercent"), warmup_aggression=warm.get("aggression")
    )


def _outlier(fields: Fields | None) -> Outlier | None:
    """None also where everything that could eject is switched off."""
    if fields is None:
        return None
    said = fields.get("consecutive5xxErrors")
    gateway = int(fields.get("consecutiveGatewayErrors") or 0)
    split = bool(fields.get("splitExternalLocalOriginErrors"))
    if said == 0 and not gateway and not split:
        return None
    return Outlier(
        consecutive_5xx=-1 if said == 0 else int(said or 0),
        consecutive_gateway=gateway,
        interval=duration(fields.get("interval")),
        base_ejection=duration(fields.get("baseEjectionTime")),
        max_ejection_percent=int(fields.get("maxEjectionPercent") or 10),
        min_health_percent=int(fields.get("minHealthPercent") or 0),
        split_local=split,
        consecutive_local=int(fields.get("consecutiveLocalOriginFailures") or 0) if split else 0,
    )


def _tls(fields: Fields | None) -> ClientTls | None:
    if fields is None:
        return None
    return ClientTls(
        fields.get("mode") or "DISABLE",
        fields.get("sni") or "",
        not fields.get("insecureSkipVerify"),
        texts(fields.get("subjectAltNames")),
        fields.get("caCertificates") or "",
        fields.get("clientCertificate") or "",
        fields.get("privateKey") or "",
    )
