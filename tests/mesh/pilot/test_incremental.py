"""Whatever happened before: what is made from the last configuration is what would be made from nothing."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from translating import IP, put, registry

from meshlab.mesh.pilot.build import Builder
from meshlab.mesh.pilot.proxy import Proxy, Role
from meshlab.mesh.pilot.registry import Registry

NETWORKING = "networking.istio.io/v1"
PROXIES = (
    Proxy(Role.SIDECAR, IP["svca-1"], "svca-1.default", "default.svc.cluster.local", "127.41.0.10"),
    Proxy(Role.SIDECAR, IP["svcb-1"], "svcb-1.default", "default.svc.cluster.local", "127.41.0.28"),
    Proxy(Role.SIDECAR, "127.40.9.9", "far.other", "other.svc.cluster.local", "127.41.9.9"),
    Proxy(Role.INGRESS, "127.40.9.8", "edge.istio-system", "istio-system.svc.cluster.local", "127.41.9.8"),
)
HOSTS = st.sampled_from(["svca", "svcb", "svcc", "web.test", "nobody", "*.test", "*", "svcb.default.svc.cluster.local"])
EXACT = HOSTS.filter(lambda host: "*" not in host)
DESTINATION = st.fixed_dictionaries({"host": EXACT}, optional={"subset": st.sampled_from(["v1", "v2"])})
VIRTUAL = st.fixed_dictionaries({
    "hosts": st.lists(HOSTS, min_size=1, max_size=2, unique=True),
    "http": st.lists(st.fixed_dictionaries({
        "route": st.lists(st.fixed_dictionaries({"destination": DESTINATION, "weight": st.just(1)}), min_size=1,
                          max_size=2),
    }, optional={
        "match": st.just([{"sourceLabels": {"app": "svca"}}]), "mirror": DESTINATION,
    }), min_size=1, max_size=2),
}, optional={"exportTo": st.sampled_from([["."], ["other"], ["*"]])}) | st.sampled_from([
    {"hosts": ["svcb"], "http": [{"delegate": {"name": "b"}}]},
    {"http": [{"route": [{"destination": {"host": "svca"}}], "timeout": "3s"}]},
])
RULE = st.fixed_dictionaries({"host": HOSTS}, optional={
    "subsets": st.lists(st.sampled_from([
        {"name": "v1", "labels": {"version": "v0.1"}},
        {"name": "v2", "labels": {"version": "v0.2"}, "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}}},
    ]), max_size=2, unique_by=lambda each: str(each["name"])),
    "trafficPolicy": st.sampled_from([
        {"loadBalancer": {"consistentHash": {"httpHeaderName": "x"}}}, {"tls": {"mode": "SIMPLE"}},
        {"connectionPool": {"tcp": {"maxConnections": 9}}}, {"loadBalancer": {"simple": "PASSTHROUGH"}},
    ]),
    "exportTo": st.sampled_from([["."], ["other"]]),
    "workloadSelector": st.just({"matchLabels": {"app": "svca"}}),
})
ENTRY = st.fixed_dictionaries({
    "hosts": st.lists(st.sampled_from(["web.test", "*.test", "db.test", "svcb.default.svc.cluster.local"]), min_size=1,
                      max_size=2, unique=True),
    "ports": st.lists(st.fixed_dictionaries({
        "number": st.sampled_from([80, 443, 9000]), "name": st.just("p"),
        "protocol": st.sampled_from(["HTTP", "TLS", "TCP"]),
    }), min_size=1, max_size=2, unique_by=lambda each: each["number"]),
    "resolution": st.sampled_from(["NONE", "DNS"]),
}, optional={"addresses": st.sampled_from([["127.1.2.3"], ["127.9.0.0/16"]]), "exportTo": st.just(["."])})
SCOPE = st.fixed_dictionaries(
    {"egress": st.lists(st.just({"hosts": ["./svcb.default.svc.cluster.local", "*/web.test"]}), max_size=1)},
    optional={"outboundTrafficPolicy": st.sampled_from([{"mode": "REGISTRY_ONLY"}, {"mode": "ALLOW_ANY"}]),
              "workloadSelector": st.just({"labels": {"app": "svca"}})},
)
OLD = st.fixed_dictionaries({"destination": st.sampled_from([{"name": "svcb"}, {"name": "svca"}])}, optional={
    "match": st.just({"source": {"name": "svca"}}), "precedence": st.integers(0, 2),
    "route": st.sampled_from([[{"labels": {"version": "v0.1"}}], [{"labels": {"version": "v0.2"}}]]),
})
TODAY: dict[str, tuple[str, st.SearchStrategy[Any]]] = {
    "virtualservices": ("VirtualService", VIRTUAL), "destinationrules": ("DestinationRule", RULE),
    "serviceentries": ("ServiceEntry", ENTRY), "sidecars": ("Sidecar", SCOPE),
}
Change = tuple[str, str, dict[str, Any] | None]


def today(plural: str) -> st.SearchStrategy[Change]:
    kind, specs = TODAY[plural]
    made = specs.map(lambda spec: {"apiVersion": NETWORKING, "kind": kind, "spec": spec})
    return st.tuples(st.just(plural), st.sampled_from(["a", "b"]), st.none() | made)


SERVICE = st.sampled_from(["http", "tcp", ""]).flatmap(lambda port: st.sampled_from([
    {"spec": {"clusterIP": ip, "selector": {"app": "svcb"}, "ports": [{"name": port, "port": 80, "targetPort": 8080}]}}
    for ip in ("127.105.0.3", "None")
]))
ENDPOINTS = st.lists(st.sampled_from(["127.40.0.28", "127.40.0.29"]), unique=True).map(lambda listed: {"subsets": [{
    "addresses": [{"ip": ip} for ip in listed], "ports": [{"name": "http", "port": 8080}],
}]})
POD = st.sampled_from(["svca", "svcb"]).map(lambda app: {
    "metadata": {"namespace": "default", "labels": {"app": app, "version": "v0.1"}},
    "status": {"podIP": "127.40.0.28", "phase": "Running"},
})
RULES = OLD.map(lambda spec: {"kind": "RouteRule", "spec": spec})
CHANGES: st.SearchStrategy[Change] = st.one_of(
    *(today(plural) for plural in TODAY),
    st.tuples(st.just("services"), st.sampled_from(["svcb", "svcc"]), st.none() | SERVICE),
    st.tuples(st.just("endpoints"), st.sampled_from(["svcb", "svcc"]), st.none() | ENDPOINTS),
    st.tuples(st.just("pods"), st.just("svcb-1"), st.none() | POD),
    st.tuples(st.just("routerules"), st.sampled_from(["a", "b"]), st.none() | RULES),
)


def change(target: Registry, plural: str, name: str, obj: dict[str, Any] | None) -> None:
    given = dict(obj or {})
    meta = given.pop("metadata", {})
    put(target, plural, name, "DELETED" if obj is None else "MODIFIED", meta, **given)


@settings(max_examples=150)
@given(st.lists(st.lists(CHANGES, min_size=1, max_size=2), min_size=2, max_size=8))
def test_a_change_leads_to_what_is_made_from_nothing(steps: list[list[Change]]) -> None:
    target, builder = registry(), Builder()
    for step in steps:
        for each in step:
            change(target, *each)
        world = target.world()
        for proxy in PROXIES:
            found, wanted = builder.snapshot(world, proxy), Builder().snapshot(world, proxy)
            assert found.consistent() == ()
            assert found.resources.keys() == wanted.resources.keys()
            for kind, resources in wanted.resources.items():
                there = {name: each.version for name, each in found.of(kind).items()}
                assert there == {name: each.version for name, each in resources.items()}, (kind, proxy)
        builder.memo.sweep()


def test_one_change_makes_a_handful_of_pieces_however_many_services_there_are() -> None:
    made: list[int] = []
    for size in (10, 200):
        target, builder = registry(), Builder()
        for number in range(size):
            put(target, "services", f"s{number}", spec={
                "clusterIP": f"127.105.1.{number + 1}", "ports": [{"name": "http", "port": 80}],
            })
        builder.snapshot(target.world(), PROXIES[0])
        before = builder.memo.made
        put(target, "routerules", "r", kind="RouteRule", spec={
            "destination": {"name": "s3"}, "httpReqTimeout": {"simpleTimeout": {"timeout": "3s"}},
        })
        builder.snapshot(target.world(), PROXIES[0])
        made.append(builder.memo.made - before)
    assert made[0] == made[1] <= 6
