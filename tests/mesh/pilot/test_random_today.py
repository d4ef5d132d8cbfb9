"""Whatever of today's routing kinds is stored: snapshots are consistent, and Envoy takes what it is sent."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pilot_cluster import Cluster

from meshlab.mesh.pilot.rulebook import TODAY

TEXT = st.sampled_from(["a", "", "é", "%", "%REQ(x)%", "a b", "/", "*", "a" * 200])
NAME = st.sampled_from(["x-a", "X-B", "cookie", "host", ":path", "x a", "accept", "x\n", "\0", ":other", "é"])
MATCH = st.one_of(
    st.fixed_dictionaries({"exact": TEXT}), st.fixed_dictionaries({"prefix": TEXT}),
    st.fixed_dictionaries({"regex": st.sampled_from([".*", "(?=a)", "[", "a|b", "(?i)x", "a{2000}", r"\d+", "^$"])}),
    st.just({}),
)
PATH = st.one_of(
    st.fixed_dictionaries({"exact": st.sampled_from(["/a", "/", "/é", "/a?b"])}),
    st.fixed_dictionaries({"prefix": st.sampled_from(["/a", "/", "/a/", "/%20"])}),
    st.fixed_dictionaries({"regex": st.sampled_from([".*", "/[0-9]+", "(?!a)", "/(a|b)"])}),
)
DURATION = st.sampled_from(["1ms", "1s", "1.5s", "10m", "300h"])
PERCENT = st.fixed_dictionaries({"value": st.sampled_from([0, 0.0001, 0.5, 33.3333, 100])})
HOST = st.sampled_from(["svcb", "svca", "nobody", "svcb.default.svc.cluster.local", "web.test"])
DESTINATION = st.fixed_dictionaries({"host": HOST}, optional={
    "subset": st.sampled_from(["v1", "v2", "v9"]),
    "port": st.fixed_dictionaries({"number": st.sampled_from([80, 81, 8080])}),
})
CHANGES = st.fixed_dictionaries({}, optional={
    "set": st.dictionaries(NAME, TEXT, max_size=2), "add": st.dictionaries(NAME, TEXT, max_size=2),
    "remove": st.lists(NAME, max_size=2),
})
HEADERS = st.fixed_dictionaries({}, optional={"request": CHANGES, "response": CHANGES})
WEIGHTED = st.fixed_dictionaries(
    {"destination": DESTINATION}, optional={"weight": st.integers(0, 1000), "headers": HEADERS}
)
ACTION = st.one_of(
    st.fixed_dictionaries({"route": st.lists(WEIGHTED, min_size=1, max_size=3)}),
    st.fixed_dictionaries({"redirect": st.fixed_dictionaries({}, optional={
        "uri": st.sampled_from(["/new", "x"]), "authority": st.sampled_from(["b", "b:1", "é"]),
        "scheme": st.sampled_from(["http", "https"]), "redirectCode": st.sampled_from([301, 302, 303, 307, 308]),
        "port": st.integers(1, 65535),
    }) | st.fixed_dictionaries({"authority": st.just("b"), "derivePort": st.sampled_from(
        ["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"])})}),
    st.fixed_dictionaries({"directResponse": st.fixed_dictionaries(
        {"status": st.integers(200, 599)}, optional={"body": st.fixed_dictionaries({"string": TEXT})}
    )}),
)
BLOCK = st.builds(lambda action, more: {**more, **action}, ACTION, st.fixed_dictionaries({}, optional={
    "match": st.lists(st.fixed_dictionaries({}, optional={
        "uri": PATH, "headers": st.dictionaries(NAME, MATCH, max_size=2), "ignoreUriCase": st.booleans(),
        "withoutHeaders": st.dictionaries(NAME, MATCH, max_size=1), "method": MATCH, "authority": MATCH,
        "queryParams": st.dictionaries(TEXT | st.just("a" * 1025), MATCH, max_size=1),
        "statPrefix": TEXT,
        "sourceLabels": st.dictionaries(st.just("app"), st.sampled_from(["svca", "x"]), max_size=1),
    }), min_size=1, max_size=2),
    "rewrite": st.fixed_dictionaries({}, optional={
        "uri": st.sampled_from(["/new", "/", "x"]), "authority": st.sampled_from(["b", "é"]),
    }),
    "timeout": DURATION,
    "retries": st.fixed_dictionaries({"attempts": st.integers(0, 2**31 - 1)}, optional={
        "perTryTimeout": DURATION, "retryOn": st.sampled_from(["5xx", "503", "gateway-error,reset", "599,5xx"]),
        "backoff": DURATION,
    }),
    "fault": st.fixed_dictionaries({}, optional={
        "delay": st.fixed_dictionaries({"fixedDelay": DURATION, "percentage": PERCENT}),
        "abort": st.fixed_dictionaries({"httpStatus": st.integers(200, 599), "percentage": PERCENT}),
    }),
    "mirror": DESTINATION, "mirrorPercentage": PERCENT, "headers": HEADERS,
    "corsPolicy": st.fixed_dictionaries({}, optional={
        "allowOrigins": st.lists(MATCH, max_size=2), "allowMethods": st.just(["GET"]), "maxAge": DURATION,
        "allowCredentials": st.booleans(), "unmatchedPreflights": st.sampled_from(["FORWARD", "IGNORE"]),
    }),
}))
VIRTUAL_SERVICE = st.fixed_dictionaries({
    "hosts": st.lists(st.sampled_from(["svcb", "*.test", "other.test"]), min_size=1, max_size=2, unique=True),
    "http": st.lists(BLOCK, min_size=1, max_size=3),
})
POLICY = st.fixed_dictionaries({}, optional={
    "loadBalancer": st.one_of(
        st.fixed_dictionaries({"simple": st.sampled_from(["RANDOM", "LEAST_REQUEST", "PASSTHROUGH", "ROUND_ROBIN"])}),
        st.fixed_dictionaries({"consistentHash": st.sampled_from([
            {"httpHeaderName": "x"}, {"httpHeaderName": "x\n"}, {"useSourceIp": True}, {"httpQueryParameterName": "q"},
            {"httpCookie": {"name": "c", "ttl": "0s"}}, {"httpHeaderName": "x", "ringHash": {"minimumRingSize": 9}},
            {"useSourceIp": True, "maglev": {"tableSize": 1009}}, {"useSourceIp": True, "maglev": {"tableSize": 1000}},
        ])}),
        st.fixed_dictionaries({"simple": st.sampled_from(["LEAST_REQUEST", "ROUND_ROBIN"]), "warmup": st.sampled_from([
            {"duration": "9s"}, {"duration": "1ms", "minimumPercent": 0, "aggression": 1},
            {"duration": "1h", "minimumPercent": 101, "aggression": 0.5},
        ])}),
    ),
    "connectionPool": st.fixed_dictionaries({}, optional={
        "tcp": st.fixed_dictionaries({}, optional={
            "maxConnections": st.integers(1, 2**31 - 1), "connectTimeout": DURATION,
            "tcpKeepalive": st.just({"probes": 3, "time": "1s", "interval": "1s"}), "idleTimeout": DURATION,
            "maxConnectionDuration": DURATION,
        }),
        "http": st.fixed_dictionaries({}, optional={
            "http1MaxPendingRequests": st.integers(1, 2**31 - 1), "maxRequestsPerConnection": st.integers(0, 100),
            "idleTimeout": DURATION, "maxRetries": st.integers(0, 9), "h2UpgradePolicy": st.just("UPGRADE"),
            "useClientProtocol": st.booleans(), "maxConcurrentStreams": st.sampled_from([0, 1, 2**31 - 1]),
        }),
    }),
    "outlierDetection": st.fixed_dictionaries({}, optional={
        "consecutive5xxErrors": st.integers(0, 9), "consecutiveGatewayErrors": st.integers(0, 9),
        "interval": DURATION, "baseEjectionTime": DURATION, "maxEjectionPercent": st.integers(0, 100),
        "minHealthPercent": st.integers(0, 100), "splitExternalLocalOriginErrors": st.booleans(),
        "consecutiveLocalOriginFailures": st.integers(0, 9),
    }),
    "tls": st.fixed_dictionaries({"mode": st.sampled_from(["DISABLE", "SIMPLE"])}),
})
DESTINATION_RULE = st.fixed_dictionaries({"host": st.just("svcb")}, optional={
    "trafficPolicy": POLICY,
    "subsets": st.lists(st.fixed_dictionaries(
        {"name": st.sampled_from(["v1", "v2"]), "labels": st.sampled_from([{}, {"version": "v0.1"}])},
        optional={"trafficPolicy": POLICY},
    ), max_size=2, unique_by=lambda each: each["name"]),
})
PORTS = st.lists(st.fixed_dictionaries({
    "number": st.sampled_from([80, 443, 9000, 9001]), "name": st.just("p"),
    "protocol": st.sampled_from(["HTTP", "HTTPS", "TCP", "TLS", "GRPC", "MONGO", "REDIS"]),
}), min_size=1, max_size=3, unique_by=lambda each: each["number"])
SERVICE_ENTRY = st.fixed_dictionaries({
    "hosts": st.lists(st.sampled_from(["web.test", "*.x.test", "db.test", "a.invalid"]), min_size=1, max_size=3,
                      unique=True),
    "ports": PORTS,
}, optional={
    "resolution": st.sampled_from(["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN"]),
    "addresses": st.lists(st.sampled_from(["127.1.2.3", "127.9.0.0/16", "127.9.1.0/16"]), max_size=2),
    "endpoints": st.lists(st.sampled_from([
        {"address": "127.1.2.4"}, {"address": "127.1.2.5", "ports": {"p": 81}, "weight": 3}, {"address": "localhost"},
    ]), max_size=3),
    "location": st.sampled_from(["MESH_EXTERNAL", "MESH_INTERNAL"]),
})


def check(cluster: Cluster, specs: dict[str, Any]) -> None:
    for kind, spec in specs.items():
        plural, known = next((p, k) for p, k in TODAY.items() if k.kind == kind)
        obj = {"apiVersion": known.api_version, "kind": kind, "metadata": {"name": "random"}, "spec": spec}
        cluster.put(plural, obj)
    found = cluster.in_force("configmaps", cluster.put("configmaps", {"metadata": {"name": "none"}}))
    # Names of rules have a slash: what Pilot itself left out is no refusal of Envoy's.
    assert {node: why for node, why in found.rejected.items() if "/" not in node} == {}, specs


@settings(max_examples=40)
@given(VIRTUAL_SERVICE, DESTINATION_RULE)
def test_envoy_takes_whatever_pilot_lets_through(
    cluster: Cluster, virtual: dict[str, Any], rule: dict[str, Any]
) -> None:
    check(cluster, {"DestinationRule": rule, "VirtualService": virtual})
    assert cluster.get("svca-1", "http://svca/").pod == "svca-1"


# Fewer: each replaces listeners, whose old connections are waited for.
@settings(max_examples=6)
@given(SERVICE_ENTRY)
def test_envoy_takes_any_service_entry(cluster: Cluster, entry: dict[str, Any]) -> None:
    check(cluster, {"ServiceEntry": entry})
    assert cluster.get("svca-1", "http://svca/").pod == "svca-1"
