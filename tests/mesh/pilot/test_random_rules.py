"""Whatever is stored, Pilot lives, its snapshots are consistent, and Envoy takes what it is sent."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pilot_cluster import Cluster
from translating import registry, rule, snapshot

TEXT = st.text(max_size=12)
WORD = st.sampled_from(["a", "svcb", "x-a", "/", "/p", "*", "", "v0.1", "GET", "10.0.0.1", "%", "%REQ(", "é", "\n"])
ANY: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT | WORD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | WORD, inner, max_size=3),
    max_leaves=6,
)
STRING_MATCH = st.one_of(
    st.fixed_dictionaries({"exact": WORD | TEXT}), st.fixed_dictionaries({"prefix": WORD | TEXT}),
    st.fixed_dictionaries({"regex": WORD | st.sampled_from(
        ["(?=a)", "[a-", "a{1,5000}", "(a*)*", ".*", r"\p{L}", r"\Z", "(?P<n>a)", "(?<n>a)", "a*+", r"\1",
         "[[:alpha:]]", r"[\w-z]", "(?i:a)", "(?x)a", r"\Aa", r"\Qa\E", "x**", "^*", r"\C", r"\u0041", r"\x{41}", "a|*",
         "(?s).", r"\h"]
    ) | TEXT}),
)
NAMES = st.sampled_from(["uri", "authority", "method", "scheme", "cookie", "x-a", "x a", "host", ":path", "x\n"]) | TEXT
LABELS = st.dictionaries(st.sampled_from(["version", "app", "a.b/c"]), WORD, max_size=2)
SERVICE = st.sampled_from([
    {"name": "svcb"}, {"name": "svca"}, {"name": "nobody"}, {"service": "svcb.default.svc.cluster.local"},
    {"service": "*"}, {"service": "10.0.0.1"}, {"name": "svcb", "labels": {"version": "v0.1"}},
])
DURATIONS = st.sampled_from(["0s", "1ms", "1.5s", "300s", "0.0001s", "1h", "2562047h", "-1s"])
PERCENT = st.sampled_from([0, 0.5, 1, 50, 99.9, 100, 101])
ROUTES = st.lists(
    st.fixed_dictionaries({"labels": LABELS}, optional={"weight": st.sampled_from([0, 1, 50, 99, 100]),
                                                        "destination": SERVICE}), max_size=3,
)
SPEC = st.fixed_dictionaries({"destination": st.just({"name": "svcb"})}, optional={
    "precedence": st.integers(-2**31, 2**31 - 1),
    "match": st.fixed_dictionaries({}, optional={
        "source": SERVICE,
        "request": st.fixed_dictionaries({"headers": st.dictionaries(NAMES, STRING_MATCH, max_size=3)}),
    }),
    "route": ROUTES | st.just([{"labels": {"version": "v0.2"}}]),
    "redirect": st.fixed_dictionaries({}, optional={"uri": WORD | TEXT, "authority": WORD | TEXT}),
    "rewrite": st.fixed_dictionaries({}, optional={"uri": WORD | TEXT, "authority": WORD | TEXT}),
    "websocketUpgrade": st.booleans(),
    "httpReqTimeout": st.fixed_dictionaries({"simpleTimeout": st.fixed_dictionaries({"timeout": DURATIONS})}),
    "httpReqRetries": st.fixed_dictionaries({"simpleRetry": st.fixed_dictionaries({
        "attempts": st.integers(0, 2**31 - 1), "perTryTimeout": DURATIONS})}),
    "httpFault": st.fixed_dictionaries({}, optional={
        "delay": st.fixed_dictionaries({"percent": PERCENT, "fixedDelay": DURATIONS}),
        "abort": st.fixed_dictionaries({"percent": PERCENT, "httpStatus": st.sampled_from([0, 99, 200, 503, 600])}),
    }),
    "mirror": SERVICE,
    "corsPolicy": st.fixed_dictionaries({}, optional={
        "allowOrigin": st.lists(WORD | TEXT, max_size=2), "allowMethods": st.just(["GET"]),
        "maxAge": st.sampled_from(["1s", "86400s"]), "allowHeaders": st.lists(WORD, max_size=2),
    }),
    "appendHeaders": st.dictionaries(NAMES, WORD | TEXT, max_size=2),
})
EGRESS = st.fixed_dictionaries({
    "destination": st.fixed_dictionaries({"service": st.sampled_from([
        "a.com", "*.a.com", "*a.com", "*", "10.0.0.1", "10.0.0.0/8", "10.1.2.3/8", "300.1.1.1", "svcb", "localhost",
        "127.105.0.2", "svcb.default.svc.cluster.local",
    ])}),
    "ports": st.lists(st.fixed_dictionaries({
        "port": st.sampled_from([80, 443, 9997, 65535]),
        "protocol": st.sampled_from(["http", "HTTPS", "http2", "grpc", "tcp", "mongo"]),
    }), min_size=1, max_size=2),
})
POLICY = st.fixed_dictionaries({"destination": SERVICE}, optional={
    "loadBalancing": st.fixed_dictionaries({"name": st.sampled_from(["RANDOM", "LEAST_CONN", "ROUND_ROBIN"])}),
    "circuitBreaker": st.fixed_dictionaries({"simpleCb": st.fixed_dictionaries(
        {"sleepWindow": DURATIONS, "httpDetectionInterval": DURATIONS},
        optional={"maxConnections": st.integers(0, 2**31 - 1), "httpMaxEjectionPercent": st.integers(0, 100),
                  "httpConsecutiveErrors": st.integers(0, 2**31 - 1),
                  "httpMaxRequestsPerConnection": st.integers(0, 2**31 - 1)},
    )}),
})


@settings(max_examples=300)
@given(spec=ANY, kind=st.sampled_from(["RouteRule", "EgressRule", "DestinationPolicy"]))
def test_nonsense_leaves_pilot_alive_and_the_rest_in_force(spec: Any, kind: str) -> None:
    target = registry()
    rule(target, {"destination": {"name": "svcb"}, "route": [{"labels": {"version": "v0.2"}}]}, "good")
    rule(target, spec, "bad", kind)
    snapshot(target)


@settings(max_examples=300)
@given(rules=st.lists(SPEC, max_size=3), egress=st.lists(EGRESS, max_size=2), policies=st.lists(POLICY, max_size=2))
def test_any_combination_of_rules_is_a_consistent_snapshot(
    rules: list[Any], egress: list[Any], policies: list[Any]
) -> None:
    target = registry()
    for kind, specs in (("RouteRule", rules), ("EgressRule", egress), ("DestinationPolicy", policies)):
        for number, spec in enumerate(specs):
            rule(target, spec, f"r{number}", kind)
    snapshot(target)


@settings(max_examples=40)
@given(spec=SPEC, policy=POLICY)
def test_envoy_takes_whatever_pilot_lets_through(cluster: Cluster, spec: Any, policy: Any) -> None:
    check(cluster, {"RouteRule": spec, "DestinationPolicy": policy})


# Fewer: each replaces listeners, whose old connections are waited for.
@settings(max_examples=4)
@given(egress=EGRESS)
def test_envoy_takes_any_egress_rule(cluster: Cluster, egress: Any) -> None:
    check(cluster, {"EgressRule": egress})


def check(cluster: Cluster, specs: dict[str, Any]) -> None:
    for kind, each in specs.items():
        cluster.rule(each, "fuzz", kind, wait=False)
    revision = cluster.put("configmaps", {"metadata": {"name": "none"}})
    found = cluster.in_force("configmaps", revision)
    # Names of rules have a slash: what Pilot itself left out is no refusal of Envoy's.
    assert {node: why for node, why in found.rejected.items() if "/" not in node} == {}
